"""Execute: lease one endpoint, claim batches of ready items, ask the model, check, write.

`drain_any` is the whole stage; flows/execute.py is the Prefect flow over it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from models.calls import Backend
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from sql.connection import Database
from sql.statements import statement
from tasks.execute.drain import Drain, Stages
from tasks.execute.lease import endpoint_lease
from tasks.execute.store import Scope, Store
from tasks.execute.work import Batch, ClaimedItem, Tally

__all__ = [
    "Batch",
    "ClaimedItem",
    "Drain",
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
) -> Tally:
    """Drain `boards` (all when None) on the first free endpoint of `seats` until nothing that it may do is left.

    All seats are of one kind of backend. Where other drains hold them all, or work on these boards still, waits:
    again and again it looks whether an endpoint is free, somebody died, or the work is gone. `deadline` is on the
    loop's clock. Raises LeaseLost, BackendUnavailable, DatabaseError.
    """
    kind = seats[0].endpoint.backend
    allowed = {
        name: recipe
        for name, recipe in recipes.items()
        if not recipe.header.backends or kind in recipe.header.backends
    }
    scope = Scope(kind, tuple(allowed), None if boards is None else tuple(boards))
    loop = asyncio.get_running_loop()
    total = Tally()
    connection = await database.aconnect(autocommit=True, application_name="penstock drain")
    try:
        while True:
            sat = False
            for seat in seats:
                async with endpoint_lease(
                    lambda: database.aconnect(autocommit=True, application_name="penstock heartbeat"),
                    backend=kind,
                    url=seat.endpoint.url,
                    model=seat.model,
                    heartbeat=settings.heartbeat,
                ) as lease:
                    if lease is None:
                        continue
                    sat = True
                    if lease.recovered:
                        log.info("%d items of a drain that is no more were given back.", lease.recovered)
                    if boards is not None:
                        await _reroute(connection, kind, recipes, allowed, boards)
                    work = Drain(
                        store=Store(connection, lease.token),
                        lease=lease,
                        backend=seat.backend,
                        endpoint=seat.endpoint,
                        model=seat.model,
                        recipes=dict(recipes),
                        stages=seat.stages,
                        settings=settings,
                        scope=scope,
                        trace_id=trace_id,
                        deadline=deadline,
                        by_person=by_person,
                        on_wait=on_wait,
                    )
                    total.add(await work.run(_bound(run_batch, work)))
                break
            # What this drain released may be of a recipe that the backend may not do: as its fallback it may.
            if sat and boards is not None and await _reroute(connection, kind, recipes, allowed, boards):
                continue
            outlook = await Store(connection, 0).outlook(scope)
            if not (outlook.running or (not sat and (outlook.now or outlook.later))):
                return total
            if sat and boards is None:
                return total  # another drain has the rest, and whoever starts drains sees when that one dies
            if deadline is not None and loop.time() >= deadline:
                return total
            if on_wait:
                places = ", ".join(seat.endpoint.url for seat in seats)
                on_wait(
                    "Another drain works on the rest of these boards; waiting for it."
                    if sat
                    else f"Other drains hold {kind} at {places}; waiting for one."
                )
            await asyncio.sleep(min(settings.heartbeat, 2.0))
    finally:
        await connection.close()


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
