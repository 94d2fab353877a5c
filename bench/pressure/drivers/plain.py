"""asyncio and httpx: as many workers as may be in flight, in the order given. Stores nothing."""

from __future__ import annotations

import asyncio

import httpx

from bench.pressure.drivers.protocol import body, done, order, ready, text_of


async def main() -> None:
    given = order()
    numbers = iter(given.work)
    limits = httpx.Limits(max_connections=given.in_flight)
    async with httpx.AsyncClient(base_url=given.url, limits=limits, timeout=None, trust_env=False) as client:

        async def work() -> None:
            for model, prompt in numbers:
                reply = await client.post("/api/chat", json=body(model, prompt))
                reply.raise_for_status()
                text_of(reply.json())

        ready()
        await asyncio.gather(*(work() for _ in range(given.in_flight)))
        done()


if __name__ == "__main__":
    asyncio.run(main())
