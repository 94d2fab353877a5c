from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

import sources
from models.enums import Status
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import Wishes, decompose_boards
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes

Connection = psycopg.Connection[Any]


class Plans:
    """Boards as files of folders, run or stored in the order given; what then stands in the database."""

    def __init__(self, connection: Connection, recipes: Recipes) -> None:
        self.connection = connection
        self.recipes = recipes
        self.wishes = Wishes()

    def store(self, **boards: str) -> list[int]:
        """Ingest `name=text` as /plans/name.md; `folder__name` as /folder/name.md. Gives the ids."""
        return [store(self.connection, name, text) for name, text in boards.items()]

    def run(self, **boards: str) -> list[int]:
        ids = self.store(**boards)
        decompose_boards(self.connection, ids, self.recipes, self.wishes)
        return ids

    def states(self, *, removed: bool = False) -> dict[str, str]:
        """Title, with the board's name, to status."""
        rows = self.connection.execute(
            "select regexp_replace(b.source, '^.*/|\\.md$', '', 'g') || ':' || s.title, i.status, i.ready, i.recipe"
            "  from item i join item_source s on s.item_id = i.id join board b on b.id = i.board_id"
            " where (s.removed_at is null or %s) and s.origin <> 'phase'",
            [removed],
        ).fetchall()
        assert all(ready == (status == Status.READY) for _, status, ready, _ in rows)
        assert all(recipe is not None for _, _, ready, recipe in rows if ready)
        return {name: Status(status).label for name, status, _, _ in rows}

    def ready(self) -> set[str]:
        return {name for name, status in self.states().items() if status == "ready"}

    def edges(self) -> set[tuple[str, str]]:
        name = "regexp_replace({0}b.source, '^.*/|\\.md$', '', 'g') || ':' || {0}s.title"
        rows = self.connection.execute(
            f"select {name.format('x')}, {name.format('y')} from need n"
            " join item xi on xi.id = n.item_id join item_source xs on xs.item_id = xi.id"
            " join board xb on xb.id = xi.board_id"
            " join item yi on yi.id = n.needs_id join item_source ys on ys.item_id = yi.id"
            " join board yb on yb.id = yi.board_id".encode()
        )
        return {(one, other) for one, other in rows}

    def findings(self) -> list[tuple[str, str, int]]:
        """(board, code, line)"""
        rows = self.connection.execute(
            "select regexp_replace(b.source, '^.*/|\\.md$', '', 'g'), code, line from finding f"
            " join board b on b.id = f.board_id order by 1, 2, 3"
        )
        return [(board, code, line) for board, code, line in rows]

    def item(self, name: str) -> int:
        """Id of `board:title`."""
        board, _, title = name.partition(":")
        row = self.connection.execute(
            "select i.id from item i join item_source s on s.item_id = i.id join board b on b.id = i.board_id"
            " where s.title = %s and b.source like %s order by s.removed_at is not null, i.id",
            [title, f"%/{board}.md"],
        ).fetchone()
        assert row is not None, name
        return int(row[0])

    def settle(self, *names: str, status: Status = Status.DONE) -> None:
        ids = [self.item(name) for name in names]
        settle(self.connection, ids, status)

    def marked(self) -> int:
        row = self.connection.execute("select count(*) from look_again").fetchone()
        assert row is not None
        return int(row[0])


def store(connection: Connection, name: str, text: str) -> int:
    folder, _, file = name.rpartition("__")
    source = f"/{folder or 'plans'}/{file}.md"
    return ingest_board(connection, sources.parse(text.encode(), f"{file}.md"), source=source).board_id


def settle(connection: Connection, ids: Sequence[int], status: Status = Status.DONE) -> None:
    with connection.transaction():
        connection.execute(
            "update item set status = %s, ready = false where id = any(%s)", [int(status), list(ids)]
        )
        connection.execute("select penstock_advance(%s)", [list(ids)])


@pytest.fixture(scope="session")
def all_recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def plans(database: Database, all_recipes: Recipes) -> Iterator[Plans]:
    with database.connect(autocommit=True) as connection:
        yield Plans(connection, all_recipes)
