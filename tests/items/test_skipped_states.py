"""What is skipped is told apart: ticked on its board, the same work as another item, or else nothing to be done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from interfaces.cli.item_views import ItemTables, item_view
from models.enums import Declared
from models.items import ItemFilter, State
from tasks.graph import Scope, mermaid, read
from tasks.items import find, item_case

from .conftest import item, number

if TYPE_CHECKING:
    from .conftest import Connection, Store

WANTED = {"Part": State.TICKED, "Left": State.SKIPPED, "Dig": State.READY, "Again": State.ELSEWHERE}


@pytest.fixture
def board(store: Store, connection: Connection) -> None:
    store(
        "dam.md",
        item("Whole"),
        item("Part", under="Whole", status=Declared.DONE),
        item("Left", under="Whole", status=Declared.SKIPPED),
        item("Dig", under="Whole"),
        item("Again", under="Whole"),
    )
    # As if its title were Dig, too: a title is what a test finds it by.
    again, dig = number(connection, "Again"), number(connection, "Dig")
    connection.execute(
        "insert into duplicate (item_id, fingerprint) select %s, fingerprint from work_key where item_id = %s",
        [again, dig],
    )
    connection.execute("update item set status = 7, ready = false, recipe = null where id = %s", [again])


@pytest.mark.usefixtures("board")
def test_a_list_tells_them_apart_and_its_json_does_not(connection: Connection) -> None:
    rows = {row.title: row for row in find(connection, ItemFilter(), 10)}
    assert {title: rows[title].state for title in WANTED} == WANTED
    assert {rows[title].as_json()["status"] for title in ("Part", "Left", "Again")} == {"skipped"}
    console = Console(width=120)
    with console.capture() as capture:
        for table in ItemTables(ItemFilter(), 120).of(rows.values()):
            console.print(table)
    lines = capture.get().splitlines()
    for title, words in (("Part", "✓ ticked"), ("Left", "– skipped"), ("Again", "≡ elsewhere")):
        assert [words in line for line in lines if line.rstrip().endswith(title)] == [True]


@pytest.mark.usefixtures("board")
def test_a_parent_counts_its_parts_so_and_its_json_does_not(connection: Connection) -> None:
    whole = item_case(connection, number(connection, "Whole"))
    assert whole.parts_by_state == {State.READY: 1, State.TICKED: 1, State.SKIPPED: 1, State.ELSEWHERE: 1}
    assert whole.as_json()["parts_by_status"] == {"ready": 1, "skipped": 3}
    console = Console(width=120)
    with console.capture() as capture:
        console.print(item_view(whole))
    assert "Parts (1 ready, 1 ticked, 1 elsewhere, 1 skipped)" in capture.get()


@pytest.mark.usefixtures("board")
def test_a_graph_tells_them_apart_drawn_or_counted(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = read(connection, Scope())
    assert {box.title: box.state for box in drawn.walk() if not box.parts} == WANTED
    text = mermaid(drawn)
    for words in ("√ ticked: the board says", "≡ elsewhere: another item", "– skipped: nothing of it"):
        assert words in text
    assert drawn.as_json()["boards"][0]["items"] == {"ready": 1, "skipped": 3}
    around = read(connection, Scope(around=number(connection, "Whole"), collapse=True))
    monkeypatch.setattr(sys.modules[read.__module__], "MOST_READ", 2)
    counted = read(connection, Scope(collapse=True))
    assert drawn.counts() == counted.counts() == around.counts()
    assert set(WANTED.values()) == set(counted.counts())
