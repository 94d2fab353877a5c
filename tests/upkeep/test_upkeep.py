"""What is started because nobody works on it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recipe import Recipe, RecipeHeader
from models.settings import Endpoint, Settings
from sql.connection import Database
from tasks.upkeep import (
    Delivery,
    PastDrain,
    Wanted,
    known_delivery,
    may_start,
    record_delivery,
    settle_delivery,
    unsettled_deliveries,
    wanted_drains,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTINGS = Settings(backend="extractive")


def past(state: str, ago: float, ended: float | None = None, *, idle: bool = False) -> PastDrain:
    end = None if ended is None else NOW - timedelta(seconds=ended)
    return PastDrain(state, NOW - timedelta(seconds=ago), end, idle)


@pytest.mark.parametrize(
    ("runs", "may"),
    [
        ([], True),
        ([past("COMPLETED", 9, 1)], True),
        ([past("COMPLETED", 9, 1, idle=True)], False),  # what there is may not be done: a pause, a breaker
        ([past("COMPLETED", 19, 11, idle=True)], True),
        ([past("COMPLETED", 99, 50, idle=True)] * 9, False),
        ([past("COMPLETED", 99, 61, idle=True)] * 9, True),
        ([past("COMPLETED", 9, 1, idle=True), past("FAILED", 20, 9)], False),
        ([past("SCHEDULED", 3600)], False),  # its pool is paused or busy: another one would not help
        ([past("PENDING", 3600)], False),
        ([past("RUNNING", 200)], False),
        ([past("RUNNING", 400)], True),  # no lease after five minutes: dead
        ([past("FAILED", 20, 9)], False),
        ([past("FAILED", 20, 11)], True),
        ([past("FAILED", 20, 11), past("CRASHED", 60, 50)], False),
        ([past("FAILED", 30, 21), past("CRASHED", 60, 50)], True),
        ([past("FAILED", 30, 11), past("COMPLETED", 60, 50), past("FAILED", 90, 80)], True),
        ([past("FAILED", 900, 899)] * 12, False),
        ([past("FAILED", 901, 900)] * 12, True),
        ([past("CANCELLED", 300, 299)], False),
        ([past("CANCELLED", 1000, 900)], True),
        ([past("FAILED", 1000, 900), past("RUNNING", 10)], False),
    ],
)
def test_when_a_drain_may_start(runs: list[PastDrain], may: bool) -> None:
    assert may_start(runs, NOW) is may


states = st.sampled_from(["SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"])


@given(st.lists(st.tuples(states, st.floats(1, 1e5)), max_size=12))
def test_a_backend_is_never_given_up_and_never_hurried(runs: list[tuple[str, float]]) -> None:
    found = [
        past(state, ago, None if state in ("SCHEDULED", "PENDING", "RUNNING") else ago / 2)
        for state, ago in runs
    ]
    waiting = any(run.state in ("SCHEDULED", "PENDING") for run in found)
    assert may_start(found, NOW + timedelta(days=3)) is not waiting
    if found and found[0].state in ("FAILED", "CRASHED") and found[0].ended is not None:
        assert not may_start(found, found[0].ended + timedelta(seconds=9))


async def board(connection: psycopg.AsyncConnection, *, run: str | None = None) -> int:
    cursor = await connection.execute(
        "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', 'x') returning id",
        [uuid.uuid4().hex],
    )
    row = await cursor.fetchone()
    assert row is not None
    if run is not None:
        await connection.execute(
            "insert into run (id, board_ids, backend) values (%s, %s, %s)", [uuid.uuid4(), [row[0]], run]
        )
    return int(row[0])


async def item(
    connection: psycopg.AsyncConnection,
    board_id: int,
    backend: str | None = None,
    *,
    ready: bool = True,
    due: float = 0,
) -> None:
    await connection.execute(
        "insert into item (board_id, key, position, status, ready, recipe, backend, run_after)"
        " values (%s, %s, 0, %s, %s, 'answer', %s, now() + %s * interval '1 second')",
        [board_id, uuid.uuid4(), 1 if ready else 0, ready, backend, due],
    )


async def lease(connection: psycopg.AsyncConnection, backend: str, seconds: float) -> None:
    await connection.execute(
        "insert into lease (resource, backend, token, holder, expires_at)"
        " values (%s, %s, nextval('lease_token'), 'me', now() + %s * interval '1 second')"
        " on conflict (resource) do update set expires_at = excluded.expires_at",
        [f"{backend} there", backend, seconds],
    )


async def test_ready_items_without_a_drain_want_one(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        assert await wanted_drains(connection, SETTINGS, {}) == []
        here = await board(connection)
        await item(connection, here, "ollama", ready=False)
        await item(connection, here, "ollama", due=60)
        assert await wanted_drains(connection, SETTINGS, {}) == []
        await item(connection, here, "ollama")
        await item(connection, here, "openai")
        await item(connection, here, "openai")
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("ollama", 1), Wanted("openai", 2)]
        await lease(connection, "ollama", 30)
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("openai", 2)]
        await lease(connection, "ollama", -1)
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("ollama", 1), Wanted("openai", 2)]


async def test_items_go_on_where_their_board_was_run(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        await item(connection, await board(connection, run="mlx"))
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("mlx", 1)]
        await item(connection, await board(connection))  # no run chose yet: the setting does
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("extractive", 1), Wanted("mlx", 1)]
        await lease(connection, "extractive", 30)
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("mlx", 1)]


async def test_what_a_dead_drain_had_claimed_wants_one(database: Database) -> None:
    """Else the last items of a board would be held for ever by a process that is no more."""
    connection = await database.aconnect(autocommit=True)
    async with connection:
        await item(connection, await board(connection), "ollama")
        await connection.execute("update item set status = 2, ready = false, lease = 7")
        assert await wanted_drains(connection, SETTINGS, {}) == [Wanted("ollama", 1)]
        await lease(connection, "ollama", 30)
        await connection.execute("update item set lease = (select token from lease)")
        assert await wanted_drains(connection, SETTINGS, {}) == []


async def test_a_drain_is_wanted_only_for_what_it_would_take(database: Database) -> None:
    """Else one would be started every few seconds for ever, for an item that it has to leave."""
    only = recipe_of("answer", backends=["openai"])
    connection = await database.aconnect(autocommit=True)
    async with connection:
        here, there = await board(connection, run="ollama"), await board(connection, run="openai")
        await item(connection, here)
        await item(connection, there)
        found = await wanted_drains(connection, SETTINGS, {"answer": only})
        assert [(each.backend, each.items, each.boards) for each in found] == [("openai", 1, (there,))]
        falls = recipe_of("answer", backends=["openai"], fallback="other")
        both = await wanted_drains(connection, SETTINGS, {"answer": falls, "other": recipe_of("other")})
        assert [each.boards for each in both] == [(here,), (there,)]


def recipe_of(name: str, **header: Any) -> Recipe:
    return Recipe(RecipeHeader(name=name, about="a test", **header), "system", "prompt", "", "", "")


async def test_a_delivery_is_recorded_once(database: Database) -> None:
    async def record(number: int) -> Delivery:
        connection = await database.aconnect(autocommit=True)
        async with connection:
            return await record_delivery(
                connection, Delivery("github:1", {"board": f"{number}.md"}), "github"
            )

    stored = await asyncio.gather(*(record(number) for number in range(16)))
    assert len({each.parameters["board"] for each in stored}) == 1
    connection = await database.aconnect(autocommit=True)
    async with connection:
        assert await known_delivery(connection, "github:2") is None
        assert await unsettled_deliveries(connection, age=30) == []  # young: it is being answered
        await connection.execute("update delivery set received_at = now() - interval '1 minute'")
        assert await unsettled_deliveries(connection, age=30) == [stored[0]]
        await settle_delivery(connection, "github:1", "the run")
        await settle_delivery(connection, "github:1", "another")
        assert await unsettled_deliveries(connection, age=30) == []
        known = await known_delivery(connection, "github:1")
        assert known is not None
        assert known.flow_run_id == "the run"


async def test_what_is_paused_wants_no_drain(database: Database) -> None:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        stopped, free = await board(connection, run="extractive"), await board(connection, run="extractive")
        for each in (stopped, free):
            await item(connection, each)
        await connection.execute(
            "insert into pause (kind, name) select 'board', source from board where id = %s", [stopped]
        )
        assert [wanted.boards for wanted in await wanted_drains(connection, SETTINGS, {})] == [(free,)]
        await connection.execute("insert into pause (kind, name) values ('backend', 'extractive')")
        assert await wanted_drains(connection, SETTINGS, {}) == []
        await connection.execute("update pause set until = now() - interval '1 second'")
        assert [wanted.boards for wanted in await wanted_drains(connection, SETTINGS, {})] == [
            (stopped, free)
        ]


async def test_an_endpoint_with_quiet_hours_wants_no_drain(database: Database) -> None:
    now = datetime.now(UTC)
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    server = Endpoint(backend="ollama", url="http://127.0.0.1:9", quiet=hours)
    other = Endpoint(backend="ollama", url="http://127.0.0.1:10")
    connection = await database.aconnect(autocommit=True)
    async with connection:
        await item(connection, await board(connection, run="ollama"))
        assert await wanted_drains(connection, Settings(endpoints=[server]), {}) == []
        both = await wanted_drains(connection, Settings(endpoints=[server, other]), {})
        assert [wanted.backend for wanted in both] == ["ollama"]
