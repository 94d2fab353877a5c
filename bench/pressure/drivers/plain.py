"""asyncio and httpx: as many workers as may be in flight, in the order given. Stores nothing."""

from __future__ import annotations

import asyncio

import httpx

from bench.pressure.drivers.protocol import done, order, ready


async def main() -> None:
    given = order()
    numbers = iter(given.work)
    async with httpx.AsyncClient(**given.client()) as client:

        async def work() -> None:
            for model, prompt in numbers:
                reply = await client.post(given.path, content=given.body(model, prompt))
                reply.raise_for_status()
                given.text(reply.content)

        ready()
        await asyncio.gather(*(work() for _ in range(given.in_flight)))
        done()


if __name__ == "__main__":
    asyncio.run(main())
