"""The endpoints that one process asks: those that its drains hold, and those that were opened to ask a judge.

A judge's model may be on another endpoint than the batch that is judged. Nobody asks that one beside whoever holds its
lease: where a drain of this process does, the questions go through its gate; else the lease is taken, and kept until
the run ends or a drain of this process wants to work there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import psycopg

from backends.registry import make
from backends.replies import same_model
from models.calls import Backend, Probe
from models.endpoint import Endpoint
from models.enums import BackendName
from models.errors import BackendUnavailable
from models.settings import Settings
from tasks.execute.calls import Calls
from tasks.execute.lease import Lease, endpoint_lease
from tasks.execute.pressure import Pressure
from tasks.execute.store import Store

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
KNOWN_SECONDS = 60.0
"""For so long an endpoint has the models that it listed."""

PATIENCE_SECONDS = 60.0
"""How long a judge waits for an endpoint that another process holds."""

LOOK_AGAIN_SECONDS = 1.0

Connect = Callable[[str], Awaitable[psycopg.AsyncConnection]]
"""Gives a connection in autocommit, of this name."""


@dataclass(eq=False, slots=True)
class Door:
    """An endpoint whose lease this process holds."""

    endpoint: Endpoint
    pressure: Pressure
    lease: Lease
    calls: Calls
    guests: int = 0  # who asks through it and is no batch of its own drain
    closing: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Let nobody in any more, and wait until all guests have gone."""
        self.closing = True
        while self.guests:
            self.idle.clear()
            await self.idle.wait()

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[Door]:
        self.guests += 1
        try:
            yield self
        finally:
            self.guests -= 1
            self.idle.set()


@dataclass(frozen=True, slots=True)
class _Opened:
    door: Door
    watch: asyncio.Task[None]
    stack: AsyncExitStack

    @property
    def broken(self) -> bool:
        return self.door.lease.lost.is_set() or self.watch.done()


class Doors:
    """Of one call of `drain_any`. Used from one event loop."""

    def __init__(
        self,
        connect: Connect,
        settings: Settings,
        make_backend: Callable[[Endpoint], Backend] = make,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._make = make_backend
        self._doors: dict[str, Door] = {}
        self._opened: dict[str, _Opened] = {}
        self._probes: dict[str, tuple[float, Probe]] = {}
        self._one = asyncio.Lock()

    # --- drains ---------------------------------------------------------------------------------------------

    def hold(self, door: Door) -> None:
        """A drain has begun."""
        self._doors[door.endpoint.resource] = door

    async def let_go(self, door: Door) -> None:
        """The drain ends, once its guests have gone."""
        await door.close()
        if self._doors.get(door.endpoint.resource) is door:
            del self._doors[door.endpoint.resource]

    def is_open(self, endpoint: Endpoint) -> bool:
        """Whether it was opened to ask a judge."""
        return endpoint.resource in self._opened

    async def vacate(self, endpoint: Endpoint) -> None:
        """A drain wants to work there."""
        async with self._one:
            await self._close(endpoint.resource)

    async def aclose(self) -> None:
        async with self._one:
            for resource in list(self._opened):
                await self._close(resource)

    # --- judges ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def to(self, model: str, own: Door, recipe: str) -> AsyncIterator[Door]:
        """An endpoint that has the model and may be asked now; `own` where that does.

        Raises BackendUnavailable, with why, where there is none.
        """
        clock = asyncio.get_running_loop().time
        give_up = clock() + PATIENCE_SECONDS
        while True:
            held: list[str] = []
            closed: list[str] = []
            for endpoint in await self._having(model, own):
                door = await self._enter(endpoint, own)
                if door is None:
                    held.append(endpoint.resource)
                elif door is own:  # its batch may be asked: its judge, too
                    yield own
                    return
                elif why := door.pressure.closed_to(recipe, model):
                    closed.append(why)
                else:
                    async with door.visit():
                        yield door
                    return
            if not held:
                why = (
                    " ".join(closed)
                    or f"no endpoint has the model {model!r}. Declare one under [[endpoints]]."
                )
                raise BackendUnavailable(why)
            if clock() >= give_up:
                raise BackendUnavailable(
                    f"{held[0]} has the model {model!r}, and another process holds it for longer than "
                    f"{PATIENCE_SECONDS:.0f} s"
                )
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _having(self, model: str, own: Door) -> Sequence[Endpoint]:
        """Endpoints that have the model: first those that work with it anyway, and of these the own one."""
        others = [each for each in self._settings.endpoints if each.resource != own.endpoint.resource]
        anyway, also = [], []
        for endpoint in (own.endpoint, *others):
            if endpoint.model is not None and same_model(model, endpoint.model):
                anyway.append(endpoint)
            elif any(same_model(model, name) for name in await self._names(endpoint, own)):
                also.append(endpoint)
        return anyway + also

    async def _names(self, endpoint: Endpoint, own: Door) -> list[str]:
        """Its models, as they are declared and as its server lists them."""
        now = asyncio.get_running_loop().time()
        known = self._probes.get(endpoint.resource)
        if known is None or now - known[0] >= KNOWN_SECONDS:
            known = self._probes[endpoint.resource] = (now, await self._probe(endpoint, own))
        return [*endpoint.models, *(model.name for model in known[1].models)]

    async def _probe(self, endpoint: Endpoint, own: Door) -> Probe:
        deadline = asyncio.get_running_loop().time() + PROBE_SECONDS
        # An mlx_lm.server would be asked for a token, without a seat; in OpenAI's protocol it only lists what it has.
        mlx = endpoint.backend == BackendName.MLX
        if endpoint.resource == own.endpoint.resource and not mlx:
            return await own.calls.backend.probe(deadline)
        backend = self._make(endpoint.model_copy(update={"backend": BackendName.OPENAI}) if mlx else endpoint)
        try:
            return await backend.probe(deadline)
        finally:
            await backend.close()

    async def _enter(self, endpoint: Endpoint, own: Door) -> Door | None:
        """The door to it; None while another process holds it, or a drain of this one is just leaving it."""
        if endpoint.resource == own.endpoint.resource:
            return own
        async with self._one:
            door = self._doors.get(endpoint.resource)
            if door is not None:
                return None if door.closing or door.lease.lost.is_set() else door
            opened = self._opened.get(endpoint.resource)
            if opened is not None and not opened.broken:
                return opened.door
            await self._close(endpoint.resource)
            return await self._open(endpoint)

    async def _open(self, endpoint: Endpoint) -> Door | None:
        async with AsyncExitStack() as stack:
            model = endpoint.model or ""
            lease = await stack.enter_async_context(
                endpoint_lease(
                    lambda: self._connect("penstock heartbeat"),
                    backend=endpoint.backend,
                    url=endpoint.url,
                    model=model,
                    heartbeat=self._settings.heartbeat,
                )
            )
            if lease is None:
                return None
            connection = await self._connect("penstock judge")
            stack.push_async_callback(connection.close)
            backend = self._make(endpoint)
            stack.push_async_callback(backend.close)
            query = Store(connection, lease.token).query
            pressure = Pressure(query, backend, endpoint, model, self._settings, lease, None)
            await pressure.start()
            stack.push_async_callback(pressure.aclose)
            door = Door(endpoint, pressure, lease, Calls(backend, endpoint, pressure, None))
            watch = asyncio.create_task(_watch(door), name=f"watch {endpoint.resource}")
            stack.push_async_callback(_stop, watch)
            self._opened[endpoint.resource] = _Opened(door, watch, stack.pop_all())
            log.info("%s is opened to ask a judge.", endpoint.resource)
            return door

    async def _close(self, resource: str) -> None:
        """Of those that were opened."""
        if (opened := self._opened.get(resource)) is not None:
            await opened.door.close()
            del self._opened[resource]
            await opened.stack.aclose()


async def _watch(door: Door) -> None:
    """As a drain does: every second what others know and want."""
    while not door.lease.lost.is_set():
        await door.pressure.look()
        if door.pressure.contested is not None and not door.guests:
            await door.pressure.hand_over()
        await door.pressure.watched()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("Nobody looked after an endpoint that was opened for a judge any more: %s", error)
