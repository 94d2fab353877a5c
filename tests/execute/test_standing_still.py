"""What a drain does while it may not work: it ends or waits, and neither spins nor holds what others could use."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from backends.registry import make
from backends.simulator import inside
from models.calls import ModelCallError, ModelRequest
from models.endpoint import Budget, Device, ModelSpec
from models.enums import ErrorType, Status
from tasks import pause
from tasks.execute import Seat, drain_any, holder
from tasks.execute.lease import SETTLING_SECONDS
from tasks.pause import PauseKind

from .conftest import STAGES, InProcess, World, answered, recipe
from .test_pressure import configured, endpoint, go


async def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    clock = asyncio.get_running_loop().time
    give_up = clock() + seconds
    while not holds():
        assert clock() < give_up, "it did not happen"
        await asyncio.sleep(0.01)


async def test_a_drain_of_paused_boards_ends_and_says_why(world: World) -> None:
    world.add(3)
    connection = await world.database.aconnect(autocommit=True)
    await pause.pause(connection, PauseKind.BOARD, "plan.md", reason="a test", by="me")
    await connection.close()
    said: list[str] = []
    async with asyncio.timeout(10):
        tally = await world.drain(InProcess(answered), on_wait=said.append, boards=[1])
    assert tally.accepted == 0
    assert "paused" in said[0]


async def test_a_board_at_its_limit_holds_up_no_other_group(world: World) -> None:
    """Of the group that goes first nothing may be claimed just now; others are."""
    world.add(4, board="full.md", priority=0)
    other = world.add(4, board="other.md", recipe="check")
    with world.database.connect() as connection:
        connection.execute("update board set wip = 1 where source = 'full.md'")
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('mlx x', 'mlx', 99, 'me', now() + interval '1 hour')"
        )
        connection.execute("select setval('lease_token', 100)")
        connection.execute("update item set status = 2, ready = false, lease = 99 where id = 1")
    backend = InProcess(answered)
    task = asyncio.ensure_future(world.drain(backend, recipe(), recipe("check"), boards=[1, 2]))
    try:
        await until(lambda: len(backend.asked) >= 4)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert sorted(backend.asked) == other


async def test_a_budget_that_is_used_up_is_asked_once(world: World) -> None:
    world.add(200)
    settings = configured(
        endpoints=[endpoint(account="team")], budgets=[Budget(account="team", requests_per_day=3)]
    )
    await go(world, settings, (InProcess(answered), settings.endpoints[0]))
    assert world.rows("select max(tries) from item")[0][0] <= 3
    assert world.rows("select count(*) from batch")[0][0] <= 4


async def test_what_was_sent_before_a_drain_was_stopped_is_spent(world: World) -> None:
    world.add(20)
    settings = configured(
        endpoints=[endpoint(account="team")], budgets=[Budget(account="team", requests_per_day=100)]
    )

    async def reply(request: ModelRequest) -> str:
        if len(backend.asked) > 5:
            await asyncio.Event().wait()
        return await answered(request)

    backend = InProcess(reply)
    task = asyncio.ensure_future(go(world, settings, (backend, settings.endpoints[0])))
    await until(lambda: len(backend.asked) >= 9)
    task.cancel()
    await asyncio.wait([task])
    assert world.rows("select requests from spend") == [(len(backend.asked),)]
    assert world.rows("select sum(requests) from reservation") == [(0,)]


async def test_a_heavy_model_gets_enough_seats_beside_a_busy_neighbour(world: World) -> None:
    """The endpoint's own model is light; what is being switched to is not."""
    world.add(8)
    world.add(4000, board="busy.md", recipe="check")
    with world.database.connect() as connection:
        connection.execute("update item set model = 'heavy' where recipe = 'task'")

    async def reply(request: ModelRequest) -> str:
        await asyncio.sleep(0.02)
        return await answered(request)

    settings = configured(
        devices=[Device(name="gpu", slots=2)],
        endpoints=[
            endpoint(0, device="gpu", models={"heavy": ModelSpec(weight=2)}),
            endpoint(1, device="gpu", backend="mlx"),
        ],
    )
    heavy, busy = InProcess(reply), InProcess(reply)
    busy.name = "mlx"

    async def one(backend: InProcess, place: int, name: str) -> None:
        await drain_any(
            world.database,
            [Seat(backend, settings.endpoints[place], "m", STAGES)],
            recipes={name: recipe(name)},
            settings=settings,
            trace_id="",
        )

    other = asyncio.ensure_future(one(busy, 1, "check"))
    try:
        await until(lambda: busy.asked)
        async with asyncio.timeout(25):
            await one(heavy, 0, "task")
    finally:
        other.cancel()
        await asyncio.wait([other])
    assert len(heavy.asked) == 8


async def test_a_server_that_rests_leaves_the_seats_to_others(world: World) -> None:
    world.add(4)
    world.add(40, board="busy.md", recipe="check")
    clock = asyncio.get_running_loop().time

    async def tired(request: ModelRequest) -> str:
        if len(resting.asked) == 1:
            raise ModelCallError(ErrorType.OVERLOADED, "later", retry_after=6.0)
        return await answered(request)

    async def reply(request: ModelRequest) -> str:
        await asyncio.sleep(0.05)
        return await answered(request)

    settings = configured(
        devices=[Device(name="gpu", slots=2)],
        endpoints=[endpoint(0, device="gpu", slots=2), endpoint(1, device="gpu", slots=2, backend="mlx")],
    )
    resting, busy = InProcess(tired), InProcess(reply)

    async def one(backend: InProcess, place: int, name: str) -> None:
        await drain_any(
            world.database,
            [Seat(backend, settings.endpoints[place], "m", STAGES)],
            recipes={name: recipe(name)},
            settings=settings,
            trace_id="",
        )

    first = asyncio.ensure_future(one(resting, 0, "task"))
    await until(lambda: resting.asked)
    began = clock()
    await one(busy, 1, "check")
    took = clock() - began
    assert busy.most_in_flight == 2
    assert took < 5, "it had the whole device while the other rested"
    first.cancel()
    await asyncio.wait([first])


async def test_seats_of_a_killed_drain_are_kept_until_its_requests_are_off_the_server(world: World) -> None:
    """Whoever takes over has nothing to send yet; its neighbours on the device must not send in its place."""
    world.add(4)
    settings = configured(
        devices=[Device(name="gpu", slots=2)],
        endpoints=[endpoint(0, device="gpu"), endpoint(1, device="gpu")],
    )
    dead = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await dead.wait()
    me = holder.this_process().split(" ")
    with world.database.connect() as connection:
        row = connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values (%s, 'openai', nextval('lease_token'), %s, now() + interval '1 hour') returning token",
            [settings.endpoints[0].resource, " ".join([*me[:-2], str(dead.pid), me[-1]])],
        ).fetchone()
        assert row is not None
        connection.execute(
            "insert into seat (device, number, token) select 'gpu', n, %s from generate_series(0, 1) n", row
        )
        connection.execute(
            "update item set status = 2, ready = false, tries = 1, lease = %s where id = 1", row
        )
    backend = InProcess(answered)
    task = asyncio.ensure_future(go(world, settings, (backend, settings.endpoints[0])))
    held: set[int] = set()
    clock = asyncio.get_running_loop().time
    taken_over = clock()
    async with asyncio.timeout(10):
        # After that it needs none until it has claimed something, and may give them away.
        while clock() < taken_over + 0.75 * SETTLING_SECONDS:
            now = clock()
            ((seats, token),) = world.rows("select (select count(token) from seat), max(token) from lease")
            held.add(seats)
            if token == row[0]:
                taken_over = now
            await asyncio.sleep(0.02)
    assert backend.asked == []
    assert held == {2}
    assert (await task).accepted == 4


async def test_what_a_provider_did_not_take_is_not_spent(world: World) -> None:
    world.add(4)
    async with inside(flavour="anthropic", models=["m"], script=["error500"]) as provider:
        settings = configured(
            endpoints=[endpoint(backend="anthropic", url=provider.url, batches=True, account="team")],
            budgets=[Budget(account="team", requests_per_day=100, tokens_per_day=100_000)],
        )
        backend = make(settings.endpoints[0])
        seat = Seat(backend, settings.endpoints[0], "m", STAGES)
        task = asyncio.ensure_future(
            drain_any(
                world.database, [seat], recipes={"task": recipe()}, settings=settings, trace_id="", boards=[1]
            )
        )
        await until(lambda: provider.stats()["requests"] and world.statuses() == {Status.READY: 4})
        task.cancel()
        await asyncio.wait([task])
        await backend.close()
    assert world.rows("select requests, tokens from spend") == [(0, 0)]
    assert world.rows("select requests, tokens from reservation") == [(0, 0)]
