"""Boards: which ones a person means, the list of them, and one with its findings and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from models.board import Finding
from models.enums import Severity, Status
from models.errors import InputError
from models.items import BoardCase, BoardRow
from sql.statements import statement
from tasks.places import shown

Connection = psycopg.Connection[Any]

MOST_NAMED = 8


def matching(connection: Connection, names: Sequence[str]) -> list[int] | None:
    """Ids of the boards that these words mean; None, for all, without words.

    A word is a board's path, a folder that boards are in, or a part of a path or name, in this order. Raises
    InputError for a word that no board fits.
    """
    if not names:
        return None
    places = connection.execute(statement("items.board_places")).fetchall()
    found: set[int] = set()
    for name in names:
        fitting = _fitting(places, name)
        if not fitting:
            raise InputError(_unknown(name, [source for _, source in places]))
        found.update(fitting)
    return sorted(found)


def one(connection: Connection, name: str) -> int:
    """The one board that a word means. Raises InputError for none, and for several, which it names."""
    found = matching(connection, [name]) or []
    if len(found) == 1:
        return found[0]
    sources = dict(connection.execute(statement("items.board_places")).fetchall())
    raise InputError(
        f"{name!r} is {len(found)} boards: {_some([sources[board] for board in found])}. Name one of them."
    )


def board_rows(connection: Connection, boards: Sequence[int] | None) -> list[BoardRow]:
    """The boards in the order in which they were first read."""
    scope = {"boards": None if boards is None else list(boards)}
    return [BoardRow(*row) for row in connection.execute(statement("items.boards"), scope)]


def board_case(connection: Connection, name: str) -> BoardCase:
    """One board with all findings and what the checks of its table said. Raises InputError as `one`."""
    board = one(connection, name)
    (row,) = board_rows(connection, [board])
    validation = connection.execute(statement("items.validation"), {"board": board}).fetchone()
    statuses = connection.execute(statement("items.statuses"), {"boards": [board]}).fetchall()
    findings = connection.execute(statement("items.findings"), {"board": board}).fetchall()
    return BoardCase(
        row,
        validation[0] if validation else None,
        {Status(status).label: number for status, number in statuses},
        [Finding(code, Severity(severity), line, text) for code, severity, line, text in findings],
    )


def _fitting(places: Sequence[tuple[int, str]], name: str) -> list[int]:
    path = str(Path(name).expanduser().resolve())
    below = path.rstrip("/") + "/"
    if exact := [board for board, source in places if source in (path, name)]:
        return exact
    if inside := [board for board, source in places if source.startswith(below)]:
        return inside
    part = name.removeprefix("./").casefold()
    return [board for board, source in places if part in source.casefold()]


def _unknown(name: str, sources: Sequence[str]) -> str:
    if not sources:
        return f"{name!r} is no board: none was read yet. `penstock run {name}` reads it."
    return (
        f"No board that was read is {name!r} or has it in its path. There are {_some(sources)}; `penstock run PATH` "
        "reads more."
    )


def _some(sources: Sequence[str]) -> str:
    last = Counter(source.rpartition("/")[2] for source in sources)
    names = [
        source.rpartition("/")[2] if last[source.rpartition("/")[2]] == 1 else shown(source)
        for source in sources[:MOST_NAMED]
    ]
    more = f" and {len(sources) - MOST_NAMED} more" if len(sources) > MOST_NAMED else ""
    return ", ".join(names) + more
