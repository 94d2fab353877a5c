"""Lists of items: one page, all of them as a stream, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from models.enums import Status
from models.errors import InputError
from models.items import ItemFilter, ItemRow, Wanted
from sql.statements import statement

Connection = psycopg.Connection[Any]

MOST_NEEDS = 3
"""How many of the items that one waits for a list names; the others are counted."""

CHUNK = 2_000


def find(
    connection: Connection, wanted: ItemFilter, limit: int, *, after: int | None = None
) -> list[ItemRow]:
    """The first `limit` items, or those after the item `after`, in the board's order; `ready` in that of running."""
    name, parameters = _query(wanted, after)
    found = connection.execute(statement(name), parameters | {"limit": limit})
    return rows(connection, [item_id for (item_id,) in found])


def stream(connection: Connection, wanted: ItemFilter, *, after: int | None = None) -> Iterator[ItemRow]:
    """All of them, however many: as they were when it began, without holding them in memory."""
    name, parameters = _query(wanted, after)
    with connection.transaction(), connection.cursor("items") as cursor:
        cursor.itersize = CHUNK
        cursor.execute(statement(name), parameters | {"limit": None})
        while chunk := cursor.fetchmany(CHUNK):
            yield from rows(connection, [item_id for (item_id,) in chunk])


def count(connection: Connection, wanted: ItemFilter) -> int:
    """How many items a list would have in all."""
    _, parameters = _query(wanted, None)
    row = connection.execute(statement("items.count"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def totals(connection: Connection, boards: Sequence[int] | None) -> dict[Status, int]:
    """How many items are in each status."""
    scope = {"boards": None if boards is None else list(boards)}
    return {
        Status(status): number for status, number in connection.execute(statement("items.statuses"), scope)
    }


def rows(connection: Connection, ids: Sequence[int]) -> list[ItemRow]:
    """These items in this order, each with what it waits for."""
    if not ids:
        return []
    found = [ItemRow(*row) for row in connection.execute(statement("items.rows"), {"ids": list(ids)})]
    blocked = {item.id: item for item in found if item.blocked}
    if blocked:
        scope = {"ids": list(blocked), "most": MOST_NEEDS}
        for item_id, needs_id, source, line, ext_id, title, status, total in connection.execute(
            statement("items.waits_for"), scope
        ):
            item = blocked[item_id]
            item.waits_for.append(Wanted(needs_id, source, line, ext_id, title, Status(status).label))
            item.waits_for_count = total
    return found


def _query(wanted: ItemFilter, after: int | None) -> tuple[str, dict[str, Any]]:
    """Raises InputError where two filters exclude each other."""
    if wanted.ready and wanted.blocked:
        raise InputError("What is ready waits for nothing: give --ready or --blocked, not both.")
    parameters = {
        "boards": None if wanted.boards is None else list(wanted.boards),
        "statuses": [int(status) for status in wanted.statuses] or None,
        "declared": [str(declared) for declared in wanted.declared] or None,
        "kinds": list(wanted.kinds) or None,
        "words": [_pattern(word) for word in wanted.words] or None,
        "ready": wanted.ready,
        "blocked": wanted.blocked,
        "after": after,
    }
    return ("items.ready_page" if wanted.ready else "items.page"), parameters


def _pattern(word: str) -> str:
    """The word anywhere, as itself: % and _ are no wildcards."""
    escaped = word.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
