"""Boards in the database: what an ingest writes, and what it leaves alone."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from models.board import Finding, ParsedBoard, ParsedItem
from models.enums import Declared, Severity, Status
from models.errors import ServiceError
from sql.connection import Database
from tasks.ingest import Delta, ingest_board
from tasks.ingest import board as board_module
from tasks.validate import RowFinding, TableVerdict

SOURCE = "/plans/board.md"
MARKS = {" ": Declared.TODO, "x": Declared.DONE, "~": Declared.IN_PROGRESS, "-": Declared.SKIPPED}


def parsed(text: str, *, dialect: str = "gfm", findings: list[Finding] | None = None) -> ParsedBoard:
    """A board of lines `  [x] title #id`, two spaces a level."""
    items: list[ParsedItem] = []
    last: dict[int, int] = {}
    for line, raw in enumerate(text.splitlines(), 1):
        if "[" not in raw:
            continue
        depth = (len(raw) - len(raw.lstrip())) // 2
        mark, _, rest = raw.strip()[1:].partition("] ")
        title, _, ext_id = rest.partition(" #")
        last[depth] = line
        items.append(
            ParsedItem(
                line=line,
                title=title,
                status=MARKS[mark],
                depth=depth,
                ext_id=ext_id or None,
                parent_line=last[depth - 1] if depth else None,
            )
        )
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return ParsedBoard(SOURCE, dialect, "utf-8", sha256, items=items, findings=findings or [], text=text)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as connection:
        yield connection


def ingest(connection: psycopg.Connection[Any], text: str) -> Delta:
    return ingest_board(connection, parsed(text), source=SOURCE)


def counts(delta: Delta) -> dict[str, int]:
    wanted = ("added", "changed", "moved", "removed", "status_changed")
    return {name: getattr(delta, name) for name in wanted if getattr(delta, name)}


def statuses(connection: psycopg.Connection[Any]) -> dict[str, Status]:
    rows = connection.execute("select title, status from item join item_source on item_id = id")
    return {title: Status(status) for title, status in rows}


def ids(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(connection.execute("select title, item_id from item_source").fetchall())


def force(connection: psycopg.Connection[Any], title: str, status: Status, **columns: Any) -> int:
    """Put an item where a drain or a person would have put it."""
    item_id = ids(connection)[title]
    columns |= {"status": int(status), "ready": status is Status.READY}
    for name, value in columns.items():
        connection.execute(f"update item set {name} = %s where id = %s".encode(), [value, item_id])
    if status is Status.DONE:
        connection.execute(
            "insert into result (item_id, text, accepted_by) values (%s, 'yes', 'checks')", [item_id]
        )
    if status is Status.WAITING:
        connection.execute(
            "insert into review (subject, kind, item_id, title, reason, error_type)"
            " values ('item:' || %(item)s, 'item', %(item)s, %(title)s, 'why', 'rule')",
            {"item": item_id, "title": title},
        )
    return item_id


def snapshot(connection: psycopg.Connection[Any]) -> list[Any]:
    """Everything stored with the transactions that wrote it: equal only where nothing was written."""
    return [
        connection.execute(f"select xmin::text, t.* from {table} t order by 1, 2, 3".encode()).fetchall()
        for table in ("board", "item", "item_source", "need", "finding", "review", "result")
    ]


BOARD = """\
[ ] Ship
  [ ] Write
  [x] Plan
[ ] Rest #R-1
"""


def test_first_ingest_stores_tree_and_declared_statuses(connection: psycopg.Connection[Any]) -> None:
    delta = ingest(connection, BOARD)
    assert counts(delta) == {"added": 4}
    assert statuses(connection) == {
        "Ship": Status.PENDING,
        "Write": Status.PENDING,
        "Plan": Status.SKIPPED,
        "Rest": Status.PENDING,
    }
    rows = connection.execute(
        "select s.title, p.title, s.line, s.depth from item i join item_source s on s.item_id = i.id"
        " left join item_source p on p.item_id = i.parent_id order by i.position, i.id"
    ).fetchall()
    assert rows == [
        ("Ship", None, 1, 0),
        ("Write", "Ship", 2, 1),
        ("Plan", "Ship", 3, 1),
        ("Rest", None, 4, 0),
    ]
    validation = connection.execute("select validation from board").fetchone()
    assert validation is not None
    assert validation[0]["success"] is True
    assert validation[0]["rows"] == 4


def test_same_bytes_again_write_nothing(connection: psycopg.Connection[Any]) -> None:
    finding = Finding("odd", Severity.INFO, 2, "looks odd")
    board = parsed(BOARD, findings=[finding])
    first = ingest_board(connection, board, source=SOURCE)
    before = snapshot(connection)
    again = ingest_board(connection, board, source=SOURCE)
    assert snapshot(connection) == before
    assert (again.board_id, again.unchanged, again.findings) == (first.board_id, 4, [finding])
    assert counts(again) == {}


def test_document_without_items_is_stored(connection: psycopg.Connection[Any]) -> None:
    delta = ingest_board(connection, parsed("# Notes\nprose\n", dialect="document"), source=SOURCE)
    assert counts(delta) == {}
    assert connection.execute("select dialect from board").fetchall() == [("document",)]


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        (BOARD.replace("[ ] Write", "[ ] Wrote"), {"changed": 1}),
        (BOARD.replace("Rest #R-1", "A title that shares nothing #R-1"), {"changed": 1}),
        (BOARD.replace("[ ] Write", "[~] Write"), {"status_changed": 1}),
        ("preface\n\n" + BOARD, {}),
        (BOARD.replace("[ ] Rest", "[ ] New\n[ ] Rest"), {"added": 1}),
        (BOARD.replace("  [ ] Write\n", ""), {"removed": 1}),
        ("[ ] Rest #R-1\n" + BOARD.replace("[ ] Rest #R-1\n", ""), {"moved": 1}),
        (BOARD.replace("  [x] Plan", "[x] Plan"), {"moved": 1}),
        (BOARD.replace("[ ] Ship", "[ ] Shop"), {"changed": 1}),
        (BOARD.replace("[ ] Ship", "[ ] Quite another heading"), {"added": 1, "removed": 1, "moved": 2}),
    ],
)
def test_only_what_was_edited_changes(
    connection: psycopg.Connection[Any], edited: str, expected: dict[str, int]
) -> None:
    ingest(connection, BOARD)
    before = ids(connection)
    delta = ingest(connection, edited)
    assert counts(delta) == expected
    after = ids(connection)
    assert {title: after[title] for title in after if title in before} == {
        title: before[title] for title in after if title in before
    }
    assert counts(ingest(connection, edited)) == {}


def test_changed_content_is_work_anew(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    force(connection, "Write", Status.DONE, attempts=2, tries=3, recipe="task")
    ingest(connection, BOARD.replace("Write", "Writes"))
    row = connection.execute(
        "select status, attempts, tries, recipe from item join item_source on item_id = id where title = 'Writes'"
    ).fetchone()
    assert row == (Status.PENDING, 0, 3, None)
    assert connection.execute("select count(*) from result where superseded_at is null").fetchone() == (0,)


def test_late_report_of_a_changed_item_changes_nothing(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    item = force(connection, "Write", Status.RUNNING, lease=77, recipe="task")
    ingest(connection, BOARD.replace("Write", "Writes"))
    late = connection.execute(
        "update item set status = 4 where id = %s and lease = 77 and status = 2", [item]
    )
    assert late.rowcount == 0


def test_running_item_whose_neighbours_change_keeps_running(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    item = force(connection, "Write", Status.RUNNING, lease=77, recipe="task")
    ingest(connection, "intro\n" + BOARD.replace("Rest", "Rests"))
    row = connection.execute("select status, lease, recipe from item where id = %s", [item]).fetchone()
    assert row == (Status.RUNNING, 77, "task")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Status.PENDING, Status.SKIPPED),
        (Status.READY, Status.SKIPPED),
        (Status.RUNNING, Status.SKIPPED),
        (Status.WAITING, Status.SKIPPED),
        (Status.FAILED, Status.SKIPPED),
        (Status.DONE, Status.DONE),
        (Status.CANCELLED, Status.CANCELLED),
    ],
)
def test_tick_on_the_board(connection: psycopg.Connection[Any], before: Status, after: Status) -> None:
    ingest(connection, BOARD)
    force(connection, "Write", before)
    delta = ingest(connection, BOARD.replace("[ ] Write", "[x] Write"))
    assert counts(delta) == {"status_changed": 1}
    assert statuses(connection)["Write"] is after
    open_reviews = connection.execute("select count(*) from review where decided_at is null").fetchone()
    assert open_reviews == (0,)


@pytest.mark.parametrize("before", [Status.SKIPPED, Status.DONE])
def test_tick_taken_back(connection: psycopg.Connection[Any], before: Status) -> None:
    ingest(connection, BOARD)
    force(connection, "Plan", before)
    ingest(connection, BOARD.replace("[x] Plan", "[ ] Plan"))
    assert statuses(connection)["Plan"] is Status.PENDING
    assert connection.execute("select count(*) from result where superseded_at is null").fetchone() == (0,)


@pytest.mark.parametrize(
    ("before", "gone", "back"),
    [
        (Status.PENDING, Status.CANCELLED, Status.PENDING),
        (Status.RUNNING, Status.CANCELLED, Status.PENDING),
        (Status.WAITING, Status.CANCELLED, Status.PENDING),
        (Status.DONE, Status.DONE, Status.DONE),
    ],
)
def test_removed_and_back(
    connection: psycopg.Connection[Any], before: Status, gone: Status, back: Status
) -> None:
    ingest(connection, BOARD)
    item = force(connection, "Write", before)
    assert counts(ingest(connection, BOARD.replace("  [ ] Write\n", ""))) == {"removed": 1}
    assert statuses(connection)["Write"] is gone
    assert counts(ingest(connection, BOARD)) == {"added": 1}
    assert statuses(connection)["Write"] is back
    assert ids(connection)["Write"] == item
    row = connection.execute(
        "select removed_at, parent_id is null from item_source join item on id = item_id where item_id = %s",
        [item],
    ).fetchone()
    assert row == (None, False)


def test_rejected_item_stays_so_until_its_content_changes(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    item = force(connection, "Rest", Status.WAITING)
    connection.execute("update review set decision = 'reject', decided_at = now() where item_id = %s", [item])
    connection.execute("update item set status = 6 where id = %s", [item])
    without = BOARD.replace("[ ] Rest #R-1\n", "")
    for text in (BOARD.replace("[ ] Rest", "[x] Rest"), BOARD, without, BOARD):
        ingest(connection, text)
        assert statuses(connection)["Rest"] is Status.CANCELLED
    ingest(connection, BOARD.replace("Rest", "Rest well"))
    assert statuses(connection)["Rest well"] is Status.PENDING
    ingest(connection, without)
    ingest(connection, BOARD.replace("Rest", "Rest well"))
    assert statuses(connection)["Rest well"] is Status.PENDING


def test_leaf_that_gets_children_and_loses_them(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    force(connection, "Rest", Status.DONE, recipe="task")
    ingest(connection, BOARD + "  [ ] Sleep\n")
    assert statuses(connection)["Rest"] is Status.PENDING
    force(connection, "Sleep", Status.DONE)
    ingest(connection, BOARD)
    assert (statuses(connection)["Rest"], statuses(connection)["Sleep"]) == (Status.PENDING, Status.DONE)


def test_duplicates_are_items_of_their_own(connection: psycopg.Connection[Any]) -> None:
    text = "[ ] Same #D-1\n[x] Same #D-1\n[ ] Again\n[ ] Again\n[~] Again\n"
    assert counts(ingest(connection, text)) == {"added": 5}
    assert connection.execute("select count(distinct key) from item").fetchone() == (5,)
    assert counts(ingest(connection, text + "[ ] More\n")) == {"added": 1}
    assert counts(ingest(connection, text.replace("[ ] Again\n[ ]", "[ ] Again\n[x]"))) == {
        "removed": 1,
        "status_changed": 1,
    }


def test_bad_row_is_a_finding_and_its_children_go_up(connection: psycopg.Connection[Any]) -> None:
    board = parsed("[ ] Top\n  [ ] Bad\n    [ ] Low\n")
    board.items[1].priority = 9
    delta = ingest_board(connection, board, source=SOURCE)
    assert [(f.code, f.line, f.severity) for f in delta.findings] == [("bad_priority", 2, Severity.ERROR)]
    rows = connection.execute(
        "select s.title, p.title from item i join item_source s on s.item_id = i.id"
        " left join item_source p on p.item_id = i.parent_id order by i.id"
    ).fetchall()
    assert rows == [("Top", None), ("Low", "Top")]
    assert connection.execute("select stage, code, line from finding").fetchall() == [
        ("ingest", "bad_priority", 2)
    ]


def test_checks_that_cannot_run_change_nothing(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(connection, BOARD)
    before = snapshot(connection)
    crashed = TableVerdict((RowFinding(0, 1, "check_crashed", "It broke."),), {})
    monkeypatch.setattr(board_module, "check_items", lambda rows: crashed)
    with pytest.raises(ServiceError, match="It broke"):
        ingest(connection, BOARD + "[ ] More\n")
    assert snapshot(connection) == before


def test_ring_of_parents_and_bottomless_tree_are_findings(connection: psycopg.Connection[Any]) -> None:
    board = parsed("[ ] A\n[ ] B\n" + "".join(f"{'  ' * n}[ ] deep {n}\n" for n in range(70)))
    board.items[0].parent_line, board.items[1].parent_line = 2, 1
    delta = ingest_board(connection, board, source=SOURCE)
    assert {finding.code for finding in delta.findings} == {"parent_ring", "too_deep"}
    assert delta.added == 72


def test_phases_become_barriers_that_are_no_items_of_the_board(connection: psycopg.Connection[Any]) -> None:
    board = parsed("[ ] One\n  [ ] Part\n[ ] Two\n[ ] Backlog\n")
    for item, (phase, order) in zip(board.items, [("P1", "0")] * 2 + [("P2", "1")], strict=False):
        item.labels = {"phase": phase, "phase_order": order}
    assert counts(ingest_board(connection, board, source=SOURCE)) == {"added": 4}
    rows = connection.execute(
        "select s.title, p.title, s.line, s.origin from item i join item_source s on s.item_id = i.id"
        " left join item_source p on p.item_id = i.parent_id order by i.position, i.id"
    ).fetchall()
    assert rows == [
        ("P1", None, 0, "phase"),
        ("One", "P1", 1, "board"),
        ("Part", "One", 2, "board"),
        ("P2", None, 0, "phase"),
        ("Two", "P2", 3, "board"),
        ("Backlog", None, 4, "board"),
    ]
    board.sha256 = "other"
    again = ingest_board(connection, board, source=SOURCE)
    assert (counts(again), again.unchanged) == ({}, 4)


def test_mark_is_inherited_where_the_item_has_none(connection: psycopg.Connection[Any]) -> None:
    board = parsed("[x] Task\n  [ ] step\n  [ ] open\n")
    board.items[1].explicit_status = False
    ingest_board(connection, board, source=SOURCE)
    assert statuses(connection) == {"Task": Status.PENDING, "step": Status.SKIPPED, "open": Status.PENDING}


def test_two_ingests_of_one_board_at_the_same_time(database: Database) -> None:
    texts = [BOARD, BOARD + "[ ] More\n"]
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            with database.connect() as connection:
                start.wait(30)
                for text in texts if number % 2 else reversed(texts):
                    ingest(connection, text)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    with database.connect() as connection:
        titles = connection.execute("select title from item_source order by title").fetchall()
    assert titles == [("More",), ("Plan",), ("Rest",), ("Ship",), ("Write",)]


def test_twenty_thousand_items_in_seconds(connection: psycopg.Connection[Any]) -> None:
    text = "".join(
        f"[ ] epic {n}\n" + "".join(f"  [ ] task {n}.{m}\n" for m in range(99)) for n in range(200)
    )
    began = time.perf_counter()
    assert counts(ingest(connection, text)) == {"added": 20_000}
    edited = text.replace("task 7.7\n", "task 7.7 reworded\n")
    assert counts(ingest(connection, "intro\n" + edited)) == {"changed": 1}
    assert time.perf_counter() - began < 30


def test_parts_of_an_item_follow_it_and_go_when_it_changes(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, BOARD)
    rest = force(connection, "Rest", Status.PENDING)
    connection.execute(
        "with i as (insert into item (board_id, parent_id, key, position, status, ready, recipe)"
        " select board_id, id, gen_random_uuid(), position, 1, true, 'task' from item where id = %s returning id)"
        " insert into item_source (item_id, kind, title, line, declared, content_hash, origin)"
        " select id, 'task', 'Part', 4, 'todo', '', 'split' from i",
        [rest],
    )
    assert counts(ingest(connection, "intro\n" + BOARD + "[ ] More\n")) == {"added": 1}
    query = "select line, position, status, parent_id, removed_at is null from item join item_source on item_id = id"
    part = connection.execute(f"{query} where title = 'Part'".encode()).fetchone()
    assert part == (5, 4, Status.READY, rest, True)
    assert counts(ingest(connection, BOARD.replace("Rest", "Rest well"))) == {"changed": 1, "removed": 1}
    part = connection.execute(f"{query} where title = 'Part'".encode()).fetchone()
    assert part == (5, 4, Status.CANCELLED, None, False)


def test_another_dialect_is_told(connection: psycopg.Connection[Any]) -> None:
    ingest_board(connection, parsed("[ ] a"), source=SOURCE)
    delta = ingest_board(connection, parsed("[ ] a\n[ ] b", dialect="lanes"), source=SOURCE)
    (told,) = (finding for finding in delta.findings if finding.code == "dialect_changed")
    assert "read as lanes, it was gfm before" in told.message
