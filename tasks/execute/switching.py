"""Explicit model switches: memory is reserved before a load, one model is loaded on a device at a time, and none is
thrown out while it answers.

What a switch is on which kind of server: tasks/execute/loading.py. The rows: tasks/execute/residents.py. What may be
loaded, and what has to go for it: tasks/execute/residency.py. Servers of the device's other endpoints: neighbours.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from backends import registry
from backends.replies import same_model
from models.calls import Backend, Loads, ModelCallError
from models.endpoint import Device, Endpoint
from models.enums import ErrorType
from models.errors import LeaseLost, NoRoom, PenstockError
from models.settings import Settings
from tasks.execute.lease import Lease
from tasks.execute.loading import (
    NOTHING_TO_LOAD,
    Way,
    declared,
    fixed_of,
    in_time,
    loaded_of,
    prove,
    spec_of,
    unload,
    way_of,
)
from tasks.execute.neighbours import LOOK_SECONDS, Neighbours
from tasks.execute.residency import SLACK, Evict, Held, Load, Plan, Room, Wait, goes_when_done, keep_seconds
from tasks.execute.residents import Connection, Query, Residents
from tasks.execute.stopping import stop

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
UNLOAD_SECONDS = 30.0
ABORT_SECONDS = 5.0
STUCK_SECONDS = 5.0
"""Before a model that could not be let go is tried again."""
TOUCH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Loaded:
    seconds: float = 0.0  # that the load and the proof took; 0: the model was there
    waited: float = 0.0  # seconds for memory, or for another load of the device, before that


async def _at_once() -> None:
    return None


class Switch:
    """The models of one drain's endpoint. Used from one event loop."""

    def __init__(
        self,
        *,
        query: Query,
        lease: Lease,
        endpoint: Endpoint,
        backend: Backend,
        settings: Settings,
        clock: Callable[[], float] | None = None,
        make: Callable[[Endpoint], Backend] = registry.make,
        poll: float = POLL_SECONDS,
    ) -> None:
        self.way: Way | None = None  # None: its server could not be asked yet
        self.device: Device = settings.device(endpoint)
        self.shared: bool = settings.shared(endpoint)
        self.load_seconds: dict[str, float] = {}  # usual times, of models that were switched to
        self._rows = Residents(query, lease, endpoint.resource, self.device.name)
        self._lease = lease
        self._resource = endpoint.resource
        self._endpoint = endpoint
        self._backend = backend
        self._settings = settings
        self._clock = clock or asyncio.get_running_loop().time
        self._neighbours = Neighbours(endpoint, settings, self._rows, make, self._clock)
        self._poll = poll
        self._one = asyncio.Lock()
        self._names: dict[str, str] = {}  # a model's names to the one that is used here
        self._used: dict[str, float] = {}  # what is believed loaded, and when it was used, on the clock
        self._stuck: dict[tuple[str, str], float] = {}  # what could not be let go, until when
        self._current: str | None = None
        self._touched = 0.0
        self._warmed = 0

    # --- what the drain asks --------------------------------------------------------------------------------

    @property
    def resident(self) -> frozenset[str]:
        """Models that are believed loaded, by all their names that were heard. Unknown is not loaded."""
        return frozenset(alias for alias, name in self._names.items() if self._believed(name))

    async def start(self) -> None:
        """Ask the server what it has, and on a shared device those whose endpoint nobody drains."""
        await self._look()
        if self._used and self.way is Way.TOLD:
            # Once more, now that the rows are ours: while it was asked, another drain may have let its models go.
            await self._look()
        if self._counts and self.way in (Way.TOLD, Way.ASKED):
            await self._neighbours.survey()

    async def to(
        self, model: str, deadline: float | None = None, let_in: Callable[[], Awaitable[None]] = _at_once
    ) -> Loaded:
        """Have `model` loaded and answering. To be called only while no request of this drain is in flight.

        `deadline` is on the clock. `let_in` is awaited before anything is sent that makes the server work: by then
        the memory is reserved, and only a seat of the device is lacking.
        Raises ModelCallError where it can't be loaded, NoRoom where others have the memory until the deadline,
        LeaseLost.
        """
        async with self._one:
            self._lease.check()
            self._current = model
            name = self._name(model)
            if self.way is None:
                await self._look()
            if self.way is Way.NOTHING:
                return Loaded()
            if self._believed(name):
                await self._touch(name)
                return Loaded()
            until = float("inf") if deadline is None else deadline
            if self.way in (Way.TOLD, Way.ASKED):
                return await self._switch(model, name, until, let_in)
            await let_in()
            started = self._clock()
            await self._held(in_time(self._prove, self._endpoint, model, until, None, self._clock))
            self._used[name] = self._clock()
            return Loaded(self._clock() - started)

    async def touch(self, model: str | None = None) -> None:
        """It has answered: the latest model, where none is named. Cheap: call it as often as there are answers."""
        model = model or self._current
        if (
            model is not None
            and self.way not in (None, Way.NOTHING)
            and (name := self._name(model)) in self._used
        ):
            self._used[name] = self._clock()
            if self.way is not Way.FIXED and self._clock() - self._touched >= TOUCH_SECONDS:
                await self._touch(name)

    def doubt(self) -> None:
        """What was believed is not any more, since the server failed: the next `to` asks it."""
        self._used.clear()

    async def contested(self, connection: Connection) -> float | None:
        """Seconds that another drain has been waiting for memory which models of this one have; None: nobody does, or
        this server can't be told to let them go."""
        if not self.shared or self.device.memory is None or self.way is not Way.TOLD:
            return None
        return await self._rows.contested(connection, self.device.memory)

    async def leave(self) -> None:
        """The work here is done, for now: let go what somebody waits for, and what is large. Never raises."""
        if self._lease.lost.is_set() or self.way not in (Way.TOLD, Way.ASKED):
            return
        try:
            async with self._one:
                going = await self._rows.leaving(self.contested, self._leaves)
                await self._let_go(going, self._clock() + UNLOAD_SECONDS)
        except asyncio.CancelledError:
            await self._rows.abandon()
            raise
        except (PenstockError, psycopg.Error, OSError) as error:
            log.warning(
                "Models of %s were not unloaded (%s); its server drops them after %s.",
                self._resource,
                error,
                self._endpoint.keep_alive,
            )

    @property
    def _counts(self) -> bool:
        """Has its device memory that others want, too?"""
        return self.shared and self.device.memory is not None

    def _leaves(self, row: Held, contested: bool) -> bool:
        return self.way is Way.TOLD and (contested or goes_when_done(row.memory, self.device.memory))

    # --- a switch -------------------------------------------------------------------------------------------

    async def _switch(
        self, model: str, name: str, deadline: float, let_in: Callable[[], Awaitable[None]]
    ) -> Loaded:
        started = self._clock()
        await self._look()
        if self._believed(name):
            await self._touch(name)
            return Loaded()
        memory = spec_of(self._endpoint, model).memory or 0.0
        frees = self.way is Way.TOLD
        room = Room(self._resource, name, memory, self.device.memory, self._limit(), frees)
        replaces = await self._make_room(room, deadline)
        waited = self._clock() - started
        seconds = await self._load(model, name, deadline, let_in, replaces)
        return Loaded(seconds, waited)

    def _check_fits(self, room: Room) -> None:
        """Raises ModelCallError for what no waiting makes room for."""
        others = self._neighbours.fixed
        fixed = sum(others.values())
        if room.memory is None or not room.needed or room.needed + fixed <= room.memory + SLACK:
            return
        of_it = f", of which {', '.join(sorted(others))} always has {fixed:g} GiB" if fixed else ""
        raise ModelCallError(
            ErrorType.OUT_OF_MEMORY,
            f"{room.model} needs {room.needed:g} GiB and the device {self.device.name} has {room.memory:g} GiB{of_it}, "
            "as they are declared. Use a smaller model there, or correct the settings.",
        )

    def _limit(self) -> int | None:
        """A server that loads by itself what it is asked for drops the former model, unless it is declared not to."""
        return self._endpoint.resident or (1 if self.way is Way.ASKED else None)

    async def _make_room(self, room: Room, deadline: float) -> bool:
        """Until the model's row is reserved as `loading`. Gives whether another one is there until it is loaded."""
        # Two servers that can't be told to let go may each have what the other one needs: neither waits for ever.
        patience = float("inf") if room.frees else 2 * self._settings.max_wait
        give_up = self._clock() + patience
        try:
            while True:
                self._lease.check()
                self._check_fits(room)
                now = self._clock()
                stuck = {place for place, until in self._stuck.items() if until > now}
                decided: Plan = await self._rows.decide(room, self._settings.max_wait, stuck)
                match decided:
                    case Load(replaces):
                        for each in replaces:
                            self._used.pop(each.model, None)
                        return bool(replaces)
                    case Evict(victims):
                        await self._let_go(victims, deadline)
                        continue
                    case Wait(why, release, for_memory):
                        if release:
                            await self._let_go(release, deadline)
                if self._clock() >= (min(deadline, give_up) if for_memory else deadline):
                    raise NoRoom(
                        f"{room.model} could not be loaded at {self._resource} in time: {why}. Wait, or declare more "
                        f"memory for the device {self.device.name}."
                    )
                await self._pause(deadline)
        except BaseException:
            await self._rows.abandon()
            raise

    async def _load(
        self,
        model: str,
        name: str,
        deadline: float,
        let_in: Callable[[], Awaitable[None]],
        replaces: bool,
    ) -> float:
        """The row is `loading`: load, prove, learn. Whatever happens, it does not stay so."""
        try:
            await let_in()
            usual = await self._rows.usual(name)
            started = self._clock()
            await self._held(in_time(self._ready, self._endpoint, model, deadline, usual, self._clock))
            seconds = self._clock() - started
            memory = spec_of(self._endpoint, model).memory or 0.0
            self.load_seconds[name] = await self._rows.loaded(name, seconds, memory)
        except asyncio.CancelledError:
            # How far the server came is not known: the memory stays counted until it was asked.
            await self._rows.keep(name)
            raise
        except LeaseLost:
            raise  # the row is of whoever has the endpoint now
        except BaseException as error:
            late = isinstance(error, ModelCallError) and error.error_type is ErrorType.TIMEOUT
            # Of two, one of which was to replace the other, one is there.
            kept = replaces or (late and not await self._aborted(model))
            await (self._rows.keep(name) if kept else self._rows.drop(name))
            raise
        self._used[name] = self._clock()
        if self.way is Way.TOLD:
            await self._look()  # it may have dropped another by itself
        return seconds

    async def _ready(self, model: str, deadline: float) -> None:
        if self.way is Way.TOLD:
            assert isinstance(self._backend, Loads)
            await self._backend.load(model, deadline)
        await self._prove(model, deadline)

    async def _prove(self, model: str, deadline: float) -> None:
        self._warmed += 1
        number = f"{self._lease.token}.{self._warmed}"
        await prove(self._endpoint, self._backend, model, number, deadline)

    async def _aborted(self, model: str) -> bool:
        """After a load that took too long: is the memory surely free?"""
        if self.way is not Way.TOLD:
            return False
        try:
            await self._unload(self._backend, model, self._clock() + ABORT_SECONDS)
        except ModelCallError as error:
            log.warning("%s was not unloaded after a load that took too long: %s", model, error)
            return False
        return True

    # --- letting go -----------------------------------------------------------------------------------------

    async def _let_go(self, victims: Sequence[Held], deadline: float) -> None:
        """Unload these, whose rows are `unloading`. Raises ModelCallError where an own one can't be."""
        gone: list[Held] = []
        try:
            for victim in victims:
                self._lease.check()
                if victim.resource == self._resource:
                    if self.way is Way.TOLD:
                        until = min(deadline, self._clock() + UNLOAD_SECONDS)
                        await self._unload(self._backend, victim.model, until)
                    self._used.pop(victim.model, None)
                else:
                    until = min(deadline, self._clock() + UNLOAD_SECONDS)
                    if not await self._neighbours.let_go(victim, until, self._unload):
                        self._stuck[victim.place] = self._clock() + STUCK_SECONDS
                        continue
                gone.append(victim)
        finally:
            if victims:
                stays = [victim for victim in victims if victim not in gone]
                await asyncio.shield(self._rows.settle(gone, stays))

    async def _unload(self, backend: Backend, model: str, deadline: float) -> None:
        await unload(backend, model, deadline, self._clock, self._pause)

    # --- what servers say -----------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Ask this endpoint's server what it has, and write it down."""
        if self._endpoint.backend in NOTHING_TO_LOAD:
            self.way = Way.NOTHING
        if self.way is Way.NOTHING:
            return
        if self.way is Way.ASKED:  # it says nothing, and a probe makes some of these load
            await self._remember()
            return
        deadline = self._clock() + LOOK_SECONDS
        probe = await self._backend.probe(deadline)
        if self.way is None:
            self.way = await way_of(self._endpoint, self._backend, probe, deadline)
        has = loaded_of(self._endpoint, probe)
        if has is not None:
            has = {self._name(name): memory for name, memory in has.items()}
        match self.way:
            case Way.FIXED:
                self._used |= dict.fromkeys(has or (), self._clock())
                if self._counts:
                    await self._rows.said(fixed_of(self._endpoint, probe))
            case Way.TOLD | Way.ASKED:
                if not probe.reachable:
                    self._used.clear()  # nothing is known; the rows stay as they are, so that their memory counts
                elif has is not None:
                    self._used = dict.fromkeys(await self._rows.said(has), self._clock())
                else:
                    await self._remember()

    async def _remember(self) -> None:
        """What it was asked for not long ago."""
        rows = await self._rows.remembered(keep_seconds(self._endpoint.keep_alive))
        now = self._clock()
        self._used = {self._name(model): now - idle for model, idle in rows}

    # --- names and beliefs ----------------------------------------------------------------------------------

    def _name(self, model: str) -> str:
        """The name under which a model is known here: as it is declared, else the first of its names that was heard."""
        if (known := self._names.get(model)) is None:
            own = declared(self._endpoint, model)
            heard = self._names.values()
            known = next((name for name in heard if same_model(name, own) or same_model(own, name)), own)
            self._names[model] = known
        return known

    def _believed(self, name: str) -> bool:
        if (used := self._used.get(name)) is None:
            return False
        if self.way is Way.FIXED:
            return True
        return self._clock() - used < keep_seconds(self._endpoint.keep_alive)

    async def _touch(self, name: str) -> None:
        self._used[name] = self._touched = self._clock()
        if self.way is not Way.FIXED:
            await self._rows.touch(name)

    async def _held(self, run: Coroutine[Any, Any, None]) -> None:
        """Run it while the lease is held. Raises LeaseLost as soon as it is not, and stops it."""
        work = asyncio.ensure_future(run)
        lost = asyncio.ensure_future(self._lease.lost.wait())
        try:
            await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._lease.check()
            work.result()
        finally:
            for task in (work, lost):
                stop(task)
            await asyncio.gather(work, lost, return_exceptions=True)

    async def _pause(self, deadline: float) -> None:
        """A little, at most until the deadline. Raises LeaseLost as soon as that is so."""
        left = max(0.0, min(self._poll, deadline - self._clock()))
        try:
            await asyncio.wait_for(self._lease.lost.wait(), left)
        except TimeoutError:
            return
        self._lease.check()
