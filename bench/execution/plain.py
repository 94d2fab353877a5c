"""The peer of throughput (b): a plain asyncio + httpx loop that asks, reads the answer and forgets it.

A process of its own, so that nothing of Penstock is imported beside it. On standard input: {"url", "calls",
"in_flight", "body"}; `body` is a chat request as Penstock sends it, with NUMBER where the item's number stands.
Prints calls a second, from the first request to the last answer read, and milliseconds of CPU a call.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
import orjson

WARM_UP = 100


def text_of(stream: bytes) -> str:
    """The answer in a stream of events that is all there; no timeouts, no limits, no errors are looked for."""
    pages = [orjson.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]
    return "".join(page["choices"][0]["delta"].get("content") or "" for page in pages if page["choices"])


async def loop(client: httpx.AsyncClient, order: dict[str, Any], calls: int) -> None:
    numbers = iter(range(calls))
    body = order["body"]
    system, user = body["messages"]

    async def work() -> None:
        for number in numbers:
            asked = {**user, "content": user["content"].replace("NUMBER", f"{number:06}")}
            content = orjson.dumps({**body, "messages": [system, asked]})
            reply = await client.post(order["url"], content=content)
            reply.raise_for_status()
            answer = orjson.loads(text_of(reply.content))
            if not answer["answer"]:
                raise RuntimeError("an empty answer")

    await asyncio.gather(*(work() for _ in range(order["in_flight"])))


async def main() -> None:
    order = orjson.loads(sys.stdin.buffer.read())
    limits = httpx.Limits(max_connections=order["in_flight"])
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(trust_env=False, limits=limits, headers=headers) as client:
        await loop(client, order, WARM_UP)
        started, spent = time.perf_counter(), time.process_time()
        await loop(client, order, order["calls"])
        seconds, cpu = time.perf_counter() - started, time.process_time() - spent
        print(order["calls"] / seconds, 1000 * cpu / order["calls"])


if __name__ == "__main__":
    asyncio.run(main())
