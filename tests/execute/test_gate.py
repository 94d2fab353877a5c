"""The gate: never more in flight than there is room for, one model at a time, and nobody starves in line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.execute.gate import INTERACTIVE, NORMAL, Gate


async def soon() -> None:
    """Whoever may go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


@dataclass
class Server:
    """Who is in, and what it is asked to load."""

    gate: Gate
    inside: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)

    def send(self, name: str, model: str = "a", **how: int) -> asyncio.Task[bool]:
        async def go() -> bool:
            if not await self.gate.enter(model, **({"turn": 1} | how)):
                return False
            self.inside.append(name)
            self.entered.append(name)
            return True

        return asyncio.ensure_future(go())

    def answer(self, name: str, **how: int) -> None:
        self.inside.remove(name)
        self.gate.leave(**how)


async def test_no_more_than_there_is_room_for() -> None:
    server = Server(Gate(2, model="a"))
    tasks = [server.send(name) for name in "xyz"]
    await soon()
    assert server.inside == ["x", "y"]
    server.answer("x")
    await soon()
    assert server.inside == ["y", "z"]
    assert [task.result() for task in tasks] == [True] * 3


async def test_less_room_holds_back_and_takes_nothing_away() -> None:
    server = Server(Gate(3, model="a"))
    for name in "xyz":
        server.send(name)
    await soon()
    server.gate.room = 1
    server.send("w")
    await soon()
    assert server.gate.must_yield(turn=1)
    server.answer("x")
    server.answer("y")
    await soon()
    assert server.inside == ["z"]
    server.answer("z")
    await soon()
    assert server.inside == ["w"]


async def test_earlier_batches_before_later_ones() -> None:
    server = Server(Gate(1, model="a"))
    server.send("first", turn=1)
    await soon()
    server.send("later", turn=3)
    server.send("sooner", turn=2)
    await soon()
    assert server.gate.must_yield(turn=3)
    assert not server.gate.must_yield(turn=1)
    server.answer("first")
    await soon()
    assert server.inside == ["sooner"]


async def test_interactive_goes_first_and_finds_room_that_was_kept() -> None:
    server = Server(Gate(3, model="a"))
    server.gate.reserved = 1
    for name in "xyz":
        server.send(name, turn=1)
    await soon()
    assert server.inside == ["x", "y"]
    server.send("person", turn=9, lane=INTERACTIVE)
    await soon()
    assert server.inside == ["x", "y", "person"]
    server.send("another", turn=10, lane=INTERACTIVE)
    await soon()
    server.answer("x", lane=NORMAL)
    await soon()
    assert server.inside == ["y", "person", "another"]


async def test_room_for_one_is_not_kept_for_nobody() -> None:
    server = Server(Gate(1, model="a"))
    server.gate.reserved = 1
    server.send("x")
    await soon()
    assert server.inside == ["x"]


async def test_heavy_requests_take_more_of_a_devices_seats() -> None:
    server = Server(Gate(8, model="a"))
    server.gate.seats = 3
    server.send("heavy", weight=2)
    server.send("heavy too", weight=2)
    await soon()
    assert server.inside == ["heavy"], "and nobody light passes the one that waits"
    server.send("light")
    await soon()
    assert server.inside == ["heavy"]
    server.answer("heavy", weight=2)
    await soon()
    assert server.inside == ["heavy too", "light"]


async def test_a_model_may_bear_less_than_its_server() -> None:
    server = Server(Gate(4, model="a"))
    for name in "xyz":
        server.send(name, most=2)
    await soon()
    assert server.inside == ["x", "y"]


def switching(log: list[str], wait: asyncio.Event | None = None) -> Callable[..., Awaitable[None]]:
    async def switch(model: str, let_in: Callable[[], Awaitable[None]]) -> None:
        log.append(f"reserve {model}")
        await let_in()
        log.append(f"load {model}")
        if wait is not None:
            await wait.wait()

    return switch


async def test_a_model_is_switched_when_nothing_is_in_flight_and_nobody_overtakes() -> None:
    log: list[str] = []
    server = Server(Gate(2, switching(log), model="a"))
    server.send("x")
    await soon()
    server.send("other", "b", turn=2)
    server.send("late", "a", turn=3)
    await soon()
    assert (server.inside, log) == (["x"], [])
    server.answer("x")
    await soon()
    assert (server.inside, log, server.gate.model) == (["other"], ["reserve b", "load b"], "b")
    server.answer("other")
    await soon()
    assert server.entered == ["x", "other", "late"]


async def test_one_switch_for_all_that_wait_for_it() -> None:
    log: list[str] = []
    loaded = asyncio.Event()
    server = Server(Gate(2, switching(log, loaded)))
    for name in "xyz":
        server.send(name)
    await soon()
    assert server.inside == []
    loaded.set()
    await soon()
    assert (server.inside, log) == (["x", "y"], ["reserve a", "load a"])


async def test_a_switch_waits_for_a_seat_only_after_its_memory() -> None:
    log: list[str] = []
    server = Server(Gate(2, switching(log)))
    server.gate.seats = 0
    server.send("x")
    await soon()
    assert log == ["reserve a"]
    assert server.gate.wants
    server.gate.seats = 1
    server.gate.changed()
    await soon()
    assert (log[-1], server.inside, server.gate.weight) == ("load a", ["x"], 1)


async def test_what_a_switch_fails_with_all_that_wait_for_it_get() -> None:
    async def broken(model: str, let_in: Callable[[], Awaitable[None]]) -> None:
        await let_in()
        raise RuntimeError(model)

    server = Server(Gate(2, broken))
    tasks = [server.send("x"), server.send("y"), server.send("z", "b", turn=2)]
    await soon()
    await soon()
    for task, model in zip(tasks, "aab", strict=True):
        with pytest.raises(RuntimeError, match=model):
            await task
    assert (server.gate.in_flight, server.gate.weight) == (0, 0)


async def test_closed_lets_nobody_in() -> None:
    server = Server(Gate(1, model="a"))
    server.send("x")
    await soon()
    waiting = server.send("y")
    await soon()
    await server.gate.aclose()
    assert await waiting is False
    assert await server.gate.enter("a", turn=1) is False


async def test_closing_ends_a_switch() -> None:
    server = Server(Gate(1, switching([], asyncio.Event())))
    waiting = server.send("x")
    await soon()
    await server.gate.aclose()
    assert await waiting is False
    assert server.gate.in_flight == 0


Step = tuple[str, int]


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "answer", "cancel", "room", "seats"]), st.integers(0, 7)),
        max_size=60,
    ),
    shared=st.booleans(),
)
async def test_whatever_comes_the_limits_hold(steps: list[Step], shared: bool) -> None:
    """Requests of three models and two weights come, are answered and cancelled while the room changes."""
    current: list[str] = []
    inside: dict[int, tuple[str, int, int]] = {}
    tasks: dict[int, asyncio.Task[None]] = {}

    async def switch(model: str, let_in: Callable[[], Awaitable[None]]) -> None:
        assert not inside, "a model is changed while one answers"
        await let_in()
        await asyncio.sleep(0)
        current[:] = [model]

    gate = Gate(3, switch)
    gate.seats = 4 if shared else None

    async def go(number: int, model: str, lane: int, weight: int) -> None:
        if await gate.enter(model, turn=number, lane=lane, weight=weight):
            assert gate.in_flight <= max(gate.room, len(inside) + 1)
            inside[number] = (model, lane, weight)
            assert current == [model]

    for number, (step, value) in enumerate(steps):
        if step == "send":
            request = go(number, "abc"[value % 3], value % 2, 1 + value // 4)
            tasks[number] = asyncio.ensure_future(request)
        elif step == "answer" and inside:
            key = sorted(inside)[value % len(inside)]
            _, lane, weight = inside.pop(key)
            gate.leave(lane=lane, weight=weight)
        elif step == "cancel" and (waiting := [n for n, t in tasks.items() if not t.done()]):
            tasks[waiting[value % len(waiting)]].cancel()
        elif step == "room":
            gate.room = 1 + value % 4
            gate.changed()
        elif step == "seats" and shared:
            gate.seats = value
            gate.changed()
        before = set(inside)
        await soon()
        if set(inside) - before:
            assert gate.in_flight <= gate.room
            assert gate.seats is None or gate.weight <= gate.seats
        assert len(inside) <= gate.in_flight
        assert len({model for model, _, _ in inside.values()}) <= 1

    # Whatever happened: with room, all that wait get in, one after the other.
    gate.room, gate.seats = 4, (4 if shared else None)
    gate.changed()
    for _ in range(400):
        await soon()
        if inside:
            _, lane, weight = inside.pop(min(inside))
            gate.leave(lane=lane, weight=weight)
        elif all(task.done() for task in tasks.values()):
            break
    assert all(task.done() for task in tasks.values())
    assert (gate.in_flight, gate.weight) == (0, 0)
    for task in tasks.values():
        if not task.cancelled():
            task.result()
