"""Boards as graphs: needs, gates, phases, rings, recipes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared, Status
from models.errors import InputError
from models.settings import Settings
from sql.connection import Database
from tasks.decompose import Decomposition, decompose_board
from tasks.decompose import graph as graph_module
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes

Connection = psycopg.Connection[Any]
Item = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


Plan = Callable[..., Decomposition]


@pytest.fixture
def plan(connection: Connection, recipes: Recipes) -> Plan:
    """Ingest and decompose one board of items `name`, each with fields of ParsedItem; `under` names the parent."""

    def run(*items: Item) -> Decomposition:
        lines = {name: line for line, (name, _) in enumerate(items, 1)}
        parsed = [
            ParsedItem(
                line=lines[name],
                title=name,
                parent_line=lines[fields["under"]] if "under" in fields else None,
                **{field: value for field, value in fields.items() if field != "under"},
            )
            for name, fields in items
        ]
        sha256 = hashlib.sha256(repr(items).encode()).hexdigest()
        board = ParsedBoard("board.md", "gfm", "utf-8", sha256, items=parsed)
        delta = ingest_board(connection, board, source="/board.md")
        return decompose_board(connection, delta.board_id, recipes)

    return run


def item(name: str, **fields: Any) -> Item:
    return name, fields


def states(connection: Connection) -> dict[str, Status]:
    rows = connection.execute(
        "select title, status, ready from item join item_source on item_id = id where removed_at is null"
    ).fetchall()
    assert all(ready == (status == Status.READY) for _, status, ready in rows)
    return {title: Status(status) for title, status, _ in rows}


def ready(connection: Connection) -> set[str]:
    return {title for title, status in states(connection).items() if status is Status.READY}


def edges(connection: Connection) -> set[tuple[str, str]]:
    rows = connection.execute(
        "select a.title, b.title from need join item_source a using (item_id)"
        " join item_source b on b.item_id = needs_id"
    ).fetchall()
    return {(one, other) for one, other in rows}


def settle(connection: Connection, name: str, status: Status = Status.DONE) -> None:
    connection.execute(
        "with moved as (update item set status = %s, ready = false from item_source"
        " where item_id = id and title = %s returning id) select penstock_advance(array_agg(id)) from moved",
        [int(status), name],
    )
    row = connection.execute("select item_id from item_source where title = %s", [name]).fetchone()
    assert row is not None
    connection.execute("select penstock_advance(array[%s]::bigint[])", [row[0]])


def snapshot(connection: Connection) -> list[Any]:
    return [
        connection.execute(f"select xmin::text, t.* from {table} t order by 1, 2, 3".encode()).fetchall()
        for table in ("board", "item", "item_source", "need", "finding", "review")
    ]


def test_leaves_get_recipes_and_containers_none(connection: Connection, plan: Plan, recipes: Recipes) -> None:
    found = plan(
        item("epic", kind="epic"),
        item("task", under="epic"),
        item("step", kind="step", under="task"),
        item("question", kind="consult"),
        item("old", status=Declared.DONE),
    )
    assert (found.leaves, found.containers, found.edges, found.cycles) == (3, 2, 0, 0)
    names = connection.execute("select title, recipe from item join item_source on item_id = id").fetchall()
    assert dict(names) == {
        "epic": None,
        "task": None,
        "step": recipes.for_kind("step").name,
        "question": recipes.for_kind("consult").name,
        "old": None,
    }
    assert ready(connection) == {"step", "question"}
    assert states(connection)["old"] is Status.SKIPPED


def test_same_version_again_writes_nothing(connection: Connection, plan: Plan, recipes: Recipes) -> None:
    first = plan(
        item("a", ext_id="A"), item("b", needs=["A", "nowhere"]), item("c", under="b", needs=["line:1"])
    )
    before = snapshot(connection)
    again = decompose_board(connection, first.board_id, recipes)
    assert snapshot(connection) == before
    assert again == first
    assert [finding.code for finding in first.findings] == ["unknown_dependency"]


def test_needs_are_inherited_and_a_branch_does_not_wait_for_its_own_gate(
    connection: Connection, plan: Plan
) -> None:
    plan(
        item("before", ext_id="B"),
        item("branch", needs=["B", "G"]),
        item("gate", ext_id="G", under="branch"),
        item("question", under="gate"),
        item("work", under="branch"),
    )
    assert edges(connection) == {("question", "before"), ("work", "before"), ("work", "gate")}
    assert ready(connection) == {"before"}
    settle(connection, "before")
    assert ready(connection) == {"question"}
    settle(connection, "question")
    assert ready(connection) == {"work"}
    settle(connection, "work")
    assert states(connection)["branch"] is Status.DONE


def phase(name: str, order: int) -> dict[str, Any]:
    return {"labels": {"phase": name, "phase_order": str(order)}}


def test_phases_are_barriers_in_their_order(connection: Connection, plan: Plan) -> None:
    found = plan(
        item("late", **phase("Phase 3", 2)),
        item("early", **phase("Phase 1", 0)),
        item("part", under="early"),
        item("closed", status=Declared.DONE, **phase("Phase 2", 1)),
        item("backlog"),
    )
    assert (found.leaves, found.containers) == (4, 1)
    assert edges(connection) == {("late", "Phase 1")}
    assert ready(connection) == {"part", "backlog"}
    settle(connection, "part")
    assert states(connection)["Phase 1"] is Status.DONE
    assert ready(connection) == {"late", "backlog"}


def test_phase_items_of_the_board_itself_are_barriers(connection: Connection, plan: Plan) -> None:
    plan(
        item("A", kind="phase"),
        item("a1", under="A"),
        item("B", kind="phase"),
        item("b1", under="B"),
        item("C", kind="phase"),
    )
    assert edges(connection) == {("b1", "A"), ("C", "B")}


def test_barriers_are_not_quadratic(connection: Connection, plan: Plan) -> None:
    found = plan(*(item(f"{n}.{m}", **phase(f"Phase {n}", n)) for n in range(3) for m in range(100)))
    assert found.edges == 200


def test_ring_is_named_and_opened_by_one_decision(connection: Connection, plan: Plan) -> None:
    found = plan(
        item("a", ext_id="A", needs=["B"]),
        item("b", ext_id="B", needs=["C"]),
        item("c", ext_id="C", needs=["A"]),
        item("after", needs=["A"]),
        item("free"),
    )
    [finding] = found.findings
    assert (found.cycles, finding.code, finding.line) == (1, "cycle", 1)
    for name in ("A (line 1)", "B (line 2)", "C (line 3)"):
        assert name in finding.message
    assert "after" not in finding.message
    assert states(connection)["a"] is Status.WAITING
    assert ready(connection) == {"free"}
    reviews = connection.execute("select title, error_type from review where decided_at is null").fetchall()
    assert reviews == [("a", "cycle")]
    settle(connection, "a")
    assert ready(connection) == {"b", "c", "after", "free"}


def test_ring_through_a_container(connection: Connection, plan: Plan) -> None:
    found = plan(
        item("epic", ext_id="E", needs=["T"]),
        item("child", under="epic"),
        item("task", ext_id="T", needs=["E"]),
    )
    assert found.cycles == 1
    assert sorted(states(connection).items()) == [
        ("child", Status.WAITING),
        ("epic", Status.PENDING),
        ("task", Status.PENDING),
    ]


def test_item_that_needs_what_it_is_part_of(connection: Connection, plan: Plan) -> None:
    found = plan(item("epic", ext_id="E"), item("child", under="epic", needs=["E"]))
    assert found.cycles == 1
    assert states(connection)["child"] is Status.WAITING


def test_ring_that_the_board_takes_back(connection: Connection, plan: Plan) -> None:
    plan(item("a", ext_id="A", needs=["B"]), item("b", ext_id="B", needs=["A"]))
    plan(item("a", ext_id="A", needs=["B"]), item("b", ext_id="B"))
    assert ready(connection) == {"b"}
    assert states(connection)["a"] is Status.PENDING
    assert connection.execute("select decision from review").fetchall() == [("superseded",)]


def test_decided_ring_is_not_asked_again(connection: Connection, plan: Plan) -> None:
    ring = (item("a", ext_id="A", needs=["B"]), item("b", ext_id="B", needs=["A"]))
    plan(*ring)
    connection.execute("update review set decision = 'retry', decided_at = now()")
    connection.execute("update item set status = 2 where id = (select item_id from review)")
    plan(*ring, item("more"))
    assert states(connection) == {"a": Status.RUNNING, "b": Status.PENDING, "more": Status.READY}
    settle(connection, "a")
    assert ready(connection) == {"b", "more"}


def test_edit_leaves_running_and_done_items_alone(connection: Connection, plan: Plan) -> None:
    plan(item("a"), item("b"), item("c", ext_id="C"))
    connection.execute("update item set status = 2, ready = false, lease = 5 where position = 1")
    settle(connection, "b")
    before = connection.execute("select * from item where position < 3 order by id").fetchall()
    plan(item("a", needs=["C"]), item("b", needs=["C"]), item("c", ext_id="C"), item("d", needs=["C"]))
    assert connection.execute("select * from item where position < 3 order by id").fetchall() == before
    assert ready(connection) == {"c"}


def test_ready_item_that_gets_a_need_waits_again(connection: Connection, plan: Plan) -> None:
    plan(item("a", ext_id="A"), item("b"))
    assert ready(connection) == {"a", "b"}
    plan(item("a", ext_id="A"), item("b", needs=["A"]))
    assert ready(connection) == {"a"}


def test_removed_need_holds_nobody_back(connection: Connection, plan: Plan) -> None:
    plan(item("a", ext_id="A"), item("b", needs=["A"]))
    plan(item("b", needs=["A"]))
    assert ready(connection) == {"b"}


def test_recipe_that_was_taken_away_is_replaced(connection: Connection, plan: Plan, recipes: Recipes) -> None:
    found = plan(item("a"))
    connection.execute("update item set recipe = 'my_own'")
    decompose_board(connection, found.board_id, recipes)
    row = connection.execute("select recipe, ready from item").fetchone()
    assert row == (recipes.for_kind("task").name, True)


def test_unknown_board(connection: Connection, recipes: Recipes) -> None:
    with pytest.raises(InputError, match="no board 99"):
        decompose_board(connection, 99, recipes)


def test_too_many_needs_are_refused_not_endured(
    connection: Connection, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "MAX_EDGES", 10)
    with pytest.raises(InputError, match="more than 10 edges"):
        plan(
            *(item(f"need {n}", ext_id=f"N-{n}") for n in range(6)),
            item("top", needs=[f"N-{n}" for n in range(6)]),
            *(item(f"part {n}", under="top") for n in range(6)),
        )
    assert connection.execute("select count(*) from item where ready").fetchone() == (0,)


def test_twenty_thousand_items_in_seconds(plan: Plan) -> None:
    items = [item(f"{n}.{m}", **phase(f"Phase {n}", n)) for n in range(20) for m in range(1000)]
    began = time.perf_counter()
    found = plan(*items)
    assert (found.leaves, found.edges) == (20_000, 19_000)
    assert time.perf_counter() - began < 30
