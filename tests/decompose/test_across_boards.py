"""Needs across boards: found, kept up when boards change, never missed by two drains, never a ring."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from models.enums import Status
from sql.connection import Database
from tasks.decompose import decompose_boards
from tests.decompose.conftest import Plans, settle


def task(ident: str, title: str, *needs: str, parent: str = "") -> str:
    """A Backlog.md file."""
    above = f"parent_task_id: {parent}\n" if parent else ""
    return (
        f"---\nid: {ident}\ntitle: {title}\nstatus: To Do\n{above}dependencies: [{', '.join(needs)}]\n---\n"
    )


def item(title: str, ident: str, *needs: str) -> str:
    wanted = f" ⛔ {', '.join(needs)}" if needs else ""
    return f"- [ ] {title} 🆔 {ident}{wanted}\n"


def test_a_file_per_task_in_any_order_of_the_files(plans: Plans) -> None:
    plans.run(c=task("task-3", "three", "task-1", "TASK-2"), a=task("TASK-1", "one"), b=task("task-2", "two"))
    assert plans.edges() == {("c:three", "a:one"), ("c:three", "b:two")}
    assert plans.ready() == {"a:one", "b:two"}
    assert plans.findings() == []
    plans.settle("a:one")
    assert plans.ready() == {"b:two"}
    plans.settle("b:two")
    assert plans.ready() == {"c:three"}


def test_the_board_s_own_ids_come_first(plans: Plans) -> None:
    plans.run(a=item("theirs", "x"), b=item("mine", "x") + item("next", "y", "x"))
    assert plans.edges() == {("b:next", "b:mine")}


def test_ids_of_other_folders_are_not_meant(plans: Plans) -> None:
    plans.run(other__a=item("theirs", "x"), b=item("next", "y", "x"))
    assert plans.edges() == set()
    assert plans.findings() == [("b", "unknown_dependency", 1)]
    assert plans.ready() == {"a:theirs", "b:next"}


def test_what_comes_later_is_waited_for_then(plans: Plans) -> None:
    plans.run(b=item("next", "y", "X-1"))
    assert plans.ready() == {"b:next"}
    assert plans.findings() == [("b", "unknown_dependency", 1)]
    plans.run(a=item("first", "x-1"))
    assert plans.edges() == {("b:next", "a:first")}
    assert plans.ready() == {"a:first"}
    assert plans.findings() == []


def test_what_leaves_its_board_is_waited_for_no_more(plans: Plans) -> None:
    plans.run(a=item("first", "x") + item("other", "o"), b=item("next", "y", "x"))
    assert plans.ready() == {"a:first", "a:other"}
    plans.run(a=item("other", "o"))
    assert plans.edges() == set()
    assert plans.ready() == {"a:other", "b:next"}
    assert plans.findings() == [("b", "unknown_dependency", 1)]
    plans.run(a=item("first", "x") + item("other", "o"))
    assert plans.ready() == {"a:first", "a:other"}


def test_nothing_is_looked_at_twice_for_nothing(plans: Plans) -> None:
    ids = plans.store(b=item("next", "y", "x"), a=item("first", "x"))
    for board in ids:
        decompose_boards(plans.connection, [board], plans.recipes)
        assert plans.marked() == 0
    before = plans.connection.execute("select xmin::text, * from item order by id").fetchall()
    plans.run(b=item("next", "y", "x"), a=item("first", "x") + "\ntext\n")
    after = plans.connection.execute("select xmin::text, * from item order by id").fetchall()
    assert before == after


def test_an_id_on_two_boards_is_waited_for_on_both(plans: Plans) -> None:
    plans.run(a=item("one", "x"), b=item("two", "x"), c=item("next", "y", "x"))
    assert plans.edges() == {("c:next", "a:one"), ("c:next", "b:two")}
    assert ("c", "ambiguous_dependency", 1) in plans.findings()


def test_a_parent_on_another_board_is_a_label(plans: Plans) -> None:
    plans.run(a=task("task-1", "whole"), b=task("task-1.1", "part", parent="task-1"))
    assert plans.ready() == {"a:whole", "b:part"}
    assert plans.connection.execute("select count(*) from item where parent_id is not null").fetchone() == (
        0,
    )


def test_a_container_of_another_board(plans: Plans) -> None:
    plans.run(
        a="- [ ] whole 🆔 w\n  - [ ] one 🆔 w1\n  - [ ] two 🆔 w2\n",
        b=item("next", "n", "w"),
    )
    assert plans.ready() == {"a:one", "a:two"}
    plans.settle("a:one", status=Status.SKIPPED)
    plans.settle("a:two", status=Status.SKIPPED)
    assert plans.ready() == {"b:next"}
    # Open again: whoever has not begun waits again.
    plans.run(a="- [ ] whole 🆔 w\n  - [ ] one 🆔 w1\n  - [ ] two 🆔 w2\n  - [ ] three 🆔 w3\n")
    assert plans.ready() == {"a:three"}


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
def test_a_ring_over_boards_is_one_decision(plans: Plans, order: tuple[str, ...]) -> None:
    boards = {"a": item("A", "a", "b"), "b": item("B", "b", "c"), "c": item("C", "c", "a")}
    plans.run(**{name: boards[name] for name in order})
    states = plans.states()
    assert sorted(states.values()) == ["pending", "pending", "waiting"]
    assert [code for _, code, _ in plans.findings()] == ["cycle"]
    row = plans.connection.execute(
        "select error_type, reason from review where decided_at is null"
    ).fetchone()
    assert row is not None
    assert row[0] == "cycle"
    waiting = next(name for name, state in states.items() if state == "waiting")
    plans.settle(waiting)
    while plans.ready():
        plans.settle(*plans.ready())
    assert set(plans.states().values()) == {"done"}


def test_a_ring_that_another_board_opens_needs_no_decision(plans: Plans) -> None:
    plans.run(a=item("A", "a", "b"), b=item("B", "b", "a"))
    assert sorted(plans.states().values()) == ["pending", "waiting"]
    held = next(name for name, state in plans.states().items() if state == "waiting")
    other = "a" if held.startswith("b") else "b"
    plans.run(**{other: item(other.upper(), other)})
    assert plans.ready() == {f"{other}:{other.upper()}"}
    assert plans.findings() == []
    assert plans.connection.execute("select count(*) from review where decided_at is null").fetchone() == (0,)
    assert plans.edges() == {(held, f"{other}:{other.upper()}")}


def blocked(plans: Plans, pid: int) -> bool:
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    row = plans.connection.execute(query, [pid]).fetchone()
    return bool(row and row[0])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_needs_on_two_boards_that_settle_at_the_same_time(database: Database, plans: Plans) -> None:
    """Neither transaction sees the other's item settled when it begins; the second has to look again."""
    plans.run(a=item("one", "1"), b=item("two", "2"), c=item("both", "3", "1", "2"))
    one, two = plans.item("a:one"), plans.item("b:two")
    with database.connect() as first, database.connect() as second:
        first.execute("update item set status = 4, ready = false where id = %s", [one])
        first.execute("select penstock_advance(%s)", [[one]])
        second.execute("update item set status = 4, ready = false where id = %s", [two])

        def advance() -> None:
            second.execute("select penstock_advance(%s)", [[two]])
            second.commit()

        thread = threading.Thread(target=advance)
        thread.start()
        wait_until(lambda: blocked(plans, second.info.backend_pid))
        first.commit()
        thread.join(30)
    assert plans.ready() == {"c:both"}


def test_a_need_that_is_wired_while_it_settles(database: Database, plans: Plans) -> None:
    """The link is new: who settles began without it, and has not committed when the need is written."""
    plans.run(a=item("one", "1"))
    [board] = plans.store(b=item("next", "2", "1"))
    one = plans.item("a:one")
    with database.connect() as settling, database.connect(autocommit=True) as wiring:
        settling.execute("update item set status = 4, ready = false where id = %s", [one])
        settling.execute("select penstock_advance(%s)", [[one]])
        thread = threading.Thread(target=lambda: decompose_boards(wiring, [board], plans.recipes))
        thread.start()
        wait_until(lambda: blocked(plans, wiring.info.backend_pid))
        settling.commit()
        thread.join(30)
    assert plans.ready() == {"b:next"}


def test_many_drains_and_edits_on_many_boards_leave_nothing_behind(database: Database, plans: Plans) -> None:
    """Boards whose items need one another across, drained by four connections while boards are decomposed again."""
    shuffled = random.Random(7)
    boards: dict[str, str] = {}
    names: list[str] = []
    for number in range(12):
        text = ""
        for place in range(6):
            needs = shuffled.sample(names, min(len(names), 3))
            names.append(f"i{number}x{place}")
            text += item(f"work {number} {place}", names[-1], *needs)
        boards[f"b{number}"] = text
    ids = plans.run(**boards)
    errors: list[BaseException] = []

    def drain() -> None:
        try:
            with database.connect(autocommit=True) as own:
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    with own.transaction():
                        rows = own.execute(
                            "update item set status = 2, ready = false where id in (select id from item where ready"
                            " order by random() limit 4 for update skip locked) returning id"
                        ).fetchall()
                    if rows:
                        settle(own, sorted(row[0] for row in rows))
                    left = own.execute("select count(*) from item where status in (0, 1, 2)").fetchone()
                    if left == (0,):
                        return
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    def edit() -> None:
        try:
            with database.connect(autocommit=True) as own:
                for board in ids * 2:
                    own.execute("insert into look_again (board_id) values (%s)", [board])
                    decompose_boards(own, [], plans.recipes)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=work) for work in (drain, drain, drain, drain, edit)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert errors == []
    assert set(plans.states().values()) == {"done"}
