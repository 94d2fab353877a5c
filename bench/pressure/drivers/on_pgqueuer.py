"""pgqueuer: a job per item in Postgres, drained by one worker of as many jobs as may be in flight."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.types import QueueExecutionMode

from bench.pressure.drivers.protocol import done, order, ready


async def main() -> None:
    given = order()
    connection = await asyncpg.connect(host=given.socket, user="postgres", database=given.database)
    driver = AsyncpgDriver(connection)
    queues = PgQueuer(driver)
    queries = Queries(driver)
    async with httpx.AsyncClient(**given.client()) as client:

        async def ask(job: Any) -> None:
            model, prompt = json.loads(job.payload)
            reply = await client.post(given.path, content=given.body(model, prompt))
            reply.raise_for_status()
            given.text(reply.content)

        queues.entrypoint("ask", concurrency_limit=given.in_flight)(ask)
        await queries.install()
        ready()
        payloads = [json.dumps(pair).encode() for pair in given.work]
        await queries.enqueue(["ask"] * len(payloads), payloads, [0] * len(payloads))
        await queues.run(
            mode=QueueExecutionMode.drain,
            batch_size=max(1, given.in_flight // 2),  # it wants room for two batches
            max_concurrent_tasks=max(2, given.in_flight),
        )
        done()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
