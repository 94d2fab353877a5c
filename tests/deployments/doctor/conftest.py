"""Descriptions of machines, tried against servers that are there: `troubles_of(settings)` gives what is found."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.doctor import Diagnosis, Facts, Trouble, judge
from deployments.doctor.addresses import own_addresses
from deployments.doctor.looking import see_all
from models.settings import Settings

Declare = Callable[..., Settings]


@pytest.fixture
def declare(settings_env: Path, tmp_path: Path) -> Declare:
    """Settings with these endpoints (tables) and whatever else is given."""

    def declared(*endpoints: dict[str, Any], **others: Any) -> Settings:
        return Settings.model_validate({"home": tmp_path, "endpoints": list(endpoints), **others})

    return declared


async def diagnosed(settings: Settings, *, ask: bool = False) -> Diagnosis:
    """As `diagnose`, within the loop in which a test's servers run; without sockets and installation."""
    return judge(Facts(settings, tuple(await see_all(settings, own_addresses(), ask, lambda words: None))))


def of(found: Diagnosis, code: str) -> Trouble:
    """The only finding with this code."""
    there = [trouble for trouble in found.troubles if trouble.code == code]
    assert len(there) == 1, [trouble.line() for trouble in found.troubles]
    return there[0]


def codes(found: Diagnosis) -> set[str]:
    """Of what is about the declared endpoints: something may really listen on a usual port of this machine."""
    return {trouble.code for trouble in found.troubles} - {"simulated", "undeclared_server"}


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which nobody listens, and nobody can as long as it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@asynccontextmanager
async def saying(reply: bytes | None) -> AsyncIterator[str]:
    """A server that gives everyone this reply; with None it takes connections and never says a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await reader.readuntil(b"\r\n\r\n"):
                if reply is not None:
                    writer.write(reply)
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def page(status: str, body: str, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()
