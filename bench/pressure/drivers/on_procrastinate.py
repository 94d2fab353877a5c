"""procrastinate: a job per item in Postgres, one worker of as many jobs as may be in flight. Its defaults else."""

from __future__ import annotations

import asyncio

import httpx
import procrastinate

from bench.pressure.drivers.protocol import done, order, ready


async def main() -> None:
    given = order()
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=given.conninfo))
    async with (
        app.open_async(),
        httpx.AsyncClient(**given.client()) as client,
    ):

        async def ask(model: str, prompt: str) -> str:
            reply = await client.post(given.path, content=given.body(model, prompt))
            reply.raise_for_status()
            return given.text(reply.content)

        task = app.task(name="ask")(ask)
        await app.schema_manager.apply_schema_async()
        ready()
        await task.batch_defer_async(*({"model": model, "prompt": prompt} for model, prompt in given.work))
        await app.run_worker_async(concurrency=given.in_flight, wait=False, install_signal_handlers=False)
        done()


if __name__ == "__main__":
    asyncio.run(main())
