"""A server that gives prepared replies, one a request, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class Recorder:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def recording(*replies: bytes) -> AsyncIterator[Recorder]:
    """The last reply is given again to whoever asks more."""
    recorder = Recorder()
    left = list(replies)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
            raw = await reader.readexactly(int(headers.get("content-length", 0)))
            recorder.asked.append(Asked(method, path, headers, raw))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            serving.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    recorder.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield recorder
    finally:
        listener.close()
        waiting = list(serving)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
