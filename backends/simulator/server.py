"""The listening socket and its connections: real HTTP in this event loop, quick to start and to stop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from backends.simulator.app import App

BACKLOG = 2048


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket on this address that does not listen yet; with `shared` another process may bind it too."""
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it each reply waits 40 ms for an ACK.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"


class Server:
    """One application on one socket, which it closes in the end."""

    def __init__(self, app: App, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        options = app.engine.options
        old = options.flavour == "mlx"
        # These refuse connections until the model is loaded; the others answer 503.
        self._delay = options.start_seconds if options.flavour in ("vllm", "mlx") else 0.0
        self._config = uvicorn.Config(
            cast(Any, app),
            http=cast(Any, _Http10) if old else "h11",
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=60,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._app.begin()
        if self._delay:
            self._opening = asyncio.create_task(self._open_later())
        else:
            await self._listen()

    async def _open_later(self) -> None:
        await asyncio.sleep(self._delay)
        await self._listen()

    async def _listen(self) -> None:
        def connect() -> asyncio.Protocol:
            make = cast(Any, self._config.http_protocol_class)
            protocol: asyncio.Protocol = make(config=self._config, server_state=self._state, app_state={})
            return protocol

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connect, sock=self._listener, backlog=BACKLOG)

    async def close(self) -> None:
        """Drop the connections and whatever is in the middle of an answer."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop tells the connections that they are lost


class _OldTransport:
    """Says HTTP/1.0."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            data = b"HTTP/1.0 " + data[9:]
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Http10(H11Protocol):
    """mlx_lm.server's HTTP: version 1.0, no chunks, the connection is closed after each reply."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(Any, _OldTransport(transport)))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.conn.their_http_version = b"1.0"  # h11 sends no chunks to such a client
