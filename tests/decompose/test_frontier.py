"""penstock_advance and penstock_advance_board: what becomes ready, what is rolled up, under concurrency."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.enums import SETTLED, Status
from sql.connection import Database

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def board(connection: Connection) -> int:
    return new_board(connection)


def new_board(connection: Connection) -> int:
    query = (
        "insert into board (source, dialect, encoding, sha256)"
        " select 'b' || count(*), 'gfm', 'utf-8', '' from board returning id"
    )
    return int(one(connection, query))


def one(connection: Connection, query: str, *values: Any) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def add(
    connection: Connection,
    board: int,
    *,
    parent: int | None = None,
    needs: Sequence[int] = (),
    status: Status = Status.PENDING,
    leaf: bool = True,
) -> int:
    item = one(
        connection,
        "insert into item (board_id, parent_id, key, position, recipe, status, ready)"
        " values (%s, %s, gen_random_uuid(), 0, %s, %s, %s) returning id",
        board,
        parent,
        "task" if leaf else None,
        int(status),
        status is Status.READY,
    )
    for need in needs:
        connection.execute("insert into need values (%s, %s)", [item, need])
    return int(item)


def container(connection: Connection, board: int, parent: int | None = None) -> int:
    return add(connection, board, parent=parent, leaf=False)


def settle(connection: Connection, *items: int, status: Status = Status.DONE) -> int:
    connection.execute(
        "update item set status = %s, ready = false where id = any(%s)", [int(status), list(items)]
    )
    return int(one(connection, "select penstock_advance(%s)", list(items)))


def status(connection: Connection, item: int) -> Status:
    row = connection.execute("select status, ready from item where id = %s", [item]).fetchone()
    assert row is not None
    assert row[1] == (row[0] == Status.READY)
    return Status(row[0])


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((Status.DONE, Status.CANCELLED, Status.SKIPPED), Status.DONE),
        ((Status.CANCELLED, Status.SKIPPED), Status.SKIPPED),
        ((Status.CANCELLED, Status.CANCELLED), Status.CANCELLED),
        ((Status.DONE, Status.WAITING), Status.PENDING),
        ((Status.DONE, Status.FAILED), Status.PENDING),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_containers_follow_their_children_upwards(
    connection: Connection, board: int, ends: tuple[Status, ...], expected: Status, whole: bool
) -> None:
    top = container(connection, board)
    middle = container(connection, board, top)
    children = [add(connection, board, parent=middle, status=end) for end in ends]
    after = add(connection, board, needs=[top])
    if whole:
        one(connection, "select penstock_advance_board(%s)", board)
    else:
        one(connection, "select penstock_advance(%s)", children)
    assert status(connection, middle) is expected
    assert status(connection, top) is expected
    assert status(connection, after) is (Status.READY if expected in SETTLED else Status.PENDING)


def test_ready_once_all_needs_are_settled(connection: Connection, board: int) -> None:
    first, second = add(connection, board), add(connection, board)
    last = add(connection, board, needs=[first, second])
    assert one(connection, "select penstock_advance_board(%s)", board) == 2
    assert settle(connection, first) == 0
    assert status(connection, last) is Status.PENDING
    assert settle(connection, second, status=Status.SKIPPED) == 1
    assert status(connection, last) is Status.READY


def test_board_that_was_reopened_takes_back_what_it_released(connection: Connection, board: int) -> None:
    top = container(connection, board)
    child = add(connection, board, parent=top, status=Status.DONE)
    waiting = add(connection, board, needs=[top])
    running = add(connection, board, needs=[top], status=Status.RUNNING)
    one(connection, "select penstock_advance_board(%s)", board)
    assert status(connection, waiting) is Status.READY
    connection.execute("update item set status = 0 where id = %s", [child])
    one(connection, "select penstock_advance_board(%s)", board)
    assert status(connection, top) is Status.PENDING
    assert status(connection, waiting) is Status.PENDING
    assert status(connection, child) is Status.READY
    assert status(connection, running) is Status.RUNNING


def test_other_boards_are_left_alone(connection: Connection, board: int) -> None:
    other = add(connection, new_board(connection))
    add(connection, board)
    assert one(connection, "select penstock_advance_board(%s)", board) == 1
    assert status(connection, other) is Status.PENDING


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_advancing_item_by_item_ends_where_the_whole_board_does(
    connection: Connection, data: st.DataObject
) -> None:
    """Settle what is ready, in any order and any sets, until nothing is: nothing is ever left behind."""
    board = new_board(connection)
    items: list[int] = []
    containers: list[int] = []
    for _ in range(data.draw(st.integers(1, 12))):
        parent = data.draw(st.sampled_from([None, *containers]))
        if data.draw(st.booleans()):
            containers.append(container(connection, board, parent))
        else:
            # Only earlier leaves: no ring.
            needs = data.draw(st.lists(st.sampled_from(items), unique=True, max_size=3)) if items else []
            items.append(add(connection, board, parent=parent, needs=needs))
    one(connection, "select penstock_advance_board(%s)", board)
    while True:
        ready = [
            row[0]
            for row in connection.execute(
                "select id from item where board_id = %s and ready order by id", [board]
            )
        ]
        if not ready:
            break
        chosen = data.draw(st.lists(st.sampled_from(ready), min_size=1, unique=True))
        settle(connection, *chosen, status=data.draw(st.sampled_from(SETTLED)))
    assert all(status(connection, item) in SETTLED for item in items)
    before = connection.execute("select id, status from item where board_id = %s order by id", [board])
    states = before.fetchall()
    assert one(connection, "select penstock_advance_board(%s)", board) == 0
    after = connection.execute("select id, status from item where board_id = %s order by id", [board])
    assert after.fetchall() == states


def blocked_on_a_lock(connection: Connection, pid: int) -> bool:
    query = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
    return bool(one(connection, query, pid))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_two_drains_that_settle_siblings_at_the_same_time(
    database: Database, connection: Connection, board: int
) -> None:
    """Neither sees the other's item settled when it begins: the second must look again when it may."""
    top = container(connection, board)
    left, right = (add(connection, board, parent=top, status=Status.RUNNING) for _ in range(2))
    after = add(connection, board, needs=[left, right])
    beyond = add(connection, board, needs=[top])
    with database.connect() as first, database.connect() as second:
        settle(first, left)
        # Inside its transaction, before the lock: the second drain's own snapshot has `left` still running.
        second.execute("update item set status = 4 where id = %s", [right])
        released: list[int] = []

        def advance() -> None:
            released.append(one(second, "select penstock_advance(%s)", [right]))
            second.commit()

        thread = threading.Thread(target=advance)
        thread.start()
        wait_until(lambda: blocked_on_a_lock(connection, second.info.backend_pid))
        first.commit()
        thread.join(30)
    assert released == [2]
    assert [status(connection, item) for item in (top, after, beyond)] == [
        Status.DONE,
        Status.READY,
        Status.READY,
    ]


def test_many_drains_leave_nothing_behind(database: Database, connection: Connection, board: int) -> None:
    groups = [container(connection, board) for _ in range(6)]
    leaves = [add(connection, board, parent=group, status=Status.READY) for group in groups for _ in range(8)]
    joined = [add(connection, board, needs=[leaves[n], leaves[-1 - n]]) for n in range(len(leaves) // 2)]
    last = add(connection, board, needs=groups)
    errors: list[BaseException] = []

    def drain() -> None:
        try:
            with database.connect() as own:
                while True:
                    rows = own.execute(
                        "update item set status = 2, ready = false where id in (select id from item where ready"
                        " order by random() limit 3 for update skip locked) returning id"
                    ).fetchall()
                    own.commit()
                    if not rows:
                        return
                    settle(own, *(row[0] for row in rows))
                    own.commit()
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    drain()
    assert errors == []
    assert {status(connection, item) for item in [*groups, *joined, last]} == {Status.DONE}


def test_locked_pending_item_is_not_waited_for(
    database: Database, connection: Connection, board: int
) -> None:
    """Whoever holds the frontier's lock must not wait for a row, or it and an ingest could wait for each other."""
    first = add(connection, board, status=Status.RUNNING)
    second = add(connection, board, needs=[first])
    with database.connect() as editor:
        editor.execute("update item set priority = 0 where id = %s", [second])
        connection.execute("set statement_timeout = '5s'")
        assert settle(connection, first) == 0
        assert one(editor, "select penstock_advance_board(%s)", board) == 1
        editor.commit()
    assert status(connection, second) is Status.READY


def test_a_batch_of_leaves_under_ten_thousand(connection: Connection, board: int) -> None:
    top = container(connection, board)
    connection.execute(
        "insert into item (board_id, parent_id, key, position, recipe, status)"
        " select %s, %s, gen_random_uuid(), n, 'task', 2 from generate_series(1, 10000) n",
        [board, top],
    )
    leaves = [
        row[0] for row in connection.execute("select id from item where parent_id = %s order by id", [top])
    ]
    connection.execute("update item set status = 4 where id = any(%s)", [leaves[:9000]])
    times: list[float] = []
    for start in range(9000, 9768, 256):
        batch = leaves[start : start + 256]
        connection.execute("update item set status = 4 where id = any(%s)", [batch])
        began = time.perf_counter()
        one(connection, "select penstock_advance(%s)", batch)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1  # about 5 ms; reading all siblings of each of the 256 is two million rows
