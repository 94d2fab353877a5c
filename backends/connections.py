"""Connections to one model server, each with one request at a time.

They are httpcore's own, on which httpx stands. What httpx adds (cookies, redirects, proxies from the environment) must
not happen here, and its pools, made for many requests on few connections, cost a fifth of a call.

Where a server offers HTTP/2 it is spoken, still with a connection for each request: httpcore leaves a stream that is
given up without a reset, and the server would go on writing. A connection of its own can be closed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import NamedTuple

import httpcore
import httpx

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are dropped before llama-server and uvicorn drop them (5 s), or a call lands on a dead
one."""

BROKEN = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)
"""What an exchange that broke off raises: httpcore's errors have no class of their own in common."""

ADDRESSES = 64


class Address(NamedTuple):
    url: httpcore.URL
    host: bytes  # as the header has it


class Connections:
    """As many as are taken at once; those that are given back are used again."""

    def __init__(self, *, secure: bool, connect_timeout: float) -> None:
        self._secure = secure
        # A context without authorities for plain http: loading them takes 20 ms, and it fails closed.
        self._tls = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._extensions = {"timeout": {"connect": connect_timeout}}
        self._all: set[httpcore.AsyncHTTPConnection] = set()
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._addresses: dict[str, Address] = {}

    def request(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes | None
    ) -> httpcore.Request:
        """`headers`: all but the host and the length. Raises httpx.InvalidURL."""
        address = self._address(url)
        own = [(b"Host", address.host), *headers]
        if body is not None or method in ("POST", "PUT", "PATCH"):
            own.append((b"Content-Length", b"%d" % len(body or b"")))
        return httpcore.Request(method, address.url, headers=own, content=body, extensions=self._extensions)

    async def take(self, request: httpcore.Request) -> httpcore.AsyncHTTPConnection:
        """One that is free, to the server that is asked; a new one connects with its first request."""
        origin = request.url.origin
        for connection in reversed(self._idle):
            if not connection.can_handle_request(origin):
                continue
            self._idle.remove(connection)
            if not (connection.is_closed() or connection.has_expired()):
                return connection
            await self.drop(connection)
        made = httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._tls, keepalive_expiry=KEEP_ALIVE_SECONDS, http2=self._secure
        )
        self._all.add(made)
        return made

    async def give(self, connection: httpcore.AsyncHTTPConnection, *, whole: bool) -> None:
        """It is free again. `whole`: its reply was read to the end."""
        # What was given up may be HTTP/2, where only closing it stops the server.
        if connection.is_idle() and (whole or not self._secure):
            self._idle.append(connection)
        else:
            await self.drop(connection)

    async def drop(self, connection: httpcore.AsyncHTTPConnection) -> None:
        await connection.aclose()
        self._all.discard(connection)

    async def close(self) -> None:
        self._idle.clear()
        while self._all:
            await self._all.pop().aclose()

    def _address(self, url: str) -> Address:
        """Parsed once, which is a fifteenth of a call."""
        known = self._addresses.get(url)
        if known is None:
            parsed = httpx.URL(url)
            target = httpcore.URL(
                scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
            )
            known = Address(target, parsed.netloc)
            if len(self._addresses) < ADDRESSES:
                self._addresses[url] = known
        return known


def body_of(response: httpcore.Response) -> AsyncIterator[bytes]:
    """The body as it comes. For what is packed the iterator unpacks it, and may raise httpx.DecodingError."""
    assert isinstance(response.stream, AsyncIterable)
    # Two more generators for each reply are of use only where there is something to unpack.
    if any(name.lower() == b"content-encoding" for name, _ in response.headers):
        packed = httpx.Response(response.status, headers=response.headers, stream=_Body(response.stream))
        return packed.aiter_bytes()
    return aiter(response.stream)


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)
