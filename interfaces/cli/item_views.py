"""How items look in a terminal: a list that fits 80 columns and grows, and one item with all about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import SEVERITIES, clean, printable, short_names, shorten, tries
from models.council import DecisionRecord
from models.enums import Status
from models.items import ItemCase, ItemFilter, ItemRow, ReviewLine, State, Wanted
from tasks.graph.states import LOOKS
from tasks.places import shown

CHUNK = 500
"""Rows of one table: a longer list is several, with the same widths."""

WIDE = 110  # columns from which the kind and what the board says have room
INDENTS = 6  # deeper items stand no further right


class ItemTables:
    """Tables of items, one under the other as if they were one."""

    def __init__(self, wanted: ItemFilter, width: int) -> None:
        self._wanted = wanted
        self._wide = width >= WIDE
        self._place = min(36, max(16, width // 4))
        self._number = 2
        self._place_needed = 5

        self.last: int | None = None  # number of the last item that was shown

    def of(self, items: Iterable[ItemRow]) -> Iterator[Table]:
        rest = iter(items)
        while chunk := list(islice(rest, CHUNK)):
            yield self._table(chunk, head=self.last is None)
            self.last = chunk[-1].id

    def _table(self, items: Sequence[ItemRow], head: bool) -> Table:
        names = short_names([*dict.fromkeys(shown(item.source) for item in items)])
        places = [names[shown(item.source)] + (f":{item.line}" if item.line else "") for item in items]
        if head:
            self._number = max(2, *(len(str(item.id)) for item in items))
            self._place_needed = min(self._place, max(5, *(len(each) for each in places)))
        table = Table(
            box=box.SIMPLE_HEAD if head else None,
            show_header=head,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            expand=True,
        )
        table.add_column("ID", justify="right", no_wrap=True, width=self._number)
        table.add_column("Where", no_wrap=True, width=self._place_needed)
        table.add_column("State", no_wrap=True, width=11)
        if self._wide:
            table.add_column("Kind", no_wrap=True, width=9)
            table.add_column("Board says", no_wrap=True, width=11)
        table.add_column("What", no_wrap=True, overflow="ellipsis", ratio=1)
        for item, place in zip(items, places, strict=True):
            where = Text(_end(place, self._place_needed), "bright_black")
            cells: list[RenderableType] = [str(item.id), where, state(item)]
            if self._wide:
                cells += [Text(clean(item.kind)), Text(clean(item.declared), "bright_black")]
            table.add_row(*cells, self._what(item))
        return table

    def _what(self, item: ItemRow) -> Text:
        indent = "" if self._wanted.narrows else "  " * min(item.depth, INDENTS)
        what = Text(indent)
        what.append_text(name(item))
        if self._wide and item.review is not None and item.state is State.WAITING:
            what.append(f"  review {item.review}", "yellow")
        if item.state is State.READY and item.run_after > datetime.now(UTC):
            what.append(f"  not before {item.run_after.astimezone():%H:%M}", "bright_black")
        if self._wanted.blocked:
            for wanted in item.waits_for:
                what.append(f"\n{indent}after {_wanted(wanted, item.source)}", "bright_black")
            if (more := item.waits_for_count - len(item.waits_for)) > 0:
                what.append(f"\n{indent}and after {more} more", "bright_black")
        return what


def state(item: ItemRow) -> Text:
    look = LOOKS[item.state]
    return Text(f"{look.sign} {item.state}", look.ansi)


def name(item: ItemRow) -> Text:
    title = shorten(item.title, 400)
    if item.ext_id and item.ext_id not in item.title:
        return Text.assemble((f"{clean(item.ext_id)} ", "bold"), title)
    return Text(title)


def _wanted(wanted: Wanted, source: str) -> str:
    where = f"line {wanted.line}" if wanted.line else "a phase"
    if wanted.source != source:
        where = f"{shown(wanted.source)}:{wanted.line}"
    return f"{wanted.item_id} {shorten(wanted.name, 48)} ({where}): {wanted.status}"


def _end(text: str, width: int) -> str:
    """The end of a place says which line: cut its beginning."""
    return text if len(text) <= width else f"…{text[-width + 1 :]}"


def more(total: int, last: int, *, first_page: bool, shown: int) -> Text:
    """What was not shown, and how to see it."""
    number = f"{total - shown} more of {total}" if first_page else f"More follow; {total} in all"
    return Text(f"{number}: --after {last} goes on, --all shows all, --limit N more at once.", "bright_black")


def nothing(wanted: ItemFilter, totals: dict[Status, int], after: int | None) -> str:
    """Why a list is empty, and what to do."""
    if not totals:
        what = "No board was read yet" if wanted.boards is None else "There are no items in these boards"
        return f"{what}. `penstock run PATH` reads boards; `penstock parse PATH` shows what it would read."
    counts = ", ".join(f"{number} {status.label}" for status, number in totals.items() if number)
    if after is not None:
        return f"No item follows after {after}."
    if wanted.ready and not totals.get(Status.READY):
        return (
            f"Nothing is ready: {counts}. `penstock items --blocked` shows what waits for other items, "
            "`penstock review list` what waits for a person."
        )
    if wanted.blocked and not totals.get(Status.PENDING):
        return f"Nothing waits for another item: {counts}."
    return f"No item is like that: {counts}. `penstock items` with fewer filters shows more."


def item_view(case: ItemCase) -> Group:
    """One item: what it is, where it stands, what it waits for, and what became of it."""
    row = case.row
    look = LOOKS[row.state]
    head = Text.assemble((f"{row.id}  ", "bright_black"), (clean(row.name), "bold"))
    place = (
        f"{shown(row.source)}:{row.line}"
        if row.line
        else f"{shown(row.source)} (a phase that its headings imply)"
    )
    facts = [row.kind, f"the board says {row.declared}", f"priority {row.priority}"]
    if row.recipe:
        facts.append(f"recipe {row.recipe}")
    if case.attempts:
        facts.append(f"{case.attempts} {'attempt' if case.attempts == 1 else 'attempts'} charged")
    if case.origin == "split":
        facts.append("made by a split")
    parts: list[RenderableType] = [
        head,
        Text.assemble((f"{look.sign} {row.state}", look.ansi), f"  {clean(place)}"),
        Text(clean(", ".join(facts)), "bright_black"),
    ]
    if case.removed_at:
        parts.append(Text(f"No longer on its board since {_when(case.removed_at)}.", "yellow"))
    labels = ", ".join(f"{name}: {value}" for name, value in row.labels.items() if value != "")
    if labels:
        parts.append(Text(shorten(labels, 400), "bright_black"))
    if case.body.strip():
        parts += [Text(), Text(printable(case.body.strip()))]
    parts += _section("Part of", [_line(item, row) for item in case.above])
    if case.parts:
        counts = ", ".join(
            f"{number} {state}" for state in State if (number := case.parts_by_state.get(state))
        )
        total = sum(case.parts_by_state.values())
        parts += _section(f"Parts ({counts})", [_line(item, row) for item in case.parts], total)
    parts += _section("Waits for", [_line(item, row) for item in case.needs], case.needs_count)
    parts += _section("Waited for by", [_line(item, row) for item in case.needed_by], case.needed_by_count)
    parts += _section(
        "Findings on its line",
        [
            Text.assemble((clean(finding.code), SEVERITIES[finding.severity]), f" {clean(finding.message)}")
            for finding in case.findings
        ],
    )
    if case.tries:
        parts += [Text("\nAttempts", "bold"), tries(case.tries)]
    if case.result:
        simulated = ", SIMULATED" if case.result.simulated else ""
        by = f"accepted by {case.result.accepted_by}, {_when(case.result.accepted_at)}{simulated}"
        parts += [Text(f"\nResult ({by})", "bold"), Text(printable(case.result.text))]
        parts += [
            Text(f"  [{clean(str(each.get('cite')))}]", "bright_black") for each in case.result.citations
        ]
    parts += _section("Decisions of its council", [_decision(record) for record in case.decisions])
    parts += _section("Reviews", [_review(review) for review in case.reviews])
    return Group(*parts)


def _section(title: str, lines: Sequence[Text], total: int = 0) -> list[RenderableType]:
    if not lines:
        return []
    rest = [Text(f"and {total - len(lines)} more", "bright_black")] if total > len(lines) else []
    return [Text(f"\n{title}", "bold"), *(Padding(line, (0, 0, 0, 2)) for line in [*lines, *rest])]


def _line(item: ItemRow, beside: ItemRow) -> Text:
    look = LOOKS[item.state]
    line = Text.assemble((f"{look.sign} {item.state:<9} ", look.ansi), (f"{item.id} ", "bright_black"))
    line.append_text(name(item))
    where = f":{item.line}" if item.line else ""
    line.append(
        f"  {clean(shown(item.source)) if item.source != beside.source else ''}{where}", "bright_black"
    )
    return line


def _review(review: ReviewLine) -> Text:
    text = Text.assemble((f"{review.id} ", "bold"), (review.error_type, "yellow"))
    if review.decided_at:
        text.append(
            f"  {review.decision} by {clean(review.decided_by or '')}, {_when(review.decided_at)}", "green"
        )
        if review.note:
            text.append(f": {shorten(review.note, 200)}")
    else:
        text.append(f" {shorten(review.reason, 200)}")
        text.append(f"  penstock review show {review.id}", "bright_black")
    return text


def _decision(record: DecisionRecord) -> Text:
    decided = record.decided
    by = f" by {clean(record.approved_by)}" if record.approved_by and record.status == "accepted" else ""
    facts = [f"risk {decided.risk}"]
    if decided.confidence is not None:
        facts.insert(0, f"{decided.confidence:.2f} sure")
    facts += [f"{clean(seat.name)} dissents" for seat in decided.dissent]
    facts += [f"{clean(seat.name)} did not answer" for seat in decided.missing]
    text = Text.assemble((f"{record.id} ", "bold"), f"{record.status}{by}: {', '.join(facts)}")
    text.append(f"  penstock decisions show {record.id}", "bright_black")
    return text


def _when(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"
