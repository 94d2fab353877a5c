"""The model and the backend of an item are those that its board names, and change with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import sources
from models.board import LONGEST_MODEL
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import decompose_board
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes

PLAN = """# Plan

- [ ] Drain the basin [model:: large] [backend:: ollama]
  - [ ] Close the sluice
  - [ ] Warn the village [model:: small] [backend:: nobody]
- [ ] Paint the gate
- [ ] Build the export [model:: large]
  1. Write the schema of the table
  2. Write the endpoint and its errors
  3. Add the button to the page
  4. Describe all of it in the guide
"""
PARTS = 4
Named = dict[str, tuple[str | None, str | None]]


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as opened:
        yield opened


def run(connection: psycopg.Connection[Any], recipes: Recipes, text: str) -> None:
    board = ingest_board(connection, sources.parse(text.encode(), "plan.md"), source="/plan.md").board_id
    decompose_board(connection, board, recipes)


def named(connection: psycopg.Connection[Any], origin: str = "board") -> Named:
    rows = connection.execute(
        "select s.title, i.model, i.backend from item i join item_source s on s.item_id = i.id where s.origin = %s",
        [origin],
    )
    return {title: (model, backend) for title, model, backend in rows}


def test_an_item_has_its_own_or_its_parents(connection: psycopg.Connection[Any], recipes: Recipes) -> None:
    run(connection, recipes, PLAN)
    assert named(connection) == {
        "Drain the basin": ("large", "ollama"),
        "Close the sluice": ("large", "ollama"),
        "Warn the village": ("small", None),  # any: what it names is none
        "Paint the gate": (None, None),
        "Build the export": ("large", None),
    }
    assert ("unknown_backend", 5) in connection.execute("select code, line from finding").fetchall()


def test_parts_that_are_made_of_it_have_the_same_and_follow_it(
    connection: psycopg.Connection[Any], recipes: Recipes
) -> None:
    run(connection, recipes, PLAN)
    assert list(named(connection, "split").values()) == [("large", None)] * PARTS
    run(connection, recipes, PLAN.replace("export [model:: large]", "export [model:: small] [backend:: mlx]"))
    assert list(named(connection, "split").values()) == [("small", "mlx")] * PARTS


def test_another_name_is_taken_over_and_nothing_else_begins_anew(
    connection: psycopg.Connection[Any], recipes: Recipes
) -> None:
    run(connection, recipes, PLAN)
    query = (
        "select i.id, i.status, i.ready, i.recipe, i.attempts from item i join item_source s on s.item_id = i.id"
        " where s.origin = 'board' order by i.id"
    )
    connection.execute("update item set attempts = 2")
    before = connection.execute(query.encode()).fetchall()
    run(connection, recipes, PLAN.replace("gate", "gate [model:: large]").replace(" [model:: small]", ""))
    assert connection.execute(query.encode()).fetchall() == before
    assert named(connection)["Paint the gate"] == ("large", None)
    assert named(connection)["Warn the village"] == ("large", None)
    run(connection, recipes, PLAN)
    assert named(connection)["Paint the gate"] == (None, None)


def test_the_longest_name_fits_into_the_index(connection: psycopg.Connection[Any], recipes: Recipes) -> None:
    name = "".join(chr(0x4E00 + number) for number in range(5000))  # nothing that could be compressed
    run(connection, recipes, f"# Plan\n\n- [ ] Paint [model:: {name[:150]}]\n- [ ] Drain\n")
    assert named(connection)["Paint"] == (name[:150], None)
    text = f"---\nid: t-7\ntitle: Paint\nstatus: To Do\nmodel: {name}\n---\nText\n"
    board = sources.parse(text.encode(), "t-7.md", "backlog_md")
    decompose_board(connection, ingest_board(connection, board, source="/t-7.md").board_id, recipes)
    rows = connection.execute("select model, ready from item where length(model) > 150").fetchall()
    assert rows == [(name[:LONGEST_MODEL], True)]
