"""Limits of an account, against the database, with drains that reserve at the same moment and die."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import example, given, settings

from models.calls import ModelAnswer, ModelCallError
from models.endpoint import Budget, Price
from models.enums import ErrorType, TimeoutKind
from models.settings import Settings
from sql.connection import Database
from tasks.execute import budget as budgets
from tasks.execute.budget import Grant, Reservation, Usage
from tasks.execute.limits import SETTLING_SECONDS, State, decide, limits

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, 0, 15, tzinfo=UTC)
ACCOUNT = "openai"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    opened = await database.aconnect(autocommit=True)
    yield opened
    await opened.close()


async def a_lease(connection: psycopg.AsyncConnection, name: str = "openai http://a") -> int:
    row = await (
        await connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values (%s, 'openai', nextval('lease_token'), 'a test', now() + interval '1 h')"
            " on conflict (resource) do update set token = excluded.token returning token",
            [name],
        )
    ).fetchone()
    assert row
    return int(row[0])


def of(**values: Any) -> Budget:
    return Budget(account=ACCOUNT, **values)


async def ask(
    connection: psycopg.AsyncConnection,
    budget: Budget,
    token: int,
    requests: int = 1,
    tokens: int = 100,
    usd: float | None = 0.0,
    at: datetime | None = NOON,
    day: date = DAY,
) -> Grant:
    return await budgets.reserve(
        connection, budget, requests=requests, tokens=tokens, usd=usd, day=day, token=token, now=at
    )


async def spent(connection: psycopg.AsyncConnection, day: date = DAY) -> tuple[Any, ...] | None:
    query = "select requests, tokens, usd, unpriced from spend where account = %s and day = %s"
    return await (await connection.execute(query, [ACCOUNT, day])).fetchone()


async def test_without_limits_nothing_is_asked_of_the_database(
    connection: psycopg.AsyncConnection,
) -> None:
    await connection.close()
    assert await ask(connection, of(), 1, requests=7) == Grant(7)
    await budgets.settle(connection, reserved=None, used=Usage(7, 700, 1.0), token=1)


async def test_unused_reservations_come_back(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    budget = of(tokens_per_day=1000)
    first = await ask(connection, budget, token, requests=20)
    assert (first.requests, first.wait, first.stopped) == (10, SETTLING_SECONDS, None)
    # All is reserved and none is used: that is no reason to stop.
    second = await ask(connection, budget, token)
    assert (second.requests, second.wait, second.stopped, second.reserved) == (
        0,
        SETTLING_SECONDS,
        None,
        None,
    )
    await budgets.settle(connection, reserved=first.reserved, used=Usage(10, 250), token=token)
    assert await spent(connection) == (10, 250, 0.0, 0)
    third = await ask(connection, budget, token, requests=20)
    assert third.requests == 7
    await budgets.settle(
        connection, reserved=third.reserved, used=Usage(7, 1400), token=token
    )  # more than thought
    last = await ask(connection, budget, token)
    assert last.requests == 0
    assert last.wait == 0
    assert last.stopped is not None
    assert "1,650 of 1,000 tokens a day" in last.stopped
    assert "tokens_per_day" in last.stopped
    assert (await ask(connection, budget, token, day=DAY + timedelta(days=1))).requests == 1


async def test_what_a_dead_drain_had_reserved_stays_spent(connection: psycopg.AsyncConnection) -> None:
    dead = await a_lease(connection)
    budget = of(requests_per_day=4)
    grant = await ask(connection, budget, dead, requests=4)
    token = await a_lease(connection)  # took the endpoint over
    stopped = await ask(connection, budget, token)
    assert stopped.requests == 0
    assert stopped.stopped
    # It was only slow: what it says it used counts.
    await budgets.settle(connection, reserved=grant.reserved, used=Usage(1, 100), token=dead)
    assert (await ask(connection, budget, token, requests=9)).requests == 3


async def test_rows_of_dead_drains_go(connection: psycopg.AsyncConnection) -> None:
    budget = of(requests_per_day=100)
    await ask(connection, budget, await a_lease(connection))
    token = await a_lease(connection)
    grant = await ask(connection, budget, token)
    await budgets.settle(connection, reserved=grant.reserved, used=Usage(1, 1), token=token)
    rows = await (await connection.execute("select token, requests from reservation")).fetchall()
    assert rows == [(token, 0)]
    assert await spent(connection) == (2, 101, 0.0, 0)


async def test_a_minute_is_one_of_the_clock(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    budget = of(requests_per_minute=3, tokens_per_minute=1000)
    first = await ask(connection, budget, token, requests=5)
    assert (first.requests, first.wait, first.stopped) == (3, 45.0, None)
    assert (await ask(connection, budget, token, at=NOON + timedelta(seconds=44.5))).wait == 0.5
    second = await ask(connection, budget, token, requests=2, tokens=900, at=NOON + timedelta(seconds=45))
    assert (second.requests, second.wait) == (1, 60.0)
    # The first minute is over: what comes back from it is nothing of the second.
    await budgets.settle(connection, reserved=first.reserved, used=Usage(0, 0), token=token)
    assert (await ask(connection, budget, token, tokens=200, at=NOON + timedelta(seconds=46))).requests == 0
    await budgets.settle(connection, reserved=second.reserved, used=Usage(1, 50), token=token)
    assert (await ask(connection, budget, token, tokens=900, at=NOON + timedelta(seconds=46))).requests == 1


async def test_the_clock_is_that_of_the_database(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    before = datetime.now(UTC)
    grant = await ask(connection, of(requests_per_minute=100), token, at=None)
    assert grant.reserved
    assert before - timedelta(minutes=1) <= grant.reserved.minute <= datetime.now(UTC)


async def test_a_warning_once_and_only_for_what_is_used(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    budget = of(tokens_per_day=1000, requests_per_day=4)
    one = await ask(connection, budget, token, tokens=850)
    two = await ask(connection, budget, token, tokens=100)
    assert (one.warned, two.warned) == (None, None)  # 95 % are reserved, nothing is used
    await budgets.settle(connection, reserved=one.reserved, used=Usage(1, 850), token=token)
    three = await ask(connection, budget, token, tokens=10)
    assert three.warned == "The account openai has used 85 % of its 1,000 tokens a day."
    assert (await ask(connection, budget, token, tokens=10)).warned is None
    await budgets.settle(connection, reserved=two.reserved, used=Usage(1, 100), token=token)
    await budgets.settle(connection, reserved=three.reserved, used=Usage(2, 10), token=token)
    another = await ask(connection, budget, token, tokens=1)  # another limit has its own
    assert another.warned == "The account openai has used 100 % of its 4 requests a day."
    assert another.stopped


async def test_a_warning_is_given_with_the_stop_if_it_was_never_given(
    connection: psycopg.AsyncConnection,
) -> None:
    token = await a_lease(connection)
    budget = of(requests_per_day=2)
    grant = await ask(connection, budget, token, requests=2)
    await budgets.settle(connection, reserved=grant.reserved, used=Usage(2, 10), token=token)
    last = await ask(connection, budget, token)
    assert last.stopped
    assert last.warned
    assert (await ask(connection, budget, token)).warned is None


async def test_money_without_a_price_is_not_spent_blindly(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    blind = await ask(connection, of(usd_per_day=5), token, usd=None)
    assert blind.requests == 0
    assert "price" in (blind.stopped or "")
    assert "$5.00" in (blind.stopped or "")
    assert await spent(connection) is None
    # Where money has no limit its cost is unknown, and said to be.
    grant = await ask(connection, of(requests_per_day=9), token, requests=3, usd=None)
    assert await spent(connection) == (3, 300, 0.0, 3)
    await budgets.settle(connection, reserved=grant.reserved, used=Usage(2, 50, None), token=token)
    assert await spent(connection) == (2, 50, 0.0, 2)


async def test_a_request_that_can_never_fit_is_no_wait(connection: psycopg.AsyncConnection) -> None:
    token = await a_lease(connection)
    grant = await ask(connection, of(tokens_per_minute=50), token)
    assert (grant.requests, grant.wait) == (0, 0)
    assert grant.stopped is not None
    assert "100 tokens" in grant.stopped
    assert "50 tokens a minute" in grant.stopped


async def test_the_longest_cooldown_counts(connection: psycopg.AsyncConnection) -> None:
    assert await budgets.cooldown(connection, ACCOUNT) == (0.0, "")
    await budgets.cool(connection, ACCOUNT, 0, "not at all")
    await budgets.cool(connection, ACCOUNT, 60, "a minute\0")
    await budgets.cool(connection, ACCOUNT, 5, "a moment")
    seconds, reason = await budgets.cooldown(connection, ACCOUNT)
    assert 50 < seconds <= 60
    assert reason == "a minute"
    await budgets.cool(connection, ACCOUNT, 600, "ten minutes")
    assert (await budgets.cooldown(connection, ACCOUNT))[1] == "ten minutes"
    assert await budgets.cooldown(connection, "another") == (0.0, "")
    await connection.execute("update account set cooldown_until = now() - interval '1 s'")
    assert await budgets.cooldown(connection, ACCOUNT) == (0.0, "")
    await budgets.cool(connection, ACCOUNT, 5, "again")
    assert (await budgets.cooldown(connection, ACCOUNT))[1] == "again"


# Drains that reserve and settle at the same moment, whatever they ask for.

Ask = st.tuples(st.integers(1, 6), st.integers(1, 60))
Round = st.tuples(
    st.lists(Ask, min_size=1, max_size=5),  # at the same moment
    st.lists(st.floats(0, 1), max_size=5),  # what is settled then, and which part of the estimate was used
    st.integers(0, 50),  # seconds until the next round
    st.booleans(),  # one drain dies
)
Limits = st.fixed_dictionaries(
    {},
    optional={
        "requests_per_day": st.integers(1, 25),
        "tokens_per_day": st.integers(1, 900),
        "usd_per_day": st.integers(1, 60),
        "requests_per_minute": st.integers(1, 10),
        "tokens_per_minute": st.integers(1, 300),
    },
)


@dataclass
class Held:
    reservation: Reservation
    token: int


class Schedule:
    """What was granted and used, added up by itself."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.held: list[Held] = []
        self.gone = [0, 0, 0.0]  # of dead drains, never settled
        self.used = [0, 0, 0.0]
        self.minutes: dict[datetime, list[int]] = defaultdict(lambda: [0, 0])

    def keeps_the_limits(self) -> None:
        budget = self.budget
        flying = [one.reservation for one in self.held]
        day = (
            self.used[0] + self.gone[0] + sum(one.requests for one in flying),
            self.used[1] + self.gone[1] + sum(one.tokens for one in flying),
            self.used[2] + self.gone[2] + sum(one.usd or 0.0 for one in flying),
        )
        assert day[0] <= (budget.requests_per_day or day[0])
        assert day[1] <= (budget.tokens_per_day or day[1])
        assert day[2] <= (budget.usd_per_day or day[2]) + 1e-9
        for requests, tokens in self.minutes.values():
            assert requests <= (budget.requests_per_minute or requests)
            assert tokens <= (budget.tokens_per_minute or tokens)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


def test_no_schedule_of_drains_goes_beyond_a_limit(database: Database, runner: asyncio.Runner) -> None:
    async def opened() -> list[psycopg.AsyncConnection]:
        return [await database.aconnect(autocommit=True) for _ in range(5)]

    connections = runner.run(opened())

    @given(Limits.filter(bool), st.lists(Round, min_size=1, max_size=8))
    @example(
        {"requests_per_day": 18, "usd_per_day": 10}, [([(1, 30), (3, 58), (2, 34), (5, 4)], [], 0, False)]
    )
    @settings(max_examples=60, deadline=None)
    def holds(limits_: dict[str, Any], rounds: list[Any]) -> None:
        runner.run(a_schedule(connections, of(**limits_), rounds))

    async def closed() -> None:
        for one in connections:
            await one.close()

    try:
        holds()
    finally:
        runner.run(closed())


async def a_schedule(connections: list[psycopg.AsyncConnection], budget: Budget, rounds: list[Any]) -> None:
    first = connections[0]
    await first.execute("truncate account, spend, reservation, lease")
    tokens = [await a_lease(first, f"drain {number}") for number in range(len(connections))]
    schedule, now = Schedule(budget), NOON
    for asks, settled, seconds, dies in rounds:
        grants = await asyncio.gather(
            *(
                ask(connections[number], budget, tokens[number], requests, each, each / 10, now)
                for number, (requests, each) in enumerate(asks)
            )
        )
        for number, ((requests, _), grant) in enumerate(zip(asks, grants, strict=True)):
            assert 0 <= grant.requests <= requests
            assert (grant.wait > 0) is (grant.requests < requests and not grant.stopped)
            if grant.reserved:
                schedule.held.append(Held(grant.reserved, tokens[number]))
                counts = schedule.minutes[grant.reserved.minute]
                counts[0] += grant.reserved.requests
                counts[1] += grant.reserved.tokens
        schedule.keeps_the_limits()

        ended, schedule.held = schedule.held[: len(settled)], schedule.held[len(settled) :]
        reports = []
        for number, (one, part) in enumerate(zip(ended, settled, strict=False)):
            reservation = one.reservation
            took = Usage(
                round(reservation.requests * part),
                round(reservation.tokens * part),
                (reservation.usd or 0.0) * part,
            )
            schedule.used = [
                schedule.used[0] + took.requests,
                schedule.used[1] + (took.tokens or 0),
                schedule.used[2] + (took.usd or 0.0),
            ]
            if reservation.minute == now.replace(second=0):
                counts = schedule.minutes[reservation.minute]
                counts[0] += took.requests - reservation.requests
                counts[1] += (took.tokens or 0) - reservation.tokens
            reports.append(
                budgets.settle(connections[number], reserved=reservation, used=took, token=one.token)
            )
        await asyncio.gather(*reports)
        if dies:
            lost = [one for one in schedule.held if one.token == tokens[0]]
            for one in lost:
                schedule.gone = [
                    schedule.gone[0] + one.reservation.requests,
                    schedule.gone[1] + one.reservation.tokens,
                    schedule.gone[2] + (one.reservation.usd or 0.0),
                ]
            schedule.held = [one for one in schedule.held if one.token != tokens[0]]
            tokens[0] = await a_lease(first, "drain 0")
        now += timedelta(seconds=seconds)

    for one in schedule.held:
        await budgets.settle(first, reserved=one.reservation, used=Usage(), token=one.token)
    found = await spent(first)
    total = [used + gone for used, gone in zip(schedule.used, schedule.gone, strict=True)]
    assert (found or (0, 0, 0.0))[:2] == (total[0], total[1])
    assert (found or (0, 0, 0.0))[2] == pytest.approx(total[2])
    assert (found or (0, 0, 0.0, 0))[3] == 0
    # And what came back may be had: nobody is stopped while there is room.
    left = [
        one.limit - one.used - one.each
        for one in limits(
            budget,
            State(now, 0, 0, 0, int(total[0]), int(total[1]), float(total[2])),
            tokens=1,
            usd=0.1,
        )
    ]
    if any(0 < abs(room) < 1e-6 for room in left):
        return  # floats that were added up in another order may say either
    room = all(each >= 0 for each in left)
    later = await ask(first, budget, tokens[0], 1, 1, 0.1, now + timedelta(minutes=1))
    assert (later.requests == 1) is room
    assert (later.stopped is None) is room


@given(
    Limits.filter(bool),
    st.lists(st.integers(0, 900), min_size=8, max_size=8),
    st.integers(1, 40),
    st.integers(1, 400),
    st.one_of(st.none(), st.floats(0, 70)),
)
@example({"usd_per_day": 1}, [0, 0, 0, 0, 2, 0, 0, 0], 1, 1, 5e-324)
def test_as_many_as_fit_and_not_one_more(
    limits_: dict[str, Any], numbers: list[int], requests: int, tokens: int, usd: float | None
) -> None:
    flying = [number % 50 for number in numbers[5:]]
    used = [number + more for number, more in zip(numbers[2:5], flying, strict=True)]
    state = State(
        NOON, 45.0, numbers[0], numbers[1], used[0], used[1], used[2], flying[0], flying[1], flying[2]
    )
    budget = of(**limits_)
    grant, newly = decide(budget, state, requests=requests, tokens=tokens, usd=usd)
    found = limits(budget, state, tokens=tokens, usd=usd)
    for one in found:
        assert one.fits(grant.requests) or grant.requests == 0
    if grant.requests < requests:
        blind = usd is None and budget.usd_per_day is not None
        assert blind or any(not one.fits(grant.requests + 1) for one in found)
    assert (grant.wait > 0) is (grant.requests < requests and not grant.stopped)
    assert not (grant.stopped and grant.requests)
    assert set(newly) == {
        one.name for one in found if one.period == "day" and 10 * (one.used - one.flying) >= 8 * one.limit
    }
    assert (grant.warned is None) is (not newly)


# What requests took.

PRICE = Price(input=3, output=15, cached=0.3)


def answer(prompt: int | None, completion: int | None, cached: int | None = None) -> ModelAnswer:
    return ModelAnswer("text", "m", "stop", prompt, completion, cached_tokens=cached)


@pytest.mark.parametrize(
    ("given_", "price", "expected"),
    [
        (answer(1_000_000, 1_000_000), PRICE, 18.0),
        (answer(1_000_000, 0, 500_000), PRICE, 1.65),
        (answer(1_000_000, 0, 500_000), Price(input=3, output=15), 3.0),
        (answer(1_000_000, 0, 2_000_000), PRICE, 0.3),
        (answer(1_000_000, 0), Price(input=0, output=0), 0.0),
        (answer(None, 5), PRICE, None),
        (answer(5, None), PRICE, None),
        (answer(5, 5), None, None),
    ],
)
def test_cost(given_: ModelAnswer, price: Price | None, expected: float | None) -> None:
    found = budgets.cost(given_, price)
    assert found == (None if expected is None else pytest.approx(expected))


def test_failed_attempts_count() -> None:
    replies = [
        answer(100, 50),
        answer(None, None),  # the server did not say: the estimate
        None,  # was not sent
        ModelCallError(ErrorType.TRUNCATED, "cut off", partial=answer(100, 200)),
        ModelCallError(ErrorType.TIMEOUT, "silent", timeout=TimeoutKind.STALL),  # it was at work
        ModelCallError(ErrorType.TIMEOUT, "no connection", timeout=TimeoutKind.CONNECT),
        ModelCallError(ErrorType.RATE_LIMITED, "too many"),
    ]
    took = budgets.used(replies, PRICE, tokens=1000, usd=0.01)
    assert took.requests == 6
    assert took.tokens == 150 + 1000 + 300 + 1000
    assert took.usd == pytest.approx((200 * 3 + 250 * 15) / 1e6 + 2 * 0.01)
    assert budgets.used(replies, None, tokens=1000, usd=None).usd is None
    assert budgets.estimated_cost(1000, 100, PRICE) == pytest.approx(0.0045)
    assert budgets.estimated_cost(1000, 100, None) is None


def test_a_day_is_one_of_the_time_zone() -> None:
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert budgets.today("UTC", late) == date(2026, 3, 1)
    assert budgets.today("Europe/Berlin", late) == date(2026, 3, 2)
    assert budgets.today("America/New_York", late) == date(2026, 3, 1)


def test_a_budget_that_would_never_count_is_refused() -> None:
    """An endpoint that names an account is not under a budget of its own name."""
    endpoint = {"backend": "openai", "url": "http://a/v1", "account": "lab"}
    known = Settings.model_validate(
        {"endpoints": [endpoint], "budgets": [{"account": "lab", "requests_per_day": 1}]}
    )
    assert known.budget(known.endpoints[0]).requests_per_day == 1
    with pytest.raises(ValueError, match="no endpoint has the account"):
        Settings.model_validate(
            {"endpoints": [endpoint], "budgets": [{"account": "openai http://a/v1", "requests_per_day": 1}]}
        )
