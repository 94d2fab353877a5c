"""A drain whose run is paused or cancelled: what is in flight, what is given back, and that nobody else is held up."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from models.enums import Status
from models.errors import RunStopped
from models.run import Stage, Wish
from tasks import runs
from tasks.execute import Halt

from .conftest import InProcess, World, answered


class Slow:
    """Answers only when it is told to; counts what was given up."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.given_up = 0

    async def __call__(self, request: Any) -> str:
        self.asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return await answered(request)


async def begun(world: World, boards: list[int]) -> uuid.UUID:
    """A run that is under way, as the pipeline begins it; its process is this one."""
    run = uuid.uuid4()
    connection = await world.database.aconnect(autocommit=True)
    try:
        from tasks.execute.holder import this_process

        await connection.execute(
            "insert into process (flow_run_id, holder) values (%s, %s)", [str(run), this_process()]
        )
        await runs.begin(
            connection, run, flow_run_id=str(run), params={"board": []}, stage=Stage.EXECUTE, boards=boards
        )
    finally:
        await connection.close()
    return run


async def want(world: World, run: uuid.UUID, wish: Wish) -> runs.Stopped:
    connection = await world.database.aconnect(autocommit=True)
    try:
        return await runs.want(connection, run, wish, by="ana")
    finally:
        await connection.close()


def boards(world: World) -> list[int]:
    return [row[0] for row in world.rows("select id from board order by id")]


async def test_paused_it_lets_end_what_was_sent_and_begins_nothing(world: World) -> None:
    world.add(40)
    halt, reply = Halt(), Slow()
    backend = InProcess(reply)
    drain = asyncio.create_task(world.drain(backend, halt=halt))
    await asyncio.wait_for(reply.asked.wait(), 20)
    halt.tell(Wish.PAUSE, "Run 1 was paused.")
    await asyncio.sleep(0)
    reply.go.set()
    tally = await asyncio.wait_for(drain, 20)
    assert 1 <= tally.accepted <= world.settings.batch_size, "what was claimed, at most"
    assert tally.accepted == len(backend.asked)
    assert reply.given_up == 0
    assert world.statuses() == {Status.DONE: tally.accepted, Status.READY: 40 - tally.accepted}
    assert world.rows("select count(*) from lease") == [(0,)]
    assert world.rows("select coalesce(max(attempts), 0) from item where status = 1") == [(0,)]


async def test_cancelled_it_gives_up_what_was_sent_and_charges_nothing(world: World) -> None:
    world.add(40)
    halt, reply = Halt(), Slow()
    backend = InProcess(reply)
    drain = asyncio.create_task(world.drain(backend, halt=halt))
    await asyncio.wait_for(reply.asked.wait(), 20)
    halt.tell(Wish.CANCEL, "Run 1 was cancelled.")
    with pytest.raises(RunStopped, match=r"Run 1 was cancelled\."):
        await asyncio.wait_for(drain, 20)
    assert reply.given_up == world.endpoint.slots, "the requests in flight, and nothing was sent after them"
    assert backend.in_flight == 0
    assert world.statuses() == {Status.READY: 40}
    assert world.rows("select max(attempts) from item") == [(0,)]
    assert world.rows("select count(*) from attempt") == [(0,)]
    assert world.rows("select count(*) from lease") == [(0,)]
    again = await world.drain(InProcess(answered))
    assert again.accepted == 40


async def test_a_drain_hears_of_its_run_within_seconds(world: World) -> None:
    world.add(20)
    run = await begun(world, boards(world))
    reply = Slow()
    async with runs.heard(world.database, run) as halt:
        drain = asyncio.create_task(world.drain(InProcess(reply), halt=halt))
        await asyncio.wait_for(reply.asked.wait(), 20)
        before = asyncio.get_running_loop().time()
        stopped = await want(world, run, Wish.CANCEL)
        assert not stopped.at_once
        with pytest.raises(RunStopped, match="cancelled by ana"):
            await asyncio.wait_for(drain, 20)
        assert asyncio.get_running_loop().time() - before < 5
    assert world.statuses() == {Status.READY: 20}


async def test_while_its_run_rests_no_other_drain_takes_a_board_unless_another_run_has_it(
    world: World,
) -> None:
    world.add(4, board="a.md")
    world.add(4, board="shared.md")
    a, shared = boards(world)
    first = await begun(world, [a, shared])
    await begun(world, [shared])
    stopped = await want(world, first, Wish.PAUSE)
    assert [source for source, _ in stopped.shared] == ["shared.md"]
    tally = await world.drain(InProcess(answered))
    assert tally.accepted == 4
    assert world.rows(f"select count(*) from item where status = 1 and board_id = {a}") == [(4,)]
    assert world.rows(f"select count(*) from item where status = 4 and board_id = {shared}") == [(4,)]
    # The latest word counts: a new run of the board wakes it.
    await begun(world, [a])
    assert (await world.drain(InProcess(answered))).accepted == 4


async def test_a_wait_for_another_drains_endpoint_ends_too(world: World) -> None:
    world.add(8)
    reply, halt = Slow(), Halt()
    first = asyncio.create_task(world.drain(InProcess(reply)))
    await asyncio.wait_for(reply.asked.wait(), 20)
    second = asyncio.create_task(world.drain(InProcess(answered), halt=halt))
    await asyncio.sleep(0.1)
    halt.tell(Wish.PAUSE, "Run 2 was paused.")
    assert (await asyncio.wait_for(second, 20)).accepted == 0
    reply.go.set()
    assert (await asyncio.wait_for(first, 20)).accepted == 8
