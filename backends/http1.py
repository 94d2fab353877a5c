"""HTTP/1.1 without TLS: one connection, the bytes parsed by llhttp (httptools).

Most calls go to a server of one's own over plain HTTP, where httpcore, h11 and anyio were two thirds of what a call
cost. Nothing here waits until a request is written: its body is in memory as a whole anyway, and a server may answer
before it has read all of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import select

import httptools

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

HEAD_LIMIT = 100 * 1024
"""Bytes of a head, or of what else is no body between two pieces of one."""

BUFFERED = 256 * 1024
"""Bytes of a body that wait to be read; with more, no more are taken from the network."""

_TOO_MUCH = f"it sends more than {HEAD_LIMIT >> 10} KiB that are no answer"
_ROOM = 64 * 1024
_JOINED = 64 * 1024  # a larger body is not copied behind its head
_OTHER_ADDRESS_SECONDS = 0.25  # RFC 8305: how long the first address of a name is tried alone


class PlainConnection(asyncio.BufferedProtocol):
    """As backends.wire.Connection says."""

    def __init__(self, origin: Origin, connect_timeout: float) -> None:
        self.origin = origin
        self._connect_timeout = connect_timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser = httptools.HttpResponseParser(self)
        # As lenient as clients are: bare \n as the end of a line, a blank behind the size of a chunk, and a length
        # beside chunks, which does not count (RFC 9112, 6.3) and after which the connection is not used again.
        self._parser.set_dangerous_leniencies(
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._room = memoryview(bytearray(_ROOM))
        self._waiter: asyncio.Future[None] | None = None
        self._expires = 0.0
        self._begin()

    def _begin(self) -> None:
        self._asked = True
        self._fault: str | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._idling = 0  # bytes since the last that brought the reply on
        self._status = 0  # 0 until its head is complete
        self._until_close = False
        self._complete = False
        self._keep = True
        self._pieces: list[bytes] = []
        self._size = 0

    # --- who asks -------------------------------------------------------------------------------------------

    async def ask(self, head: Head, body: bytes | None) -> Answer:
        self._begin()  # first, for a server may end what it has just accepted
        transport = self._transport or await self._connect()
        if not transport.is_closing() and self._fault is None:
            length = len(body or b"")
            text = head.text + (b"Content-Length: %d\r\n\r\n" % length if has_length(head, body) else b"\r\n")
            if body is None or length <= _JOINED:
                transport.write(text + (body or b""))
            else:
                transport.write(text)
                transport.write(body)
        while not self._status:
            await self._more()
        return Answer(self._status, tuple(self._headers))

    async def read(self) -> bytes:
        while not self._pieces:
            if self._complete:
                return b""
            await self._more()
        pieces, self._pieces = self._pieces, []
        if self._size > BUFFERED and self._transport is not None:
            self._transport.resume_reading()
        self._size = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def ended(self) -> bool:
        return self._complete and not self._pieces

    def rest(self, whole: bool) -> bool:
        transport = self._transport
        if transport is None or not (self.ended and self._keep) or transport.is_closing():
            return False
        if transport.get_write_buffer_size():
            return False  # answered before it had read the request, of which the rest would be its next one
        self._asked = False
        self._expires = self._loop.time() + KEEP_ALIVE_SECONDS
        return True

    def usable(self) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or self._loop.time() >= self._expires:
            return False
        # What the loop has not read yet, it has not told: an end, or bytes that nobody asked for.
        return not self._poll.poll(0)

    async def close(self) -> None:
        self._break("it was closed")
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the loop's next turn

    async def _connect(self) -> asyncio.Transport:
        origin = self.origin
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport, _ = await self._loop.create_connection(
                    lambda: self,
                    origin.host,
                    origin.port,
                    happy_eyeballs_delay=None if _is_address(origin.host) else _OTHER_ADDRESS_SECONDS,
                )
        except TimeoutError as error:
            if error.errno is not None:  # the system's own, which is no wait of ours
                raise Unreachable(_in_words(error)) from None
            raise ConnectTimeout from None
        except (OSError, UnicodeError) as error:
            raise Unreachable(_in_words(error)) from None
        return transport

    async def _more(self) -> None:
        """Until there is more to see. Raises Broken where nothing can come."""
        if self._fault is not None:
            raise Broken(self._fault)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- the network ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        if not self._asked:
            self._transport.abort()  # nobody asked: whatever it is, it is no reply to what comes next
            return
        self._idling += nbytes
        try:
            self._parser.feed_data(self._room[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(str(error))
        if self._idling > HEAD_LIMIT:
            self._break(_TOO_MUCH)
        if self._fault is not None:
            self._transport.abort()
        elif self._size > BUFFERED:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._until_close and exc is None and self._fault is None:
            self._complete = True
        what = "in the middle of its answer" if self._status else "without an answer"
        self._break(f"it closed the connection {what}" + (f": {exc}" if exc else ""))
        self._wake()

    def _break(self, why: str) -> None:
        """The first reason counts. A reply that is complete stays so; the connection is not used again."""
        self._keep = False
        if self._fault is None and not self._complete:
            self._fault = why
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._refuse("there is more than one answer")
        self._headers.clear()
        self._head_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._status:  # what follows a body is of no use to anybody
            self._headers.append((name.lower(), value.strip()))
            self._head_size += len(name) + len(value) + 4
            if self._head_size > HEAD_LIMIT:
                self._refuse(_TOO_MUCH)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return  # the reply follows
        if status < 200:
            self._refuse(f"it answered {status}")
        lengths = chunks = 0
        for name, value in self._headers:
            if name == b"content-length":
                lengths += 1
            elif name == b"transfer-encoding":
                chunks += 1
                if value.lower() != b"chunked":
                    self._refuse("it sends its answer in an encoding that was not asked for")
        self._until_close = not lengths and not chunks and status not in (204, 304)
        self._keep = lengths + chunks <= 1
        self._status = status
        self._idling = 0

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._idling = 0

    def on_message_complete(self) -> None:
        if self._status:
            self._complete = True
            self._keep = self._keep and self._parser.should_keep_alive()
            self._idling = 0

    def _refuse(self, why: str) -> None:
        """Ends the parsing."""
        self._break(why)
        raise Broken(why)


_NUMBER = re.compile(r"\[Errno (\d+)\]")


def _in_words(error: OSError | UnicodeError) -> str:
    """What the system says, once: asyncio says it for each address, with a number and the address."""
    numbers = _NUMBER.findall(str(error))
    said = "; ".join(dict.fromkeys(os.strerror(int(number)) for number in numbers))
    if not said and isinstance(error, OSError):
        said = error.strerror or ""
    return said or str(error) or type(error).__name__


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
