"""Pipe tables: header, rows with their line numbers, the section they stand in; and which of them hold work."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.board import Finding, Mark, ParsedItem
from models.enums import Declared, Severity
from sources.document import Document, Row, Table, heading_of
from sources.legends import signs_of
from sources.naming import (
    CHECK_COLUMN,
    CONDITION,
    DATE_COLUMN,
    MEANING_COLUMN,
    NUMBER_COLUMN,
    OBLIGATIONS,
    OWNER_COLUMN,
    PHASE_COLUMN,
    SIGN_COLUMN,
    STATUS_COLUMN,
    STATUS_IN_HEADER,
    THING_COLUMN,
    TOTAL_ROW,
    WORK_COLUMN,
    is_plain,
    lane_of,
)
from sources.signs import MARKS, shown
from sources.vocabulary import detail_of, priority_of, status_of
from sources.walk import references

_DASHES = re.compile(r":?-+:?")
_BAR = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"!?\[([^\[\]]{1,300})\]\([^()]{0,500}\)")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_BOXED = re.compile(r"\[(?P<sign>.?)\]\s+(?P<title>\S.*)", re.DOTALL)


def read_tables(document: Document) -> list[Table]:
    """All tables of the live lines. A row with more or fewer cells than the header is a finding `row_width`."""
    if document.tables is not None:
        return document.tables
    tables: list[Table] = []
    document.tables = tables
    section, table = "", None
    live = document.live
    for index, line in enumerate(live):
        if "|" not in line:
            table = None
            if heading := heading_of(line):
                section = heading[1]
        elif table is not None:
            _add_row(document, table, index + 1, line)
        elif index and "-" in line and "|" in live[index - 1] and _is_rule(line):
            header = [plain(live[index - 1][start:end]) for start, end in _spans(live[index - 1])]
            if len(header) == len(_spans(line)):
                table = Table(index, section, header)
                tables.append(table)
    if tables and (signs := signs_of(document)):
        for table in tables:
            table.signs = signs
    return tables


def _is_rule(line: str) -> bool:
    return (
        not line.strip(" \t|:-")
        and len(line) < 10_000
        and all(_DASHES.fullmatch(line[start:end]) for start, end in _spans(line))
    )


def plain(cell: str) -> str:
    """A cell's words: `**A · Name**` is A · Name, `[#12](url)` is #12, `` `T1` `` is T1."""
    text = _LINK.sub(r"\1", cell) if "](" in cell else cell
    text = text.strip().strip("*_").strip()
    if len(text) > 2 and text[0] == text[-1] == "`" and text.count("`") == 2:
        text = text[1:-1].strip()
    return text.replace("\\|", "|")


def _spans(line: str) -> list[tuple[int, int]]:
    """Where the text of each cell stands. The outer bars may be missing; an empty cell is a place one blank in."""
    start, end = len(line) - len(line.lstrip()), len(line.rstrip())
    if line[start : start + 1] == "|":
        start += 1
    if end > start and line[end - 1] == "|" and line[end - 2] != "\\":
        end -= 1
    spans: list[tuple[int, int]] = []
    for match in _BAR.finditer(line, start, end):
        spans.append(_trimmed(line, start, match.start()))
        start = match.end()
    spans.append(_trimmed(line, start, max(start, end)))
    return spans


def _trimmed(line: str, start: int, end: int) -> tuple[int, int]:
    text = line[start:end]
    if not text.strip():
        at = min(start + 1, end)
        return at, at
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())


def _add_row(document: Document, table: Table, line: int, text: str) -> None:
    spans = _spans(text)
    cells = [text[start:end].replace("\\|", "|") for start, end in spans]
    width = len(table.header)
    if not any(cells):
        return
    if len(cells) == width - 1 and text.rstrip().endswith("|") and text.lstrip()[0] != "|":
        cells.append("")  # "a | b |": without outer bars the last bar has an empty cell behind it
        spans.append((len(text.rstrip()), len(text.rstrip())))
    if len(cells) != width:
        message = (
            f"the row has {len(cells)} cells, its header has {width}; missing ones are read as empty, extra ones "
            "as part of the last. Write \\| for a bar inside a cell."
        )
        document.findings.append(Finding("row_width", Severity.INFO, line, message))
        if len(cells) > width:
            cells, spans = [*cells[: width - 1], " | ".join(cells[width - 1 :])], spans[: width - 1]
        cells += [""] * (width - len(cells))
    table.rows.append(Row(line, cells, spans))


def cell_mark(document: Document, row: Row, column: int | None) -> Mark | None:
    """Where a write-back puts a row's status: over the text of its cell; None where the row has no such cell."""
    if column is None or column >= len(row.spans):
        return None
    start, end = row.spans[column]
    if document.raw[row.line - 1][: end + 1] != document.live[row.line - 1][: end + 1]:
        return None  # a comment stands before it
    if re.fullmatch(r"\[.?\]", row.cells[column]):
        return Mark(row.line, start + 1, end - 1, "box")
    return Mark(row.line, start, end, "cell")


# ---- what the columns are


def is_work(table: Table) -> bool:
    """Are the rows, or the cells, of this table items?"""
    return work_column(table) is not None or bool(lane_columns(table))


def status_column(table: Table) -> int | None:
    """The column that says how far each row is: by its header, or without one by what stands in all its cells."""
    columns = [index for index, name in enumerate(table.header) if STATUS_COLUMN.whole(name)]
    if len(columns) > 1:
        return max(columns, key=lambda column: _known(table, column))
    if columns:
        return columns[0]
    for column, name in enumerate(table.header):
        if any(sign.isalnum() for sign in name):
            if len(name) > 40 or not STATUS_IN_HEADER.within(name):
                continue
        elif NUMBER_COLUMN.whole(name) or (
            column == 0 and len(table.header) > 1 and not _all_signs(table, column)
        ):
            continue  # an empty corner: the first column names the rows
        filled = sum(bool(row.cells[column]) for row in table.rows)
        if filled and _known(table, column) == filled:
            return column
    return _column_of_signs(table)


def _column_of_signs(table: Table) -> int | None:
    """ "Feature | Android" with a sign in each row, one of them for what is being done. Two such columns, or only yes
    and no, compare things."""
    if not WORK_COLUMN.within(table.header[0]):
        return None
    columns = [
        column
        for column in range(1, len(table.header))
        if (cells := [row.cells[column] for row in table.rows if row.cells[column]])
        and all(not any(map(str.isalnum, shown(cell))) and table_status(table, cell) for cell in cells)
    ]
    if len(columns) != 1:
        return None
    found = {table_status(table, row.cells[columns[0]]) for row in table.rows}
    under_way = (Declared.IN_PROGRESS, Declared.PARTIAL, Declared.BLOCKED)
    return columns[0] if not found.isdisjoint(under_way) else None


def table_status(table: Table, cell: str) -> Declared | None:
    """Status of a cell; a sign without words means what the file says that it means."""
    if table.signs:
        seen = shown(cell)
        own = next((table.signs[sign] for sign in seen if sign in table.signs), None)
        if own is not None and not any(sign.isalpha() for sign in seen):
            return own
    return status_of(cell)


def _known(table: Table, column: int) -> int:
    return sum(table_status(table, row.cells[column]) is not None for row in table.rows)


def _all_signs(table: Table, column: int) -> bool:
    cells = [row.cells[column] for row in table.rows if row.cells[column]]
    return all(len(cell) < 6 for cell in cells)


def work_column(table: Table) -> int | None:
    """Index of the column that says what is to be done; None for a table that is documentation."""
    number, status = table.column(NUMBER_COLUMN), status_column(table)
    columns = [i for i in range(len(table.header)) if i not in (number, status)]
    if not columns or not table.rows:
        return None
    work = [i for i in columns if CHECK_COLUMN.within(table.header[i]) or WORK_COLUMN.within(table.header[i])]
    first = columns[0]
    if SIGN_COLUMN.whole(table.header[first]):
        return None  # "Icon | Status", "Status | Colour": what signs mean
    if status is None:
        if any(_binds(table, column) for column in columns[1:]):
            return None
        boxed = sum(_BOXED.fullmatch(row.cells[first]) is not None for row in table.rows)
        return first if (first in work and number is not None) or 2 * boxed > len(table.rows) else None
    if not _known(table, status) and any(_says(row.cells[status]) for row in table.rows):
        return None  # "Objective | State" with "in box 4": not one of them is a status
    if first in work:
        if PHASE_COLUMN.whole(table.header[first]) and len(work) > 1 and not _numeric(table, work[1]):
            return work[1]  # "Phase | Task | Status": the task is the work
        return first
    if not _mostly_statuses(table, status, first) or _is_legend(table, status, columns):
        return None  # "Service | Status" with "running" says how things are, not what is to be done
    named = next((column for column in work if not _numeric(table, column)), None)
    if named is not None:
        return named
    return next((column for column in columns if not _is_secondary(table.header[column])), first)


def _binds(table: Table, column: int) -> bool:
    cells = [row.cells[column].lower().replace(" ", "-") for row in table.rows if row.cells[column]]
    return bool(cells) and OBLIGATIONS.issuperset(cells)


def _says(cell: str) -> bool:
    return any(sign.isalnum() for sign in cell)


def _numeric(table: Table, column: int) -> bool:
    cells = [row.cells[column] for row in table.rows if row.cells[column]]
    return bool(cells) and all(not any(sign.isalpha() for sign in cell) for cell in cells)


def _is_secondary(header: str) -> bool:
    """Who, when, how urgent: never what is to be done."""
    return detail_of(header) is not None or OWNER_COLUMN.whole(header) or DATE_COLUMN.within(header)


def _is_legend(table: Table, status: int, columns: list[int]) -> bool:
    """ "Status | Meaning": every status once, and what it means; nobody does it and nothing is due."""
    headers = [table.header[column] for column in columns]
    if not any(map(MEANING_COLUMN.whole, headers)) or any(map(_is_secondary, headers)):
        return False
    cells = [row.cells[status] for row in table.rows]
    return len(set(cells)) == len(cells) < 12


def _mostly_statuses(table: Table, column: int, title: int) -> bool:
    """Do most rows say how far something is? What says how a service is ("running", a green light) does not count."""
    thing = THING_COLUMN.within(table.header[title])
    known = 0
    for row in table.rows:
        cell = row.cells[column]
        if table_status(table, cell) is None or CONDITION.begins(plain(cell)):
            continue
        if thing and (not any(sign.isalpha() for sign in cell) or plain(cell).lower() == "ok"):
            continue
        known += 1
    return 2 * known >= len(table.rows)


# ---- the rows


def work_items(document: Document, tables: list[Table]) -> list[ParsedItem]:
    """The rows that are work: of tables with a status column (kind `plan`), and of numbered tables of checks or
    tasks (kind `check`), which are to do where no status says otherwise. Other tables are documentation."""
    items: list[ParsedItem] = []
    used: set[str] = set()
    for index, table in enumerate(tables, 1):
        if lanes := lane_columns(table):
            items += _cards(table, lanes)
            continue
        title = work_column(table)
        if title is None:
            continue
        reader = _Rows(document, table, title)
        start = len(items)
        items += filter(None, map(reader.item, table.rows))
        names = {item.ext_id for item in items[start:] if item.ext_id is not None}
        renamed = {name: f"t{index}.{name}" for name in names & used}
        for item in items[start:]:
            if item.ext_id is not None:
                item.ext_id = renamed.get(item.ext_id, item.ext_id)
            item.needs = [renamed.get(need, need) for need in item.needs]
        used.update(names)
    return items


def lane_columns(table: Table) -> list[Declared]:
    """The state of each column where every one is a lane ("To do | Doing | Done"); empty for other tables."""
    lanes = [lane_of(name) for name in table.header]
    states = [state for state in lanes if state is not None]
    whole = len(states) == len(lanes) and len(set(states)) > 1
    return states if whole and sum(not is_plain(name) for name in table.header) > 1 else []


def _cards(table: Table, lanes: list[Declared]) -> Iterator[ParsedItem]:
    """A cell is a card, or several with <br> between them. Numbers alone are statistics."""
    for row in table.rows:
        ordinal = 0
        for name, status, cell in zip(table.header, lanes, row.cells, strict=True):
            for text in _BREAK.split(cell):
                title = plain(text).removeprefix("- ").strip()
                if not any(sign.isalpha() for sign in title):
                    continue
                labels = {"lane": name} | ({"section": table.section} if table.section else {})
                yield ParsedItem(
                    line=row.line, ordinal=ordinal, title=title, kind="plan", status=status, labels=labels
                )
                ordinal += 1


class _Rows:
    """Reads the rows of one table of work."""

    def __init__(self, document: Document, table: Table, title: int) -> None:
        self.document, self.table, self.title = document, table, title
        self.number, self.status = table.column(NUMBER_COLUMN), status_column(table)
        checks = CHECK_COLUMN.within(table.header[title])
        self.kind = "check" if self.number is not None and (checks or self.status is None) else "plan"
        self.group = ""

    def item(self, row: Row) -> ParsedItem | None:
        raw = row.cells[self.title]
        name = plain(raw)
        others = [cell for index, cell in enumerate(row.cells) if index != self.title]
        if not name:
            self._untitled(row)
            return None
        if TOTAL_ROW.whole(name):
            return None
        if len(others) > 1 and not any(others) and raw.startswith(("**", "__")):
            self.group = name  # a row that is a heading
            return None
        item = ParsedItem(
            line=row.line,
            title=name,
            kind=self.kind,
            labels={"section": self.table.section} if self.table.section else {},
            explicit_status=self.status is not None,
            mark=cell_mark(self.document, row, self.status),
        )
        if self.group:
            item.labels["group"] = self.group
        self._state(item, row)
        self._describe(item, row)
        if self.number is not None:
            ext_id = plain(row.cells[self.number])[:80]
            item.ext_id = ext_id if ext_id and ext_id.isprintable() else None
        return item

    def _untitled(self, row: Row) -> None:
        message = (
            f"the row has no text under {self.table.header[self.title]!r}, so it is no item. "
            "Write what it is about."
        )
        self.document.findings.append(Finding("untitled_row", Severity.WARNING, row.line, message))

    def _state(self, item: ParsedItem, row: Row) -> None:
        if self.status is None:
            boxed = _BOXED.fullmatch(item.title)
            if boxed and (status := MARKS.get(boxed["sign"].strip())) is not None:
                item.status, item.title, item.explicit_status = status, boxed["title"].strip(), True
                start = row.spans[self.title][0] if self.title < len(row.spans) else 0
                if self.document.raw[row.line - 1][start : start + 1] == "[":
                    item.mark = Mark(row.line, start + 1, start + 1 + len(boxed["sign"]), "box")
            return
        cell = row.cells[self.status]
        if (found := table_status(self.table, cell)) is not None:
            item.status = found
        elif _says(cell):
            message = (
                f"the status {cell[:40]!r} is not known; read as todo. Use done, in progress, blocked, "
                "partial, skipped or todo."
            )
            self.document.findings.append(Finding("unknown_status", Severity.WARNING, row.line, message))

    def _describe(self, item: ParsedItem, row: Row) -> None:
        body: list[str] = []
        if "](" in row.cells[self.title]:
            body.append(f"{self.table.header[self.title]}: {row.cells[self.title]}")  # where its link goes
        for index, (header, cell) in enumerate(zip(self.table.header, row.cells, strict=True)):
            if index in (self.title, self.number, self.status) or not cell:
                continue
            body.append(f"{header}: {cell}")
            label = "owner" if OWNER_COLUMN.whole(header) else detail_of(header)
            value = plain(cell)
            if label is None or value in ("-", "–", "—", ""):
                continue
            if label == "needs":
                item.needs.extend(references(value) or ())
                continue
            item.labels[label] = value
            if label == "priority" and (level := priority_of(value)) is not None:
                item.priority = level
        item.body = "\n".join(body)
