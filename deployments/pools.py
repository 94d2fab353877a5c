"""The work pools: `cpu` for what computes, one per model backend, each with its limit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.enums import BackendName
from models.errors import OrchestratorError
from models.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["CPU", "POOL_TYPE", "Pool", "ensure_pools", "plugged_backends", "pools"]

CPU = "cpu"
POOL_TYPE = "process"


@dataclass(frozen=True)
class Pool:
    name: str
    limit: int  # flow runs at once
    description: str


def pools(settings: Settings) -> list[Pool]:
    """All pools, with their limits from the settings: cpu by the cores, a backend by its endpoints."""
    cores = settings.cpu_limit or os.cpu_count() or 1
    found = [Pool(CPU, cores, "Ingest, decompose, validate, review, documents: what computes here.")]
    for backend in (*BackendName, *plugged_backends(settings)):
        about = f"Drains of {backend}. The limit is the outer cap; a lease in the database is the strict one."
        found.append(Pool(str(backend), settings.pool_limit(backend), about))
    return found


def plugged_backends(settings: Settings) -> list[str]:
    """Backends of plug-ins that an endpoint is declared for."""
    declared = dict.fromkeys(endpoint.backend for endpoint in settings.endpoints)
    return [name for name in declared if name not in list(BackendName)]


async def ensure_pools(client: PrefectClient, wanted: list[Pool]) -> list[str]:
    """Make the pools that are missing and correct limits that differ. Returns what was changed, in words.

    What a person did to a pool beside that (paused it, edited its job template) stays. Raises OrchestratorError
    when a pool of that name is of another type.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    there = {pool.name: pool for pool in await client.read_work_pools(limit=200)}
    changes: list[str] = []
    for pool in wanted:
        found = there.get(pool.name)
        if found is None:
            template = ProcessWorker.get_default_base_job_template()
            new = WorkPoolCreate(
                name=pool.name,
                type=POOL_TYPE,
                description=pool.description,
                base_job_template=template,
                concurrency_limit=pool.limit,
            )
            try:
                await client.create_work_pool(new)
            except ObjectAlreadyExists:
                found = await client.read_work_pool(pool.name)  # another process made it just now
            else:
                changes.append(f"pool {pool.name} made, limit {pool.limit}")
                continue
        if found.type != POOL_TYPE:
            raise OrchestratorError(
                f"The work pool {pool.name!r} is of type {found.type!r}; Penstock's workers are of type "
                f"{POOL_TYPE!r}. Delete it (`prefect work-pool delete {pool.name}`), or use another Prefect server."
            )
        if found.concurrency_limit != pool.limit:
            await client.update_work_pool(pool.name, WorkPoolUpdate(concurrency_limit=pool.limit))
            changes.append(f"pool {pool.name}: limit {found.concurrency_limit} is now {pool.limit}")
    return changes
