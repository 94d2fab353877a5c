"""What the order of work goes by: lane, deadline and length, as the board says and as people set it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sources
from models.enums import Lane
from sql.connection import Database
from sql.statements import statement
from tasks.decompose import apply_plan
from tasks.ingest import ingest_board
from tasks.ingest.deadlines import deadline
from tasks.ingest.rows import length
from tasks.lanes import set_boards

SOURCE = "/plans/plan.md"
BERLIN = "Europe/Berlin"

PLAN = """# Plan

- [ ] Drain the basin 📅 2026-03-01
  - [ ] Close the sluice
  - [ ] Warn the village 📅 2026-02-01
- [ ] Paint the gate 📅 2026-13-45
- [x] Elect a warden
"""


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as opened:
        yield opened


def ingest(connection: psycopg.Connection[Any], text: str, **options: Any) -> int:
    return ingest_board(
        connection, sources.parse(text.encode(), "plan.md"), source=SOURCE, **options
    ).board_id


def items(connection: psycopg.Connection[Any], column: str) -> dict[str, Any]:
    query = f"select s.title, i.{column} from item i join item_source s on s.item_id = i.id"
    return dict(connection.execute(query.encode()).fetchall())


def test_a_date_is_the_end_of_that_day_where_people_are(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, PLAN, zone=BERLIN)
    march = datetime(2026, 3, 1, 23, 59, 59, tzinfo=ZoneInfo(BERLIN))
    assert items(connection, "deadline") == {
        "Drain the basin": march,
        "Close the sluice": march,  # a part of it
        "Warn the village": datetime(2026, 2, 1, 22, 59, 59, tzinfo=UTC),
        "Paint the gate": None,
        "Elect a warden": None,
    }
    found = connection.execute("select code from finding").fetchall()
    assert ("invalid_date",) in found


def test_another_date_changes_the_deadline_alone(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, PLAN)
    connection.execute("update item set hurried = true, attempts = 2")
    before = items(connection, "id")
    ingest(connection, PLAN.replace("2026-02-01", "2026-02-03").replace("📅 2026-13-45", ""))
    assert items(connection, "id") == before
    assert items(connection, "deadline")["Warn the village"] == datetime(2026, 2, 3, 23, 59, 59, tzinfo=UTC)
    hurried = items(connection, "hurried")
    assert not hurried["Warn the village"], "whether it is near is to be seen again"
    assert hurried["Drain the basin"]
    assert items(connection, "attempts")["Warn the village"] == 2
    ingest(connection, PLAN.replace("📅 2026-02-01", ""))
    assert (
        items(connection, "deadline")["Warn the village"] == items(connection, "deadline")["Drain the basin"]
    )


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, 23, 59, 59, tzinfo=ZoneInfo(BERLIN))),
        ("2026-03-01 17:30", datetime(2026, 3, 1, 17, 30, tzinfo=ZoneInfo(BERLIN))),
        ("2026-03-01 9:05", datetime(2026, 3, 1, 9, 5, tzinfo=ZoneInfo(BERLIN))),
        ("2026-03-01T17:30:15", datetime(2026, 3, 1, 17, 30, 15, tzinfo=ZoneInfo(BERLIN))),
        ("2026-03-01T17:30:15.250Z", datetime(2026, 3, 1, 17, 30, 15, tzinfo=UTC)),
        ("2026-03-01T17:30+0530", datetime(2026, 3, 1, 12, 0, tzinfo=UTC)),
        (" 2026-03-01 (at the latest)", datetime(2026, 3, 1, 23, 59, 59, tzinfo=ZoneInfo(BERLIN))),
        ("2026-13-45", None),
        ("2026-02-30", None),
        ("2026-03-01 25:00", None),
        ("2026-03-011", None),
        ("0001-01-01", None),
        ("9999-12-31", None),
        ("friday", None),
        ("", None),
    ],
)
def test_what_boards_write_is_read(due: str, expected: datetime | None) -> None:
    assert deadline(due, BERLIN) == expected


@given(
    st.text(max_size=40)
    | st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:?\d\d)?", fullmatch=True)
)
def test_no_text_is_an_error_and_what_is_read_can_be_stored(due: str) -> None:
    found = deadline(due, "America/New_York")
    assert found is None or 1899 <= found.astimezone(UTC).year <= 9999


@given(st.dates(date(1900, 1, 1), date(9998, 12, 31)), st.sampled_from(["UTC", BERLIN, "Pacific/Apia"]))
def test_a_day_ends_within_a_second_of_the_next(day: date, zone: str) -> None:
    found = deadline(day.isoformat(), zone)
    assert found is not None
    assert found.date() == day
    assert (found.astimezone(UTC) + timedelta(seconds=1)).astimezone(ZoneInfo(zone)).time() in (
        time(0),
        time(1),  # where clocks are changed at midnight
    )


@given(st.text(max_size=300), st.text(max_size=300))
def test_length_is_a_power_of_two_that_the_text_fits_into(title: str, body: str) -> None:
    characters, power = len(title) + len(body), length(title, body)
    assert characters <= 2**power
    assert power == 0 or characters > 2 ** (power - 1)


def test_length_is_that_of_the_text_and_follows_it(connection: psycopg.Connection[Any]) -> None:
    ingest(connection, "# P\n\n- [ ] Dig\n- [ ] Fill #2\n")
    assert items(connection, "length") == {"Dig": 2, "Fill #2": 3}
    ingest(connection, "# P\n\n- [ ] Dig\n\n  Down to the clay, and not a hand deeper.\n- [ ] Fill #2\n")
    assert items(connection, "length") == {"Dig": 6, "Fill #2": 3}


def test_items_have_the_lane_of_their_board(connection: psycopg.Connection[Any]) -> None:
    board = ingest(connection, PLAN, lane=Lane.INTERACTIVE)
    assert set(items(connection, "lane").values()) == {Lane.INTERACTIVE}
    ingest(connection, PLAN + "- [ ] Feed the geese\n", lane=Lane.BULK)
    assert set(items(connection, "lane").values()) == {Lane.INTERACTIVE}, (
        "a board that is known keeps its own"
    )
    set_boards(connection, [board], lane=Lane.BULK)
    ingest(connection, PLAN + "- [ ] Feed the geese\n- [ ] Mend the fence\n")
    lanes = items(connection, "lane")
    assert lanes.pop("Elect a warden") == Lane.INTERACTIVE, "it was settled"
    assert set(lanes.values()) == {Lane.BULK}
    ingest(connection, PLAN.replace("[x] Elect", "[ ] Elect"))
    assert items(connection, "lane")["Elect a warden"] == Lane.BULK, "and is no more"


def test_a_limit_is_set_and_lifted_without_the_lane(connection: psycopg.Connection[Any]) -> None:
    board = ingest(connection, PLAN)
    seen = []
    for options in ({"wip": 2}, {"lane": Lane.BULK}, {"wip": 0}):
        set_boards(connection, [board], **options)
        seen.append(connection.execute("select lane, wip from board").fetchone())
    assert seen == [(1, 2), (2, 2), (2, None)]


async def test_parts_get_lane_deadline_and_length_of_their_own(database: Database) -> None:
    """Also where the board's lane is set while the item is split: that waits, and then sees the parts."""
    plan = {
        "subtasks": [
            {"title": "Open", "acceptance": ["it is open"]},
            {"title": "Shut", "acceptance": ["it is"]},
        ]
    }
    with database.connect(autocommit=True) as connection:
        board = ingest(connection, "# P\n\n- [ ] Flush the pipe 📅 2026-03-01\n")
        connection.execute("update item set status = 3")
        (item,) = items(connection, "id").values()
        async with await database.aconnect() as splitting:
            await apply_plan(splitting, item, plan)
            setting = asyncio.create_task(
                asyncio.to_thread(set_boards, connection, [board], lane=Lane.INTERACTIVE)
            )
            async with await database.aconnect(autocommit=True) as watching, asyncio.timeout(20):
                while True:
                    if await waits_for_a_lock(watching):
                        break
            await splitting.commit()
            await setting
        assert set(items(connection, "lane").values()) == {Lane.INTERACTIVE}
        assert set(items(connection, "deadline").values()) == {datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)}
        rows = connection.execute(
            "select i.length, length(s.title) + length(s.body) from item i join item_source s on s.item_id = i.id"
        ).fetchall()
    assert len(rows) == 3
    assert all(2 ** (power - 1) < characters <= 2**power for power, characters in rows)


async def waits_for_a_lock(connection: psycopg.AsyncConnection[Any]) -> bool:
    cursor = await connection.execute(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    return await cursor.fetchone() == (1,)


def test_a_pause_follows_a_board_that_is_renamed(connection: psycopg.Connection[Any]) -> None:
    board = ingest(connection, PLAN)
    connection.execute(
        "insert into pause (kind, name) values ('board', %s), ('board', '/plans/other.md')", [SOURCE]
    )
    sha256 = connection.execute("select sha256 from board").fetchone()
    assert sha256
    scope = {"board": board, "old": SOURCE, "source": "/plans/new.md"}
    assert connection.execute(statement("ingest.rename"), scope | {"sha256": "other"}).rowcount == 0
    assert connection.execute(statement("ingest.rename"), scope | {"sha256": sha256[0]}).rowcount == 1
    names = connection.execute("select name from pause order by name").fetchall()
    assert names == [("/plans/new.md",), ("/plans/other.md",)]
