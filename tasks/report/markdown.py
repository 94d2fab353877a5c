"""The report as Markdown. Foreign text is escaped or quoted: a board's title can't forge a heading or a link."""

from __future__ import annotations

import re
from collections import Counter

from tasks.report.models import BoardReport, ItemReport, Report

LONGEST_TITLE = 120
LONGEST_ANSWER = 1200

STATES = {
    "settled": "Everything is settled.",
    "waiting": "Something waits for a person.",
    "failed": "The run failed.",
    "running": "The run is still going on.",
}


def as_markdown(report: Report) -> str:
    """The whole report; a few screens for a few boards."""
    lines = ["# Penstock report", ""]
    lines += [f"**{STATES[report.state]}** {_totals(report)}", ""]
    if report.error:
        lines += [f"> {_plain(report.error)}", ""]
    if report.simulated:
        lines += [
            "> **Simulated.** Answers marked so come from Penstock's model simulator: no model wrote them.",
            "",
        ]
    lines += _how(report)
    lines += _overview(report)
    if report.waiting:
        lines += _queue(report)
    for board in report.boards:
        lines += _board(board)
    return "\n".join(lines).rstrip() + "\n"


def _totals(report: Report) -> str:
    statuses: Counter[str] = Counter()
    for board in report.boards:
        statuses.update(board.statuses)
    findings = sum(len(board.findings) for board in report.boards if board.items)
    return (
        f"{len(report.boards)} documents, {sum(statuses.values())} items: {statuses['done']} done, "
        f"{statuses['waiting']} deferred to a person, {len(report.blocked)} blocked, "
        f"{statuses['skipped']} already ticked on the board. {findings} findings."
    )


def _how(report: Report) -> list[str]:
    if not report.backend:
        return []
    if report.backend == "extractive":
        how = (
            "No model server answered, so the `extractive` backend did: it quotes the documents of the run, with the "
            "place, and defers what it finds no evidence for. No model was called."
        )
    else:
        how = (
            f"Backend `{report.backend}` at {report.endpoint}, model `{report.model}`: {report.calls} calls, "
            + (f"{report.prompt_tokens} prompt and {report.completion_tokens} answer tokens.")
        )
    return [how, ""]


def _overview(report: Report) -> list[str]:
    boards = [board for board in report.boards if board.items]
    if not boards:
        return []
    rows = [
        "| Board | Dialect | Items | Ticked on the board | Done | Deferred | Blocked or pending | Findings |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for board in boards:
        count = Counter(board.statuses)
        rest = count["pending"] + count["ready"] + count["running"]
        rows.append(
            f"| {_cell(board.source)} | {board.dialect} | {len(board.items)} | {count['skipped']} | {count['done']} "
            f"| {count['waiting']} | {rest} | {len(board.findings)} |"
        )
    documents = len(report.boards) - len(boards)
    return [*rows, "", *([f"Read as documentation, not as work: {documents}.", ""] if documents else [])]


def _queue(report: Report) -> list[str]:
    lines = ["## Waiting for a person", "", "| Review | Item | Why |", "| ---: | --- | --- |"]
    for item in report.waiting:
        lines.append(f"| {item.review or ''} | {_cell(_name(item))} | {_cell(_plain(item.reason or ''))} |")
    return [
        *lines,
        "",
        "Decide with `penstock review show N`, then `accept`, `edit`, `retry` or `reject`.",
        "",
    ]


def _board(board: BoardReport) -> list[str]:
    if not board.items:
        return []
    lines = [
        f"## {_plain(board.title or board.source)}",
        "",
        f"`{board.source}`, read as {board.dialect}.",
        "",
    ]
    done = [item for item in board.having("done") if item.text]
    if done:
        lines += ["### Done", ""]
        for item in done:
            lines += _answer(item)
    blocked = [item for item in board.items if item.waits_for]
    if blocked:
        lines += ["### Blocked", ""]
        lines += [f"- {_name(item)}: waits for {_plain(', '.join(item.waits_for))}" for item in blocked] + [
            ""
        ]
    if board.findings:
        lines += ["### Findings", "", "| Line | Code | What |", "| ---: | --- | --- |"]
        lines += [
            f"| {finding['line'] or ''} | `{finding['code']}` | {_cell(_plain(finding['message']))} |"
            for finding in board.findings
        ] + [""]
    return lines


def _answer(item: ItemReport) -> list[str]:
    by = "a person" if item.accepted_by == "person" else item.model or "checks"
    mark = " **(simulated)**" if item.simulated else ""
    text = (item.text or "")[:LONGEST_ANSWER]
    lines = [f"**{_name(item)}** (line {item.line}, accepted from {_plain(by)}){mark}", ""]
    lines += [f"> {_plain(line)}" for line in text.splitlines() if line.strip()]
    cites = list(dict.fromkeys(str(citation.get("cite", "")) for citation in item.citations))
    if cites:
        lines += [">", f"> Sources: {', '.join(f'`{cite}`' for cite in cites)}"]
    return [*lines, ""]


def _name(item: ItemReport) -> str:
    title = item.title if len(item.title) <= LONGEST_TITLE else item.title[: LONGEST_TITLE - 1] + "…"
    named = f"{item.id} {title}" if item.id and item.id not in title else title
    return _plain(named)


def _plain(text: str) -> str:
    """One line of foreign text with Markdown's active characters disarmed; code spans stay as they are."""
    flat = " ".join(text.split())
    parts = re.split(r"(`[^`]*`)", flat)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_\[\]<>#])", r"\\\1", part) for part in parts
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
