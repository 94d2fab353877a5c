"""An item whose work another item does is settled when that one is, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from interfaces.cli.render import run_summary
from models.enums import Status
from models.settings import Settings
from sql.connection import Database
from sql.statements import statement
from tasks.items import board_rows
from tasks.recipes import load_recipes
from tasks.report import Report, as_markdown, build
from tests.decompose.conftest import Plans

TWO = "- [ ] Dig the ditch\n- [ ] Fill the ditch\n"


@pytest.fixture
def plans(database: Database) -> Iterator[Plans]:
    with database.connect(autocommit=True) as connection:
        yield Plans(connection, load_recipes(Settings()))


def said(report: Report) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(run_summary(report))
    return capture.get()


def settled(plans: Plans, board: int) -> int:
    (row,) = board_rows(plans.connection, [board])
    return row.settled


def test_it_is_as_settled_as_the_item_that_does_the_work(plans: Plans) -> None:
    plans.run(a=TWO)
    (other,) = plans.run(b=TWO)
    found = build(plans.connection, [other])
    assert (found.total("to_do"), found.unsettled, settled(plans, other)) == (0, 2, 0)
    assert [item.elsewhere for item in found.boards[0].items] == ["ready", "ready"]
    words = "2 items are the same work as items elsewhere, which are not done yet."
    assert words in said(found)
    assert words in as_markdown(found)

    plans.settle("a:Dig the ditch", "a:Fill the ditch", status=Status.WAITING)
    found = build(plans.connection, [other])
    words = "2 items are the same work as items elsewhere, which wait for a person."
    assert words in said(found)
    assert words in as_markdown(found)
    assert "penstock review list" in as_markdown(found)
    assert "Nothing was left to do" not in said(found)

    plans.settle("a:Dig the ditch")
    found = build(plans.connection, [other])
    assert (found.unsettled, settled(plans, other)) == (1, 1)
    assert "1 item is the same work as an item elsewhere, which waits for a person." in said(found)

    plans.settle("a:Fill the ditch")
    found = build(plans.connection, [other])
    assert (found.unsettled, found.elsewhere, settled(plans, other)) == (0, [], 2)
    assert "elsewhere, which" not in said(found) + as_markdown(found)


def test_one_whose_original_gave_up_the_work_gets_its_turn(plans: Plans) -> None:
    plans.run(a=TWO)
    (other,) = plans.run(b=TWO)
    plans.connection.execute(statement("ingest.release_work"), {"ids": [plans.item("a:Dig the ditch")]})
    found = build(plans.connection, [other])
    assert [item.elsewhere for item in found.boards[0].items] == ["pending", "ready"]
    assert (found.unsettled, settled(plans, other)) == (2, 0)
