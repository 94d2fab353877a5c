"""Runs whose process was really killed, and slots that nobody holds, on a real Prefect server."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.states import Cancelling, Completed, Crashed, Pending, Running

from backends.simulator import running
from deployments import reconcile as module
from deployments.deploy import Declared, deploy
from deployments.pools import CPU, Pool, ensure_pools
from deployments.reconcile import Tidied, end, ending, reconcile
from deployments.runs import keep_going
from deployments.server import Orchestrator
from models.settings import Settings, settings
from sql.connection import Database
from tasks.execute import holder
from tasks.life import Sign, alive, signs

NOT_YET = timedelta(days=1)  # limits of others on the session's server are left alone


@dataclass
class World:
    """A Prefect server with a pool of limit 1, a deployment of `execute` on it, and a database."""

    client: PrefectClient
    prefect: Orchestrator
    database: Database
    settings: Settings
    deployment: str
    pool: str

    async def scheduled(self, **parameters: object) -> FlowRun:
        found = await self.client.read_deployment_by_name(self.deployment)
        return await self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    async def run(self, run: FlowRun) -> FlowRun:
        return await self.client.read_flow_run(run.id)

    async def tasks(self, run: FlowRun) -> list[TaskRun]:
        which = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return await self.client.read_task_runs(flow_run_filter=which)

    async def offered(self) -> set[uuid.UUID]:
        """What a worker of the pool would be given now: as many runs as the pool has room for."""
        got = await self.client.get_scheduled_flow_runs_for_work_pool(
            self.pool, scheduled_before=datetime.now(UTC) + timedelta(minutes=1)
        )
        return {each.flow_run.id for each in got}

    async def signs(self) -> dict[str, Sign]:
        connection = await self.database.aconnect(autocommit=True)
        async with connection:
            return await signs(connection)

    async def look(self, *, dry_run: bool = False, slot_after: timedelta = NOT_YET) -> Tidied:
        return await reconcile(
            self.client, self.database, self.settings, dry_run=dry_run, settle=0.0, slot_after=slot_after
        )


@pytest_asyncio.fixture
async def world(
    database_env: Database, prefect_server: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    name = f"reconciled{uuid.uuid4().hex[:8]}"
    # The pools of the real backends are shared with other tests: here only this one is ours.
    monkeypatch.setattr(module, "pools", lambda _: [Pool(name, 1, "for a test")])
    drain = Declared(name, "flows.execute", "execute", name, "for a test", ("penstock",))
    async with get_client() as client:
        await ensure_pools(client, [Pool(name, 1, "for a test")])
        await deploy(client, [drain])
        yield World(client, prefect_server, database_env, settings(), drain.full_name, name)
        await client.delete_work_pool(name)


async def until(condition: Callable[[], Awaitable[bool]], process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(90):
        while not await condition():
            assert process.returncode is None, "the process ended"
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_a_killed_drain_is_found_and_its_pool_has_room_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(load_seconds=300) as slow:  # the drain waits for its answer as long as the test takes
        monkeypatch.setenv(
            "PENSTOCK_ENDPOINTS",
            f'[{{"backend": "openai", "url": "{slow.openai_url}", "model": "sim:small", "call_timeout": 600,'
            ' "first_token_timeout": 600}]',
        )
        settings.cache_clear()
        connection = await world.database.aconnect(autocommit=True)
        async with connection:
            await connection.execute(
                "with b as (insert into board (source, dialect, encoding, sha256) values ('t', 'gfm', 'utf-8', '')"
                " returning id), i as (insert into item (board_id, key, position, status, ready, recipe)"
                " select id, gen_random_uuid(), 1, 1, true, 'task' from b returning id)"
                " insert into item_source (item_id, kind, title, line, declared, content_hash)"
                " select id, 'task', 'an item', 1, 'todo', '' from i"
            )
        first, second = await world.scheduled(backend="openai"), await world.scheduled(backend="openai")
        (offered,) = await world.offered()
        run, waiting = (first, second) if offered == first.id else (second, first)
        await world.client.set_flow_run_state(run.id, Pending())
        assert await world.offered() == set()  # the pool is full
        environment = {**world.prefect.environment(), "PREFECT__FLOW_RUN_ID": str(run.id)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deployments.flow_run", env=environment
        )
        try:

            async def working() -> bool:
                leased = any(sign.leased for sign in (await world.signs()).values())
                return leased and [task.state_type for task in await world.tasks(run)] == [StateType.RUNNING]

            await until(working, process)
            (sign,) = (await world.signs()).values()
            assert sign.flow_run_id == str(run.id)
            assert not sign.dead
            assert (await world.look()).lines == []  # it lives
            assert (await world.run(run)).state_type is StateType.RUNNING
        finally:
            process.kill()
            await process.wait()
        assert (await world.run(run)).state_type is StateType.RUNNING  # Prefect knows nothing of it
        assert await world.offered() == set()
        dry = await world.look(dry_run=True)
        assert dry.summary == "1 run had lost its process: would be put right."
        assert (await world.run(run)).state_type is StateType.RUNNING
        done = await world.look()
        assert done.runs == ["drain openai: Its process ended in the middle of it."]
        assert done.summary == "1 run had lost its process: put right."
        crashed = await world.run(run)
        assert crashed.state_type is StateType.CRASHED
        assert crashed.state is not None
        assert crashed.state.message == "Its process ended in the middle of it."
        assert [task.state_type for task in await world.tasks(run)] == [StateType.CRASHED]
        assert await world.offered() == {waiting.id}  # the pool has room
        assert await world.signs() == {}
        again = await world.look()
        assert again.lines == []
        assert again.summary == "No run has lost its process, no slot is held by nobody."


async def begun(world: World, holder_name: str | None = None) -> FlowRun:
    """A run that the server calls Running, signed by `holder_name`."""
    run = await world.scheduled()
    await world.client.set_flow_run_state(run.id, Pending())
    await world.client.set_flow_run_state(run.id, Running())
    if holder_name is not None:
        connection = await world.database.aconnect(autocommit=True)
        async with connection:
            await connection.execute(
                "insert into process (flow_run_id, holder) values (%s, %s)", [str(run.id), holder_name]
            )
    return await world.run(run)


def a_dead_holder() -> str:
    return subprocess.run(
        [sys.executable, "-c", "from tasks.execute import holder; print(holder.this_process())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


async def test_who_lives_or_is_not_known_is_left_alone(world: World) -> None:
    lives = await begun(world, holder.this_process())
    unsigned = await begun(world)
    elsewhere = await begun(world, "another-host boot 1 2 3.00")
    young = await world.scheduled()
    await world.client.set_flow_run_state(young.id, Pending())
    async with alive(world.database, str(young.id)):
        assert len(await world.signs()) == 3
    assert (await world.look()).lines == []
    for run in (lives, unsigned, elsewhere):
        assert (await world.run(run)).state_type is StateType.RUNNING


async def test_another_machine_is_known_by_its_silence(world: World) -> None:
    silent, leased = [await begun(world, f"another-host boot 1 {pid} 3.00") for pid in (1, 2)]
    connection = await world.database.aconnect(autocommit=True)
    async with connection:
        await connection.execute("update process set seen_at = now() - interval '6 minutes'")
        await connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('x', 'openai', 1, 'another-host boot 1 2 3.00', now() + interval '1 minute')"
        )
    assert len((await world.look()).runs) == 1
    assert (await world.run(silent)).state_type is StateType.CRASHED
    assert (await world.run(leased)).state_type is StateType.RUNNING


async def test_the_door_looks_by_itself(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock.upkeep")
    run = await begun(world, a_dead_holder())
    often = world.settings.model_copy(update={"drain_interval": 0.02, "upkeep_interval": 0.02})
    task = asyncio.create_task(keep_going(world.client, world.database, often))
    try:
        async with asyncio.timeout(60):
            while "put right" not in caplog.text:
                assert not task.done()
                await world.run(run)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await world.run(run)).state_type is StateType.CRASHED
    assert caplog.text.count("1 run had lost its process: put right.") == 1


async def test_a_run_that_just_ended_is_not_overwritten(world: World) -> None:
    read = await begun(world, a_dead_holder())
    await world.client.set_flow_run_state(read.id, Completed())
    assert not await end(world.client, read, Crashed(message="gone"))
    moved = await world.run(read)
    assert not await end(world.client, moved, Crashed(message="gone"))  # the server refuses it
    assert (await world.run(read)).state_type is StateType.COMPLETED
    assert (await world.look()).lines == []
    assert await world.signs() == {}  # what it left behind


async def test_what_a_person_cancelled_is_cancelled(world: World) -> None:
    run = await begun(world, a_dead_holder())
    await world.client.set_flow_run_state(run.id, Cancelling())
    assert len((await world.look()).runs) == 1
    assert (await world.run(run)).state_type is StateType.CANCELLED


async def test_what_computes_is_due_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CPU", world.pool)
    run = await begun(world, a_dead_holder())
    assert len((await world.look()).runs) == 1
    again = await world.run(run)
    assert again.state_type is StateType.SCHEDULED
    assert await world.offered() == {run.id}


def test_what_computes_starts_again_but_not_for_ever() -> None:
    run = FlowRun(flow_id=uuid.uuid4(), work_pool_name=CPU, run_count=2, state_type=StateType.RUNNING)
    assert ending(run, "gone.").is_scheduled()
    assert ending(run.model_copy(update={"run_count": 3}), "gone.").is_crashed()
    assert ending(run.model_copy(update={"work_pool_name": "openai"}), "gone.").is_crashed()


async def test_slots_of_a_limit_that_nobody_holds_are_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{kind}{uuid.uuid4().hex[:8]}" for kind in ("limit-", "tag:", "rate-", "young-")]
    for name in names:
        decay = 0.01 if name.startswith("rate-") else 0.0
        await world.client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=name, limit=5, slot_decay_per_second=decay)
        )
        await world.client.increment_concurrency_slots([name], 2, "concurrency")

    async def taken(name: str) -> int:
        return (await world.client.read_global_concurrency_limit_by_name(name)).active_slots

    mine = {limit.name: limit for limit in await module._limits(world.client) if limit.name in names}
    young = mine[names[3]]

    async def limits(_: PrefectClient) -> list[object]:
        return [*(mine[name] for name in names[:3]), young.model_copy(update={"active": False})]

    monkeypatch.setattr(module, "_limits", limits)
    try:
        # Something runs on the server: which limit it holds can't be known, but a tag's can.
        run = await begun(world, holder.this_process())
        assert (await world.look(slot_after=NOT_YET)).lines == []
        (line,) = (await world.look(slot_after=timedelta(0))).slots
        assert names[1] in line
        assert [await taken(name) for name in names] == [2, 0, 2, 2]
        await world.client.set_flow_run_state(run.id, Completed())

        async def nothing(*_: object, **__: object) -> list[object]:
            return []

        monkeypatch.setattr(module, "_runs", nothing)  # of other tests on this server
        assert "would be" in (await world.look(dry_run=True, slot_after=timedelta(0))).summary
        assert await taken(names[0]) == 2
        own = replace(world)
        own.settings = world.settings.model_copy(update={"prefect_api_url": "http://elsewhere/api"})
        assert (await own.look(slot_after=timedelta(0))).lines == []  # others may use that server
        (line,) = (await world.look(slot_after=timedelta(0))).slots
        assert line == f"the limit {names[0]}: 2 slots are counted of 5 that no run holds"
        assert [await taken(name) for name in names] == [0, 0, 2, 2]
    finally:
        for name in names:
            await world.client.delete_global_concurrency_limit_by_name(name)
