"""The breaker of a model on an endpoint, against the database, with drains that come, die and race."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sql.connection import Database
from tasks.execute import breaker
from tasks.execute.breaker import Incidents, Opened

RESOURCE = "ollama http://gpu"
MODEL = "qwen3:8b"
DRAINS = 4

Value = TypeVar("Value")


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    opened = await database.aconnect(autocommit=True)
    yield opened
    await opened.close()


async def a_lease(connection: psycopg.AsyncConnection, name: str = RESOURCE) -> int:
    row = await (
        await connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values (%s, 'ollama', nextval('lease_token'), 'a test', now() + interval '1 h')"
            " on conflict (resource) do update set token = excluded.token returning token",
            [name],
        )
    ).fetchone()
    assert row
    return int(row[0])


async def time_is_up(connection: psycopg.AsyncConnection) -> None:
    await connection.execute(
        "update model_state set open_until = now() - interval '1 s' where open_until > now()"
    )


async def fail(
    connection: psycopg.AsyncConnection,
    token: int,
    *,
    allowed: int = 3,
    model: str = MODEL,
    words: str = "no",
) -> Opened | None:
    return await breaker.failed(
        connection, RESOURCE, model, words, failures_allowed=allowed, seconds=300, token=token
    )


async def test_it_opens_after_failures_in_a_row_and_another_model_stays_closed(
    connection: psycopg.AsyncConnection,
) -> None:
    token = await a_lease(connection)
    assert await fail(connection, token) is None
    assert await fail(connection, token) is None
    assert not await breaker.succeeded(connection, RESOURCE, MODEL, token)
    assert [await fail(connection, token, words=f"no {n}\0") for n in range(3)] == [
        None,
        None,
        Opened(3, 300),
    ]
    await fail(connection, token, model="other")
    blocked = await breaker.state(connection, RESOURCE)
    assert set(blocked) == {MODEL}
    assert 290 < blocked[MODEL].until_seconds <= 300
    assert blocked[MODEL].error == "no 2"
    assert not blocked[MODEL].trial
    assert not await breaker.take_trial(connection, RESOURCE, MODEL, token)
    assert await breaker.state(connection, "ollama http://another") == {}


async def test_a_failure_while_it_is_open_changes_nothing(connection: psycopg.AsyncConnection) -> None:
    """Requests that were in flight when it opened must not keep it open."""
    token = await a_lease(connection)
    assert await fail(connection, token, allowed=1) == Opened(1, 300)
    before = await breaker.state(connection, RESOURCE)
    assert await fail(connection, token, allowed=1, words="late") is None
    after = await breaker.state(connection, RESOURCE)
    assert after[MODEL].error == before[MODEL].error
    assert after[MODEL].until_seconds <= before[MODEL].until_seconds


async def test_a_success_writes_only_where_there_is_something_to_forget(
    connection: psycopg.AsyncConnection,
) -> None:
    async def version() -> list[Any]:
        return await (await connection.execute("select xmin, ctid from model_state")).fetchall()

    token = await a_lease(connection)
    assert not await breaker.succeeded(connection, RESOURCE, MODEL, token)
    assert await version() == []
    await fail(connection, token)
    assert not await breaker.succeeded(connection, RESOURCE, MODEL, token)
    before = await version()
    assert not await breaker.succeeded(connection, RESOURCE, MODEL, token)
    assert await version() == before
    await fail(connection, token, allowed=1)
    assert await breaker.succeeded(connection, RESOURCE, MODEL, token)
    assert await version() != before
    assert await breaker.state(connection, RESOURCE) == {}


async def test_what_a_drain_without_a_lease_says_changes_nothing(connection: psycopg.AsyncConnection) -> None:
    former = await a_lease(connection)
    await fail(connection, former, allowed=1)
    token = await a_lease(connection)  # took it over
    await time_is_up(connection)
    before = await breaker.state(connection, RESOURCE)
    assert await fail(connection, former, allowed=1) is None
    assert not await breaker.succeeded(connection, RESOURCE, MODEL, former)
    assert not await breaker.take_trial(connection, RESOURCE, MODEL, former)
    assert await breaker.state(connection, RESOURCE) == before
    assert await breaker.take_trial(connection, RESOURCE, MODEL, token)


async def test_one_trial_among_those_that_try_at_the_same_moment(database: Database) -> None:
    connections = [await database.aconnect(autocommit=True) for _ in range(8)]
    try:
        tokens = [await a_lease(connections[0], f"ollama http://gpu-{n}") for n in range(8)]
        await fail(connections[0], tokens[0], allowed=1)
        await time_is_up(connections[0])
        async with connections[0].transaction():
            # The row is held, so that all the others have begun, each with a look at it as it was.
            taken = await breaker.take_trial(connections[0], RESOURCE, MODEL, tokens[0])
            others = [
                asyncio.ensure_future(breaker.take_trial(one, RESOURCE, MODEL, token))
                for one, token in zip(connections[1:], tokens[1:], strict=True)
            ]
            watching = await database.aconnect(autocommit=True)
            waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            while (await (await watching.execute(waiting)).fetchone() or [0])[0] < len(others):
                assert not any(one.done() for one in others)
            await watching.close()
        assert taken
        assert not any(await asyncio.gather(*others))
    finally:
        for one in connections:
            await one.close()


class Breaker(RuleBasedStateMachine):
    """Drains that report, die and try, beside a model of what the breaker must be."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connections = [self.run(self.database.aconnect(autocommit=True)) for _ in range(DRAINS)]
        self.run(self.connections[0].execute("truncate model_state, lease"))
        self.tokens = [self.run(a_lease(self.connections[0], f"drain {n}")) for n in range(DRAINS)]
        self.dead: set[int] = set()  # numbers of drains
        self.failures = 0
        self.open = False
        self.up = False  # it is open, and its time is up
        self.trial: int | None = None  # the number of the drain that has it

    def run(self, what: Awaitable[Value]) -> Value:
        async def waited() -> Value:
            return await what

        return self.runner.run(waited())

    def teardown(self) -> None:
        for one in self.connections:
            self.run(one.close())
        self.runner.close()

    @initialize(allowed=st.integers(1, 4))
    def begin(self, allowed: int) -> None:
        self.allowed = allowed

    def all_at_once(self, what: Callable[[int], Awaitable[Value]], drains: set[int]) -> list[Value]:
        async def together() -> list[Value]:
            return list(await asyncio.gather(*(what(number) for number in sorted(drains))))

        return self.run(together())

    @rule(drains=st.sets(st.integers(0, DRAINS - 1), min_size=1))
    def they_fail(self, drains: set[int]) -> None:
        async def one(number: int) -> Opened | None:
            return await fail(self.connections[number], self.tokens[number], allowed=self.allowed)

        opened = [found for found in self.all_at_once(one, drains) if found]
        living = drains - self.dead
        if not living:
            assert not opened
        elif not self.open:
            before = self.failures
            self.failures = min(before + len(living), self.allowed)
            self.open = self.failures >= self.allowed
            assert opened == ([Opened(self.allowed, 300)] if self.open else [])
        elif self.up and (self.trial is None or self.trial in living):
            assert len(opened) == 1
            self.failures = opened[0].failures
            self.up, self.trial = False, None
        else:
            assert not opened

    @rule(drain=st.integers(0, DRAINS - 1))
    def one_succeeds(self, drain: int) -> None:
        was_open = self.run(breaker.succeeded(self.connections[drain], RESOURCE, MODEL, self.tokens[drain]))
        if drain in self.dead:
            assert not was_open
            return
        assert was_open is self.open
        self.failures, self.open, self.up, self.trial = 0, False, False, None

    @rule(drains=st.sets(st.integers(0, DRAINS - 1), min_size=1))
    def they_try(self, drains: set[int]) -> None:
        async def one(number: int) -> int | None:
            won = await breaker.take_trial(self.connections[number], RESOURCE, MODEL, self.tokens[number])
            return number if won else None

        won = [number for number in self.all_at_once(one, drains) if number is not None]
        if self.up and self.trial is None and drains - self.dead:
            assert len(won) == 1
            assert won[0] not in self.dead
            self.trial = won[0]
        else:
            assert won == []

    @rule(drain=st.integers(0, DRAINS - 1))
    def one_gives_its_trial_back(self, drain: int) -> None:
        self.run(breaker.give_trial_back(self.connections[drain], RESOURCE, MODEL, self.tokens[drain]))
        if self.trial == drain:
            self.trial = None

    @rule(drain=st.integers(0, DRAINS - 1))
    def one_dies(self, drain: int) -> None:
        self.run(
            self.connections[0].execute(
                "update lease set expires_at = now() - interval '1 s' where token = %s", [self.tokens[drain]]
            )
        )
        self.dead.add(drain)
        if self.trial == drain:
            self.trial = None  # may be taken again

    @rule(drain=st.integers(0, DRAINS - 1))
    def one_starts_anew(self, drain: int) -> None:
        self.tokens[drain] = self.run(a_lease(self.connections[0], f"drain {drain}"))
        self.run(
            self.connections[0].execute(
                "update lease set expires_at = now() + interval '1 h' where token = %s", [self.tokens[drain]]
            )
        )
        self.dead.discard(drain)
        if self.trial == drain:
            self.trial = None

    @rule()
    def its_time_is_up(self) -> None:
        self.run(time_is_up(self.connections[0]))
        self.up = self.open

    @invariant()
    def it_is_as_it_must_be(self) -> None:
        blocked = self.run(breaker.state(self.connections[0], RESOURCE)).get(MODEL)
        assert (blocked is not None) is self.open
        if blocked is not None:
            assert (blocked.until_seconds == 0) is self.up
            assert blocked.trial is (self.up and self.trial is None)


def test_whatever_drains_do_the_breaker_holds(database: Database) -> None:
    class Machine(Breaker):
        pass

    Machine.database = database
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.sampled_from(["a", "b"])), max_size=30))
def test_failures_that_overlap_a_counted_one_are_the_same_incident(calls: list[tuple[int, int, str]]) -> None:
    incidents = Incidents()
    counted: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    for sent, took, model in sorted(calls, key=lambda call: call[0] + call[1]):
        if incidents.counts(model, sent=sent, failed=sent + took):
            counted[model].append((sent, sent + took))
        else:
            assert any(begin <= sent + took and sent < end for begin, end in counted[model])
    for found in counted.values():
        assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(found))


def test_a_full_server_that_dies_is_one_failure() -> None:
    incidents = Incidents()
    assert incidents.counts("a", sent=1.0, failed=10.0)
    assert not any(incidents.counts("a", sent=sent, failed=10.5) for sent in (1.0, 5.0, 9.9))
    assert incidents.counts("b", sent=1.0, failed=10.5)  # another model is another breaker
    assert incidents.counts("a", sent=10.0, failed=11.0)
