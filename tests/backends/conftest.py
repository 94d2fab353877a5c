"""One simulator process for the session, reset for each test; odd servers made of a few bytes; requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backends.simulator import Simulator, running
from backends.testing import PASSAGE, SCHEMA, request
from models.calls import ModelRequest

__all__ = ["PASSAGE", "SCHEMA"]


def make_request(model: str = "sim:small", **changes: Any) -> ModelRequest:
    """A request that every backend can answer from its one passage."""
    return request(model, **changes)


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    with running(slots=8) as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    simulator_process.reset()
    return simulator_process


@pytest.fixture(scope="session")
def mlx_simulator_process() -> Iterator[Simulator]:
    with running(slots=8, flavour="mlx") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def slow_simulator_process() -> Iterator[Simulator]:
    with running(slots=16, latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def slow_simulator(slow_simulator_process: Simulator) -> Simulator:
    slow_simulator_process.reset()
    return slow_simulator_process


Answering = Callable[[str, str], Awaitable[bytes | None]]
"""(method, path) to the raw bytes of a reply, after which the connection is closed; None closes without any."""


@asynccontextmanager
async def odd_server(answering: Answering) -> AsyncIterator[str]:
    """A server that reads one whole request per connection and says whatever `answering` returns. Yields its URL."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            for line in head.split("\r\n"):
                if line.lower().startswith("content-length:"):
                    await reader.readexactly(int(line.partition(":")[2]))
            if (said := await answering(method, path)) is not None:
                writer.write(said)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test ended
        finally:
            writer.close()
            serving.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        left = [task for task in serving if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


def http(status: int, body: bytes | str, *headers: str) -> bytes:
    """A raw HTTP reply."""
    raw = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", "Connection: close", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw
