"""Execute: lease one endpoint, claim batches of ready items, ask the model, check, write.

`drain_any` is the whole stage; flows/execute.py is the Prefect flow over it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from models.calls import Backend, Probe
from models.errors import BackendUnavailable, LeaseLost, PenstockError
from models.recipe import Recipe
from models.run import Wish
from models.settings import Endpoint, Settings
from sql.connection import Database
from sql.statements import statement
from tasks.execute.batch_runner import Stages
from tasks.execute.doors import Doors
from tasks.execute.drain import Drain
from tasks.execute.halt import Halt
from tasks.execute.lease import endpoint_lease
from tasks.execute.reuse import Flights
from tasks.execute.stopping import stop
from tasks.execute.store import Scope, Store
from tasks.execute.work import Batch, ClaimedItem, Tally

__all__ = [
    "Batch",
    "ClaimedItem",
    "Drain",
    "Halt",
    "RunBatch",
    "Seat",
    "Stages",
    "Tally",
    "adopt",
    "drain",
    "drain_any",
]

log = logging.getLogger(__name__)

RunBatch = Callable[[Drain, Batch], Awaitable[Tally]]


@dataclass(frozen=True, slots=True)
class Seat:
    """One endpoint that a drain may take, with what speaks to it."""

    backend: Backend
    endpoint: Endpoint
    model: str
    stages: Stages
    probe: Probe | None = None  # what the server said of itself when it was chosen


async def drain(
    database: Database,
    backend: Backend,
    endpoint: Endpoint,
    *,
    model: str,
    recipes: Mapping[str, Recipe],
    stages: Stages,
    settings: Settings,
    trace_id: str,
    boards: Sequence[int] | None = None,
    run_batch: RunBatch | None = None,
    on_wait: Callable[[str], None] | None = None,
    deadline: float | None = None,
    by_person: bool = False,
    chance: random.Random | None = None,
    halt: Halt | None = None,
) -> Tally:
    """`drain_any` with one endpoint to choose from."""
    return await drain_any(
        database,
        [Seat(backend, endpoint, model, stages)],
        recipes=recipes,
        settings=settings,
        trace_id=trace_id,
        boards=boards,
        run_batch=run_batch,
        on_wait=on_wait,
        deadline=deadline,
        by_person=by_person,
        chance=chance,
        halt=halt,
    )


async def drain_any(
    database: Database,
    seats: Sequence[Seat],
    *,
    recipes: Mapping[str, Recipe],
    settings: Settings,
    trace_id: str,
    boards: Sequence[int] | None = None,
    run_batch: RunBatch | None = None,
    on_wait: Callable[[str], None] | None = None,
    deadline: float | None = None,
    by_person: bool = False,
    chance: random.Random | None = None,
    halt: Halt | None = None,
) -> Tally:
    """Drain `boards` (all when None) on all free endpoints of `seats` at once until nothing that they may do is left.

    All seats are of one kind of backend. Where another drain holds one, or works on these boards still, waits: again
    and again it looks whether the endpoint is free, somebody died, or the work is gone. `deadline` is on the loop's
    clock. `by_person`: somebody waits for it, so what is left alone after failures is tried once at once. `chance`
    chooses among a recipe's `models`; given, a drain can be repeated. `halt`: what a person wants of the run that it is
    a part of. Paused, it lets end what was sent and returns.

    An endpoint that fails leaves its work to the others. Raises what it failed with, BackendUnavailable or LeaseLost,
    where work is left in the end or all failed; RunStopped when the run was cancelled, after what was not written is
    given back; DatabaseError.
    """
    kind = seats[0].endpoint.backend
    allowed = {
        name: recipe
        for name, recipe in recipes.items()
        if not recipe.header.backends or kind in recipe.header.backends
    }
    work = _Work(
        database=database,
        recipes=recipes,
        allowed=allowed,
        settings=settings,
        scope=Scope(
            kind,
            tuple(allowed),
            None if boards is None else tuple(boards),
            {name: model for name, recipe in allowed.items() if (model := recipe.header.first_model)},
        ),
        trace_id=trace_id,
        run_batch=run_batch,
        on_wait=on_wait,
        deadline=deadline,
        by_person=by_person,
        chance=chance or random.Random(),  # noqa: S311 - which model is asked is no secret
        doors=Doors(lambda name: database.aconnect(autocommit=True, application_name=name), settings),
        halt=halt or Halt(),
    )
    sitters = [asyncio.ensure_future(work.sit(seat)) for seat in seats]
    try:
        await asyncio.gather(*sitters)
    finally:
        for sitter in sitters:
            stop(sitter)
        await asyncio.wait(sitters)
        await work.doors.aclose()
    if work.errors and (len(work.errors) == len(seats) or await work.left()):
        raise work.errors[0]
    return work.total


@dataclass(slots=True)
class _Work:
    """What the endpoints of one call of `drain_any` do together."""

    database: Database
    recipes: Mapping[str, Recipe]
    allowed: Mapping[str, Recipe]
    settings: Settings
    scope: Scope
    trace_id: str
    run_batch: RunBatch | None
    on_wait: Callable[[str], None] | None
    deadline: float | None
    by_person: bool
    chance: random.Random
    doors: Doors
    halt: Halt
    total: Tally = field(default_factory=Tally)
    errors: list[PenstockError] = field(default_factory=list)
    flights: Flights = field(default_factory=Flights)
    _said: set[str] = field(default_factory=set)

    async def sit(self, seat: Seat) -> None:
        """Drain on one endpoint until nothing is left for it."""
        connection = await self.database.aconnect(autocommit=True, application_name="penstock drain")
        try:
            await self._sit(seat, connection)
        except (BackendUnavailable, LeaseLost) as error:
            log.warning("%s", error)
            self.errors.append(error)
        finally:
            await connection.close()

    async def left(self) -> bool:
        """Whether any work is left."""
        connection = await self.database.aconnect(autocommit=True, application_name="penstock drain")
        try:
            left = await Store(connection, 0).left(self.scope)
        finally:
            await connection.close()
        return left.anything

    async def _sit(self, seat: Seat, connection: psycopg.AsyncConnection[Any]) -> None:
        loop = asyncio.get_running_loop()
        boards = self.scope.boards
        while True:
            sat = await self._drain(seat, connection)
            self.halt.check()
            if self.halt.wish is Wish.PAUSE:
                return
            # What this drain released may be of a recipe that the backend may not do: as its fallback it may.
            if sat and await self._reroute(connection):
                continue
            left = await Store(connection, 0).left(self.scope)
            if not (left.running or (not sat and left.anything)):
                return
            if sat and boards is None:
                return  # another drain has the rest, and whoever starts drains sees when that one dies
            if self.deadline is not None and loop.time() >= self.deadline:
                return
            self._say(
                "Another drain works on the rest of these boards; waiting for it."
                if sat
                else f"Another drain holds {seat.endpoint.backend} at {seat.endpoint.url}; waiting for it."
            )
            await asyncio.sleep(min(self.settings.heartbeat, 2.0))

    async def _drain(self, seat: Seat, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Drain once. False: another holds the endpoint."""
        if self.doors.is_open(seat.endpoint):
            # A judge of another drain here is asked there: only for work that there is it has to go.
            if not (await Store(connection, 0).left(self.scope)).now:
                return False
            await self.doors.vacate(seat.endpoint)
        async with endpoint_lease(
            lambda: self.database.aconnect(autocommit=True, application_name="penstock heartbeat"),
            backend=seat.endpoint.backend,
            url=seat.endpoint.url,
            model=seat.model,
            heartbeat=self.settings.heartbeat,
        ) as lease:
            if lease is None:
                return False
            if lease.recovered:
                log.info("%d items of a drain that is no more were given back.", lease.recovered)
            await self._reroute(connection)
            beside = await self.database.aconnect(autocommit=True, application_name="penstock drain looks")
            try:
                work = Drain(
                    store=Store(connection, lease.token, away=self.settings.retry_delay, beside=beside),
                    lease=lease,
                    backend=seat.backend,
                    endpoint=seat.endpoint,
                    model=seat.model,
                    recipes=dict(self.recipes),
                    stages=seat.stages,
                    settings=self.settings,
                    scope=self.scope,
                    trace_id=self.trace_id,
                    deadline=self.deadline,
                    by_person=self.by_person,
                    chance=self.chance,
                    on_wait=self._say,
                    probe=seat.probe,
                    flights=self.flights,
                    doors=self.doors,
                    halt=self.halt,
                )
                try:
                    await work.run(_bound(self.run_batch, work))
                finally:
                    self.total.add(work.tally)  # what it did before it failed, too
            finally:
                await beside.close()
        return True

    async def _reroute(self, connection: psycopg.AsyncConnection[Any]) -> int:
        boards = self.scope.boards
        if boards is None:
            return 0
        return await _reroute(connection, self.scope.backend, self.recipes, self.allowed, boards)

    def _say(self, words: str) -> None:
        if self.on_wait and words not in self._said:
            self._said.add(words)
            self.on_wait(words)


def _bound(run_batch: RunBatch | None, work: Drain) -> Callable[[Batch], Awaitable[Tally]] | None:
    if run_batch is None:
        return None
    wrapped = run_batch
    return lambda batch: wrapped(work, batch)


async def _reroute(
    connection: psycopg.AsyncConnection[Any],
    backend: str,
    recipes: Mapping[str, Recipe],
    allowed: Mapping[str, Recipe],
    boards: Sequence[int],
) -> int:
    """A run has chosen its backend: what that may not do goes on as the recipe's fallback, or would wait for ever."""
    count = 0
    for recipe in recipes.values():
        fallback = recipe.name
        while fallback not in allowed and (after := recipes[fallback].header.fallback):
            fallback = after
        if fallback != recipe.name and fallback in allowed:
            moved = await connection.execute(
                statement("execute.reroute"),
                {"recipe": recipe.name, "fallback": fallback, "boards": list(boards), "backend": backend},
            )
            count += moved.rowcount
    return count


async def adopt(
    connection: psycopg.AsyncConnection[Any], known: Sequence[str], for_kind: Callable[[str], str]
) -> int:
    """Give items whose recipe was taken away the one for their kind; gives how many. `known`: names of recipes."""
    async with connection.transaction():
        found = await connection.execute(statement("execute.lost_recipes"), {"known": list(known)})
        lost: dict[int, str] = dict(await found.fetchall())
        if lost:
            names = {kind: for_kind(kind) for kind in set(lost.values())}
            await connection.execute(
                statement("execute.adopt"),
                {"ids": list(lost), "recipes": [names[kind] for kind in lost.values()]},
            )
    return len(lost)
