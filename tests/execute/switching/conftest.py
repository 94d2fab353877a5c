"""Drains of one device on simulated servers, which would load anything at any time and are the judges: two of them
on one machine count what they have together.
"""

from __future__ import annotations

import asyncio
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
from models.settings import Settings
from sql.connection import Database
from tasks.execute.lease import Lease
from tasks.execute.store import Store
from tasks.execute.switching import Switch

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
