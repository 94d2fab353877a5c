"""The graph as it is stored: all, only what is open, around one item, and counted by the database where it is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.enums import Declared
from models.errors import InputError
from models.items import State
from tasks.graph import Scope, read
from tasks.graph import read as read_function
from tasks.graph.model import Drawing

from .conftest import item, number, settle

if TYPE_CHECKING:
    from .conftest import Connection, Store


@pytest.fixture
def board(store: Store) -> None:
    store(
        "dam.md",
        item("Ground", kind="phase"),
        item("Dig", under="Ground"),
        item("Drain", under="Ground"),
        item("Wall", kind="phase"),
        item("Pour", under="Wall"),
        item("Cure", under="Wall", needs=["line:5"]),
        item("Paint", status=Declared.DONE),
        item("Invite", needs=["line:6"]),
    )
    store("mill.md", item("Grind"))


def arrows(drawing: Drawing) -> set[tuple[str, str, bool]]:
    return {(arrow.item.title, arrow.needs.title, arrow.settled) for arrow in drawing.arrows}


def names(drawing: Drawing) -> list[str]:
    return [box.title for box in drawing.walk()]


@pytest.mark.usefixtures("board")
def test_all_with_states_and_needs(connection: Connection) -> None:
    found = read(connection, Scope())
    assert names(found) == ["Ground", "Dig", "Drain", "Wall", "Pour", "Cure", "Paint", "Invite", "Grind"]
    assert arrows(found) == {("Wall", "Ground", False), ("Cure", "Pour", False), ("Invite", "Cure", False)}
    states = {box.title: box.state for box in found.walk()}
    assert states["Dig"] is State.READY
    assert states["Ground"] is State.PENDING
    assert states["Pour"] is State.BLOCKED
    assert states["Paint"] is State.TICKED
    assert [board.counts().total() for board in found.boards] == [6, 1]

    settle(connection, "Dig", "Drain")
    found = read(connection, Scope())
    assert ("Wall", "Ground", True) in arrows(found)
    still_open = read(connection, Scope(open=True))
    assert "Paint" not in names(still_open)
    assert "Dig" not in names(still_open)
    assert ("Cure", "Pour", False) in arrows(still_open)
    assert still_open.notes == ["What is settled is not drawn."]
    as_json = found.as_json()
    assert {each["title"] for each in as_json["items"]} == set(names(found))
    assert {
        "item": number(connection, "Cure"),
        "needs": number(connection, "Pour"),
        "settled": False,
    } in as_json["needs"]


@pytest.mark.usefixtures("board")
def test_around_an_item_are_its_needs_and_what_waits_for_it(connection: Connection) -> None:
    cure = number(connection, "Cure")
    near = read(connection, Scope(around=cure))
    assert names(near) == ["Ground", "Wall", "Pour", "Cure", "Invite"]
    assert [box.title for box in near.walk() if box.asked] == ["Cure"]
    ground = next(box for box in near.walk() if box.title == "Ground")
    assert ground.folded.total() == 2, "what is part of it is counted"
    assert ("Cure", "Ground", False) in arrows(near)
    assert names(read(connection, Scope(around=number(connection, "Grind"), depth=5))) == ["Grind"]
    whole = read(connection, Scope(around=number(connection, "Ground")))
    assert {"Dig", "Drain", "Pour", "Cure"} <= set(names(whole)), (
        "parts of a phase, and what waits for the phase"
    )
    with pytest.raises(InputError, match="no item 999"):
        read(connection, Scope(around=999))


@pytest.mark.usefixtures("board")
def test_a_large_graph_is_folded_by_the_database_as_it_would_be_here(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(connection, "Dig")

    def told(most: int, *, open_only: bool = False) -> list[object]:
        found = read(connection, Scope(most=most, collapse=True, open=open_only))
        boards = [
            (board.source, board.counts(), [box.title for box in board.walk()]) for board in found.boards
        ]
        return [boards, arrows(found)]

    here = [told(500), told(1), told(500, open_only=True)]
    monkeypatch.setattr(__import__("sys").modules[read_function.__module__], "MOST_READ", 1)
    assert [told(500), told(1), told(500, open_only=True)] == here
    first = here[0][0]
    assert isinstance(first, list)
    assert first[0][2] == ["Ground", "Wall"]
    assert here[0][1] == {("Wall", "Ground", False)}


@pytest.mark.usefixtures("board")
def test_more_than_asked_is_folded(connection: Connection) -> None:
    assert len(read(connection, Scope(most=9))) == 9
    found = read(connection, Scope(most=8))
    assert names(found) == ["Ground", "Wall"]
    assert found.notes == [
        "Only 2 items with parts are drawn; the 7 without parts are counted where they belong."
    ]
