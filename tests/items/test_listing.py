"""Lists of items: what each filter keeps, in which order, page by page; and how they are read at size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from models.enums import Declared, Status
from models.errors import InputError
from models.items import ItemFilter, State
from sql.statements import statement
from tasks.items import count, find, matching, stream, totals

from .conftest import item, number, settle

if TYPE_CHECKING:
    from .conftest import Connection, Store


def titles(
    connection: Connection, wanted: ItemFilter, limit: int = 50, after: int | None = None
) -> list[str]:
    found = [each.title for each in find(connection, wanted, limit, after=after)]
    if after is None and limit >= 50:
        assert count(connection, wanted) == len(found)
        assert [each.title for each in stream(connection, wanted)] == found
    return found


@pytest.fixture
def two_boards(store: Store) -> None:
    store(
        "dam.md",
        item("Dig", ext_id="D-1"),
        item("Fill the 100% basin", needs=["D-1"], body="with WATER from the lake", kind="consult"),
        item("Paint", status=Declared.DONE),
        item("Test"),
        item("Test the pump", under="Test", priority=0),
        item("Test the gate", under="Test", needs=["line:2"], status=Declared.IN_PROGRESS),
    )
    store("mill.md", item("Grind", priority=1), item("Sieve", needs=["line:1"]))


@pytest.mark.usefixtures("two_boards")
def test_filters_keep_what_they_say(connection: Connection) -> None:
    everything = titles(connection, ItemFilter())
    assert everything == [
        "Dig", "Fill the 100% basin", "Paint", "Test", "Test the pump", "Test the gate", "Grind", "Sieve",
    ]  # fmt: skip
    mill = matching(connection, ["mill"])
    assert mill
    assert titles(connection, ItemFilter(boards=tuple(mill))) == ["Grind", "Sieve"]
    assert titles(connection, ItemFilter(statuses=(Status.SKIPPED,))) == ["Paint"]
    assert titles(connection, ItemFilter(statuses=(Status.SKIPPED, Status.READY))) == [
        "Dig", "Paint", "Test the pump", "Grind",
    ]  # fmt: skip
    assert titles(connection, ItemFilter(declared=(Declared.IN_PROGRESS,))) == ["Test the gate"]
    assert titles(connection, ItemFilter(kinds=("consult",))) == ["Fill the 100% basin"]
    assert titles(connection, ItemFilter(words=("water", "FILL"))) == ["Fill the 100% basin"]
    assert titles(connection, ItemFilter(words=("d-1",))) == ["Dig"]
    assert titles(connection, ItemFilter(words=("100%",))) == ["Fill the 100% basin"]
    assert titles(connection, ItemFilter(words=("1%0",))) == [], "a percent sign is no wildcard"
    assert titles(connection, ItemFilter(words=("di_",))) == []
    assert titles(connection, ItemFilter(boards=())) == []
    assert totals(connection, None) == {Status.PENDING: 4, Status.READY: 3, Status.SKIPPED: 1}


@pytest.mark.usefixtures("two_boards")
def test_ready_is_in_the_order_of_running_and_blocked_says_what_it_waits_for(connection: Connection) -> None:
    ready = ItemFilter(ready=True)
    assert titles(connection, ready) == ["Test the pump", "Grind", "Dig"]
    assert titles(connection, ready, limit=2) == ["Test the pump", "Grind"]
    assert titles(connection, ready, after=number(connection, "Grind")) == ["Dig"]

    blocked = {each.title: each for each in find(connection, ItemFilter(blocked=True), 50)}
    assert list(blocked) == ["Fill the 100% basin", "Test the gate", "Sieve"]
    (dig,) = blocked["Fill the 100% basin"].waits_for
    assert (dig.item_id, dig.name, dig.line, dig.status) == (number(connection, "Dig"), "D-1 Dig", 1, "ready")
    assert blocked["Test the gate"].state is State.BLOCKED
    assert [each.title for each in blocked["Test the gate"].waits_for] == ["Fill the 100% basin"]
    test = next(each for each in find(connection, ItemFilter(), 50) if each.title == "Test")
    assert test.state is State.PENDING, "what only has open parts waits for nothing"

    settle(connection, "Dig")
    assert titles(connection, ItemFilter(blocked=True)) == ["Test the gate", "Sieve"]
    with pytest.raises(InputError, match="not both"):
        find(connection, ItemFilter(ready=True, blocked=True), 1)


def test_of_many_needs_the_first_are_named_and_the_rest_counted(connection: Connection, store: Store) -> None:
    store(
        "dam.md",
        *(item(f"Part {n}") for n in range(1, 8)),
        item("Whole", needs=[f"line:{n}" for n in range(1, 8)]),
    )
    settle(connection, "Part 2")
    (whole,) = find(connection, ItemFilter(blocked=True), 50)
    assert [each.title for each in whole.waits_for] == ["Part 1", "Part 3", "Part 4"]
    assert whole.waits_for_count == 6


def test_pages_follow_on_one_another_and_what_left_the_board_is_not_listed(
    connection: Connection, store: Store
) -> None:
    names = [f"Item {n:03}" for n in range(120)]
    store("a.md", *(item(name) for name in names))
    store("b.md", item("Other"))
    store("a.md", *(item(name) for name in reversed(names) if not name.endswith("7")))
    expected = [name for name in reversed(names) if not name.endswith("7")] + ["Other"]
    seen: list[str] = []
    after = None
    while page := find(connection, ItemFilter(), 25, after=after):
        seen += [each.title for each in page]
        after = page[-1].id
    assert seen == expected
    assert [each.title for each in stream(connection, ItemFilter())] == expected
    assert count(connection, ItemFilter()) == len(expected)


@pytest.fixture
def many(connection: Connection) -> Connection:
    """30,000 items, one in ten open, half of those ready."""
    connection.execute(
        "insert into board (source, dialect, encoding, sha256) values ('/plans/big.md', 'gfm', 'utf-8', '')"
    )
    connection.execute(
        "insert into item (board_id, key, position, status, ready, recipe)"
        " select 1, gen_random_uuid(), n, case when n %% 10 > 0 then 4 else n %% 20 / 10 end, n %% 20 = 10, 'task'"
        " from generate_series(1, %s) n",
        [30_000],
    )
    connection.execute(
        "insert into item_source (item_id, kind, title, line, declared, content_hash)"
        " select id, 'task', 'Title ' || id, position, 'todo', '' from item"
    )
    connection.execute("insert into need select id, id - 10 from item where status = 0 and id > 20")
    connection.execute("analyze")
    return connection


def plan(connection: Connection, name: str, wanted: ItemFilter, after: int | None = None) -> str:
    from tasks.items.listing import _query

    _, parameters = _query(wanted, after)
    lines = connection.execute(b"explain " + statement(name), parameters | {"limit": 50}).fetchall()
    return "\n".join(line for (line,) in lines)


def test_what_is_ready_comes_from_its_index_without_sorting(many: psycopg.Connection[Any]) -> None:
    told = plan(many, "items.ready_page", ItemFilter(ready=True), after=20_000)
    assert "Scan using item_ready_order" in told
    assert "Sort" not in told
    assert "item_source" not in told


@pytest.mark.parametrize(
    "wanted",
    [ItemFilter(), ItemFilter(statuses=(Status.WAITING,)), ItemFilter(boards=(1,)), ItemFilter(blocked=True)],
)
def test_lists_by_state_read_only_the_narrow_rows(many: psycopg.Connection[Any], wanted: ItemFilter) -> None:
    for name in ("items.page", "items.count"):
        told = plan(many, name, wanted)
        scans = [line for line in told.splitlines() if " on item_source" in line]
        assert all("item_source_removed" in line for line in scans), told
    worded = plan(many, "items.page", ItemFilter(words=("x",)))
    assert any(" on item_source s" in line for line in worded.splitlines()), "the check above sees the join"
