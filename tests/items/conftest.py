"""Boards in the database, made of a few words.

store("plan.md", item("Dig"), item("Fill", needs=["line:1"]), item("Pump", under="Fill"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from models.board import Finding, ParsedBoard, ParsedItem
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import decompose_board
from tasks.ingest import Delta, ingest_board
from tasks.recipes import Recipes, load_recipes

Connection = psycopg.Connection[Any]
Item = tuple[str, dict[str, Any]]
Store = Callable[..., Delta]


def item(name: str, **fields: Any) -> Item:
    return name, fields


def number(connection: Connection, title: str) -> int:
    """The id of the item with this title."""
    row = connection.execute("select item_id from item_source where title = %s", [title]).fetchone()
    assert row is not None
    return int(row[0])


def settle(connection: Connection, *titles: str, status: int = 4) -> None:
    """These items end so, as a drain or a person would end them."""
    ids = [number(connection, title) for title in titles]
    connection.execute("update item set status = %s, ready = false where id = any(%s)", [status, ids])
    connection.execute("select penstock_advance(%s)", [ids])


@pytest.fixture(scope="session")
def recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(connection: Connection, recipes: Recipes) -> Store:
    """Ingest and decompose a board of items, each with fields of ParsedItem; `under` names the parent."""

    def run(name: str, *items: Item, findings: list[Finding] | None = None) -> Delta:
        lines = {title: line for line, (title, _) in enumerate(items, 1)}
        parsed = [
            ParsedItem(
                line=lines[title],
                title=title,
                parent_line=lines[fields["under"]] if "under" in fields else None,
                depth=1 if "under" in fields else 0,
                **{field: value for field, value in fields.items() if field != "under"},
            )
            for title, fields in items
        ]
        sha256 = hashlib.sha256(repr((items, findings)).encode()).hexdigest()
        board = ParsedBoard(name, "gfm", "utf-8", sha256, title=name, items=parsed, findings=findings or [])
        delta = ingest_board(connection, board, source=f"/plans/{name}")
        decompose_board(connection, delta.board_id, recipes)
        return delta

    return run
