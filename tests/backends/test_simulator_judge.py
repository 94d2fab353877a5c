"""What the simulator counts, in virtual time; and that its slots and its memory hold whatever comes."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.simulator.clock import virtually
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.judge import Judge, Waits
from backends.simulator.memory import NoMemory
from backends.simulator.options import Options

from .machine import ask, at_once, leaving, numbered, took

# --- faults that take time ----------------------------------------------------------------------------------


def test_a_slow_load_takes_ten_times_as_long() -> None:
    (request,), _ = at_once(Options(load_seconds=2, script=["slow_load"]), Call("sim:small", "", "x"))
    assert request.load_seconds == took(request) == pytest.approx(20)


@pytest.mark.parametrize(("fault", "written"), [("hang", 0), ("stall", 25)])
def test_what_hangs_holds_its_slot_until_the_client_leaves(fault: str, written: int) -> None:
    async def scenario() -> tuple[Engine, Request]:
        engine = Engine(Options(slots=1, tokens_per_second=10, answer_tokens=(50, 50), script=[fault]))
        hung = asyncio.ensure_future(leaving(engine, Call("sim:small", "", "1"), after=100))
        other = await ask(engine, Call("sim:small", "", "2"), after=1)
        await hung
        return engine, other

    engine, other = virtually(scenario())
    assert other.started == pytest.approx(100)
    assert engine.judge.as_json()["wasted_tokens"] == engine.judge.wasted_left == written
    assert engine.judge.outcomes == {"disconnected": 1, "answered": 1}


# --- the judge ----------------------------------------------------------------------------------------------


def test_waste_is_what_nobody_got_and_what_was_had_before() -> None:
    options = Options(
        tokens_per_second=10, prefill_per_second=100, answer_tokens=(50, 50), cache_tokens=0, script=["empty"]
    )

    async def scenario() -> Engine:
        engine = Engine(options)
        call = numbered(1)[0]
        await ask(engine, call)  # an empty answer: to ask again is no waste
        await ask(engine, call)
        await ask(engine, call)  # but this is
        await leaving(engine, call, after=3.05)  # 100 tokens read, 20 written
        await leaving(engine, call, after=0.505)  # 50 read
        return engine

    stats = virtually(scenario()).judge.as_json()
    assert stats["wasted_again"] == 50
    assert stats["wasted_left"] == 20
    assert stats["wasted_left_in"] == 150
    assert stats["wasted_tokens"] == 70
    assert stats["tokens_out"] == 50 + 50 + 20
    assert stats["tokens_in"] == 3 * 100 + 150
    assert stats["answered_twice"] == 2


def test_callers_and_models_are_counted_apart() -> None:
    async def scenario() -> Engine:
        engine = Engine(Options(slots=1, resident=0, latency=1.0))
        await asyncio.gather(
            *(ask(engine, Call("sim:small", "", str(n), caller="one")) for n in range(3)),
            ask(engine, Call("sim:large", "", "x", caller="two")),
        )
        return engine

    stats = virtually(scenario()).judge.as_json()
    assert {name: tally["requests"] for name, tally in stats["callers"].items()} == {"one": 3, "two": 1}
    assert stats["callers"]["one"]["max_in_flight"] == 3
    assert stats["callers"]["one"]["waits"]["max"] == 2
    assert stats["callers"]["two"]["waits"]["max"] == 3
    assert {name: tally["answered"] for name, tally in stats["models"].items()} == {
        "sim:small": 3,
        "sim:large": 1,
    }
    assert (stats["max_in_flight"], stats["max_running"], stats["in_flight"]) == (4, 1, 0)


def test_a_reset_keeps_what_is_in_flight() -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        engine = Engine(Options(latency=10))
        done = asyncio.ensure_future(ask(engine, Call("sim:small", "", "1")))
        await asyncio.sleep(1)
        engine.reset()
        middle = engine.stats()
        await done
        return middle, engine.stats()

    middle, end = virtually(scenario())
    assert (middle["requests"], middle["in_flight"], middle["max_in_flight"]) == (0, 1, 1)
    assert (end["in_flight"], end["running"], end["outcomes"]) == (0, 0, {"answered": 1})


@given(st.lists(st.one_of(st.just(0.0), st.floats(0.001, 1000)), min_size=1, max_size=50))
def test_percentiles_are_waits_that_there_were(seconds: list[float]) -> None:
    waits = Waits()
    for each in seconds:
        waits.add(each)
    ordered, summary = sorted(round(each, 6) for each in seconds), waits.summary()
    assert summary["max"] == ordered[-1]
    assert summary["p50"] == ordered[math.ceil(0.5 * len(ordered)) - 1]
    assert summary["p95"] == ordered[math.ceil(round(0.95 * len(ordered), 9)) - 1]


def test_what_was_counted_survives_the_process() -> None:
    _, engine = at_once(Options(slots=1, latency=1), *numbered(3, caller="me"))
    engine.judge.total.in_flight = 2
    again = Judge.restored(engine.judge.dump())
    assert (again.deaths, again.total.in_flight) == (1, 0)
    before, after = engine.judge.as_json(), again.as_json()
    for name in ("requests", "waits", "outcomes", "asked", "callers", "loads"):
        assert before[name] == after[name]


# --- whatever comes -----------------------------------------------------------------------------------------

CALLS = st.lists(
    st.tuples(
        st.floats(0, 20),  # when
        st.sampled_from(["a", "b", "c", "huge"]),
        st.sampled_from([1024, 2048]),
        st.integers(1, 60),  # length
        st.one_of(st.none(), st.floats(0.1, 10)),  # when its client leaves
        st.sampled_from(["ok", "ok", "ok", "empty", "stall", "slow_load"]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(CALLS, st.integers(1, 4), st.integers(0, 3), st.sampled_from([0.0, 9.0, 14.0]))
def test_slots_and_memory_hold_whatever_comes(
    calls: list[Any], slots: int, resident: int, memory: float
) -> None:
    options = Options(
        models=("a", "b", "c", "huge"),
        slots=slots,
        resident=resident,
        memory=memory,
        model_memory={"a": 3, "b": 4, "c": 5, "huge": 20},
        context_memory=0.5,
        load_seconds={"a": 0.5, "*": 1.5},
        tokens_per_second=30,
        prefill_per_second=200,
        keep_alive=3.0,
    )

    async def scenario() -> tuple[Engine, float, int]:
        engine = Engine(options)
        most = 0.0

        async def one(when: float, model: str, context: int, length: int, patience: float | None) -> None:
            nonlocal most
            await asyncio.sleep(when)
            try:
                async with asyncio.timeout(patience or 500):
                    await ask(engine, Call(model, "", "word " * length, context=context))
            except (TimeoutError, NoMemory):
                pass
            most = max(most, engine.memory.used)
            assert len(engine.busy_slots) <= slots

        engine.faults.set(script=[call[5] for call in calls])
        await asyncio.gather(*(one(*call[:5]) for call in calls))
        return engine, most, len(engine.loaded)

    engine, most, loaded = virtually(scenario())
    judge = engine.judge
    assert judge.total.max_running <= slots
    assert judge.evictions_of_busy == 0
    if memory:
        assert max(most, judge.max_memory) <= memory
    if resident:
        assert loaded <= resident
    assert judge.total.in_flight == judge.total.running == engine.waiting == 0
    assert engine.busy_slots == set()
    assert sum(judge.outcomes.values()) == judge.total.requests == len(calls)
