"""The simulated machine in virtual time: speed, cache, memory and queue."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.simulator import answers
from backends.simulator.cache import BLOCK, PrefixCache, blocks
from backends.simulator.clock import NothingToWaitFor, virtually
from backends.simulator.engine import Busy, Call, Engine, Request
from backends.simulator.memory import NoMemory
from backends.simulator.options import Options
from backends.simulator.speed import Gpu

from .machine import PROMPT, ask, at_once, leaving, numbered, took

# --- the clock ----------------------------------------------------------------------------------------------


def test_virtual_time_passes_at_once_and_in_order() -> None:
    async def scenario() -> list[float]:
        loop, seen = asyncio.get_running_loop(), []

        async def note(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(loop.time())

        await asyncio.gather(note(86_400), note(0.5), note(3600))
        return seen

    assert virtually(scenario()) == pytest.approx([0.5, 3600, 86_400])


def test_a_deadlock_is_told_instead_of_hanging() -> None:
    with pytest.raises(NothingToWaitFor):
        virtually(asyncio.Event().wait())


# --- speed --------------------------------------------------------------------------------------------------

SPEEDS = Options(
    prefill_per_second=100,
    tokens_per_second=10,
    answer_tokens=(50, 50),
    cache_tokens=0,
    decode_crowding=0.5,
    prefill_crowding=1.0,
)


def test_one_alone_takes_prefill_and_decode() -> None:
    (request,), _ = at_once(SPEEDS, *numbered(1))
    assert (request.outcome.prompt_tokens, request.outcome.completion_tokens) == (100, 50)
    assert request.read_at - request.started == pytest.approx(1.0)
    assert took(request) == pytest.approx(1.0 + 5.0)


@pytest.mark.parametrize("many", [2, 4])
def test_busy_slots_share_the_speed_by_the_formula(many: int) -> None:
    requests, engine = at_once(SPEEDS, *numbered(many))
    prefill = 100 / (100 / (1 + 1.0 * (many - 1)))
    decode = 50 / (10 / (1 + 0.5 * (many - 1)))
    for request in requests:
        assert took(request) == pytest.approx(prefill + decode)
    assert engine.judge.total.max_running == many


def test_the_share_changes_in_the_middle_of_an_answer() -> None:
    options = Options(tokens_per_second=10, answer_tokens=(50, 50), decode_crowding=1.0, cache_tokens=0)

    async def scenario() -> tuple[Request, Request]:
        engine = Engine(options)
        first, second = numbered(2)
        return await asyncio.gather(ask(engine, first), ask(engine, second, after=2.0))

    first, second = virtually(scenario())
    # Alone for 2 s (20 tokens), the other 30 at half speed; then the second has 20 left, alone.
    assert took(first) == pytest.approx(2.0 + 30 / 5)
    assert took(second) == pytest.approx(30 / 5 + 20 / 10)


def test_a_stream_gives_each_token_in_its_time() -> None:
    async def scenario() -> tuple[list[float], str, Request]:
        engine = Engine(SPEEDS)
        times, texts = [], []
        with engine.request(numbered(1)[0]) as request:
            request.admit()
            await request.start()
            async for text in request.pieces():
                texts.append(text)
                times.append(asyncio.get_running_loop().time())
            request.answered()
        return times, "".join(texts), request

    times, text, request = virtually(scenario())
    assert times == pytest.approx([1.0 + (n + 1) / 10 for n in range(50)])
    assert text == request.outcome.text


def test_latency_and_speeds_of_each_model_add_up() -> None:
    options = Options(
        resident=0,
        latency=0.25,
        load_seconds={"sim:small": 2.0, "*": 8.0},
        tokens_per_second={"sim:small": 100, "*": 10},
        answer_tokens=(50, 50),
        decode_crowding=0.0,
    )
    (small, large), _ = at_once(options, Call("sim:small", "", "a"), Call("sim:large", "", "a"))
    assert took(small) == pytest.approx(2.0 + 0.25 + 0.5)
    assert took(large) == pytest.approx(2.0 + 8.0 + 0.25 + 5.0)  # one load after the other
    assert (small.load_seconds, large.load_seconds) == (2.0, 8.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 3)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_shared_work_is_neither_lost_nor_won(jobs: list[tuple[float, float]], crowding: float) -> None:
    async def scenario() -> tuple[float, list[tuple[float, float]]]:
        gpu, loop, spans = Gpu(1.0, crowding), asyncio.get_running_loop(), []

        async def job(start: float, work: float) -> None:
            await asyncio.sleep(start)
            gpu.join()
            begun = loop.time()
            await gpu.decode.reach(gpu.decode.now() + work)
            gpu.leave()
            spans.append((begun, loop.time()))

        await asyncio.gather(*(job(*each) for each in jobs))
        return gpu.decode.now(), spans

    _, spans = virtually(scenario())
    edges = sorted({edge for span in spans for edge in span})
    done = 0.0
    for left, right in itertools.pairwise(edges):
        busy = sum(begin <= left and right <= end for begin, end in spans)
        done += (right - left) * busy / (1 + crowding * (busy - 1)) if busy else 0.0
    assert done == pytest.approx(sum(work for _, work in jobs), rel=1e-6)


# --- the queue ----------------------------------------------------------------------------------------------


def test_the_queue_is_first_come_first_served() -> None:
    options = Options(slots=2, tokens_per_second=10, answer_tokens=(20, 20), decode_crowding=0.0)
    requests, engine = at_once(options, *numbered(6))
    assert [round(request.started, 6) for request in requests] == [0, 0, 2, 2, 4, 4]
    told = engine.judge.as_json()
    assert (told["span_seconds"], told["busy_seconds"]) == pytest.approx((6, 12))  # both slots, always
    waits = told["waits"]
    assert (waits["count"], waits["max"], waits["p50"], waits["p95"]) == (6, 4, 2, 4)


def test_a_bounded_queue_refuses_the_next() -> None:
    async def scenario() -> tuple[list[Any], Engine]:
        engine = Engine(Options(slots=1, max_queue=2, latency=1.0))
        calls = (ask(engine, call) for call in numbered(6))
        return await asyncio.gather(*calls, return_exceptions=True), engine

    done, engine = virtually(scenario())
    assert [isinstance(each, Busy) for each in done] == [False] * 3 + [True] * 3
    assert engine.waiting == 0


def test_a_load_queue_counts_only_those_that_need_a_load() -> None:
    async def scenario() -> tuple[list[Any], list[Any]]:
        engine = Engine(Options(slots=2, load_queue=1, load_seconds=1.0, latency=1.0))
        cold = await asyncio.gather(*(ask(engine, c) for c in numbered(8)), return_exceptions=True)
        warm = await asyncio.gather(*(ask(engine, c) for c in numbered(8)), return_exceptions=True)
        return cold, warm

    cold, warm = virtually(scenario())
    assert [isinstance(each, Busy) for each in cold] == [False] * 2 + [True] * 6
    assert not any(isinstance(each, Busy) for each in warm)


# --- the prefix cache ---------------------------------------------------------------------------------------


def test_a_known_beginning_is_not_read_again() -> None:
    options = Options(prefill_per_second=100, answer_tokens=(1, 1))
    shared = "s" * 320  # 80 tokens

    async def scenario() -> list[Request]:
        engine = Engine(options)
        calls = [Call("sim:small", shared, end * 80) for end in ("a", "b", "a")]
        return [await ask(engine, call) for call in calls]

    first, second, third = virtually(scenario())
    assert [r.outcome.prompt_tokens for r in (first, second, third)] == [100, 100, 100]
    assert [r.outcome.cached_tokens for r in (first, second, third)] == [0, 80, 96]  # whole blocks of 16
    assert [took(r) for r in (first, second, third)] == pytest.approx([1.0, 0.2, 0.04])


def test_the_cache_goes_with_the_model_and_is_not_shared() -> None:
    async def scenario() -> list[int]:
        engine = Engine(Options(resident=1))
        names = ("sim:small", "sim:large", "sim:small", "sim:small")
        return [(await ask(engine, Call(name, "", PROMPT))).outcome.cached_tokens for name in names]

    assert virtually(scenario()) == [0, 0, 0, 96]


@given(st.lists(st.text("ab", max_size=400), max_size=8), st.text("ab", max_size=400))
def test_the_cache_finds_the_longest_common_beginning(seen: list[str], text: str) -> None:
    cache = PrefixCache(1 << 20)
    for each in seen:
        cache.keep(blocks(each))
    size = BLOCK * answers.PER_TOKEN

    def common(other: str) -> int:
        count = 0
        while (end := (count + 1) * size) <= min(len(text), len(other)) and text[:end] == other[:end]:
            count += 1
        return count * BLOCK

    assert cache.find(blocks(text)) == max((common(other) for other in seen), default=0)


def test_a_full_cache_forgets_the_end_of_the_oldest_first() -> None:
    cache = PrefixCache(2 * BLOCK)
    cache.keep(blocks("a" * 64 * 2))
    cache.keep(blocks("b" * 64))
    assert cache.find(blocks("a" * 64 * 2)) == BLOCK
    assert cache.find(blocks("b" * 64)) == BLOCK


# --- memory -------------------------------------------------------------------------------------------------


def test_models_stay_while_there_is_memory_and_the_oldest_goes_first() -> None:
    options = Options(
        resident=0, memory=10, model_memory={"a": 4, "b": 4, "c": 6}, models=("a", "b", "c"), load_seconds=1
    )

    async def scenario() -> tuple[Engine, list[list[str]]]:
        engine, loaded = Engine(options), []
        for name in ("a", "b", "a", "c", "b"):
            await ask(engine, Call(name, "", "x"))
            loaded.append(sorted(engine.loaded))
        return engine, loaded

    engine, loaded = virtually(scenario())
    assert loaded == [["a"], ["a", "b"], ["a", "b"], ["a", "c"], ["b", "c"]]
    judge = engine.judge
    assert (judge.loads, judge.switches, judge.max_memory) == (4, 2, 10)
    assert judge.loads_by_model == {"a": 1, "b": 2, "c": 1}
    assert judge.load_seconds == 4


def test_a_model_that_can_not_fit_is_refused_in_words() -> None:
    async def scenario() -> None:
        engine = Engine(Options(memory=8, model_memory=6, context_memory=0.5))
        await ask(engine, Call("sim:small", "", "x", context=4096))
        await ask(engine, Call("sim:small", "", "x", context=8192))

    with pytest.raises(NoMemory, match=r"requires more system memory \(10.0 GiB\) than is available \(8.0"):
        virtually(scenario())


def test_a_busy_model_is_waited_for_and_nobody_starts_on_it() -> None:
    options = Options(slots=4, resident=1, load_seconds=1, latency=10)

    async def scenario() -> tuple[list[Request], Engine]:
        engine = Engine(options)
        asked: list[Awaitable[Request]] = [
            ask(engine, Call("sim:small", "", "1")),
            ask(engine, Call("sim:large", "", "2"), after=2),
            ask(engine, Call("sim:small", "", "3"), after=3),
        ]
        return await asyncio.gather(*asked), engine

    (first, second, third), engine = virtually(scenario())
    assert [r.started for r in (first, second, third)] == pytest.approx([1, 12, 23])
    assert engine.judge.evictions_of_busy == 0
    assert engine.judge.switches == 2


def test_who_leaves_while_waiting_for_a_place_changes_nothing() -> None:
    async def scenario() -> tuple[Engine, Request]:
        engine = Engine(Options(slots=4, resident=1, load_seconds=1, latency=10))
        busy = asyncio.ensure_future(ask(engine, Call("sim:small", "", "1")))
        await asyncio.sleep(2)
        await leaving(engine, Call("sim:large", "", "2"), after=1)  # its place is not free yet
        other = await ask(engine, Call("sim:small", "", "3"))
        await busy
        await leaving(engine, Call("sim:large", "", "4"), after=0.5)  # in the middle of its load
        return engine, other

    engine, other = virtually(scenario())
    assert other.started == pytest.approx(3)
    judge = engine.judge
    assert (judge.loads, judge.aborted_loads, judge.disconnects) == (1, 1, 2)
    assert engine.memory.used == 0
    assert judge.total.in_flight == judge.total.running == 0


def test_keep_alive_decides_how_long_a_model_stays() -> None:
    async def scenario() -> list[list[str]]:
        engine, seen = Engine(Options(keep_alive=10, resident=0)), []
        await ask(engine, Call("sim:small", "", "x"))
        await ask(engine, Call("sim:large", "", "x", keep_alive=-1))
        for seconds in (9, 2):
            await asyncio.sleep(seconds)
            seen.append(sorted(engine.loaded))
        await ask(engine, Call("sim:large", "", "x", keep_alive=0))
        seen.append(sorted(engine.loaded))
        return seen

    assert virtually(scenario()) == [["sim:large", "sim:small"], ["sim:large"], []]


def test_sleep_gives_the_memory_back_and_waking_is_faster_than_loading() -> None:
    async def scenario() -> tuple[float, float, float, int]:
        engine, loop = Engine(Options(load_seconds=10)), asyncio.get_running_loop()
        await ask(engine, Call("sim:small", "", "x"))
        await engine.memory.sleep(1)
        used = engine.memory.used
        waiting = asyncio.ensure_future(ask(engine, Call("sim:small", "", "y")))
        await asyncio.sleep(5)
        begun = loop.time()
        await engine.memory.wake()
        request = await waiting
        return used, loop.time() - begun, request.started - request.arrived, engine.judge.loads

    used, waking, waited, loads = virtually(scenario())
    assert (used, loads) == (0, 1)
    assert (waking, waited) == pytest.approx((1, 6))
