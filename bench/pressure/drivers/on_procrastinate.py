"""procrastinate: a job per item in Postgres, one worker of as many jobs as may be in flight. Its defaults else."""

from __future__ import annotations

import asyncio

import httpx
import procrastinate

from bench.pressure.drivers.protocol import body, done, order, ready, text_of


async def main() -> None:
    given = order()
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=given.conninfo))
    limits = httpx.Limits(max_connections=given.in_flight)
    async with (
        app.open_async(),
        httpx.AsyncClient(base_url=given.url, limits=limits, timeout=None, trust_env=False) as client,
    ):

        async def ask(model: str, prompt: str) -> str:
            reply = await client.post("/api/chat", json=body(model, prompt))
            reply.raise_for_status()
            return text_of(reply.json())

        task = app.task(name="ask")(ask)
        await app.schema_manager.apply_schema_async()
        ready()
        await task.batch_defer_async(*({"model": model, "prompt": prompt} for model, prompt in given.work))
        await app.run_worker_async(concurrency=given.in_flight, wait=False, install_signal_handlers=False)
        done()


if __name__ == "__main__":
    asyncio.run(main())
