"""HTTP over plain connections: however the bytes come, the same answer; and no connection is used that is not good."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.connections import Connections
from backends.http1 import BUFFERED, HEAD_LIMIT, PlainConnection
from backends.testing import eventually
from backends.transport import Transport
from backends.wire import Answer, Broken, Connection, Origin, Unreachable, head_of
from models.calls import ModelCallError
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType

from .conftest import in_seconds
from .test_streams import cut

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

# --- without a network: what comes of which bytes -------------------------------------------------------------


Outcome = tuple[int | None, tuple[tuple[bytes, bytes], ...], bytes, str | None, bool]


async def outcome(pieces: list[bytes], lost: Exception | None) -> Outcome:
    """Status, headers, body, the reason of a failure and whether the connection may be used again, when the bytes come
    in these pieces and then the connection ends."""
    connection = PlainConnection(Origin(False, "h", 80), 1)
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    transport.get_extra_info.return_value.fileno.return_value = 0
    connection.connection_made(transport)
    asking = asyncio.ensure_future(connection.ask(head_of("GET", "http://h/", ()), None))
    await asyncio.sleep(0)
    for piece in pieces:
        if not transport.abort.called:
            receive(connection, piece)
    again = True
    status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body = bytearray()
    failure = None
    reusable = connection._complete and connection._keep
    if not reusable:
        connection.connection_lost(lost)
    try:
        status, headers = await asking
        while piece := await connection.read():
            body += piece
    except Broken as error:
        failure = str(error)
    return status, headers, bytes(body), failure, again and reusable and connection.rest(True)


def receive(connection: PlainConnection, data: bytes) -> None:
    while data:
        room = connection.get_buffer(-1)
        taken = data[: len(room)]
        room[: len(taken)] = taken
        connection.buffer_updated(len(taken))
        data = data[len(taken) :]
