"""Pipe tables: header, rows with their line numbers, the section they stand in; and which of them hold work."""

from __future__ import annotations

import re

from models.board import Finding, ParsedItem
from models.enums import Declared, Severity
from sources.document import Document, Row, Table, heading_of
from sources.naming import CHECK_COLUMN, NUMBER_COLUMN, OWNER_COLUMN, STATUS_COLUMN, WORK_COLUMN
from sources.vocabulary import status_of

_DASHES = re.compile(r":?-+:?")
_CELLS = re.compile(r"(?<!\\)\|")


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
            header = [plain(cell) for cell in _split(live[index - 1])]
            if len(header) == len(_split(line)):
                table = Table(index, section, header)
                tables.append(table)
    return tables


def _is_rule(line: str) -> bool:
    return (
        not line.strip(" \t|:-")
        and len(line) < 10_000
        and all(_DASHES.fullmatch(cell) for cell in _split(line))
    )


def plain(cell: str) -> str:
    """A cell without the marks around it: `**A · Name**` is A · Name."""
    return cell.strip().strip("*_").strip()


def _split(line: str) -> list[str]:
    text = line.strip().removeprefix("|")
    text = text[:-1] if text.endswith("|") and not text.endswith("\\|") else text
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(text)]


def _add_row(document: Document, table: Table, line: int, text: str) -> None:
    cells = _split(text)
    width = len(table.header)
    if not any(cells):
        return
    if len(cells) != width:
        message = (
            f"the row has {len(cells)} cells, its header has {width}; missing ones are read as empty, extra ones "
            "as part of the last. Write \\| for a bar inside a cell."
        )
        document.findings.append(Finding("row_width", Severity.INFO, line, message))
        cells = [*cells[: width - 1], " | ".join(cells[width - 1 :])] if len(cells) > width else cells
        cells += [""] * (width - len(cells))
    table.rows.append(Row(line, cells))


def status_column(table: Table) -> int | None:
    return table.column(STATUS_COLUMN)


def work_column(table: Table) -> int | None:
    """Index of the column that says what is to be done; None for a table that is documentation."""
    number, status = table.column(NUMBER_COLUMN), status_column(table)
    title = next((i for i in range(len(table.header)) if i not in (number, status)), None)
    if title is None or not table.rows:
        return None
    work = bool(CHECK_COLUMN.search(table.header[title]) or WORK_COLUMN.search(table.header[title]))
    if status is None:
        return title if work and number is not None else None
    # "Service | Status" with "running" says how things are, not what is to be done
    return title if work or _mostly_statuses(table, status) else None


def work_items(document: Document, tables: list[Table]) -> list[ParsedItem]:
    """The rows that are work: of tables with a status column (kind `plan`), and of numbered tables of checks or
    tasks (kind `check`), which are to do where no status says otherwise. Other tables are documentation."""
    items: list[ParsedItem] = []
    used: set[str] = set()
    for index, table in enumerate(tables, 1):
        title = work_column(table)
        if title is None:
            continue
        number, status = table.column(NUMBER_COLUMN), status_column(table)
        checks = bool(CHECK_COLUMN.search(table.header[title]))
        start = len(items)
        for row in table.rows:
            item = _item(document, table, row, title, number, status)
            if item is None:
                continue
            item.kind = "check" if number is not None and (checks or status is None) else "plan"
            if item.ext_id is not None:
                item.ext_id = item.ext_id if item.ext_id not in used else f"t{index}.{item.ext_id}"
            items.append(item)
        used.update(item.ext_id for item in items[start:] if item.ext_id)
    return items


def _mostly_statuses(table: Table, column: int) -> bool:
    known = sum(status_of(row.cells[column]) is not None for row in table.rows)
    return 2 * known >= len(table.rows)


def _item(
    document: Document, table: Table, row: Row, title: int, number: int | None, status: int | None
) -> ParsedItem | None:
    name = plain(row.cells[title])
    if not name:
        message = (
            f"the row has no text under {table.header[title]!r}, so it is no item. Write what it is about."
        )
        document.findings.append(Finding("untitled_row", Severity.WARNING, row.line, message))
        return None
    declared = Declared.TODO
    if status is not None and (found := status_of(row.cells[status])) is not None:
        declared = found
    elif status is not None and row.cells[status]:
        message = (
            f"the status {row.cells[status][:40]!r} is not known; read as todo. Use done, in progress, blocked, "
            "partial, skipped or todo."
        )
        document.findings.append(Finding("unknown_status", Severity.WARNING, row.line, message))
    labels = {"section": table.section} if table.section else {}
    body: list[str] = []
    for index, (header, cell) in enumerate(zip(table.header, row.cells, strict=True)):
        if index in (title, number, status) or not cell:
            continue
        if OWNER_COLUMN.fullmatch(header):
            labels["owner"] = plain(cell)
        body.append(f"{header}: {cell}")
    ext_id = plain(row.cells[number])[:80] if number is not None else ""
    return ParsedItem(
        line=row.line,
        title=name,
        status=declared,
        ext_id=ext_id if ext_id and ext_id.isprintable() else None,
        body="\n".join(body),
        labels=labels,
        explicit_status=status is not None,
    )
