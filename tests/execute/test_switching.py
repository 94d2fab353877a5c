"""Model switches under real leases on simulated servers, which would load anything at any time and are the judges: two
of them on one machine count what they have together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from backends.registry import make
from backends.simulator import Inside, inside
from models.calls import Backend, ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import Device, Endpoint, ModelSpec
from models.enums import BackendName, ErrorType, TimeoutKind
from models.errors import LeaseLost, NoRoom
from models.settings import Settings
from sql.connection import Database
from tasks.execute.lease import Lease
from tasks.execute.loading import Way
from tasks.execute.residency import Load, Room
from tasks.execute.store import Store
from tasks.execute.switching import Loaded, Switch

GPU = Device(name="gpu", slots=4, memory=24)
SIZES = {"small": 4.0, "middle": 9.0, "large": 14.0}
SPECS = {name: ModelSpec(memory=size) for name, size in SIZES.items()}
POLL = 0.01


def ollama(url: str, **more: Any) -> Endpoint:
    return Endpoint(backend=BackendName.OLLAMA, url=url, device="gpu", **({"models": SPECS} | more))


@dataclass
class Gpu:
    """What drains of one device share, and how they come and go."""

    database: Database
    settings: Settings
    stack: AsyncExitStack

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def residency(self) -> list[tuple[str, str]]:
        return [
            (model, state) for model, state in self.rows("select model, state from residency order by 1, 2")
        ]

    def lease(self, endpoint: Endpoint) -> Lease:
        """Take over, as a drain does."""
        with self.database.connect(autocommit=True) as connection:
            row = connection.execute(
                "insert into lease (resource, backend, token, holder, expires_at)"
                " values (%s, %s, nextval('lease_token'), 'a test', now() + interval '1 hour')"
                " on conflict (resource) do update set token = excluded.token, expires_at = excluded.expires_at"
                " returning token",
                [endpoint.resource, endpoint.backend],
            ).fetchone()
        assert row is not None
        return Lease(endpoint.resource, endpoint.backend, row[0])

    def dies(self, drain: Drain) -> None:
        with self.database.connect(autocommit=True) as connection:
            connection.execute("delete from lease where token = %s", [drain.lease.token])

    async def drain(self, endpoint: Endpoint, backend: Backend | None = None, **more: Any) -> Drain:
        lease = self.lease(endpoint)
        connection = await self.stack.enter_async_context(await self.database.aconnect(autocommit=True))
        store = Store(connection, lease.token)
        backend = backend or make(endpoint)
        self.stack.push_async_callback(backend.close)
        switch = Switch(
            query=store.query,
            lease=lease,
            endpoint=endpoint,
            backend=backend,
            settings=more.pop("settings", self.settings),
            poll=POLL,
            **more,
        )
        await switch.start()
        return Drain(switch, lease, backend, store, endpoint)


@dataclass
class Drain:
    switch: Switch
    lease: Lease
    backend: Backend
    store: Store
    endpoint: Endpoint

    async def contested(self) -> float | None:
        waited: float | None = await self.store.query(self.switch.contested)
        return waited

    async def ask(self, model: str, prompt: str = "hi") -> ModelAnswer:
        request = ModelRequest(1, model, "", prompt, context_tokens=self.endpoint.context_tokens)
        return await self.backend.answer(request, soon(20))


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    give_up = soon(seconds)
    while not holds():
        assert soon(0) < give_up, "it did not happen"
        await asyncio.sleep(0.005)


@pytest.fixture
async def gpu(database: Database) -> AsyncIterator[Gpu]:
    async with AsyncExitStack() as stack:
        yield Gpu(database, Settings(devices=[GPU]), stack)


@asynccontextmanager
async def machine(**options: Any) -> AsyncIterator[Inside]:
    """A server that would load anything at any time: it is for Penstock not to ask for too much."""
    values: dict[str, Any] = {
        "flavour": "ollama",
        "models": list(SIZES),
        "model_memory": SIZES,
        "resident": 0,
        "load_seconds": 0.03,
    }
    async with inside(**(values | options)) as simulator:
        yield simulator


@dataclass
class Pair:
    """Two servers on one machine."""

    servers: list[Inside]

    @property
    def endpoints(self) -> list[Endpoint]:
        return [ollama(server.url) for server in self.servers]

    def most(self, figure: str) -> float:
        """Of what the judges count together."""
        return max(float(server.stats()[figure]) for server in self.servers)

    def total(self, figure: str) -> float:
        return sum(float(server.stats()[figure]) for server in self.servers)


@asynccontextmanager
async def pair(gpu: Gpu, **options: Any) -> AsyncIterator[Pair]:
    async with machine(**options) as one, machine(**options) as other:
        other.engine.memory.beside(one.engine.memory)
        made = Pair([one, other])
        gpu.settings = Settings(devices=[GPU], endpoints=made.endpoints)
        yield made


# --- one drain ----------------------------------------------------------------------------------------------


async def test_a_model_is_loaded_and_answers_before_it_is_used(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        assert (drain.switch.way, drain.switch.resident) == (Way.TOLD, frozenset())
        loaded = await drain.switch.to("small", soon(20))
        stats = server.stats()
        assert loaded.seconds >= 0.03
        assert (stats["loads"], stats["answers"], stats["tokens_out"]) == (1, 1, 1)
        assert gpu.residency() == [("small", "loaded")]
        assert drain.switch.resident >= {"small"}
        assert (await drain.ask("small")).text
        assert server.stats()["loads"] == 1, "calls have the context length that it was loaded with"
        assert server.engine.loaded["small"].context == drain.endpoint.context_tokens


async def test_what_the_server_has_loaded_is_known_at_the_start(gpu: Gpu) -> None:
    async with machine() as server:
        first = await gpu.drain(ollama(server.url))
        await first.ask("large")  # whoever asked for it
        gpu.dies(first)
        second = await gpu.drain(ollama(server.url))
        assert gpu.rows("select model, memory, state from residency") == [("large", 14.0, "loaded")]
        assert await second.switch.to("large") == Loaded()
        assert server.stats()["loads"] == 1


async def test_the_longest_unused_model_goes_when_there_is_no_room(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        for model in ("middle", "small", "middle", "large"):
            await drain.switch.to(model)
        stats = server.stats()
        assert set(stats["loaded"]) == {"middle", "large"}
        assert (stats["max_memory"], stats["unloads"], stats["unloads_of_busy"]) == (23, 1, 0)
        assert gpu.residency() == [("large", "loaded"), ("middle", "loaded")]


async def test_an_endpoint_keeps_as_many_models_as_it_is_declared_to(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, resident=1, models={}))
        for model in ("small", "middle", "small"):
            await drain.switch.to(model)
            assert list(server.stats()["loaded"]) == [model]
        assert (server.stats()["loads"], server.stats()["unloads"]) == (3, 2)


async def test_a_model_that_the_server_dropped_is_loaded_again(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        await drain.switch.to("small")
        server.engine.memory.unload("small")  # the server was restarted
        drain.switch.doubt()
        assert (await drain.switch.to("small")).seconds > 0
        assert server.stats()["loads"] == 2


async def test_a_model_that_was_idle_for_its_keep_alive_is_asked_for(gpu: Gpu) -> None:
    """The server dropped it, as it was told to: that is known without being told."""
    now = [0.0]
    async with machine() as server:
        loop = asyncio.get_running_loop()
        drain = await gpu.drain(ollama(server.url, keep_alive="5m"), clock=lambda: loop.time() + now[0])
        await drain.switch.to("small")
        now[0] = 200
        await drain.switch.touch()
        now[0] = 400
        assert drain.switch.resident
        assert await drain.switch.to("small") == Loaded()
        server.engine.memory.unload("small")
        now[0] = 800
        assert not drain.switch.resident
        assert (await drain.switch.to("small")).seconds > 0


async def test_one_that_never_fits_says_so(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, models={"large": ModelSpec(memory=25)}))
        with pytest.raises(ModelCallError, match="needs 25 GiB") as caught:
            await drain.switch.to("large")
        assert caught.value.error_type is ErrorType.OUT_OF_MEMORY
        assert (gpu.residency(), server.stats()["loads"]) == ([], 0)


# --- times --------------------------------------------------------------------------------------------------


class Scripted:
    """A server whose loads take as long as they are said to, on a clock of its own."""

    name = "ollama"
    url = "test://gpu"

    def __init__(self) -> None:
        self.now = 0.0
        self.takes = 0.0
        self.loaded: str | None = None
        self.error: ModelCallError | None = None
        self.budgets: list[float] = []
        self.unloaded: list[str] = []
        self.calls = 0
        self.lingers = 0  # probes, a second apart, in which what was let go is listed still

    def clock(self) -> float:
        return self.now

    async def probe(self, deadline: float) -> Probe:
        self.calls += 1
        if self.unloaded and self.loaded == self.unloaded[-1]:
            self.now += 1
            self.lingers -= 1
            if self.lingers < 0:
                self.loaded = None
        return Probe(True, "here", tuple(ModelInfo(name, loaded=name == self.loaded) for name in SIZES))

    async def can_load(self, deadline: float) -> bool:
        return True

    async def load(self, model: str, deadline: float) -> float:
        self.budgets.append(deadline - self.now)
        if self.takes > deadline - self.now:
            self.now = deadline
            raise ModelCallError(ErrorType.TIMEOUT, "It took too long.", timeout=TimeoutKind.TOTAL)
        self.now += self.takes
        if self.error:
            raise self.error
        self.loaded = model
        return self.takes

    async def unload(self, model: str, deadline: float) -> None:
        self.unloaded.append(model)
        if not self.lingers:
            self.loaded = None

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        self.calls += 1
        return ModelAnswer("yes", request.model, "stop")

    async def close(self) -> None:
        return None


async def scripted(gpu: Gpu, url: str = "http://gpu:1", **more: Any) -> tuple[Scripted, Drain]:
    server = Scripted()
    return server, await gpu.drain(ollama(url, **more), server, clock=server.clock)


async def test_a_model_that_is_there_costs_no_request(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    assert (await drain.switch.to("small")).waited == 0
    before, used = server.calls, gpu.rows("select used_at from residency")
    assert await drain.switch.to("small") == Loaded()
    assert await drain.switch.to("small:latest") == Loaded(), "another name of the same model"
    await drain.switch.touch()
    assert (server.calls, len(server.budgets)) == (before, 1)
    assert gpu.rows("select used_at from residency") > used
    assert drain.switch.resident == {"small", "small:latest"}


async def test_the_time_that_a_load_may_take_is_learned(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, models={"large": ModelSpec(load_timeout=200)})
    for takes in (100, 100, 20, 5, 5, 5, 5, 5, 5, 5):
        server.takes, server.loaded = takes, None
        drain.switch.doubt()
        assert (await drain.switch.to("large")).seconds == takes
    learned = [100.0, 100.0]
    for takes in (20, 5, 5, 5, 5, 5, 5):
        learned.append(learned[-1] + 0.3 * (takes - learned[-1]))
    assert server.budgets == pytest.approx([200] + [max(30, 3 * usual) for usual in learned])
    ((seconds, loads),) = gpu.rows("select load_seconds, loads from model_state where model = 'large'")
    assert (seconds, loads) == (pytest.approx(learned[-1] + 0.3 * (5 - learned[-1])), 10)
    assert drain.switch.load_seconds == {"large": pytest.approx(seconds)}


async def test_a_load_ends_at_the_deadline_too(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    await drain.switch.to("small", 7.0)
    assert server.budgets == [7.0]


async def test_a_load_that_takes_too_long_is_given_up_and_let_go(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, models={"large": ModelSpec(load_timeout=60)})
    server.takes = 61
    with pytest.raises(ModelCallError, match=r"large was not loaded .* within 60\.0 s") as caught:
        await drain.switch.to("large")
    assert (caught.value.error_type, caught.value.timeout) == (ErrorType.TIMEOUT, TimeoutKind.FIRST_TOKEN)
    assert (gpu.residency(), server.unloaded, drain.switch.resident) == ([], ["large"], frozenset())
    assert gpu.rows("select * from model_state") == []


async def test_memory_is_free_when_the_server_says_so(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, resident=1)
    await drain.switch.to("small")
    server.lingers = 3
    assert (await drain.switch.to("middle")).waited == 4
    assert gpu.residency() == [("middle", "loaded")]


async def test_a_model_that_does_not_go_is_an_error_and_counts_still(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, resident=1)
    await drain.switch.to("small")
    server.lingers = 1000
    with pytest.raises(ModelCallError, match="small was told to go at test://gpu and is loaded still"):
        await drain.switch.to("middle")
    assert gpu.residency() == [("small", "loaded")]
    assert server.now == pytest.approx(30, abs=2)


async def test_an_error_of_a_load_is_told_as_it_is(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    server.error = ModelCallError(ErrorType.OUT_OF_MEMORY, "No memory.")
    with pytest.raises(ModelCallError, match="No memory") as caught:
        await drain.switch.to("small")
    assert caught.value is server.error
    assert gpu.residency() == []
    server.error = None
    await drain.switch.to("small")
    assert gpu.residency() == [("small", "loaded")]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error500", ErrorType.SERVER_ERROR),
        ("out_of_memory", ErrorType.OUT_OF_MEMORY),
        ("wrong_model", ErrorType.MODEL_MISSING),
    ],
)
async def test_a_model_that_is_loaded_and_does_not_answer_is_not_ready(
    gpu: Gpu, fault: str, error: ErrorType
) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        server.script([fault])
        with pytest.raises(ModelCallError) as caught:
            await drain.switch.to("small")
        assert caught.value.error_type is error
        assert gpu.residency() == []
        assert drain.switch.resident == frozenset()


async def test_warm_ups_are_never_the_same_question(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, resident=1))
        for model in ("small", "middle", "small", "middle"):
            await drain.switch.to(model)
        stats = server.stats()
        assert (stats["answers"], stats["answered_twice"], stats["wasted_tokens"]) == (4, 0, 0)


async def test_a_switch_that_is_cancelled_leaves_the_memory_counted_until_the_server_was_asked(
    gpu: Gpu,
) -> None:
    async with machine(load_seconds=30) as server:
        drain = await gpu.drain(ollama(server.url))
        switching = asyncio.ensure_future(drain.switch.to("large"))
        await until(lambda: gpu.residency() == [("large", "loading")])
        switching.cancel()
        await asyncio.gather(switching, return_exceptions=True)
        assert (gpu.residency(), drain.switch.resident) == ([("large", "loaded")], frozenset())
        await drain.switch.start()
        assert gpu.residency() == []


# --- several drains on one device ---------------------------------------------------------------------------


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


# --- servers of other kinds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(backend=BackendName.EXTRACTIVE, url="extractive://local"),
        Endpoint(backend=BackendName.ANTHROPIC, url="http://127.0.0.1:9"),
        Endpoint(backend=BackendName.GEMINI, url="http://127.0.0.1:9"),
        Endpoint(backend=BackendName.OPENAI, url="https://127.0.0.1:9/v1"),
    ],
    ids=lambda endpoint: endpoint.backend,
)
async def test_where_nothing_is_loaded_nothing_is_done(gpu: Gpu, endpoint: Endpoint) -> None:
    drain = await gpu.drain(endpoint)
    assert drain.switch.way is Way.NOTHING
    assert await drain.switch.to("any", soon(5)) == Loaded()
    await drain.switch.touch()
    await drain.switch.leave()
    assert await drain.contested() is None
    assert gpu.residency() == []


@pytest.mark.parametrize(("flavour", "warmed"), [("llama", 1), ("mlx", 0)])
async def test_a_server_of_one_model_has_only_to_answer(gpu: Gpu, flavour: str, warmed: int) -> None:
    """mlx_lm.server is asked for a token when it is probed, so it is known to answer."""
    async with inside(flavour=flavour, models=["only"]) as server:
        kind = BackendName.MLX if flavour == "mlx" else BackendName.OPENAI
        drain = await gpu.drain(Endpoint(backend=kind, url=server.openai_url, model="only"))
        assert drain.switch.way is Way.FIXED
        before = server.stats()["answers"]
        for _ in range(2):
            await drain.switch.to("only", soon(10))
        assert server.stats()["answers"] - before == warmed
        assert gpu.residency() == []


async def test_the_memory_of_a_fixed_model_is_taken_as_long_as_its_server_answers(gpu: Gpu) -> None:
    """The Mac of docs/backends.md: Ollama beside an mlx_lm.server, which nobody can tell to let its model go."""
    async with machine() as server, inside(flavour="mlx", models=["only"]) as beside:
        fixed = Endpoint(
            backend=BackendName.MLX,
            url=beside.openai_url,
            device="gpu",
            model="only",
            models={"only": ModelSpec(memory=12)},
            keep_alive=0,
        )
        gpu.settings = Settings(devices=[GPU], endpoints=[fixed, ollama(server.url)])
        drain = await gpu.drain(ollama(server.url))
        assert gpu.residency() == [("only", "loaded")]
        assert beside.stats()["requests"] == 0, "it is not asked for a token by who does not hold it"
        await drain.switch.to("middle", soon(20))
        await drain.switch.to("small", soon(20))
        assert list(server.stats()["loaded"]) == ["small"], "with the other one, only 12 GiB are left"
        with pytest.raises(ModelCallError, match=r"large needs 14 GiB .* always has 12 GiB") as caught:
            await drain.switch.to("large", soon(20))
        assert caught.value.error_type is ErrorType.OUT_OF_MEMORY
        own = await gpu.drain(fixed)
        assert await own.switch.to("only", soon(20)) == Loaded()
        await own.switch.leave()
        gpu.dies(own)
        assert gpu.residency() == [("only", "loaded"), ("small", "loaded")]
    another = await gpu.drain(ollama("http://gpu:1"), Scripted())
    await another.switch.to("large", soon(20))  # its server is no more, and its keep_alive is over
    assert ("only", "loaded") not in gpu.residency()


async def test_a_fixed_model_that_does_not_answer_is_an_error(gpu: Gpu) -> None:
    drain = await gpu.drain(Endpoint(backend=BackendName.OPENAI, url="http://127.0.0.1:9/v1", model="m"))
    assert drain.switch.way is None, "it could not be asked"
    with pytest.raises(ModelCallError) as caught:
        await drain.switch.to("m", soon(5))
    assert caught.value.error_type is ErrorType.CONNECTION


async def test_a_server_that_loads_what_it_is_asked_for(gpu: Gpu) -> None:
    async with inside(flavour="openai", models=list(SIZES), load_seconds=0.02, model_memory=SIZES) as server:
        endpoint = Endpoint(
            backend=BackendName.OPENAI, url=server.openai_url, device="gpu", models=SPECS, keep_alive="5m"
        )
        drain = await gpu.drain(endpoint)
        assert drain.switch.way is Way.ASKED
        for model in ("large", "large", "middle"):
            await drain.switch.to(model, soon(20))
            assert gpu.residency() == [(model, "loaded")], "it drops what it had"
        assert (server.stats()["answers"], server.stats()["loads"]) == (2, 2)
        assert drain.switch.load_seconds.keys() == {"large", "middle"}


async def test_what_a_server_cannot_be_told_to_let_go_counts_while_its_drain_lives(gpu: Gpu) -> None:
    """Another one waits, longer than `max_wait`: the model that is there can only be replaced, and counts till then."""
    options: dict[str, Any] = {"load_seconds": 0.02, "model_memory": SIZES}
    async with inside(flavour="openai", models=list(SIZES), **options) as server, machine() as other:
        kept = Endpoint(backend=BackendName.OPENAI, url=server.openai_url, device="gpu", models=SPECS)
        gpu.settings = Settings(devices=[GPU], endpoints=[kept, ollama(other.url)], max_wait=0.01)
        keeps, waits = [await gpu.drain(each) for each in gpu.settings.endpoints]
        await keeps.switch.to("large", soon(20))
        waiting = asyncio.ensure_future(waits.switch.to("large", soon(20)))
        await until(lambda: ("large", "wanted") in gpu.residency())
        await asyncio.sleep(0.05)
        assert await keeps.contested() is None, "it has nothing that it could give"
        other.engine.memory.beside(server.engine.memory)  # one judge of what both have
        assert other.stats()["loads"] == 0
        await keeps.switch.to("middle", soon(20))  # smaller: now there is room
        assert server.stats()["loads"] == 2
        async with asyncio.timeout(10):
            await waiting
        assert gpu.residency() == [("large", "loaded"), ("middle", "loaded")]
        assert max(float(each.stats()["max_memory"]) for each in (server, other)) <= 24


async def test_two_that_cannot_let_go_do_not_wait_for_each_other_for_ever(gpu: Gpu) -> None:
    options: dict[str, Any] = {"flavour": "openai", "models": list(SIZES), "model_memory": SIZES}
    async with inside(**options) as one, inside(**options) as other:
        gpu.settings = Settings(
            devices=[GPU],
            endpoints=[
                Endpoint(backend=BackendName.OPENAI, url=each.openai_url, device="gpu", models=SPECS)
                for each in (one, other)
            ],
            max_wait=0.1,
        )
        drains = [await gpu.drain(each) for each in gpu.settings.endpoints]
        for drain in drains:
            await drain.switch.to("middle", soon(20))
        both = [drain.switch.to("large") for drain in drains]  # 14 and 14, of 24
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*both, return_exceptions=True)
        assert any(isinstance(end, NoRoom) for end in ends)
        assert gpu.rows("select sum(memory) from residency where state <> 'wanted'")[0][0] <= 24


@asynccontextmanager
async def sleepers(gpu: Gpu) -> AsyncIterator[Pair]:
    """Two vLLM with a model each, that don't fit at once."""
    options: dict[str, Any] = {"flavour": "vllm", "model_memory": 14, "load_seconds": 0.3}
    async with inside(models=["a"], **options) as one, inside(models=["b"], **options) as other:
        endpoints = [
            Endpoint(
                backend=BackendName.OPENAI,
                url=server.openai_url,
                device="gpu",
                model=model,
                models={model: ModelSpec(memory=14)},
            )
            for server, model in ((one, "a"), (other, "b"))
        ]
        gpu.settings = Settings(devices=[GPU], endpoints=endpoints)
        yield Pair([one, other])


async def test_vllm_sleeps_and_wakes(gpu: Gpu) -> None:
    async with sleepers(gpu) as both:
        servers = both.servers
        for server in servers:
            await server.engine.load(server.engine.models[0], server.engine.options.context, -1)
            await server.engine.memory.sleep(1)  # as an operator starts them
        servers[1].engine.memory.beside(servers[0].engine.memory)
        drains = [await gpu.drain(endpoint) for endpoint in gpu.settings.endpoints]
        assert [drain.switch.way for drain in drains] == [Way.TOLD, Way.TOLD]
        one, other = drains
        woken = await one.switch.to("a", soon(20))
        assert 0.03 <= woken.seconds < 0.3, "waking is faster than loading"
        waiting = asyncio.ensure_future(other.switch.to("b", soon(20)))
        await until(lambda: ("b", "wanted") in gpu.residency())
        assert (await one.ask("a")).text
        await one.switch.leave()
        await waiting
        assert (await other.ask("b")).text
        assert [server.engine.memory.asleep for server in servers] == [1, 0]
        assert [server.stats()["wakes"] for server in servers] == [1, 1]
        assert (both.most("max_memory"), both.total("unloads_of_busy")) == (14, 0)
        assert gpu.residency() == [("b", "loaded")]
        gpu.dies(other)
        await one.switch.to("a", soon(20))  # nobody drains the other: it is put to sleep
        assert [server.engine.memory.asleep for server in servers] == [0, 1]


async def test_vllm_that_is_awake_is_left_so(gpu: Gpu) -> None:
    async with sleepers(gpu):
        drain = await gpu.drain(gpu.settings.endpoints[0])
        assert await drain.switch.to("a") == Loaded()
        assert gpu.rows("select model, memory from residency order by model") == [("a", 14.0), ("b", 14.0)]
