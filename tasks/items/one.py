"""One item with all that is known of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import psycopg

from models.board import Finding
from models.enums import Severity
from models.errors import InputError
from models.items import Accepted, ItemCase, ReviewLine, State
from models.review import Try
from sql.statements import statement
from tasks.council.records import records
from tasks.items.boards import matching
from tasks.items.listing import rows
from tasks.places import shown

Connection = psycopg.Connection[Any]

MOST = 20
"""How many parts, needs and dependents are read; the others are counted."""

LINE = re.compile(r"(.+):(\d{1,9})")


def item_id(connection: Connection, name: str) -> int:
    """The item that a person means: its number, `board:line`, or its id on the board.

    Raises InputError for none, and for several, which it names.
    """
    if name.isdecimal() and len(name) <= 18:
        found = [int(name)]
    elif at := LINE.fullmatch(name):
        found = _by_place(connection, matching(connection, [at[1]]), int(at[2]), None)
    else:
        found = _by_place(connection, None, None, name)
    items = rows(connection, found)
    if not items:
        raise InputError(f"There is no item {name!r}. `penstock items` lists them with their numbers.")
    if len(items) > 1:
        some = "; ".join(f"{item.id} at {shown(item.source)}:{item.line}" for item in items)
        raise InputError(f"{name!r} is more than one item: {some}. Give the number.")
    return items[0].id


def item_case(connection: Connection, item: int) -> ItemCase:
    """All about an item. Raises InputError when there is none of that number."""
    scope = {"item": item, "limit": MOST}
    found = rows(connection, [item])
    one = connection.execute(statement("items.one"), scope).fetchone()
    if not found or one is None:
        raise InputError(f"There is no item {item}. `penstock items` lists them with their numbers.")
    body, written, origin, removed_at, attempts = one
    result = connection.execute(statement("items.result"), scope).fetchone()
    counts = connection.execute(statement("items.count_needs"), scope).fetchone()
    assert counts is not None
    return ItemCase(
        row=found[0],
        body=body,
        written_needs=written,
        origin=origin,
        removed_at=removed_at,
        attempts=attempts,
        above=rows(connection, _ids(connection, "items.above", scope)),
        parts=rows(connection, _ids(connection, "items.parts", scope)),
        parts_by_state=_parts(connection, scope),
        needs=rows(connection, _ids(connection, "items.needs", scope)),
        needs_count=counts[0],
        needed_by=rows(connection, _ids(connection, "items.needed_by", scope)),
        needed_by_count=counts[1],
        findings=[
            Finding(code, Severity(severity), line, text)
            for code, severity, line, text in connection.execute(statement("items.findings_at"), scope)
        ],
        tries=[Try(*row) for row in connection.execute(statement("review.history"), scope)],
        result=Accepted(*result) if result else None,
        reviews=[ReviewLine(*row) for row in connection.execute(statement("items.reviews"), scope)],
        decisions=records(connection, item=item, limit=MOST),
    )


def _parts(connection: Connection, scope: dict[str, Any]) -> dict[State, int]:
    found: Counter[State] = Counter()
    for status, declared, refused, number in connection.execute(statement("items.parts_by_status"), scope):
        found[State.of(status, False, declared, refused)] += number
    return dict(found)


def _by_place(
    connection: Connection, boards: list[int] | None, line: int | None, ext_id: str | None
) -> list[int]:
    parameters = {"boards": boards, "line": line, "ext_id": ext_id, "limit": MOST}
    return [row[0] for row in connection.execute(statement("items.by_place"), parameters)]


def _ids(connection: Connection, name: str, scope: dict[str, Any]) -> list[int]:
    return [row[0] for row in connection.execute(statement(name), scope)]
