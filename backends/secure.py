"""HTTP over TLS: httpcore's connections, on which httpx stands, and HTTP/2 where a server offers it.

Still a connection for each request: httpcore leaves a stream that is given up without a reset, and the server would go
on writing. A connection of its own can be closed.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

import httpcore

from backends.wire import (
    KEEP_ALIVE_SECONDS,
    Answer,
    Broken,
    ConnectTimeout,
    Head,
    Origin,
    Unreachable,
    has_length,
)

# What servers send is logged by httpcore at this level, our keys too where a server says them back.
logging.getLogger("httpcore").setLevel(logging.INFO)

# httpcore's errors have no class of their own in common.
_BROKEN = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


class SecureConnection:
    """As backends.wire.Connection says."""

    def __init__(self, origin: Origin, connect_timeout: float, tls: ssl.SSLContext) -> None:
        self.origin = origin
        self._extensions = {"timeout": {"connect": connect_timeout}}
        self._connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(b"https", origin.host.encode("ascii"), origin.port),
            ssl_context=tls,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            http2=True,
        )
        self._response: httpcore.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def ask(self, head: Head, body: bytes | None) -> Answer:
        headers = list(head.headers)
        if has_length(head, body):
            headers.append((b"Content-Length", b"%d" % len(body or b"")))
        host = self.origin.host.encode("ascii")
        url = httpcore.URL(scheme=b"https", host=host, port=self.origin.port, target=head.target)
        request = httpcore.Request(
            head.method, url, headers=headers, content=body, extensions=self._extensions
        )
        try:
            response = await self._connection.handle_async_request(request)
        except _BROKEN as error:
            raise _broken(error) from None
        assert isinstance(response.stream, AsyncIterable)
        self._response, self._pieces = response, aiter(response.stream)
        return Answer(response.status, tuple((name.lower(), value) for name, value in response.headers))

    async def read(self) -> bytes:
        try:
            if self._pieces is not None:
                async for piece in self._pieces:
                    if piece:
                        return piece
            await self._leave()
        except _BROKEN as error:
            raise _broken(error) from None
        return b""

    @property
    def ended(self) -> bool:
        return self._response is None

    def rest(self, whole: bool) -> bool:
        # Where a reply was given up, only closing the connection stops the server.
        return whole and self._connection.is_idle()

    def usable(self) -> bool:
        return not (self._connection.is_closed() or self._connection.has_expired())

    async def close(self) -> None:
        try:
            await self._leave()
        finally:
            await self._connection.aclose()

    async def _leave(self) -> None:
        """The reply, read or not; its iterator is not left to the garbage collector, which is late."""
        pieces, self._pieces = self._pieces, None
        response, self._response = self._response, None
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
        if response is not None:
            await response.aclose()


def _broken(error: Exception) -> Broken:
    said = str(error) or type(error).__name__
    if isinstance(error, httpcore.ConnectTimeout):
        return ConnectTimeout(said)
    return Unreachable(said) if isinstance(error, httpcore.ConnectError) else Broken(said)
