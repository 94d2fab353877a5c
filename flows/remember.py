"""Remember: accepted answers become knowledge. A step of the pipeline, of each drain and of each decision."""

from __future__ import annotations

import asyncio

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.opening import opened
from tasks.remember import merge_recent, remember_results

__all__ = ["remember_accepted"]


@task(name="remember", task_run_name="remember accepted answers", cache_policy=NO_CACHE, persist_result=False)
async def remember_accepted() -> int:
    """Make nodes of the accepted answers that are not remembered yet; simulated ones never are. Gives their number."""
    async with opened() as (_, db):

        def remember() -> int:
            total = 0
            with db.connect(autocommit=True) as connection:
                while count := remember_results(connection):
                    total += count
                merge_recent(connection)
            return total

        return await asyncio.to_thread(remember)
