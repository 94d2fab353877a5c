"""The report as Markdown. Foreign text is escaped or quoted: a board's title can't forge a heading or a link."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from models.enums import ErrorType
from models.items import delta_words
from models.words import counted
from sources import REPORT_MARK
from tasks.report.models import BoardReport, ItemReport, Report
from tasks.report.words import meaning

LONGEST_TITLE = 120
LONGEST_ANSWER = 1200
LONGEST_REASON = 240
MOST_TRIES = 12  # of one item with one model
MOST_ITEMS = 15  # of one list; the rest is counted, and in the JSON
SEVERITY_ORDER = {"error": 0, "warning": 1, "info": 2}

STATES = {
    "settled": "Everything is settled.",
    "waiting": "Not everything is settled.",
    "failed": "The run failed.",
    "running": "The run is still going on.",
    "paused": "The run was paused.",
    "cancelled": "The run was cancelled.",
    "interrupted": "The run was interrupted: its process ended.",
}


def as_markdown(report: Report, mermaid: str | None = None) -> str:
    """The whole report; a few screens for a few boards. `mermaid`: the boards drawn, shown at the end."""
    lines = [REPORT_MARK, "# Penstock report", "", f"**{STATES[report.state]}** {_totals(report)}", ""]
    if report.error:
        lines += [f"> {_plain(report.error)}", ""]
    if report.simulated:
        lines += [
            "> **Simulated.** Answers marked so come from Penstock's model simulator: no model wrote them.",
            "",
        ]
    if report.unreadable:
        lines += ["**Not read:**", "", *(f"- {_plain(sentence)}" for sentence in report.unreadable), ""]
    if report.gone:
        lines += ["**Renamed or gone:**", "", *(f"- {_plain(sentence)}" for sentence in report.gone), ""]
    if report.written:
        lines += ["**Written back:**", "", *(f"- {_plain(sentence)}" for sentence in report.written), ""]
    lines += _how(report)
    if report.validation:
        lines += [f"[What the checks said]({report.validation}), batch by batch.", ""]
    lines += _overview(report)
    lines += _next(report)
    for board in report.boards:
        lines += _board(board)
    if mermaid is not None:
        lines += ["## Graph", "", *_linked(report), "```mermaid", mermaid.rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _linked(report: Report) -> list[str]:
    return [f"[{report.graph}]({report.graph}) has it in full, item by item.", ""] if report.graph else []


def _totals(report: Report) -> str:
    parts = [
        f"{report.total('to_do')} of them had something to do: {report.total('done')} answered",
        f"{report.total('waiting')} wait for a person",
        f"{report.total('blocked')} are blocked by others",
    ]
    for name, words in (("queued", "are still queued"), ("failed", "failed"), ("rejected", "were rejected")):
        if report.total(name):
            parts.append(f"{report.total(name)} {words}")
    if report.elsewhere:
        parts.append(report.elsewhere_words)
    boards = sum(bool(board.items) for board in report.boards)
    return (
        f"{boards} {'board' if boards == 1 else 'boards'} with {_items(report.total('items'), report.total('steps'))}. "
        f"{', '.join(parts)}."
    )


def _items(items: int, steps: int) -> str:
    counted = f"{items} {'item' if items == 1 else 'items'}"
    return f"{counted} and {steps} {'step' if steps == 1 else 'steps'}" if steps else counted


def _how(report: Report) -> list[str]:
    if not report.backend:
        return []
    if report.backend == "extractive":
        how = (
            "Answered by `extractive`, which is no model: it quotes the documents of the run, names the place of each "
            "quote, and defers what it finds no evidence for."
        )
    else:
        how = (
            f"Answered by `{report.backend}` at {report.endpoint}, model `{report.model}`: "
            f"{counted(report.calls, 'call')}, "
            f"{report.prompt_tokens} prompt and {report.completion_tokens} answer tokens."
        )
        if report.uncalled:
            how += (
                f" {counted(report.uncalled, 'answer')} needed no call: the very same had been asked before."
            )
    said = [report.spilled, ""] if report.spilled else []
    return [*said, how, ""]


def _overview(report: Report) -> list[str]:
    boards = [board for board in report.boards if board.items]
    lines: list[str] = []
    if boards:
        lines += [
            "| Board | Items | Steps | Ticked | To do | Answered | For a person | Blocked | Findings |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for board in boards:
            count = board.counts
            numbers = (
                *(count.items, count.steps, count.ticked, count.to_do, count.done, count.waiting),
                *(count.blocked, len(board.findings)),
            )
            cells = " | ".join(str(number) for number in numbers)
            lines.append(f"| {_cell(_plain(board.source))} | {cells} |")
        lines += [
            "",
            "*Ticked*: the board says it is done or skipped. *To do*: open, and without parts of its own.",
            "",
        ]
    documents = [board for board in report.boards if not board.items]
    if documents:
        lines += [f"Read as documentation, not as work: {_count(len(documents), 'file')}.", ""]
    odd = [
        f"- `{board.source}`: {_plain(finding['message'])}"
        for board in documents
        for finding in board.findings
        if finding["severity"] != "info"
    ]
    return [*lines, *odd, ""] if odd else lines


def _next(report: Report) -> list[str]:
    lines = []
    if report.waiting:
        lines.append(
            "- Decide what waits for a person: `penstock review list`, `penstock review show N`, then "
            "`penstock review accept|edit|retry|reject N`. What waited for it goes on by itself."
        )
    if report.total("queued"):
        lines.append(
            "- Some items are still queued: run the same command again, with a backend that may do them."
        )
    if report.blocked and not report.waiting and not report.total("queued"):
        lines.append("- Blocked items go on as soon as what they wait for is settled.")
    if report.elsewhere:
        lines.append(
            "- Items whose work is done elsewhere are settled with that: the findings `duplicate_work` name the other "
            "item. What waits for a person is in `penstock review list`; else run the board that has it."
        )
    return ["## What to do next", "", *lines, ""] if lines else []


def _board(board: BoardReport) -> list[str]:
    if not board.items:
        return []
    count = board.counts
    open_items = count.items - count.ticked
    lines = [
        f"## {_plain(board.title or board.source)}",
        "",
        f"`{board.source}`{_revision(board)}, read as {board.dialect}: {_items(count.items, count.steps)}, "
        f"{count.ticked} ticked, {open_items} open.{_made(board)}",
        *_changed(board),
        "",
    ]
    if waiting := board.having("waiting"):
        lines += ["### Waiting for a person", "", *_waiting(board, waiting)]
    if decided := board.decided:
        lines += ["### Decided", ""]
        for item in decided[:MOST_ITEMS]:
            lines += _decision(item)
        lines += _more(len(decided), "decisions; `penstock decisions list` shows all")
    if answered := board.answered:
        lines += ["### Answered", ""]
        for item in answered[:MOST_ITEMS]:
            lines += _answer(board, item)
        lines += _more(len(answered), "answers")
    if board.blocked:
        lines += ["### Blocked", "", *_blocked(board)]
    if board.findings:
        lines += ["### Findings", "", *_findings(board)]
    return lines


def _changed(board: BoardReport) -> list[str]:
    return (
        [f"Since it was read before: {delta_words(board.delta)}."]
        if board.delta and board.read_before
        else []
    )


def _revision(board: BoardReport) -> str:
    return f" at {board.revision[:12]}" if board.revision else ""


def _made(board: BoardReport) -> str:
    """What Penstock added: parts of items that it split, results put together from those of parts."""
    said = f" {_count(board.parts, 'part')} made by splitting." if board.parts else ""
    many = "item has" if board.syntheses == 1 else "items have"
    return said + (f" {board.syntheses} {many} a synthesis of the parts' results." if board.syntheses else "")


def _waiting(board: BoardReport, waiting: Sequence[ItemReport]) -> list[str]:
    groups: dict[str, list[ItemReport]] = defaultdict(list)
    for item in waiting:
        groups[item.error_type or ""].append(item)
    lines: list[str] = []
    for error_type, items in groups.items():
        lines += [f"{len(items)} × **{error_type or 'deferred'}**: {meaning(error_type)}.", ""]
        for item in items[:MOST_ITEMS]:
            # Without evidence the reasons differ only in the places that were looked at.
            reason = "" if error_type == ErrorType.NO_EVIDENCE else f". {_short(item.reason or '')}"
            said = f"{reason or '.'}{tries}" if (tries := _tries(item)) else reason
            lines.append(f"- review {item.review}: {_name(item)} (line {item.line}){said}")
        lines += ["", *_more(len(items), "items; `penstock review list` shows all")]
    return lines


def _tries(item: ItemReport) -> str:
    """How often and with whom it was tried, and what came of each; nothing of one try."""
    if len(item.attempts) < 2:
        return ""
    said = []
    for model, tries in groupby(item.attempts, key=lambda one: str(one["model"])):
        ends = [str(one["error_type"] or one["outcome"]) for one in tries]
        said.append(
            f"{_plain(model)}: {', '.join(ends[:MOST_TRIES])}{' ...' if len(ends) > MOST_TRIES else ''}"
        )
    return f" Tried {len(item.attempts)} times ({'; '.join(said)})."


def _blocked(board: BoardReport) -> list[str]:
    groups: dict[tuple[int, ...], list[ItemReport]] = defaultdict(list)
    for item in board.blocked:
        groups[tuple(wait.item_id for wait in item.waits_for)].append(item)
    lines: list[str] = []
    for items in groups.values():
        waits = items[0].waits_for
        first = "; ".join(
            f"**{_plain(_cut(wait.name, 80))}**{_at(wait.line)}: {_plain(wait.why)}" for wait in waits[:3]
        )
        others = f", and {len(waits) - 3} more" if len(waits) > 3 else ""
        lines += [f"{_count(len(items), 'item')} after {first or 'an item that is not settled'}{others}.", ""]
        lines += [f"- {_name(item)} (line {item.line})" for item in items[:MOST_ITEMS]]
        lines += ["", *_more(len(items), "items")]
    return lines


def _findings(board: BoardReport) -> list[str]:
    ordered = sorted(
        board.findings, key=lambda finding: (SEVERITY_ORDER.get(finding["severity"], 3), finding["line"])
    )
    lines = ["| Where | Severity | Code | What |", "| --- | --- | --- | --- |"]
    for finding in ordered[:MOST_ITEMS]:
        line = f":{finding['line']}" if finding["line"] else ""
        lines.append(
            f"| {_cell(_plain(board.source))}{line} | {finding['severity']} | `{finding['code']}` "
            f"| {_cell(_plain(finding['message']))} |"
        )
    return [*lines, "", *_more(len(ordered), "findings")]


def _more(number: int, what: str) -> list[str]:
    return (
        [f"… and {number - MOST_ITEMS} more {what}. All are in report.json.", ""]
        if number > MOST_ITEMS
        else []
    )


def _answer(board: BoardReport, item: ItemReport) -> list[str]:
    by = "a person" if item.accepted_by == "person" else item.model or "checks"
    mark = " **(simulated)**" if item.simulated else ""
    made = "put together from its parts " if item.synthesis else ""
    lines = [f"**{_name(item)}** (line {item.line}, {made}by {_plain(by)}){mark}", ""]
    text = _cut(item.text or "", LONGEST_ANSWER)
    places = {str(each.get("cite", "")): str(each.get("place", "")) for each in item.citations}
    named = {cite: place for cite, place in places.items() if f"[{cite}]" in text}
    for line in text.splitlines():
        if line.strip():
            lines.append(f"> {_with_places(line, named)}  ")
    if rest := [place for cite, place in places.items() if cite not in named]:
        lines += [">", f"> Sources: {', '.join(f'`{place}`' for place in rest)}"]
    return [*lines, ""]


def _decision(item: ItemReport) -> list[str]:
    """What a council decided, on a few lines; `penstock decisions show` has it whole."""
    found = item.decision or {}
    mark = " **(simulated)**" if found["simulated"] else ""
    facts = [f"risk {found['risk']}", f"accepted by {_plain(found['approved_by'] or 'the checks')}"]
    if found["confidence"] is not None:
        supporters = sum(seat["position"] == "supports" for seat in found["members"])
        facts.insert(0, f"confidence {found['confidence']:.2f}")
        facts.insert(1, f"{supporters} of {len(found['members'])} members support it")
    lines = [f"**{_name(item)}** (line {item.line}, {', '.join(facts)}){mark}", ""]
    lines += [
        f"> {_plain(_cut(line, LONGEST_ANSWER))}  " for line in found["decision"].splitlines() if line.strip()
    ]
    lines.append("")
    lines += [f"- because: {_short(reason)}" for reason in found["reasons"]]
    lines += [f"- risk, {each['level']}: {_short(each['risk'])}" for each in found["risks"]]
    lines += [f"- {_plain(seat['name'])} dissents: {_short(seat['says'])}" for seat in found["dissent"]]
    lines += [
        f"- {_plain(seat['name'])} did not answer: {_short(seat['missing'])}"
        for seat in found["members"]
        if seat["missing"] is not None
    ]
    return [*lines, "", f"The whole of it: `penstock decisions show {found['id']}`.", ""]


def _with_places(line: str, named: dict[str, str]) -> str:
    """A line of an answer: `[cite]` as its place where it is a citation of the answer, the rest disarmed."""
    if not named:
        return _plain(line)
    marks = {f"[{cite}]": place for cite, place in named.items()}
    pieces = re.split("(" + "|".join(re.escape(mark) for mark in sorted(marks)) + ")", line)
    return " ".join(
        f"(`{marks[piece]}`)" if piece in marks else _plain(piece) for piece in pieces if piece.strip()
    )


def _at(line: int) -> str:
    return f" (line {line})" if line else ""  # a gate between phases stands on no line


def _name(item: ItemReport) -> str:
    return _plain(_cut(item.name, LONGEST_TITLE))


def _short(text: str) -> str:
    return _plain(_cut(text, LONGEST_REASON))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    """One line of foreign text with Markdown's active characters disarmed; code spans stay as they are."""
    flat = " ".join(text.split())
    parts = re.split(r"(`[^`]*`)", flat)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_\[\]<>#])", r"\\\1", part) for part in parts
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
