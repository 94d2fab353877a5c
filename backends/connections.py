"""Connections to one model server, each with one request at a time.

They are our own for plain HTTP (backends/http1.py) and httpcore's over TLS (backends/secure.py). What httpx adds
(cookies, redirects, proxies from the environment) must not happen here, and its pools are made for many requests on few
connections.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cached_property
from typing import cast

import httpx

from backends.http1 import PlainConnection
from backends.secure import SecureConnection
from backends.wire import Answer, Body, Connection, Head, Headers, head_of

HEADS = 64


class Connections:
    """As many as are taken at once; those that are given back are used again."""

    def __init__(self, *, connect_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._heads: dict[tuple[str, str, Headers], Head] = {}

    def head(self, method: str, url: str, headers: Headers) -> Head:
        """As `head_of`, and once only for what is asked again and again."""
        key = (method, url, headers)
        known = self._heads.get(key)
        if known is None:
            known = head_of(method, url, headers)
            if len(self._heads) < HEADS:
                self._heads[key] = known
        return known

    async def take(self, head: Head) -> Connection:
        """One that is free, to the server that is asked; a new one connects with its first request."""
        for connection in reversed(self._idle):
            if connection.origin != head.origin:
                continue
            self._idle.remove(connection)
            if connection.usable():
                return connection
            await self.drop(connection)
        made: Connection = (
            SecureConnection(head.origin, self._connect_timeout, self._tls)
            if head.origin.secure
            else PlainConnection(head.origin, self._connect_timeout)
        )
        self._all.add(made)
        return made

    async def give(self, connection: Connection, *, whole: bool) -> None:
        """It is free again. `whole`: its reply was read to the end."""
        if connection.rest(whole) and connection in self._all:
            self._idle.append(connection)
        else:
            await self.drop(connection)

    async def drop(self, connection: Connection) -> None:
        self._all.discard(connection)
        await connection.close()

    async def close(self) -> None:
        self._idle.clear()
        while self._all:
            await self._all.pop().close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made where it is needed: to load the authorities takes 20 ms."""
        return ssl.create_default_context()


def body_of(answer: Answer, connection: Connection) -> Body:
    """The body as it comes, unpacked where it is packed: then its `read` may raise httpx.DecodingError, too."""
    if any(name == b"content-encoding" for name, _ in answer.headers):
        return Unpacked(answer, connection)
    return connection


class Unpacked:
    """A body that is packed (Content-Encoding), unpacked by httpx. To be closed."""

    ended = False

    def __init__(self, answer: Answer, packed: Body) -> None:
        stream = _Stream(packed)
        response = httpx.Response(answer.status, headers=list(answer.headers), stream=stream)
        self._pieces = cast(AsyncGenerator[bytes, None], response.aiter_bytes())

    async def read(self) -> bytes:
        return await anext(self._pieces, b"")

    async def close(self) -> None:
        await self._pieces.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._body.read():
            return piece
        raise StopAsyncIteration
