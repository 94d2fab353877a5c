"""Boards, items and answers put straight into the tables."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from models.board import ParsedBoard, ParsedItem
from models.enums import Status
from sql.connection import Database


class Other:
    """Another encoder: encoders are kept apart by name."""

    name = "other-v1"

    def __init__(self, dimensions: int = 768) -> None:
        self.dimensions = dimensions

    def encode(self, texts: Sequence[str]) -> NDArray[np.float16]:
        return np.full((len(texts), self.dimensions), 0.036, dtype=np.float16)


class World:
    """A database with what a test says is in it."""

    def __init__(self, database: Database, connection: psycopg.Connection) -> None:
        self.database = database
        self.connection = connection

    def board(self, source: str, text: str, items: Sequence[int] = ()) -> tuple[int, ParsedBoard]:
        """A stored board of this text; `items` are the lines that are items. Again with the same source: an edit."""
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        row = self.connection.execute(
            "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', %s)"
            " on conflict (source) do update set sha256 = excluded.sha256 returning id",
            [source, sha256],
        ).fetchone()
        assert row is not None
        lines = text.split("\n")
        parsed = [ParsedItem(line=line, title=lines[line - 1]) for line in items]
        return row[0], ParsedBoard(source, "gfm", "utf-8", sha256, items=parsed, text=text)

    def answer(self, board_id: int, line: int, text: str, *, title: str = "", simulated: bool = False) -> int:
        """A done item on that line with an accepted answer; gives the item's id."""
        row = self.connection.execute(
            "insert into item (board_id, key, position, status) values (%s, %s, %s, %s) returning id",
            [board_id, uuid.uuid4(), line, int(Status.DONE)],
        ).fetchone()
        assert row is not None
        self.connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " values (%s, 'task', %s, %s, 'todo', '')",
            [row[0], title or text, line],
        )
        self.connection.execute(
            "insert into result (item_id, text, accepted_by, simulated) values (%s, %s, 'checks', %s)",
            [row[0], text, simulated],
        )
        return int(row[0])

    def current(self, columns: str = "id") -> list[tuple[object, ...]]:
        """Nodes that are not superseded, in the order they came."""
        found = self.connection.execute(
            f"select {columns} from node where superseded_at is null order by id".encode()
        )
        return found.fetchall()

    def superseded(self) -> int:
        row = self.connection.execute("select count(*) from node where superseded_at is not null").fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    with database.connect() as connection:
        yield World(database, connection)
