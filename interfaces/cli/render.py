"""How things look in a terminal. Foreign text is printed as text: it can't carry markup or control codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from models.board import Finding, ParsedBoard, ParsedItem
from models.enums import Declared, ErrorType
from models.items import delta_words
from models.words import counted

if TYPE_CHECKING:
    from models.review import OpenReview, ReviewCase, Try
    from tasks.remember import Hit
    from tasks.report import BoardReport, Report

MARKS = {
    Declared.TODO: ("○", "white"),
    Declared.IN_PROGRESS: ("◐", "yellow"),
    Declared.BLOCKED: ("■", "red"),
    Declared.DONE: ("●", "green"),
    Declared.SKIPPED: ("–", "bright_black"),
    Declared.PARTIAL: ("◑", "yellow"),
}
SEVERITIES = {"info": "blue", "warning": "yellow", "error": "red"}
LONGEST_TITLE = 110
MOST_CHANGED = 12  # boards whose change has a line of its own
MOST_SAME = 3


@cache
def console() -> Console:
    """The terminal; plain text where the output is no terminal."""
    return Console(highlight=False)


def clean(text: str) -> str:
    """One line without control characters: a board must not be able to move somebody's cursor."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)


def shorten(text: str, longest: int = LONGEST_TITLE) -> str:
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def item_label(item: ParsedItem) -> Text:
    mark, colour = MARKS[item.status]
    label = Text.assemble((f"{mark} ", colour))
    if item.ext_id:
        label.append(f"{clean(item.ext_id)} ", "bold")
    label.append(shorten(item.title))
    label.append(f"  {item.kind}:{item.line}", "bright_black")
    return label


def board_tree(board: ParsedBoard) -> Tree:
    """The items of a board under each other, then its findings."""
    counts = board.counts()
    steps = f", {counted(counts['steps'], 'step')}" if counts.get("steps") else ""
    head = Text.assemble(
        (clean(board.source), "bold"),
        (
            f"  {board.dialect}, {counted(counts['total'], 'item')}{steps}: "
            f"{counts['done']} done, {counts['open']} open",
            "cyan",
        ),
    )
    tree = Tree(head)
    branches: dict[tuple[int | None, int], Tree] = {}
    for item in board.items:
        above = branches.get((item.parent_line, item.parent_ordinal), tree)
        branches[item.line, item.ordinal] = above.add(item_label(item))
    if board.findings:
        tree.add(findings_table(board.findings))
    return tree


def findings_table(findings: Iterable[Finding]) -> Table:
    table = Table(title="Findings", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("Line", justify="right")
    table.add_column("Code")
    table.add_column("What", overflow="fold")
    for finding in findings:
        table.add_row(
            str(finding.line or ""),
            Text(finding.code, SEVERITIES.get(str(finding.severity), "")),
            Text(clean(finding.message)),
        )
    return table


def short_names(sources: list[str]) -> dict[str, str]:
    """The file's name where no other board has it, else its path: a table has no room for long paths."""
    last = [source.replace("\\", "/").rpartition("/")[2] for source in sources]
    return {
        source: clean(name if name and last.count(name) == 1 else source)
        for source, name in zip(sources, last, strict=True)
    }


def run_summary(report: Report, held: Sequence[str] = ()) -> Group:
    """What came of a run, board by board, and what waits for a person. `held`: what may not be asked now, and why."""
    lines: list[Table | Text] = []
    boards = [board for board in report.boards if board.items]
    if boards:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("Board", overflow="ellipsis", no_wrap=True)
        for name in ("Items", "Ticked", "To do", "Answered", "Person", "Blocked", "Findings"):
            table.add_column(name, justify="right")
        names = short_names([board.source for board in boards])
        for board in boards:
            count = board.counts
            table.add_row(
                Text(names[board.source]),
                f"{count.items}+{count.steps}" if count.steps else str(count.items),
                str(count.ticked),
                str(count.to_do),
                Text(str(count.done), "green"),
                Text(str(count.waiting), "yellow"),
                str(count.blocked),
                str(len(board.findings)),
            )
        lines.append(table)
        if any(board.counts.steps for board in boards):
            lines.append(
                Text("Items+steps: steps are parts of an item, without a mark of their own.", "bright_black")
            )
    lines += _deltas([board for board in report.boards if board.read_before])
    documents = [board for board in report.boards if not board.items]
    if documents:
        what = "file was" if len(documents) == 1 else "files were"
        lines.append(Text(f"{len(documents)} {what} read as knowledge: no items in there.", "bright_black"))
    for board in documents:
        for finding in board.findings:
            if finding["severity"] != "info":
                lines.append(Text(f"{clean(board.source)}: {clean(finding['message'])}", "yellow"))
    lines += [Text(f"Not read: {clean(sentence)}", "red") for sentence in report.unreadable]
    lines += [Text(clean(sentence), "yellow") for sentence in report.gone]
    lines += [Text(f"Written back: {clean(sentence)}") for sentence in report.written]
    if report.spilled:
        lines.append(Text(clean(report.spilled), "yellow"))
    if report.backend:
        told = (
            "no model was called" if report.backend == "extractive" else f"model {clean(report.model or '')}"
        )
        simulated = ", SIMULATED" if report.simulated else ""
        asked = (
            f"{counted(report.calls, 'item')} tried"
            if report.backend == "extractive"
            else counted(report.calls, "call")
        )
        if report.uncalled:
            asked += f", {counted(report.uncalled, 'answer')} without one"
        lines.append(Text(f"Answered by {report.backend} ({told}{simulated}): {asked}."))
    queued = report.total("queued")
    if report.state in ("settled", "waiting") and not (
        report.calls or report.uncalled or report.elsewhere or queued
    ):
        lines.append(Text("Nothing was left to do.", "green"))
    twins = sum(finding["code"] == "duplicate_work" for board in report.boards for finding in board.findings)
    if twins:
        lines.append(
            Text(
                f"{_items(twins, 'was', 'were')} not run: the same work is an item elsewhere. The report's findings "
                "(duplicate_work) name it.",
                "yellow",
            )
        )
    if report.elsewhere:
        lines.append(Text(f"{report.elsewhere_words}.", "yellow"))
    if report.waiting:
        lines.append(
            Text(
                f"{_items(len(report.waiting), 'waits', 'wait')} for a person: penstock review list", "yellow"
            )
        )
    if report.blocked:
        lines.append(
            Text(
                f"{_items(len(report.blocked), 'is', 'are')} blocked by others; the report says by which.",
                "yellow",
            )
        )
    if report.state in ("paused", "cancelled") and report.run_id:
        left = f"{_items(queued, 'is', 'are')} still queued: " if queued else ""
        goes_on = f"penstock runs resume {report.run_id[:8]}"
        lines.append(Text(f"The run was {report.state}. {left}{goes_on}", "yellow"))
    elif queued and not held:
        lines.append(
            Text(f"{_items(queued, 'is', 'are')} still queued: run the same command again.", "yellow")
        )
    elif queued:
        lines.append(
            Text(f"{_items(queued, 'is', 'are')} still queued. What may not be asked now:", "yellow")
        )
    lines += [Text(clean(sentence), "yellow") for sentence in held]
    if queued and held and report.state not in ("paused", "cancelled"):
        lines.append(Text("When that is over, run the same command again.", "yellow"))
    if failed := report.total("failed"):
        lines.append(Text(f"{_items(failed, '', '').strip()} failed; the report says why.", "red"))
    return Group(*lines)


def _deltas(boards: list[BoardReport]) -> list[Text]:
    """What changed on boards that were read before, a line each; many that did not change are one line."""
    names = short_names([board.source for board in boards])
    changed: list[Text] = []
    same: list[Text] = []
    for board in boards:
        delta = board.delta or {}
        runs = delta.get("added", 0) + delta.get("changed", 0) + delta.get("status_changed", 0)
        line = Text.assemble(
            (f"{names[board.source]}: ", "bold"),
            f"{delta_words(delta)}: {'only the delta runs' if runs else 'nothing runs anew'}",
        )
        stays = not any(delta[name] for name in delta if name != "unchanged")
        (same if stays else changed).append(line)
    if len(same) > MOST_SAME:
        what = counted(len(same), "board is", "boards are")
        same = [Text(f"{what} unchanged: nothing of {'it' if len(same) == 1 else 'them'} runs anew.")]
    if len(changed) > MOST_CHANGED:
        changed[MOST_CHANGED:] = [Text(f"... and {len(changed) - MOST_CHANGED} more boards changed.")]
    return [*changed, *same]


def _items(number: int, one: str, many: str) -> str:
    return f"1 item {one}" if number == 1 else f"{number} items {many}"


def place(review: OpenReview) -> str:
    """`plan.md:12`, relative to the working directory where it is below it."""
    from tasks.places import shown

    return clean(f"{shown(review.source)}:{review.line}") if review.source else ""


def review_table(reviews: Iterable[OpenReview]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Review", justify="right", style="bold")
    table.add_column("What", overflow="fold", ratio=5)
    table.add_column("Why", overflow="fold", ratio=3)
    for review in reviews:
        what = Text(shorten(review.title, 80))
        if review.source:
            what.append(f"  {place(review)}", "bright_black")
        why = Text(review.error_type, "yellow")
        # Without evidence the reasons differ only in the places that were looked at: `review show` has them.
        if review.error_type != ErrorType.NO_EVIDENCE:
            why.append(f" {shorten(review.reason, 160)}", "default")
        table.add_row(str(review.id), what, why)
    return table


def review_case(case: ReviewCase) -> Group:
    """All that a person needs to decide one review."""
    review = case.review
    parts: list[RenderableType] = [
        Text(f"Review {review.id}: {clean(review.title)}", "bold"),
        Text(f"{review.kind} {place(review)}  {review.error_type}", "cyan"),
    ]
    if case.body:
        parts.append(Text(printable(case.body)))
    parts.append(Text(f"Why: {printable(review.reason)}", "yellow"))
    if case.details.get("simulated"):
        parts.append(Text("The proposal is SIMULATED: no model wrote it.", "red"))
    if review.kind == "strike":
        parts.append(Text("\nRetry lets it go on, reject leaves it stopped."))
    else:
        words = f"Proposal:\n{printable(review.proposal)}" if review.proposal else "There is no proposal."
        parts.append(Text(f"\n{words}"))
    if review.patch_path:
        parts.append(Text(f"Patch: {review.patch_path}", "cyan"))
    for citation in case.details.get("citations") or []:
        parts.append(
            Text(f"  [{clean(str(citation.get('cite')))}] {shorten(str(citation.get('quote', '')))}")
        )
    if case.history:
        parts += [Text("\nAttempts", "bold"), tries(case.history)]
    if case.decision:
        parts.append(
            Text(
                f"\nDecided: {case.decision} by {case.decided_by}, {case.decided_at:%Y-%m-%d %H:%M}", "green"
            )
        )
        if case.note:
            parts.append(Text(f"Note: {printable(case.note)}"))
    else:
        ways = "retry|reject" if review.kind == "strike" else "accept|edit|retry|reject"
        parts.append(Text(f"\npenstock review {ways} {review.id}", "bright_black"))
    return Group(*parts)


def tries(history: Sequence[Try]) -> Padding:
    """Every try at an item: whom it asked and how, what that took, how it ended and why."""
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for one in history:
        took = "no call" if one.reused else f"{one.seconds:.1f} s"
        tokens = ""
        if not one.reused and (one.prompt_tokens is not None or one.completion_tokens is not None):
            tokens = f"{one.prompt_tokens or 0:,} + {one.completion_tokens or 0:,} tokens"
        facts = [one.recipe, f"{one.model} (simulated)" if one.simulated else one.model, one.endpoint]
        facts += [one.tried or "", took, tokens, f"{one.finished_at:%Y-%m-%d %H:%M:%S}"]
        text = Text(f"{one.outcome} ", "cyan").append(one.error_type or "", "yellow")
        text.append(f"\n{clean(', '.join(filter(None, facts)))}", "bright_black")
        if said := (one.error if one.error_type else one.answer):
            text.append(f"\n{shorten(said, 300)}", "default")
        if one.reused:
            text.append(f"\n{shorten(one.reused, 300)}", "bright_black")
        for note in one.notes:
            text.append(f"\nprompt: {shorten(note, 200)}", "bright_black")
        table.add_row(str(one.number), text)
    return Padding(table, (0, 0, 0, 2))


def hits(found: Iterable[Hit]) -> Table:
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    table.add_column("Score", justify="right")
    table.add_column("Where", overflow="fold", ratio=2)
    table.add_column("What", overflow="fold", ratio=5)
    for hit in found:
        where = Text(clean(hit.cite), "bold").append(f"\n{hit.kind}", "cyan")
        if hit.heading:
            where.append(f"\n{shorten(hit.heading, 60)}", "bright_black")
        table.add_row(f"{hit.score:.3f}", where, Text(printable(hit.text)))
    return table


def printable(text: str | None) -> str:
    """Several lines without control characters."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", " ", text or "")
