"""Reading what is exported: a snapshot, row by row, however many there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from models.enums import Status
from models.errors import InputError
from models.export import COLUMNS, ExportRow
from sql.connection import Database
from sql.statements import statement
from tasks.items import matching
from tasks.runs import one

Connection = psycopg.Connection[Any]

CHUNK = 2_000
"""Rows that are fetched at once."""

STATUS = COLUMNS.index("status")

_RUN = re.compile(r"[0-9a-f]{6,8}(-[0-9a-f-]*)?|last", re.IGNORECASE)


def named(connection: Connection, words: Sequence[str]) -> list[int]:
    """Boards that these words mean: boards as everywhere (tasks.items.matching), or a run's: `last`, or the beginning
    of its id (six characters at least). All boards without words. Raises InputError for a word that means nothing."""
    if not words:
        return [board for board, _ in connection.execute(statement("items.board_places"))]
    found: list[int] = []
    for word in words:
        found += (
            _of_run(connection, word) if _RUN.fullmatch(word.strip()) else matching(connection, [word]) or []
        )
    return list(dict.fromkeys(found))


def _of_run(connection: Connection, word: str) -> Sequence[int]:
    try:
        return one(connection, word).boards
    except InputError as no_run:
        try:
            return matching(connection, [word]) or []
        except InputError:
            raise no_run from None


def rows(database: Database, boards: Sequence[int], *, parts: bool = False) -> Iterator[ExportRow]:
    """The rows of these boards in this order, all as of the moment at which the first is asked for.

    `parts`: also those that Penstock made of an item. On a connection of its own, which is closed when the iterator
    ends or is closed.
    """
    connection = database.connect(application_name="penstock export")
    try:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.cursor("export") as cursor:
            cursor.execute(statement("export.items"), {"boards": list(boards), "parts": parts})
            while some := cursor.fetchmany(CHUNK):
                ids = [item for (item,) in some]
                for row in connection.execute(statement("export.rows"), {"ids": ids}):
                    values = list(row)
                    values[STATUS] = Status(values[STATUS]).label
                    yield ExportRow(*values)
    finally:
        connection.close()
