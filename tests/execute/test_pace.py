"""How many requests an endpoint bears: found out, never guessed upwards."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping

import psutil
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backends.simulator.clock import virtually
from backends.simulator.engine import Broken, Call, Engine
from backends.simulator.options import Options
from deployments.load import Pace as Shown
from deployments.load import read
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
from models.settings import Settings
from sql.connection import Database
from tasks.execute.pace import (
    BARRED_SECONDS,
    HELD_SECONDS,
    READING_SECONDS,
    RECOVERY_SECONDS,
    Host,
    Pace,
    is_local,
    load,
    read_host,
    save,
)

CALM, FULL, BUSY, UNKNOWN = Host(50.0, 0.5), Host(93.0, 0.5), Host(50.0, 2.5), Host(None, 0.5)
CUTTING = (ErrorType.OVERLOADED, ErrorType.OUT_OF_MEMORY)


def good(pace: Pace, now: float, count: int = 1, *, seconds: float | None = 1.0) -> None:
    """Good answers at full use, each as fast as if the others were not there."""
    for _ in range(count):
        pace.answered(seconds=seconds, tokens=100, in_flight=pace.allowed, sent_at=now, now=now)


class Machine(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pace = Pace(12, local=self.local)
        self.before = 12
        self.calm_until = -1.0
        self.last_cut = float("-inf")

    def rose(self) -> bool:
        return self.pace.allowed > self.before

    @rule(seconds=st.floats(0, 200))
    def passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        seconds=st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0, 20.0, float("inf"), float("nan")]),
        tokens=st.none() | st.integers(0, 500),
        unused=st.integers(0, 2),
        ago=st.floats(0, 50),
        count=st.integers(1, 30),
    )
    def answers(self, seconds: float | None, tokens: int | None, unused: int, ago: float, count: int) -> None:
        for _ in range(count):
            self.before = self.pace.allowed
            self.pace.answered(
                seconds=seconds,
                tokens=tokens,
                in_flight=self.pace.allowed - unused,
                sent_at=self.now - ago,
                now=self.now,
            )
            assert abs(self.pace.allowed - self.before) <= 1
            if self.rose():
                assert self.now >= self.pace.held_until
                assert seconds is not None
                assert 0 < seconds < float("inf")
                assert not unused
                if self.local:
                    assert self.now <= self.calm_until

    @rule(
        error=st.sampled_from(list(ErrorType)), ago=st.floats(0, 50), kind=st.sampled_from(list(TimeoutKind))
    )
    def fails(self, error: ErrorType, ago: float, kind: TimeoutKind) -> None:
        sent_at = self.now - ago
        self.before = self.pace.allowed
        self.pace.failed(error, sent_at=sent_at, now=self.now, timeout=kind)
        if sent_at < self.last_cut:
            assert self.pace.allowed == self.before, "the same incident"
        elif error in CUTTING:
            assert self.pace.allowed == max(1, self.before // 2)
            self.last_cut = self.now
        elif self.pace.allowed != self.before:
            assert error is ErrorType.TIMEOUT
            self.last_cut = self.now
        elif error is ErrorType.TIMEOUT and kind in (TimeoutKind.FIRST_TOKEN, TimeoutKind.TOTAL):
            self.last_cut = self.now  # from 1 to 1
        if error is ErrorType.OUT_OF_MEMORY:
            assert self.pace.held_until >= self.now + HELD_SECONDS

    @rule(reading=st.sampled_from([None, CALM, FULL, BUSY, UNKNOWN]))
    def reads(self, reading: Host | None) -> None:
        self.before = self.pace.allowed
        self.pace.host(reading, self.now)
        self.calm_until = self.now + READING_SECONDS if reading is CALM else -1.0
        if reading in (FULL, BUSY) and self.local:
            again = self.now < self.last_cut + RECOVERY_SECONDS
            assert self.pace.allowed == (self.before if again else max(1, self.before // 2))
            self.last_cut = self.last_cut if again else self.now
        else:
            assert self.pace.allowed == self.before

    @rule()
    def switches(self) -> None:
        self.pace.forget(self.now)

    @invariant()
    def within(self) -> None:
        assert 1 <= self.pace.allowed <= self.pace.slots


class LocalMachine(Machine):
    local = True


TestElsewhere = Machine.TestCase
TestHere = LocalMachine.TestCase
TestElsewhere.settings = TestHere.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- down ---------------------------------------------------------------------------------------------------


def test_what_is_declared_is_trusted_at_the_beginning() -> None:
    assert Pace(8).allowed == 8
    assert Pace(8, 3).allowed == 3
    assert Pace(8, 30).allowed == 8
    with pytest.raises(ValueError, match="at least 1"):
        Pace(0)


def test_one_incident_halves_once() -> None:
    pace = Pace(8)
    for number in range(8):  # all of them fail, one after the other
        pace.failed(ErrorType.OVERLOADED, sent_at=0.0, now=1.0 + number)
    assert pace.allowed == 4
    assert pace.reason == "8 to 4: the server said that it has too much to do"
    pace.failed(ErrorType.OVERLOADED, sent_at=2.0, now=9.0)
    assert pace.allowed == 2


def test_what_tells_of_too_much_and_what_does_not() -> None:
    cuts = set()
    for error in ErrorType:
        for kind in (*TimeoutKind, None):
            pace = Pace(8)
            pace.failed(error, sent_at=0.0, now=1.0, timeout=kind)
            if pace.allowed == 4:
                cuts.add((error, kind))
    kinds = (*TimeoutKind, None)
    assert cuts == {(error, kind) for error in CUTTING for kind in kinds} | {
        (ErrorType.TIMEOUT, kind) for kind in (TimeoutKind.FIRST_TOKEN, TimeoutKind.TOTAL, None)
    }


def test_after_a_memory_fault_it_is_held_down() -> None:
    pace = Pace(4)
    pace.failed(ErrorType.OUT_OF_MEMORY, sent_at=0.0, now=1.0)
    good(pace, 1.0 + HELD_SECONDS - 0.1, 50)
    assert pace.allowed == 2
    good(pace, 1.0 + HELD_SECONDS, 1)
    assert pace.allowed == 3


@pytest.mark.parametrize(
    ("reading", "why"), [(FULL, "memory is 93 % full"), (BUSY, "load is 2.5 per processor")]
)
def test_a_machine_in_trouble_halves_while_that_lasts(reading: Host, why: str) -> None:
    pace = Pace(8, local=True)
    for second in range(61):
        pace.host(reading, float(second))
    assert pace.allowed == 1
    assert why in pace.reason
    assert (pace.held_until >= 60 + HELD_SECONDS) is (reading is FULL)


def test_a_server_elsewhere_has_nothing_to_do_with_this_machine() -> None:
    pace = Pace(8, 4)
    pace.host(FULL, 0.0)
    good(pace, 0.0, 4)
    assert pace.allowed == 5


# --- up -----------------------------------------------------------------------------------------------------


def test_one_more_a_round() -> None:
    pace = Pace(8, 4)
    good(pace, 0.0, 3)
    assert pace.allowed == 4
    good(pace, 0.0, 1)
    assert pace.allowed == 5
    good(pace, 1.0, 4)
    assert pace.allowed == 5
    good(pace, 1.0, 1)
    assert pace.allowed == 6


@pytest.mark.parametrize("reading", [None, UNKNOWN, FULL, BUSY])
def test_a_reading_that_is_missing_or_bad_never_raises(reading: Host | None) -> None:
    pace = Pace(8, 2, local=True)
    good(pace, 0.0, 50)
    assert pace.allowed == 2, "never read"
    pace.host(CALM, 0.0)
    good(pace, READING_SECONDS, 50)
    assert pace.allowed == 2, "read too long ago"
    pace.host(reading, READING_SECONDS)
    good(pace, READING_SECONDS, 50)
    assert pace.allowed <= 2


def test_answers_that_say_nothing_never_raise() -> None:
    pace = Pace(8, 2)
    good(pace, 0.0, 50, seconds=None)
    for _ in range(50):
        pace.answered(seconds=1.0, tokens=9, in_flight=1, sent_at=0.0, now=0.0)
    assert pace.allowed == 2
    pace.forget(5.0)
    for _ in range(50):
        pace.answered(seconds=1.0, tokens=9, in_flight=2, sent_at=4.9, now=9.0)
    assert pace.allowed == 2, "sent before the level began"


@pytest.mark.parametrize("tokens", [100, None])
def test_a_level_that_brings_nothing_is_given_up_for_a_while(tokens: int | None) -> None:
    """A server of four slots: the fifth request waits in its queue."""
    pace = Pace(16, 3)
    seen: Counter[int] = Counter()

    def answers(now: float) -> None:
        for _ in range(300):
            level = pace.allowed
            seen[level] += 1
            pace.answered(seconds=max(1.0, level / 4), tokens=tokens, in_flight=level, sent_at=now, now=now)

    answers(0.0)
    assert pace.allowed == 4
    assert pace.reason == "5 to 4: 5 at once brought no more than 4"
    assert seen[5] == 5, "as many answers as the level has requests"
    answers(BARRED_SECONDS - 0.1)
    assert seen[5] == 5
    answers(BARRED_SECONDS)
    assert pace.allowed == 4
    assert seen[5] == 10


# --- against the simulated machine --------------------------------------------------------------------------


async def work(options: Options, pace: Pace, seconds: float) -> tuple[dict[int, float], Engine]:
    """Always as many requests in flight as are allowed. Gives the seconds at each level."""
    engine, clock = Engine(options), asyncio.get_running_loop().time
    spent: dict[int, float] = defaultdict(float)
    in_flight: set[asyncio.Task[None]] = set()
    number = 0

    async def ask(number: int, sent_at: float, beside: int) -> None:
        call = Call("sim:small", "system", f"{number} " + "word " * 40)
        with engine.request(call) as request:
            request.admit()
            try:
                await request.start()
                await request.finish()
            except Broken:
                pace.failed(ErrorType.OUT_OF_MEMORY, sent_at=sent_at, now=clock())
                return
            request.answered()
        pace.answered(
            seconds=clock() - sent_at,
            tokens=request.outcome.completion_tokens,
            in_flight=beside,
            sent_at=sent_at,
            now=clock(),
        )

    while clock() < seconds:
        while len(in_flight) < pace.allowed:
            number += 1
            in_flight.add(asyncio.ensure_future(ask(number, clock(), len(in_flight) + 1)))
        before, level = clock(), pace.allowed
        done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        spent[level] += clock() - before
    for task in in_flight:
        task.cancel()
    return spent, engine


MACHINE = {"tokens_per_second": 50.0, "prefill_per_second": 1000.0, "answer_tokens": (20, 200)}


@pytest.mark.parametrize(
    ("options", "best"),
    [
        (Options(slots=4, decode_crowding=0.1, **MACHINE), {4, 5}),  # type: ignore[arg-type]
        (Options(slots=64, decode_crowding=0.2, **MACHINE), {6, 7, 8}),  # type: ignore[arg-type]
        (Options(slots=64, decode_crowding=1.0, **MACHINE), {1, 2}),  # type: ignore[arg-type]
        (Options(slots=64, decode_crowding=0.0, **MACHINE), {15, 16}),  # type: ignore[arg-type]
    ],
    ids=["queue", "crowd", "no-gain", "free"],
)
@pytest.mark.parametrize("begin", [1, 8])
def test_it_comes_near_the_level_above_which_more_is_useless(
    options: Options, best: set[int], begin: int
) -> None:
    """From below, and from above once there was a reason to doubt (a cut from 16 to 8)."""
    pace = Pace(16, begin)
    if begin == 8:
        pace = Pace(16)
        pace.failed(ErrorType.OVERLOADED, sent_at=0.0, now=0.0)
    spent, engine = virtually(work(options, pace, 1800))
    late = sum(seconds for level, seconds in spent.items() if level in best)
    if begin == 8 and options.slots == 4:
        assert max(spent) < 14, "none of the levels that queue is better or worse: it does not climb them"
    else:
        assert late > 0.6 * sum(spent.values()), spent
    assert engine.judge.total.max_in_flight <= 16


def test_it_recovers_after_the_server_ran_out_of_memory() -> None:
    options = Options(
        slots=16,
        decode_crowding=0.02,
        script=[*["ok"] * 40, "broken"],
        load_seconds=5.0,
        **MACHINE,  # type: ignore[arg-type]
    )
    pace = Pace(8)
    spent, engine = virtually(work(options, pace, 600))
    assert engine.judge.outcomes["broken"] == 1
    assert HELD_SECONDS - 10 <= spent[4] < HELD_SECONDS + 60
    assert pace.allowed == 8
    assert spent[8] > 300
    assert engine.judge.total.max_in_flight == 8


# --- this machine, and what is stored -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.8.0.1", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000", True),
        ("http://[::ffff:127.0.0.1]:8000", True),
        ("http://0.0.0.0:8000", True),
        ("http://gpu-1:11434", False),
        ("http://192.168.1.2:8000", False),
        ("command://claude", False),
        ("extractive://local", False),
        ("http://[broken", False),
    ],
)
def test_whose_machine_it_is(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_this_machine_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = read_host()
    assert reading.known
    assert reading.memory is not None
    assert 0 < reading.memory <= 100

    def broken() -> tuple[float, float, float]:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "getloadavg", broken)
    assert read_host().load is None
    assert not read_host().known


def leased(database: Database, resource: str) -> int:
    with database.connect() as connection:
        row = connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values (%s, 'ollama', nextval('lease_token'), 'h', now() + interval '1 h') returning token",
            [resource],
        ).fetchone()
    assert row
    return int(row[0])


def stored_paces(database: Database) -> Mapping[str, Shown]:
    with database.connect() as connection:
        return read(connection, Settings()).paces


async def test_the_next_drain_goes_on_where_this_one_was(database: Database) -> None:
    endpoint = Endpoint(backend="ollama", url="http://127.0.0.1:11434/", slots=8)
    token = leased(database, endpoint.resource)
    async with await database.aconnect(autocommit=True) as connection:
        pace = await load(connection, endpoint, 1000.0)
        assert (pace.allowed, pace.local, pace.changed) == (8, True, False)
        pace.failed(ErrorType.OUT_OF_MEMORY, sent_at=1000.0, now=1001.0)
        assert pace.changed
        assert not await save(connection, endpoint, pace, token=token + 1, now=1001.0), "not its endpoint"
        assert not stored_paces(database)
        assert await save(connection, endpoint, pace, token=token, now=1001.0)
        assert not pace.changed
        again = await load(connection, endpoint, 50.0)
        assert (again.allowed, again.slots, again.reason, again.changed) == (4, 8, pace.reason, False)
        assert 50 + HELD_SECONDS - 60 < again.held_until <= 50 + HELD_SECONDS
        [(resource, shown)] = stored_paces(database).items()
        assert (resource, shown.slots, shown.allowed) == (endpoint.resource, 8, 4.0)
        assert shown.held_until is not None
        assert shown.reason == "8 to 4: the server ran out of memory"


async def test_what_could_not_be_saved_is_saved_next_time(database: Database) -> None:
    endpoint = Endpoint(backend="ollama", url="http://127.0.0.1:11434/", slots=8)
    token = leased(database, endpoint.resource)
    pace = Pace(8)
    pace.failed(ErrorType.OVERLOADED, sent_at=0.0, now=0.0)
    async with await database.aconnect(autocommit=True) as connection:
        await connection.execute("alter table endpoint rename to elsewhere")
        with pytest.raises(psycopg.Error):
            await save(connection, endpoint, pace, token=token, now=0.0)
        assert pace.changed
        await connection.execute("alter table elsewhere rename to endpoint")
        assert await save(connection, endpoint, pace, token=token, now=0.0)


@pytest.mark.parametrize(("allowed", "declared", "begins"), [(8, 16, 16), (8, 4, 4), (3, 16, 3), (3, 2, 2)])
async def test_other_slots_were_declared_since(
    database: Database, allowed: int, declared: int, begins: int
) -> None:
    endpoint = Endpoint(backend="ollama", url="http://gpu:11434", slots=8)
    token = leased(database, endpoint.resource)
    async with await database.aconnect(autocommit=True) as connection:
        assert await save(connection, endpoint, Pace(8, allowed), token=token, now=0.0)
        later = endpoint.model_copy(update={"slots": declared})
        assert (await load(connection, later, 0.0)).allowed == begins


@given(st.integers(1, 40), st.lists(st.sampled_from(["cut", "good"]), max_size=40))
def test_it_always_finds_back_to_its_slots(slots: int, what: list[str]) -> None:
    """Where requests don't hinder each other, whatever was."""
    pace = Pace(slots)
    for now, each in enumerate(what):
        if each == "cut":
            pace.failed(ErrorType.OVERLOADED, sent_at=float(now), now=float(now))
        else:
            good(pace, float(now), 5)
    good(pace, 1000.0, 40 + slots * slots)
    assert pace.allowed == slots
