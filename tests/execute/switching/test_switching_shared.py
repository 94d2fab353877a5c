"""Several drains on one device: memory is waited for, taken once, and counted when one dies."""

from __future__ import annotations

import asyncio
import random

import pytest

from backends.registry import make
from models.calls import ModelRequest
from models.endpoint import Endpoint, ModelSpec
from models.errors import LeaseLost, NoRoom
from models.settings import Settings
from tasks.execute.residency import Load, Room
from tasks.execute.switching import Loaded
from tests.execute.switching.conftest import (
    GPU,
    SIZES,
    Drain,
    Gpu,
    machine,
    ollama,
    pair,
    scripted,
    soon,
    until,
)


async def test_a_device_loads_one_model_at_a_time(gpu: Gpu) -> None:
    async with pair(gpu, load_seconds=0.2) as both:
        one, other = [await gpu.drain(endpoint) for endpoint in both.endpoints]
        loaded = await asyncio.gather(one.switch.to("small"), other.switch.to("middle"))
        assert sorted(each.waited >= 0.15 for each in loaded) == [False, True]
        assert (both.total("loads"), both.most("max_loading"), both.most("max_memory")) == (2, 1, 13)


@pytest.mark.parametrize("needed", [0.0, 10.0])
async def test_of_many_that_come_at_once_one_loads_and_no_memory_is_given_twice(
    gpu: Gpu, needed: float
) -> None:
    """Each on a connection of its own, as drains are: what the lock of the device is for."""
    drains = [
        (await scripted(gpu, url=f"http://gpu:{number}", models={"m": ModelSpec(memory=needed or None)}))[1]
        for number in range(8)
    ]
    rooms = [Room(drain.endpoint.resource, "m", needed, GPU.memory, None) for drain in drains]
    held = 0
    for _ in range(len(drains)):
        plans = await asyncio.gather(
            *(drain.switch._rows.decide(room, 900, ()) for drain, room in zip(drains, rooms, strict=True))
        )
        won = [number for number, decided in enumerate(plans) if isinstance(decided, Load)]
        assert len(won) <= 1, "one load at a time"
        for number in won:
            await drains[number].switch._rows.loaded("m", 1.0)
            del drains[number], rooms[number]
        held += len(won)
    assert held == (8 if not needed else 2)
    assert gpu.rows("select count(*) from residency where state = 'wanted'") == [(8 - held,)]


async def test_memory_of_another_drain_is_waited_for_and_never_taken(gpu: Gpu) -> None:
    async with pair(gpu) as both:
        holds, waits = [await gpu.drain(endpoint) for endpoint in both.endpoints]
        await holds.switch.to("large")
        assert await holds.contested() is None
        waiting = asyncio.ensure_future(waits.switch.to("large", soon(20)))
        await until(lambda: ("large", "wanted") in gpu.residency())
        assert (await holds.ask("large")).text
        waited = await holds.contested()
        assert waited is not None
        assert 0 <= waited < 10
        assert await waits.contested() is None, "who waits has nothing"
        assert not waiting.done()
        await holds.switch.leave()
        assert (await waiting).waited > 0
        assert (both.most("max_memory"), both.total("unloads"), both.total("unloads_of_busy")) == (14, 1, 0)
        assert gpu.rows("select resource, model, state from residency") == [
            (waits.endpoint.resource, "large", "loaded")
        ]


async def test_who_waits_until_the_deadline_is_told_what_for(gpu: Gpu) -> None:
    async with pair(gpu) as both:
        holds, waits = [await gpu.drain(endpoint) for endpoint in both.endpoints]
        await holds.switch.to("large")
        with pytest.raises(NoRoom, match="14 GiB are needed, and they are taken by large"):
            await waits.switch.to("large", soon(0.05))
        assert gpu.residency() == [("large", "loaded")], "it wants nothing any more"
        assert await holds.contested() is None


async def test_who_loses_the_lease_while_waiting_stops(gpu: Gpu) -> None:
    async with pair(gpu) as both:
        holds, waits = [await gpu.drain(endpoint) for endpoint in both.endpoints]
        await holds.switch.to("large")
        waiting = asyncio.ensure_future(waits.switch.to("large", soon(20)))
        await until(lambda: ("large", "wanted") in gpu.residency())
        waits.lease.lost_because = "It lapsed."
        waits.lease.lost.set()
        with pytest.raises(LeaseLost, match="It lapsed"):
            await waiting
        assert both.total("loads") == 1


async def test_a_load_stops_when_the_lease_is_lost(gpu: Gpu) -> None:
    async with machine(load_seconds=30) as server:
        drain = await gpu.drain(ollama(server.url))
        loading = asyncio.ensure_future(drain.switch.to("large"))
        await until(lambda: server.stats()["memory"] == 14)
        drain.lease.lost_because = "It lapsed."
        drain.lease.lost.set()
        with pytest.raises(LeaseLost):
            await loading
        await until(lambda: server.stats()["aborted_loads"] == 1)
        assert gpu.residency() == [("large", "loading")], "the next one asks the server"


async def test_who_lost_the_lease_without_knowing_changes_nothing(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        await drain.switch.to("small")
        successor = gpu.lease(drain.endpoint)
        before = gpu.rows("select * from residency")
        with pytest.raises(LeaseLost):
            await drain.switch.to("large")
        await drain.switch.leave()
        assert gpu.rows("select * from residency") == before
        assert successor.token > drain.lease.token
        assert list(server.stats()["loaded"]) == ["small"]


async def test_two_that_each_have_what_the_other_waits_for_go_on(gpu: Gpu) -> None:
    sizes = {"a": 12.0, "b": 12.0, "c": 20.0, "d": 20.0}
    async with pair(gpu, model_memory=sizes, models=list(sizes)) as both:
        specs = {name: ModelSpec(memory=size) for name, size in sizes.items()}
        one, other = [await gpu.drain(ollama(server.url, models=specs)) for server in both.servers]
        await one.switch.to("a")
        await other.switch.to("b")

        async def work(drain: Drain, model: str) -> None:
            await drain.switch.to(model, soon(20))
            await drain.switch.leave()

        await asyncio.gather(work(one, "c"), work(other, "d"))
        assert (both.total("loads"), both.most("max_memory"), both.total("unloads_of_busy")) == (4, 24, 0)


async def test_models_that_nobody_drains_make_room(gpu: Gpu) -> None:
    async with pair(gpu) as both:
        gone = await gpu.drain(both.endpoints[0])
        await gone.switch.to("large")
        gpu.dies(gone)
        drain = await gpu.drain(both.endpoints[1])
        await drain.switch.to("middle")
        assert list(both.servers[0].stats()["loaded"]) == ["large"], "there is room beside it"
        await drain.switch.to("small")
        assert (both.most("max_memory"), both.total("unloads_of_busy")) == (23, 0)
        assert list(both.servers[0].stats()["loaded"]) == ["large"], (
            "the own one that is not needed goes first"
        )
        assert list(both.servers[1].stats()["loaded"]) == ["small"]
        await drain.switch.to("large")
        assert list(both.servers[0].stats()["loaded"]) == []
        assert (both.most("max_memory"), both.total("unloads_of_busy")) == (23, 0)


async def test_what_somebody_else_loaded_on_the_device_is_found_and_let_go(gpu: Gpu) -> None:
    async with pair(gpu) as both:
        server, beside = both.servers
        stranger = make(ollama(beside.url))
        await stranger.answer(ModelRequest(1, "large", "", "hi"), soon(20))
        await stranger.close()
        drain = await gpu.drain(ollama(server.url))
        assert gpu.rows("select resource, model, state from residency") == [
            (ollama(beside.url).resource, "large", "loaded")
        ]
        await drain.switch.to("middle")
        assert list(beside.stats()["loaded"]) == ["large"], "there is room for both"
        await drain.switch.to("large")
        assert (list(beside.stats()["loaded"]), sorted(server.stats()["loaded"])) == ([], ["large", "middle"])


async def test_a_server_that_is_gone_keeps_its_memory_until_its_keep_alive_is_over(gpu: Gpu) -> None:
    async with machine() as server:
        gone = ollama("http://127.0.0.1:9", keep_alive="10m")
        gpu.settings = Settings(devices=[GPU], endpoints=[ollama(server.url), gone])
        gpu.rows(
            "insert into residency (resource, model, device, memory, state, token)"
            " values (%s, 'large', 'gpu', 14, 'loaded', 0) returning model",
            gone.resource,
        )
        drain = await gpu.drain(ollama(server.url))
        with pytest.raises(NoRoom):
            await drain.switch.to("large", soon(0.1))
        assert gpu.residency() == [("large", "loaded")]
        gpu.rows("update residency set used_at = now() - interval '11 minutes' returning model")
        another = await gpu.drain(ollama(server.url))
        await another.switch.to("large", soon(20))
        assert gpu.rows("select resource from residency") == [(another.endpoint.resource,)]


async def test_a_drain_that_dies_while_it_loads_is_recovered_from(gpu: Gpu) -> None:
    async with pair(gpu, load_seconds=0.3) as both:
        server, beside = both.servers
        dying = await gpu.drain(ollama(server.url))
        loading = asyncio.ensure_future(dying.backend.load("large", soon(20)))  # type: ignore[attr-defined]
        gpu.rows(
            "insert into residency (resource, model, device, memory, state, token)"
            " values (%s, 'large', 'gpu', 14, 'loading', %s) returning model",
            dying.endpoint.resource,
            dying.lease.token,
        )
        blocked = await gpu.drain(ollama(beside.url))
        with pytest.raises(NoRoom, match="is loading"):
            await blocked.switch.to("small", soon(0.05))
        loading.cancel()  # the process is killed, and its connection with it
        await asyncio.gather(loading, return_exceptions=True)
        gpu.dies(dying)
        await blocked.switch.to("small", soon(20))  # nobody loads any more; the row is not in the way
        await blocked.switch.to("large", soon(20))  # and its memory is had back from the server
        assert beside.stats()["loads"] == 2
        successor = await gpu.drain(ollama(server.url))
        assert successor.switch.resident == frozenset()
        assert gpu.rows("select model from residency where resource = %s", successor.endpoint.resource) == []


async def test_the_same_endpoint_forgets_a_load_that_its_former_drain_began(gpu: Gpu) -> None:
    async with machine() as server:
        gpu.rows(
            "insert into residency (resource, model, device, memory, state, token)"
            " values (%s, 'large', 'gpu', 14, 'loading', 0), (%s, 'small', 'gpu', 4, 'wanted', 0),"
            " (%s, 'middle', 'gpu', 9, 'unloading', 0) returning model",
            *[ollama(server.url).resource] * 3,
        )
        drain = await gpu.drain(ollama(server.url))
        assert gpu.residency() == []
        await drain.switch.to("large")
        assert gpu.residency() == [("large", "loaded")]


# --- leaving ------------------------------------------------------------------------------------------------


async def test_when_the_work_is_done_large_models_go_and_small_ones_stay(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        await drain.switch.to("middle")
        await drain.switch.to("large")
        await drain.switch.leave()
        assert list(server.stats()["loaded"]) == ["middle"]
        assert gpu.residency() == [("middle", "loaded")]
        assert (await drain.switch.to("middle"), server.stats()["loads"]) == (Loaded(), 2)


async def test_leaving_never_fails(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        await drain.switch.to("large")
    await drain.switch.leave()
    assert "were not unloaded" in caplog.text
    assert gpu.residency() == [("large", "loaded")]


# --- at random ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "deaths"), [(0, 0.0), (1, 0.0), (2, 0.3), (3, 0.3)])
async def test_drains_that_come_go_and_die_never_pass_the_memory(gpu: Gpu, seed: int, deaths: float) -> None:
    """Drains of two servers switch at random and die now and then; the servers judge."""
    chance = random.Random(seed)
    async with pair(gpu, load_seconds=0.01) as both:
        gpu.settings = gpu.settings.model_copy(update={"max_wait": 0.2})

        async def work(endpoint: Endpoint, turns: int) -> int:
            drain, switches = await gpu.drain(endpoint), 0
            for _ in range(turns):
                model = chance.choice(list(SIZES))
                await drain.switch.to(model, soon(30))
                switches += 1
                answers = [asyncio.ensure_future(drain.ask(model, f"{chance.random()}")) for _ in range(2)]
                if chance.random() < deaths:
                    for answer in answers:
                        answer.cancel()
                    gpu.dies(drain)
                    drain = await gpu.drain(endpoint)
                await asyncio.gather(*answers, return_exceptions=True)
                await drain.switch.touch()
                if (waited := await drain.contested()) is not None and waited >= 0.02:
                    await drain.switch.leave()
            await drain.switch.leave()
            gpu.dies(drain)
            return switches

        switched = await asyncio.gather(*(work(endpoint, 12) for endpoint in both.endpoints))
        assert switched == [12, 12]
        assert both.most("max_memory") <= 24
        assert (both.most("max_loading"), both.total("evictions_of_busy")) == (1, 0)
        assert deaths or both.total("unloads_of_busy") == 0
