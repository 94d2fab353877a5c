"""A device that several drains share: never more requests than it has slots, and everyone's turn comes."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.endpoint import Device
from sql.connection import Database
from sql.statements import statement
from tasks.execute.seats import TURN_SECONDS, Seats, Wanting, ahead, fair_share, inherit

# --- what is fair -------------------------------------------------------------------------------------------


@st.composite
def drains(draw: st.DrawFn) -> list[Wanting]:
    seconds = st.floats(0, 100)
    return [
        Wanting(
            token=token,
            want=draw(st.integers(0, 12)),
            held=draw(st.integers(0, 4)),
            seated_seconds=draw(st.none() | seconds),
            idle_seconds=draw(seconds),
            weight=draw(st.sampled_from([1, 1, 1, 2, 3])),
        )
        for token in range(draw(st.integers(0, 6)))
    ]


@given(drains(), st.integers(1, 12))
def test_shares_are_within_what_is_wanted_and_there(wanting: list[Wanting], slots: int) -> None:
    shares = fair_share(wanting, slots)
    assert shares.keys() == {each.token for each in wanting}
    assert all(0 <= shares[each.token] <= each.want for each in wanting)
    assert sum(shares.values()) <= slots
    assert shares == fair_share(wanting[::-1], slots), (
        "everyone comes to the same, in whatever order rows come"
    )
    if all(each.weight == 1 for each in wanting):
        assert sum(shares.values()) == min(slots, sum(each.want for each in wanting)), "none is left unused"


@given(drains(), st.integers(1, 12))
def test_nobody_has_more_than_another_who_could_use_it(wanting: list[Wanting], slots: int) -> None:
    shares = fair_share(wanting, slots)
    units = {each.token: min(each.weight, each.want, slots) for each in wanting}
    if sum(units.values()) > slots:
        return  # they take turns
    for less in wanting:
        for more in wanting:
            if shares[less.token] + max(units[less.token], units[more.token]) < shares[more.token]:
                assert shares[less.token] == less.want


def test_what_cannot_be_shared_evenly_goes_round() -> None:
    seen = [
        fair_share([Wanting(1, 4, 2, seconds), Wanting(2, 4, 1, seconds)], 3)
        for seconds in (0.0, TURN_SECONDS - 1, TURN_SECONDS, 2 * TURN_SECONDS)
    ]
    assert seen == [{1: 2, 2: 1}, {1: 2, 2: 1}, {1: 1, 2: 2}, {1: 2, 2: 1}]


def test_a_heavy_request_waits_for_enough_seats_and_is_not_passed() -> None:
    light = [Wanting(token, 1, 1, TURN_SECONDS - 1) for token in (1, 2)]
    heavy = Wanting(3, 2, 0, None, 5.0, weight=2)
    late = Wanting(4, 1, 0, None, 1.0)
    assert fair_share([*light, heavy, late], 3) == {1: 1, 2: 1, 3: 1, 4: 0}
    assert fair_share([Wanting(1, 1, 1, TURN_SECONDS), light[1], heavy, late], 3) == {1: 0, 2: 1, 3: 2, 4: 0}


def test_a_request_heavier_than_the_device_takes_all_of_it() -> None:
    assert fair_share([Wanting(1, 2, weight=9)], 2) == {1: 2}
    assert Seats(Device(name="gpu", slots=2), 1).unit(9) == 2


@dataclass
class Sim:
    """A drain as Seats runs it, on a clock of the test."""

    token: int
    want: int
    weight: int = 1
    held: int = 0
    allowed: int = 0
    since: float = 0.0
    seated: bool = False
    ends: list[float] = field(default_factory=list)

    @property
    def busy(self) -> int:
        return len(self.ends) * self.weight

    def seen(self, now: float) -> Wanting:
        waited = now - self.since
        return Wanting(
            self.token,
            self.want,
            self.held,
            waited if self.seated else None,
            0.0 if self.seated else waited,
            self.weight,
        )

    def refresh(self, everyone: list[Sim], slots: int, now: float) -> None:
        seen = [each.seen(now) for each in everyone]
        shares = fair_share(seen, slots)
        target = shares[self.token]
        free = max(0, slots - sum(each.held for each in everyone) - ahead(seen, shares, self.token))
        keep = max(target, self.busy)
        self.held = min(self.held, keep) if self.held > target else self.held + min(target - self.held, free)
        self.allowed = min(self.held, target)
        if (self.held >= self.weight) is not self.seated:
            self.seated, self.since = not self.seated, now

    def work(self, now: float, call: float) -> None:
        self.ends = [end for end in self.ends if end > now]
        while self.busy + self.weight <= self.allowed:
            self.ends.append(now + call)


class Sharing(RuleBasedStateMachine):
    """Drains come and go, want more and less, look at different times: what they hold is never more than there is."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.slots = 3
        self.drains: list[Sim] = []
        self.tokens = 0

    @rule(want=st.integers(1, 6), weight=st.sampled_from([1, 1, 2]))
    def come(self, want: int, weight: int) -> None:
        self.tokens += 1
        self.drains.append(Sim(self.tokens, want * weight, weight, since=self.now))

    def one(self, data: st.DataObject) -> Sim:
        return data.draw(st.sampled_from(self.drains), label="drain")

    @precondition(lambda self: self.drains)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.drains.remove(self.one(data))

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), want=st.integers(0, 6))
    def want(self, data: st.DataObject, want: int) -> None:
        one = self.one(data)
        if one.want == 0 and not one.seated:
            one.since = self.now
        one.want = want * one.weight

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), call=st.floats(0.1, 30))
    def work(self, data: st.DataObject, call: float) -> None:
        one = self.one(data)
        one.refresh(self.drains, self.slots, self.now)
        one.work(self.now, call)

    @rule(seconds=st.floats(0.1, 30))
    def passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_there_is(self) -> None:
        assert sum(each.held for each in self.drains) <= self.slots
        assert all(each.busy <= each.held for each in self.drains)

    def teardown(self) -> None:
        """However it came to this: once everyone looks and nobody is in flight, everyone has what is fair."""
        for _ in range(3):
            for one in self.drains:
                one.ends = []
                one.refresh(self.drains, self.slots, self.now)
        shares = fair_share([each.seen(self.now) for each in self.drains], self.slots)
        assert {each.token: each.held for each in self.drains} == shares


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([1, 1, 1, 2]), min_size=1, max_size=7),
    slots=st.integers(1, 4),
    call=st.floats(0.5, 25.0),
    seed=st.integers(0, 99),
)
def test_everyones_turn_comes(weights: list[int], slots: int, call: float, seed: int) -> None:
    """Looked at each second, as a drain does: the stated bound of being idle, and a look for each hand-over."""
    chance, look = random.Random(seed), 1.0
    everyone = [
        Sim(token, 2 * min(weight, slots), min(weight, slots)) for token, weight in enumerate(weights)
    ]
    rounds = math.ceil(len(weights) / slots) - 1 if set(weights) == {1} else len(weights)
    bound = rounds * (TURN_SECONDS + call + 3 * look) + 2 * look
    for second in range(400):
        now = second * look
        chance.shuffle(everyone)
        for one in everyone:
            one.ends = [end for end in one.ends if end > now]
            one.refresh(everyone, slots, now)
            one.work(now, call)
            assert one.seated or now - one.since <= bound
        assert sum(each.busy for each in everyone) <= slots


# --- who has a seat -----------------------------------------------------------------------------------------

GPU = Device(name="gpu", slots=4)


class World:
    def __init__(self, database: Database) -> None:
        self.database = database

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def lease(self, resource: str, seconds: float = 3600.0) -> int:
        with self.database.connect() as connection:
            row = connection.execute(
                "insert into lease (resource, backend, token, holder, expires_at)"
                " values (%(resource)s, 'ollama', nextval('lease_token'), 'h', now() + %(ttl)s * interval '1 s')"
                " on conflict (resource) do update set token = excluded.token, expires_at = excluded.expires_at"
                " returning token",
                {"resource": resource, "ttl": seconds},
            ).fetchone()
        assert row
        return int(row[0])

    def lapse(self, token: int) -> None:
        with self.database.connect() as connection:
            connection.execute(
                "update lease set expires_at = now() - interval '1 s' where token = %s", [token]
            )

    def taken(self) -> dict[int, int]:
        rows = self.rows("select token, count(*) from seat where token is not null group by token")
        return {int(str(token)): int(str(count)) for token, count in rows}


@pytest.fixture
def gpu(database: Database) -> World:
    return World(database)


def nothing() -> int:
    return 0


async def test_two_drains_share_as_answers_come(gpu: World) -> None:
    told: list[int] = []
    first, second = Seats(GPU, gpu.lease("a"), told.append), Seats(GPU, gpu.lease("b"))
    async with await gpu.database.aconnect(autocommit=True) as connection:
        assert await first.refresh(connection, want=9, busy=nothing) == 4
        assert await second.refresh(connection, want=9, busy=nothing) == 0
        assert await first.refresh(connection, want=9, busy=lambda: 3) == 2, (
            "it may not send more than its share"
        )
        assert first.held == 3, "three are in flight, so three seats are in use"
        assert await second.refresh(connection, want=9, busy=nothing) == 1
        assert await first.refresh(connection, want=9, busy=lambda: 2) == first.held == 2
        assert await second.refresh(connection, want=9, busy=nothing) == second.held == 2
        assert gpu.taken() == {first.token: 2, second.token: 2}
        await first.release(connection)
        assert (first.held, first.allowed) == (0, 0)
        assert told == [4, 3, 2, 0], "lowered to what is in flight before a seat is given back"
        assert await second.refresh(connection, want=3, busy=nothing) == 3
        assert await second.refresh(connection, want=0, busy=nothing) == 0
    assert gpu.taken() == {}


async def test_what_is_sent_during_the_call_keeps_its_seat(gpu: World) -> None:
    """Seats are given back by what is in flight when that is said, not when the call began."""
    first, second = Seats(GPU, gpu.lease("a")), Seats(GPU, gpu.lease("b"))
    in_flight = [0]
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await first.refresh(connection, want=4, busy=nothing)
        await second.refresh(connection, want=4, busy=nothing)
        call = asyncio.ensure_future(first.refresh(connection, want=4, busy=lambda: in_flight[0]))
        await asyncio.sleep(0)
        assert first.allowed == 4
        in_flight[0] = 4
        assert await call == 2
        assert first.held == 4


async def test_the_seats_of_a_lapsed_lease_are_free_and_it_does_not_come_back(gpu: World) -> None:
    dead, alive = Seats(GPU, gpu.lease("a")), Seats(GPU, gpu.lease("b"))
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await dead.refresh(connection, want=4, busy=nothing)
        gpu.lapse(dead.token)
        assert await alive.refresh(connection, want=4, busy=nothing) == 4
        assert await dead.refresh(connection, want=4, busy=lambda: 4) == dead.held == 0
    assert gpu.rows("select resource from lease") == [("b",)]


async def test_a_beat_that_is_under_way_saves_the_lease_and_its_seats(gpu: World) -> None:
    late, other = Seats(GPU, gpu.lease("a")), Seats(GPU, gpu.lease("b"))
    database = gpu.database
    async with await database.aconnect(autocommit=True) as mine, await database.aconnect() as beating:
        await late.refresh(mine, want=4, busy=nothing)
        await beating.execute("select now()")  # it began before the lease lapsed
        gpu.lapse(late.token)
        await beating.execute("update lease set expires_at = now() + interval '1 h' where resource = 'a'")
        assert await other.refresh(mine, want=4, busy=nothing) == 0, "its row is locked: it may live"
        await beating.commit()
        assert await other.refresh(mine, want=4, busy=nothing) == 0
        assert await late.refresh(mine, want=4, busy=lambda: 4) == 2


async def waits_for_a_lock(gpu: World) -> None:
    async with asyncio.timeout(20):
        while not gpu.rows("select 1 from pg_stat_activity where wait_event_type = 'Lock'"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # Postgres has no event of it


async def test_a_seat_taken_since_it_was_seen_is_left_alone(gpu: World) -> None:
    """One drain saw a free seat and has to wait; meanwhile a newcomer, whose lease it can't see, takes the seat."""
    device = Device(name="gpu", slots=1)
    slow, before = Seats(device, gpu.lease("a")), Seats(device, gpu.lease("b"))
    database = gpu.database
    async with await database.aconnect(autocommit=True) as mine, await database.aconnect() as blocking:
        await before.refresh(mine, want=1, busy=nothing)
        assert await slow.refresh(mine, want=1, busy=nothing) == 0
        await before.release(mine)
        await blocking.execute("update lease set model = 'm' where resource = 'a'")
        waiting = asyncio.ensure_future(slow.refresh(mine, want=1, busy=nothing))
        await waits_for_a_lock(gpu)
        new = gpu.lease("c")
        with database.connect() as other:
            other.execute("update seat set token = %s where token is null", [new])
        await blocking.commit()
        assert await waiting == 0
    assert gpu.taken() == {new: 1}


async def test_who_is_taken_over_meanwhile_takes_nothing(gpu: World) -> None:
    device = Device(name="gpu", slots=1)
    old, before = Seats(device, gpu.lease("a")), Seats(device, gpu.lease("b"))
    database = gpu.database
    async with await database.aconnect(autocommit=True) as mine, await database.aconnect() as taking:
        await before.refresh(mine, want=1, busy=nothing)
        assert await old.refresh(mine, want=1, busy=nothing) == 0
        await before.release(mine)
        await taking.execute("update lease set token = nextval('lease_token') where resource = 'a'")
        waiting = asyncio.ensure_future(old.refresh(mine, want=1, busy=nothing))
        await waits_for_a_lock(gpu)
        await taking.commit()
        assert await waiting == old.held == 0
    assert gpu.taken() == {}


async def test_nobody_sits_down_while_there_are_too_many_seats(gpu: World) -> None:
    """Where one that is to be deleted was locked just then."""
    values = {"device": "gpu", "token": gpu.lease("a"), "slots": 2, "weight": 1}
    values |= {"target": 2, "keep": 2, "ahead": 0}
    async with await gpu.database.aconnect(autocommit=True) as connection:
        for slots, held in ((3, 0), (2, 2)):
            await connection.execute(statement("seats.shape"), values | {"slots": slots})
            assert await (await connection.execute(statement("seats.settle"), values)).fetchone() == (held,)


async def test_who_takes_over_inherits_and_nobody_else_gets_the_seats(gpu: World) -> None:
    dead, other = Seats(GPU, gpu.lease("a")), Seats(GPU, gpu.lease("b"))
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await dead.refresh(connection, want=4, busy=nothing)
        heir = Seats(GPU, gpu.lease("a"))
        assert await inherit(connection, dead.token, heir.token) == 4
        assert await other.refresh(connection, want=4, busy=nothing) == 0
        # Requests of the dead one may still be on the server: its heir keeps the seats for them.
        assert await heir.refresh(connection, want=4, busy=lambda: 4) == 2
        assert heir.held == 4
        assert await dead.refresh(connection, want=4, busy=lambda: 4) == 0


async def test_other_settings_change_the_seats_and_none_in_use_is_lost(gpu: World) -> None:
    old = Seats(GPU, gpu.lease("a"))
    less = Device(name="gpu", slots=2)
    new = Seats(less, gpu.lease("b"))
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await old.refresh(connection, want=3, busy=nothing)
        assert await new.refresh(connection, want=2, busy=nothing) == 0, "three are in use, of two"
        assert gpu.rows("select count(*) from seat") == [(3,)]
        gpu.lapse(old.token)
        assert await new.refresh(connection, want=2, busy=nothing) == 2
        assert gpu.rows("select count(*) from seat") == [(2,)]
        more = Seats(Device(name="gpu", slots=6), new.token)
        assert await more.refresh(connection, want=9, busy=nothing) == 6


async def test_weights_and_how_long_one_is_seated(gpu: World) -> None:
    heavy, light = Seats(GPU, gpu.lease("a")), Seats(GPU, gpu.lease("b"))
    seated = "select seated_at is not null, weight from lease order by resource"
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await light.refresh(connection, want=3, busy=nothing)
        await heavy.refresh(connection, want=4, busy=nothing, weight=3)
        assert (heavy.held, heavy.requests(3)) == (1, 0)
        assert gpu.rows(seated) == [(False, 3), (True, 1)], "one seat is not enough for its request"
        await light.refresh(connection, want=3, busy=nothing)
        assert (light.held, light.requests()) == (1, 1)
        await heavy.refresh(connection, want=4, busy=nothing, weight=3)
        assert (heavy.held, heavy.requests(3)) == (3, 1)
        assert gpu.rows(seated) == [(True, 3), (True, 1)]
        since = gpu.rows("select seated_at from lease order by resource")
        await heavy.refresh(connection, want=3, busy=nothing, weight=3)
        assert gpu.rows("select seated_at from lease order by resource") == since


async def test_waiting_counts_from_when_it_wanted(gpu: World) -> None:
    device = Device(name="gpu", slots=1)
    bored, patient, holder = (Seats(device, gpu.lease(name)) for name in "abc")
    async with await gpu.database.aconnect(autocommit=True) as connection:
        await holder.refresh(connection, want=1, busy=nothing)
        await bored.refresh(connection, want=0, busy=nothing)
        await patient.refresh(connection, want=1, busy=nothing)
        await connection.execute(
            "update lease set idle_at = idle_at - case resource when 'a' then interval '1 h' else interval '1 min' end,"
            " seated_at = seated_at - interval '1 h'"
        )
        await bored.refresh(connection, want=1, busy=nothing)
        await holder.refresh(connection, want=1, busy=nothing)
        assert await bored.refresh(connection, want=1, busy=nothing) == 0
        assert await patient.refresh(connection, want=1, busy=nothing) == 1


async def test_a_seat_that_becomes_free_is_for_who_waits_longest(gpu: World) -> None:
    device = Device(name="gpu", slots=2)
    first, second, waiting = (Seats(device, gpu.lease(name)) for name in "abc")
    async with await gpu.database.aconnect(autocommit=True) as connection:
        for one in (first, second, waiting):
            await one.refresh(connection, want=1, busy=nothing)
        assert gpu.taken() == {first.token: 1, second.token: 1}
        await connection.execute("update lease set seated_at = seated_at - interval '1 min'")
        assert await second.refresh(connection, want=1, busy=lambda: 1) == 1, "it sat for the shorter time"
        assert await first.refresh(connection, want=1, busy=nothing) == 0
        assert await first.refresh(connection, want=1, busy=nothing) == 0, "free, and not its turn"
        assert await waiting.refresh(connection, want=1, busy=nothing) == 1


async def test_never_more_in_flight_whatever_dies(gpu: World) -> None:
    """Drains on connections of their own refresh, send, finish, lapse, are taken over, come with other settings."""
    endpoints, rounds = 6, 60
    in_flight: dict[int, int] = {}
    most = finished = 0

    def count(token: int, change: int) -> None:
        nonlocal most
        in_flight[token] = in_flight.get(token, 0) + change
        most = max(most, sum(in_flight.values()))
        assert sum(in_flight.values()) <= GPU.slots

    async def endpoint(number: int) -> None:
        nonlocal finished
        chance = random.Random(number)
        weight = 1 + (number == 0)
        async with await gpu.database.aconnect(autocommit=True) as connection:
            seats = Seats(GPU, await asyncio.to_thread(gpu.lease, f"e{number}"))
            for _ in range(rounds):
                requests = chance.randint(0, 4)

                def busy(seats: Seats = seats) -> int:
                    return in_flight.get(seats.token, 0)

                await seats.refresh(connection, want=requests * weight, busy=busy, weight=weight)
                while busy() + weight <= seats.allowed and chance.random() < 0.9:
                    count(seats.token, weight)
                await asyncio.sleep(chance.random() / 500)
                while busy() and chance.random() < 0.6:
                    count(seats.token, -weight)
                    finished += 1
                fate = chance.random()
                if fate < 0.05:  # it died; its requests are off the server before its lease lapses
                    in_flight.pop(seats.token, None)
                    await asyncio.to_thread(gpu.lapse, seats.token)
                    seats = Seats(GPU, await asyncio.to_thread(gpu.lease, f"e{number}"))
                elif (
                    fate < 0.15
                ):  # it died on this machine, with requests on the server that its heir waits for
                    async with connection.transaction():
                        row = await (
                            await connection.execute(
                                "update lease set token = nextval('lease_token') where token = %s returning token",
                                [seats.token],
                            )
                        ).fetchone()
                        assert row
                        await inherit(connection, seats.token, row[0])
                    in_flight[row[0]] = in_flight.pop(seats.token, 0)
                    seats = Seats(GPU, row[0])
                elif fate < 0.2:
                    in_flight.pop(seats.token, None)
                    await seats.release(connection)
                owned = await (
                    await connection.execute("select count(*) from seat where token = %s", [seats.token])
                ).fetchone()
                assert owned is not None
                assert owned[0] >= busy()
            in_flight.pop(seats.token, None)
            await seats.release(connection)

    await asyncio.gather(*(endpoint(number) for number in range(endpoints)))
    assert most == GPU.slots, "all of it was used"
    assert finished > endpoints * rounds / 10
    assert gpu.taken() == {}
    assert gpu.rows("select count(*) from seat") == [(GPU.slots,)]
