"""The same work is done once: whoever comes second is refused, and gets its chance when the first does not do it."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.enums import Decision, Status
from sql.connection import Database
from sql.statements import statement
from tasks.decompose import Wishes, apply_split, decompose_boards
from tasks.decompose.duplicates import fingerprint
from tasks.review import decide
from tests.decompose.conftest import Plans, store

WRITE = "- [ ] Write the release notes\n"


def test_two_files_with_the_same_item(plans: Plans) -> None:
    plans.run(a=WRITE, b=f"# Other\n\n{WRITE}")
    assert plans.states() == {"a:Write the release notes": "ready", "b:Write the release notes": "skipped"}
    assert plans.findings() == [("b", "duplicate_work", 3)]
    row = plans.connection.execute("select severity, message from finding").fetchone()
    assert row is not None
    assert row[0] == "warning"
    assert "(a.md, line 1)" in row[1]
    recipes = plans.connection.execute("select recipe from item order by id").fetchall()
    assert recipes == [("task",), (None,)]


def test_a_board_is_never_its_own_duplicate(plans: Plans) -> None:
    plans.run(a=WRITE)
    plans.run(a=WRITE)
    plans.run(a=f"{WRITE}\ntext\n")
    plans.settle("a:Write the release notes")
    plans.run(a=f"{WRITE}\nother text\n")
    assert plans.states() == {"a:Write the release notes": "done"}
    assert plans.findings() == []


def test_case_spacing_and_indent_are_no_other_work_but_words_are(plans: Plans) -> None:
    plans.run(
        a="- [ ] Write  the notes\n  - one\n",
        b="* [ ] write the NOTES\n    - one\n",
        c="- [ ] Write the notes\n  - two\n",
        d="- [ ] Write the notes, too\n",
    )
    assert plans.ready() == {"a:Write  the notes", "c:Write the notes", "d:Write the notes, too"}


def test_what_it_stands_under_makes_it_another_work(plans: Plans) -> None:
    plans.run(
        a="- [ ] Login\n  - [ ] Add tests\n- [ ] Search\n  - [ ] Add tests\n",
        b="- [ ] Search\n  - [ ] Add tests\n",
    )
    skipped = {name for name, state in plans.states().items() if state == "skipped"}
    assert skipped == {"b:Add tests", "b:Search"}  # the second has no other part
    assert plans.findings() == [("b", "duplicate_work", 2)]


def test_a_heading_is_something_to_stand_under_but_a_title_or_a_lane_is_not(plans: Plans) -> None:
    plans.run(a="# Ours\n\n## iOS\n\n- [ ] Release it\n\n## Android\n\n- [ ] Release it\n")
    assert len(plans.states()) == 1
    assert plans.findings() == []
    plans.run(
        b="# Theirs\n\n## Backlog\n\n- [ ] Draw it\n\n## Doing\n\n- [ ] Paint it\n\n## Done\n",
        c="# Others\n\n- [ ] Draw it\n- [ ] Paint it\n",
    )
    assert plans.ready() == {"a:Release it", "b:Draw it", "b:Paint it"}


def test_of_two_equal_siblings_the_first_is_run(plans: Plans) -> None:
    plans.run(a=f"{WRITE}- [ ] Other\n{WRITE}")
    rows = plans.connection.execute(
        "select line, status from item join item_source on item_id = id order by line"
    ).fetchall()
    assert rows == [(1, Status.READY), (2, Status.READY), (3, Status.SKIPPED)]
    assert plans.findings() == [("a", "duplicate_work", 3)]
    plans.run(a=f"- [ ] Other\n{WRITE}{WRITE}")
    assert plans.findings() == [("a", "duplicate_work", 3)]


def test_another_recipe_is_another_work(plans: Plans) -> None:
    plans.run(a="- [ ] CONSULT: Which database?\n", b="- [ ] Which database?\n")
    assert len(plans.ready()) == 2


def item(title: str, ident: str, *needs: str) -> str:
    wanted = f" ⛔ {', '.join(needs)}" if needs else ""
    return f"- [ ] {title} 🆔 {ident}{wanted}\n"


def test_what_needs_the_refused_one_needs_the_original(plans: Plans) -> None:
    plans.run(
        a=item("Same", "a1"),
        b=item("Same", "b1") + item("After it", "b2", "b1"),
        c=item("Elsewhere after it", "c1", "b1"),
    )
    assert plans.ready() == {"a:Same"}
    assert {("b:After it", "a:Same"), ("c:Elsewhere after it", "a:Same")} <= plans.edges()
    plans.settle("a:Same")
    assert plans.ready() == {"b:After it", "c:Elsewhere after it"}


def test_what_needs_a_container_with_a_refused_part_needs_the_original(plans: Plans) -> None:
    whole = "- [ ] Whole 🆔 w\n  - [ ] Same\n"
    plans.run(a=whole, b=whole + item("After it", "x", "w"))
    assert plans.ready() == {"a:Same"}
    assert plans.states()["b:Whole"] == "skipped"
    plans.settle("a:Same")
    assert plans.ready() == {"b:After it"}


def test_phases_wait_for_work_that_is_done_elsewhere(plans: Plans) -> None:
    phases = "## Phase 1 — Build\n- [TODO] Build it\n## Phase 2 — Test\n- [TODO] {}\n## Phase 3 — Ship\n- [TODO] {}\n"
    plans.run(a=phases.format("Test it", "Ship a"))
    plans.run(b=phases.format("Test it", "Ship b"))
    assert plans.ready() == {"a:Build it"}
    assert [code for board, code, _ in plans.findings() if board == "b"].count("duplicate_work") == 2
    plans.settle("a:Build it")
    assert plans.ready() == {"a:Test it"}
    plans.settle("a:Test it")
    assert plans.ready() == {"a:Ship a", "b:Ship b"}


@pytest.mark.parametrize("how", ["removed", "reworded", "ticked", "moved under another", "rejected"])
async def test_the_refused_one_gets_its_chance(database: Database, plans: Plans, how: str) -> None:
    plans.run(a=f"{WRITE}- [ ] Other\n", b=WRITE + item("After it", "x"))
    assert plans.states()["b:Write the release notes"] == "skipped"
    new = {
        "removed": "- [ ] Other\n",
        "reworded": "- [ ] Write the release notes of 2.0, with pictures\n- [ ] Other\n",
        "ticked": "- [x] Write the release notes\n- [ ] Other\n",
        "moved under another": "- [ ] Other\n  - [ ] Write the release notes\n",
    }
    if how == "rejected":
        original = plans.item("a:Write the release notes")
        plans.connection.execute("update item set status = 3, ready = false where id = %s", [original])
        plans.connection.execute(
            "insert into review (subject, kind, item_id, title, reason, error_type)"
            " values ('item:' || %s, 'item', %s, '', '', 'rule')",
            [original, original],
        )
        connection = await database.aconnect(autocommit=True)
        try:
            await decide(connection, 1, Decision.REJECT, by="test")
        finally:
            await connection.close()
        decompose_boards(plans.connection, [], plans.recipes)
    else:
        plans.run(a=new[how])
    assert plans.states()["b:Write the release notes"] == "ready"
    assert [finding for finding in plans.findings() if finding[0] == "b"] == []
    assert plans.marked() == 0


def test_done_work_is_not_done_again_though_it_left_its_board(plans: Plans) -> None:
    plans.run(a=WRITE)
    plans.settle("a:Write the release notes")
    plans.run(a="- [ ] Other\n", b=WRITE)
    assert plans.states()["b:Write the release notes"] == "skipped"


@pytest.mark.parametrize("days", [29, 31])
def test_after_the_window_it_may_be_done_again(plans: Plans, days: int) -> None:
    plans.run(a=WRITE)
    plans.settle("a:Write the release notes")
    plans.connection.execute("update work_key set claimed_at = now() - %s * interval '1 day'", [days])
    plans.run(b=WRITE)
    assert plans.states()["b:Write the release notes"] == ("skipped" if days < 30 else "ready")


def test_the_window_is_a_setting_and_0_is_none(plans: Plans) -> None:
    plans.wishes = Wishes(duplicate_days=0)
    plans.run(a=WRITE, b=WRITE)
    assert len(plans.ready()) == 2
    assert plans.findings() == []


def test_turned_off_it_lets_go_who_was_refused(plans: Plans) -> None:
    plans.run(a=WRITE, b=WRITE)
    plans.wishes = Wishes(duplicate_days=0)
    plans.run(b=f"{WRITE}\ntext\n")
    assert len(plans.ready()) == 2
    assert plans.findings() == []


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("together", [True, False])
def test_an_item_that_moves_to_another_file(plans: Plans, order: tuple[str, str], together: bool) -> None:
    plans.run(a=f"{WRITE}- [ ] Other\n", b="- [ ] Third\n")
    after = {"a": "- [ ] Other\n", "b": f"- [ ] Third\n{WRITE}"}
    if together:
        plans.run(**{name: after[name] for name in order})
    else:
        for name in order:
            plans.run(**{name: after[name]})
    assert plans.ready() == {"a:Other", "b:Third", "b:Write the release notes"}
    assert plans.findings() == []


def test_a_refused_item_that_stands_elsewhere_now_is_another_work(plans: Plans) -> None:
    plans.run(a=WRITE, b=f"{WRITE}- [ ] Version 2\n")
    assert plans.states()["b:Write the release notes"] == "skipped"
    plans.run(b="- [ ] Version 2\n  - [ ] Write the release notes\n")
    assert "b:Write the release notes" in plans.ready()
    assert plans.findings() == []


def wait_until_blocked(plans: Plans, connection: psycopg.Connection[Any]) -> None:
    deadline = time.monotonic() + 30
    waits = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    while plans.connection.execute(waits, [connection.info.backend_pid]).fetchone() != (True,):
        assert time.monotonic() < deadline


def test_two_boards_at_once_and_exactly_one_runs(database: Database, plans: Plans) -> None:
    """The boards' transactions overlap: the second's claim waits for the first's, and is refused."""
    boards = plans.store(**{f"b{number}": WRITE for number in range(6)})
    barrier = threading.Barrier(len(boards))
    errors: list[BaseException] = []

    def decompose(board: int) -> None:
        try:
            with database.connect(autocommit=True) as own:
                barrier.wait(30)
                decompose_boards(own, [board], plans.recipes)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=decompose, args=[board]) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(plans.states().values()) == ["ready", *["skipped"] * 5]
    assert plans.connection.execute("select count(*) from work_key").fetchone() == (1,)


def test_the_key_is_what_refuses(database: Database, plans: Plans) -> None:
    """Without any other lock: of two claims in open transactions the second waits, and gets nothing."""
    plans.run(a="- [ ] One\n- [ ] Two\n")
    one, two = plans.item("a:One"), plans.item("a:Two")
    work = fingerprint("task", "Something", "", ())
    claims: list[list[Any]] = []

    def claim(connection: psycopg.Connection[Any], item_id: int) -> None:
        scope = {"items": [item_id], "fingerprints": [work], "days": 30}
        claims.append(connection.execute(statement("decompose.claim_works"), scope).fetchall())
        if item_id == two:
            connection.commit()

    with database.connect() as first, database.connect() as second:
        claim(first, one)
        thread = threading.Thread(target=claim, args=[second, two])
        thread.start()
        wait_until_blocked(plans, second)
        first.commit()
        thread.join(30)
    assert claims == [[(one,)], []]


def test_who_is_refused_while_the_original_leaves_is_not_forgotten(database: Database, plans: Plans) -> None:
    """The ingest that removes the original waits for the decomposition that was refused for it, and sees it."""
    plans.run(a=f"{WRITE}- [ ] Other\n")
    [b] = plans.store(b=WRITE)
    with database.connect() as refusing:
        refusing.execute("select 1")  # so that the transaction stays open
        decompose_boards(refusing, [b], plans.recipes)
        removing = database.connect(autocommit=True)
        thread = threading.Thread(target=store, args=[removing, "a", "- [ ] Other\n"])
        thread.start()
        wait_until_blocked(plans, removing)
        refusing.commit()
        thread.join(30)
        removing.close()
    assert plans.marked() == 1
    decompose_boards(plans.connection, [], plans.recipes)
    assert "b:Write the release notes" in plans.ready()


SUBTASKS = {
    "subtasks": [
        {"title": "Draw the plan", "acceptance": ["it is drawn"]},
        {"title": "Build the shed", "acceptance": ["it stands"], "needs": [1]},
    ]
}


async def test_parts_of_splits_are_works_too(database: Database, plans: Plans) -> None:
    """Two items of one title and other words, split alike by a model: the parts are the same works."""
    plans.run(a="- [ ] The shed\n  - for tools\n", b="- [ ] The shed\n  - for wood\n")
    assert len(plans.ready()) == 2
    connection = await database.aconnect(autocommit=True)
    try:
        for name in ("a", "b"):
            board = plans.item(f"{name}:The shed")
            async with connection.transaction():
                await connection.execute("update item set status = 4, ready = false where id = %s", [board])
                assert await apply_split(connection, board, SUBTASKS) == 2
                await connection.execute("select penstock_advance(%s)", [[board]])
    finally:
        await connection.close()
    assert plans.ready() == {"a:Draw the plan"}
    assert plans.marked() == 1
    assert decompose_boards(plans.connection, [], plans.recipes) == []
    assert plans.states()["b:Build the shed"] == "skipped"
    assert plans.states()["b:The shed"] == "skipped"
    assert [code for board, code, _ in plans.findings() if board == "b"] == ["duplicate_work"] * 2
    plans.settle("a:Draw the plan")
    assert plans.ready() == {"a:Build the shed"}


BOARDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.tuples(st.integers(0, 1), st.sampled_from("PQRS"), st.booleans()), max_size=5),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=BOARDS)
def test_every_open_work_is_in_exactly_one_hand(plans: Plans, versions: list[Any]) -> None:
    """Any boards in any order, edited and settled: of equal open items one is run, none is lost, none twice."""
    plans.connection.execute("truncate board cascade; truncate work_key")
    last: dict[str, list[Any]] = {}
    for name, lines in versions:
        text = "".join(
            f"{'  ' * depth if place else ''}- [{'x' if ticked else ' '}] work {letter}\n"
            for place, (depth, letter, ticked) in enumerate(lines)
        )
        plans.run(**{name: f"# {name}\n\n{text}"})
        last[name] = lines
    works: dict[tuple[str, ...], list[int]] = {}
    rows = plans.connection.execute(
        "select s.title, coalesce(p.title, ''), i.status from item i join item_source s on s.item_id = i.id"
        " left join item_source p on p.item_id = i.parent_id"
        " where s.removed_at is null and s.declared = 'todo' and s.origin = 'board'"
        " and not exists (select from item c where c.parent_id = i.id)"
    )
    for title, above, status in rows:
        works.setdefault((title, above), []).append(status)
    for statuses in works.values():
        assert sorted(statuses) == [Status.READY, *[Status.SKIPPED] * (len(statuses) - 1)]
    assert plans.marked() == 0
