"""One drain per endpoint, whatever dies and whenever."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AbstractAsyncContextManager

import psutil
import pytest

from models.enums import Status
from sql.connection import Database
from tasks.execute import holder
from tasks.execute.lease import SETTLING_SECONDS, Lease, endpoint_lease

from .conftest import InProcess, World, answered


def lease_of(
    database: Database, heartbeat: float = 5.0, holder_name: str | None = None
) -> AbstractAsyncContextManager[Lease | None]:
    return endpoint_lease(
        lambda: database.aconnect(autocommit=True),
        backend="ollama",
        url="u",
        model=None,
        heartbeat=heartbeat,
        holder_name=holder_name,
    )


async def test_only_one_holds_it(database: Database) -> None:
    async with lease_of(database) as first:
        assert isinstance(first, Lease)
        async with lease_of(database) as second:
            assert second is None
    async with lease_of(database) as third:
        assert third is not None
        assert third.token > first.token


async def test_one_server_is_one_lease_however_its_url_is_written(database: Database) -> None:
    def at(url: str) -> AbstractAsyncContextManager[Lease | None]:
        return endpoint_lease(
            lambda: database.aconnect(autocommit=True), backend="ollama", url=url, model=None, heartbeat=5.0
        )

    async with at("http://gpu:11434/") as first:
        assert first is not None
        async with at("http://gpu:11434") as second:
            assert second is None


async def test_many_at_once_and_one_wins(database: Database) -> None:
    inside = 0
    most = 0

    async def attempt() -> bool:
        nonlocal inside, most
        async with lease_of(database) as lease:
            if lease is None:
                return False
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.05)
            inside -= 1
            return True

    won = await asyncio.gather(*(attempt() for _ in range(12)))
    assert most == 1
    assert any(won)


async def test_beats_keep_it_and_without_beats_it_lapses(database: Database) -> None:
    async with lease_of(database, heartbeat=0.1) as lease:
        assert lease is not None
        with database.connect(autocommit=True) as connection:
            row = connection.execute("select expires_at from lease").fetchone()
            before = row
            async with asyncio.timeout(10):
                while row == before:
                    await asyncio.sleep(0.02)
                    row = connection.execute("select expires_at from lease").fetchone()
            connection.execute("update lease set expires_at = now() - interval '1 s'")
        async with asyncio.timeout(10):
            await lease.lost.wait()
        async with lease_of(database) as other:
            assert other is not None


async def test_a_holder_on_another_machine_is_waited_for(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('ollama u', 'ollama', 1, 'elsewhere boot pid:[1] 1 1.00', now() + interval '1 min')"
        )
    async with lease_of(database) as lease:
        assert lease is None


def a_dead_holder() -> str:
    child = subprocess.Popen(
        [sys.executable, "-c", "from tasks.execute import holder; print(holder.this_process())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    name = child.communicate(timeout=30)[0].strip()
    return name


async def test_a_killed_holder_on_this_machine_is_replaced_at_once(world: World) -> None:
    """The items that it had claimed come back, and nothing waits for the lease to lapse."""
    ids = world.add(10)
    dead = a_dead_holder()
    with world.database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('openai test://here', 'openai', nextval('lease_token'), %s, now() + interval '1 h')",
            [dead],
        )
        connection.execute(
            "update item set status = 2, ready = false, lease = (select token from lease) where id = any(%s)",
            [ids[:6]],
        )
    tally = await world.drain(InProcess(answered))
    assert tally.accepted == 10
    assert world.statuses() == {Status.DONE: 10}


async def test_requests_of_a_killed_holder_get_time_to_end_whoever_gave_its_items_back(world: World) -> None:
    with world.database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('openai test://here', 'openai', nextval('lease_token'), %s, now() + interval '1 h')",
            [a_dead_holder()],
        )
    settling = []
    for _ in range(2):  # the second one takes a lease that was released in order
        async with endpoint_lease(
            lambda: world.database.aconnect(autocommit=True),
            backend="openai",
            url="test://here",
            model=None,
            heartbeat=5.0,
        ) as lease:
            assert lease is not None
            settling.append(lease.settling)
    assert settling == [SETTLING_SECONDS, 0.0]


def test_only_certainty_counts_as_dead() -> None:
    mine = holder.this_process()
    assert not holder.is_dead(mine)
    machine, pid, start = mine.rsplit(" ", 2)
    assert holder.is_dead(f"{machine} {pid} 1.00"), "the pid is in use by a process with another start time"
    assert not holder.is_dead(f"other {pid} {start}")
    assert not holder.is_dead("")
    assert not holder.is_dead("free words")
    assert holder.is_dead(a_dead_holder())
    assert psutil.pid_exists(int(pid))


@pytest.mark.parametrize("drains", [2, 3])
async def test_several_drains_share_the_work_and_nothing_runs_twice(world: World, drains: int) -> None:
    """On one endpoint they take turns; in flight never exceeds its slots."""
    ids = world.add(40)
    world.settings = world.settings.model_copy(update={"heartbeat": 0.2})
    backend = InProcess(answered)
    tallies = await asyncio.gather(*(world.drain(backend) for _ in range(drains)))
    assert sum(tally.accepted for tally in tallies) == 40
    assert sorted(backend.asked) == ids
