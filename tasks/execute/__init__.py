"""Execute: lease one endpoint, claim batches of ready items, ask the model, check, write.

`drain` is the whole stage; flows/execute.py is the Prefect flow over it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

__all__ = ["Batch", "ClaimedItem", "Drain", "RunBatch", "Stages", "Tally", "drain"]

log = logging.getLogger(__name__)

RunBatch = Callable[[Drain, Batch], Awaitable[Tally]]


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
) -> Tally:
    """Drain `boards` (all when None) on one endpoint until nothing that it may do is left.

    Where another drain holds the endpoint, waits for it: each heartbeat it looks whether the lease is free or the
    work is gone. `deadline` is on the loop's clock. Raises LeaseLost, BackendUnavailable, DatabaseError.
    """
    allowed = {
        name: recipe
        for name, recipe in recipes.items()
        if not recipe.header.backends or endpoint.backend in recipe.header.backends
    }
    scope = Scope(endpoint.backend, tuple(allowed), None if boards is None else tuple(boards))
    loop = asyncio.get_running_loop()
    connection = await database.aconnect(autocommit=True, application_name="penstock drain")
    try:
        while True:
            async with endpoint_lease(
                lambda: database.aconnect(autocommit=True, application_name="penstock heartbeat"),
                backend=endpoint.backend,
                url=endpoint.url,
                model=model,
                heartbeat=settings.heartbeat,
            ) as lease:
                if lease is not None:
                    if lease.recovered:
                        log.info("%d items of a drain that is no more were given back.", lease.recovered)
                    if boards is not None:
                        await _reroute(connection, recipes, allowed, boards)
                    work = Drain(
                        store=Store(connection, lease.token),
                        lease=lease,
                        backend=backend,
                        endpoint=endpoint,
                        model=model,
                        recipes=dict(recipes),
                        stages=stages,
                        settings=settings,
                        scope=scope,
                        trace_id=trace_id,
                        deadline=deadline,
                    )
                    return await work.run(_bound(run_batch, work))
            outlook = await Store(connection, 0).outlook(scope)
            if not (outlook.now or outlook.later or outlook.running):
                return Tally()
            if deadline is not None and loop.time() >= deadline:
                return Tally()
            if on_wait:
                on_wait(f"Another drain holds {endpoint.backend} at {endpoint.url}; waiting for it.")
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
    recipes: Mapping[str, Recipe],
    allowed: Mapping[str, Recipe],
    boards: Sequence[int],
) -> None:
    """A run has chosen its backend: what that may not do goes on as the recipe's fallback, or would wait for ever."""
    for recipe in recipes.values():
        if recipe.name not in allowed and recipe.header.fallback:
            await connection.execute(
                statement("execute.reroute"),
                {"recipe": recipe.name, "fallback": recipe.header.fallback, "boards": list(boards)},
            )
