"""HTTP over plain connections: however the bytes come, the same answer; and no connection is used that is not good."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.connections import Connections
from backends.http1 import BUFFERED, HEAD_LIMIT, PlainConnection
from backends.testing import eventually
from backends.transport import Transport
from backends.wire import Broken, Connection, ConnectTimeout, Headers, Origin, Unreachable, head_of
from models.calls import ModelCallError
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType

from .conftest import in_seconds
from .test_streams import cut

# --- what comes of which bytes, without a network -------------------------------------------------------------


class Outcome(NamedTuple):
    status: int | None
    headers: Headers
    body: bytes
    failure: str | None
    again: bool  # the connection may be used again


class Wire(asyncio.Transport):
    """Takes what is written; nothing is behind it."""

    def __init__(self, place: socket.socket) -> None:
        super().__init__({"socket": place})
        self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def receive(connection: PlainConnection, data: bytes) -> None:
    while data:
        room = connection.get_buffer(-1)
        taken, data = data[: len(room)], data[len(room) :]
        room[: len(taken)] = taken
        connection.buffer_updated(len(taken))


async def outcome(pieces: list[bytes], lost: Exception | None) -> Outcome:
    """What an exchange makes of these pieces, after which the connection is lost unless the answer is whole."""
    connection = PlainConnection(Origin(False, "h", 80), 1)
    status: int | None = None
    headers: Headers = ()
    body = bytearray()

    async def exchange() -> None:
        nonlocal status, headers
        status, headers = await connection.ask(head_of("GET", "http://h/", ()), None)
        while piece := await connection.read():
            body.extend(piece)

    with socket.socket() as place:
        wire = Wire(place)
        connection.connection_made(wire)
        exchanging = asyncio.ensure_future(exchange())
        await asyncio.sleep(0)  # it asks
        for piece in pieces:
            if not wire.aborted:
                receive(connection, piece)
        for _ in range(3):  # it reads what is there
            await asyncio.sleep(0)
        again = exchanging.done() and not exchanging.exception() and connection.rest(True)
        connection.connection_lost(None if wire.aborted else lost)
        failure = None
        try:
            await exchanging
        except Broken as error:
            failure = str(error)
        return Outcome(status, headers, bytes(body), failure, again)


def of(*pieces: bytes, lost: Exception | None = None) -> Outcome:
    return asyncio.run(outcome(list(pieces), lost))


OK = b"HTTP/1.1 200 OK\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
LONG = OK + b"X-Long: " + b"y" * HEAD_LIMIT

# The body and whether the connection may be used again.
WHOLE = {
    "a length": (FIVE, b"hello", True),
    "an interim reply before it": (INTERIM + FIVE, b"hello", True),
    "chunks": (CHUNKED + b"\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n", b"hello", True),
    "a blank behind the size of a chunk": (CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n", b"hello", True),
    "no length": (OK + b"\r\nhello", b"hello", False),
    "nothing": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "the end of the connection": (FIVE.replace(OK, OK + b"Connection: close\r\n"), b"hello", False),
    "HTTP/1.0": (FIVE.replace(b"1.1", b"1.0"), b"hello", False),
    "HTTP/1.0 that stays": (
        FIVE.replace(OK, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"),
        b"hello",
        True,
    ),
    "bare line ends": (FIVE.replace(b"\r\n", b"\n"), b"hello", True),
    "no reason": (FIVE.replace(b" OK", b""), b"hello", True),
    "a length beside chunks": (
        CHUNKED + b"Content-Length: 9\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        False,
    ),
    "more than was asked for": (FIVE + FIVE, b"hello", False),
    "more than was said": (FIVE + b"and more", b"hello", False),
}
BROKEN = {
    "nothing": (b"", "without an answer"),
    "a part of a head": (OK + b"Content-Le", "without an answer"),
    "only an interim reply": (INTERIM, "without an answer"),
    "a part of a length": (FIVE[:-1], "in the middle"),
    "a part of chunks": (CHUNKED + b"\r\n5\r\nhello\r\n", "in the middle"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", "Expected HTTP/"),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "Duplicate Content-Length"),
    "a length that is none": (OK + b"Content-Length: five\r\n\r\nhello", "Content-Length"),
    "chunks of no size": (CHUNKED + b"\r\nx\r\nhello\r\n0\r\n\r\n", "chunk size"),
    "an encoding nobody asked for": (OK + b"Transfer-Encoding: gzip\r\n\r\nhello", "not asked for"),
    "another protocol": (
        b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
        "it answered 101",
    ),
    "no status": (b"HTTP/1.1 042 X\r\nContent-Length: 0\r\n\r\n", "it answered 42"),
    "a head without end": (LONG, "more than 100 KiB"),
    "a head that is too long": (OK + b"X: y\r\n" * 20_000 + b"\r\n", "more than 100 KiB"),
    "a trailer without end": (CHUNKED + b"\r\n0\r\nX: " + b"y" * 2 * HEAD_LIMIT, "more than 100 KiB"),
}


@pytest.mark.parametrize("said", WHOLE)
def test_an_answer_that_is_whole(said: str) -> None:
    raw, body, again = WHOLE[said]
    found = of(raw)
    assert (found.body, found.failure, found.again) == (body, None, again)


@pytest.mark.parametrize("said", BROKEN)
def test_an_answer_that_is_none(said: str) -> None:
    raw, why = BROKEN[said]
    found = of(raw)
    assert why in str(found.failure)
    assert not found.again


def test_an_end_by_closing_is_none_where_the_connection_was_reset() -> None:
    assert of(OK + b"\r\nhello").failure is None
    reset = of(OK + b"\r\nhello", lost=ConnectionResetError(104, "reset by peer"))
    assert (reset.body, "reset by peer" in str(reset.failure)) == (b"hello", True)


def test_headers_are_in_lower_case_without_blanks_and_trailers_are_none_of_them() -> None:
    found = of(CHUNKED + b"X-A:  b c \t\r\nX-Empty:\r\nX-A: d\r\n\r\n0\r\nX-Late: 1\r\n\r\n")
    assert found.headers[1:] == ((b"x-a", b"b c"), (b"x-empty", b""), (b"x-a", b"d"))


REPLIES = st.sampled_from(
    [raw for raw, *_ in WHOLE.values()] + [raw for raw, _ in BROKEN.values() if len(raw) < 500]
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A reply in which some bytes are others."""
    raw = bytearray(draw(REPLIES))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"\r\n", b"\n", b" ", b":", b"\0", b"5", b"H", b"\xff"]) | st.binary(max_size=3)
        )
    return bytes(raw)


@given(st.data(), REPLIES | spoilt(), st.sampled_from([None, ConnectionResetError("reset")]))
def test_the_same_comes_of_any_cut(data: st.DataObject, raw: bytes, lost: Exception | None) -> None:
    whole = of(raw, lost=lost)
    assert of(*data.draw(cut(raw)), lost=lost) == whole
    assert of(*(raw[n : n + 1] for n in range(len(raw))), lost=lost) == whole


# --- what is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "line", "host"),
    [
        ("http://h/v1/a?b=c", (False, "h", 80), b"GET /v1/a?b=c HTTP/1.1", b"h"),
        ("http://h:8000", (False, "h", 8000), b"GET / HTTP/1.1", b"h:8000"),
        ("http://[::1]:11434/api", (False, "::1", 11434), b"GET /api HTTP/1.1", b"[::1]:11434"),
        ("http://me:pass@h/", (False, "h", 80), b"GET / HTTP/1.1", b"h"),
        ("http://bücher.example/ü", (False, "xn--bcher-kva.example", 80), b"GET /%C3%BC HTTP/1.1", None),
        ("https://h/", (True, "h", 443), b"GET / HTTP/1.1", b"h"),
    ],
)
def test_where_a_request_goes(url: str, origin: tuple[Any, ...], line: bytes, host: bytes | None) -> None:
    head = head_of("GET", url, ((b"A", b"b"),))
    assert head.origin == origin
    host = host or origin[1].encode()
    assert head.text == line + b"\r\nHost: " + host + b"\r\nA: b\r\n"


@pytest.mark.parametrize("value", [b"k\r\nX: b", b"k\nb", b"k\rb", b" k", b"k ", b"k\0b", b"k\x0bb"])
def test_a_value_that_would_be_more_is_not_sent(value: bytes) -> None:
    with pytest.raises(Broken, match="header X-A has a value") as caught:
        head_of("GET", "http://h/", ((b"X-A", value),))
    assert "k" not in str(caught.value)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xff"])
def test_a_name_that_is_none_is_not_sent(name: bytes) -> None:
    with pytest.raises(Broken, match="header has a name"):
        head_of("GET", "http://h/", ((name, b"a"),))


@pytest.mark.parametrize("url", ["", "ftp://h/", "h/v1", "http://", "http://h/\r\nX: a", "http://h:99999/"])
def test_a_url_that_can_not_be_asked(url: str) -> None:
    with pytest.raises(Broken):
        head_of("GET", url, ())


# --- over a network -------------------------------------------------------------------------------------------

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None] | None] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None))


@asynccontextmanager
async def connections() -> AsyncIterator[Connections]:
    made = Connections(connect_timeout=5)
    yield made
    await made.close()


async def read(connection: Connection) -> bytes:
    body = bytearray()
    while piece := await connection.read():
        body += piece
    return bytes(body)


async def fetch(pool: Connections, url: str, body: bytes | None = None) -> tuple[bytes, Connection]:
    head = pool.head("GET" if body is None else "POST", url, ())
    connection = await pool.take(head)
    whole = False
    try:
        await connection.ask(head, body)
        found = await read(connection)
        whole = True
    finally:
        await pool.give(connection, whole=whole)
    return found, connection


async def test_a_connection_is_used_again_until_the_server_closes_it() -> None:
    closing = asyncio.Event()
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(FIVE)
        await closing.wait()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with serving(serve) as url, connections() as pool:
        (_, first), (_, second) = await fetch(pool, url), await fetch(pool, url)
        assert first is second
        closing.set()
        await closed.wait()
        body, third = await fetch(pool, url)
        assert (body, third is first) == (b"hello", False)


async def test_bytes_that_nobody_asked_for_end_a_connection() -> None:
    more = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FIVE)
        await more.wait()
        writer.write(OK + b"Content-Length: 4\r\n\r\nevil")
        assert await reader.read() == b""

    async with serving(serve) as url, connections() as pool:
        _, first = await fetch(pool, url)
        more.set()
        await eventually(lambda: not first.usable(), "the bytes are there")
        body, second = await fetch(pool, url)
        assert (body, second is first) == (b"hello", False)


async def test_a_server_that_closes_what_it_accepts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(serve) as url, connections() as pool:
        for _ in range(50):
            with pytest.raises(Broken, match="closed the connection"):
                await asyncio.wait_for(fetch(pool, url), 5)


async def test_a_server_that_says_no_before_it_is_asked() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull")
        await reader.read()

    async with serving(serve) as url, connections() as pool:
        assert (await fetch(pool, url))[0] == b"full"


async def test_a_connection_that_was_idle_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(FIVE)

    async with serving(serve) as url, connections() as pool:
        _, first = await fetch(pool, url)
        monkeypatch.setattr("backends.http1.KEEP_ALIVE_SECONDS", 0.0)
        _, second = await fetch(pool, url)
        assert second is first
        _, third = await fetch(pool, url)
        assert third is not first


async def test_a_body_that_nobody_reads_stays_with_the_server() -> None:
    size = 64 * BUFFERED
    sent = 0
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * BUFFERED)
            sent += BUFFERED
            await writer.drain()
        ended.set()
        await reader.read()

    async with serving(serve) as url, connections() as pool:
        head = pool.head("GET", url, ())
        connection = await pool.take(head)
        assert isinstance(connection, PlainConnection)
        await connection.ask(head, None)
        transport = connection._transport
        assert transport is not None
        await eventually(lambda: not transport.is_reading(), "enough is there")
        first = await connection.read()
        assert BUFFERED < len(first) < 3 * BUFFERED
        assert not ended.is_set()
        assert len(first) + len(await read(connection)) == size
        await pool.give(connection, whole=True)
        assert connection.usable()


async def test_a_large_request_arrives_whole_and_in_order() -> None:
    body = bytes(range(256)) * 4096 * 8

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head
        right = await reader.readexactly(len(body)) == body
        writer.write(OK + b"Content-Length: 3\r\n\r\n" + (b"yes" if right else b"no!"))
        await reader.read()

    async with serving(serve) as url, connections() as pool:
        assert (await fetch(pool, url, body))[0] == b"yes"


async def test_an_answer_before_the_request_was_read_counts_and_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\nContent-Length: 5\r\n\r\nlarge")
        await asyncio.Event().wait()

    async with serving(serve) as url, connections() as pool:
        body, connection = await fetch(pool, url, b"x" * (64 << 20))
        assert body == b"large"
        assert not connection.usable()


async def test_giving_up_closes_at_once() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"\r\n5\r\nhello\r\n")
        await reader.read()
        left.set()

    async with serving(serve) as url, connections() as pool:
        head = pool.head("GET", url, ())
        connection = await pool.take(head)
        await connection.ask(head, None)
        assert await connection.read() == b"hello"
        reading = asyncio.ensure_future(connection.read())
        await asyncio.sleep(0)
        await pool.give(connection, whole=False)
        with pytest.raises(Broken, match="it was closed"):
            await reading
        await asyncio.wait_for(left.wait(), 5)


async def test_closing_ends_a_call_in_flight() -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with serving(serve) as url:
        transport = Transport(Endpoint(backend=BackendName.OPENAI, url=url))
        asking = asyncio.ensure_future(transport.get("/models", in_seconds(60)))
        await asked.wait()
        await transport.close()
        with pytest.raises(ModelCallError, match="it was closed") as caught:
            await asking
        assert caught.value.error_type is ErrorType.CONNECTION


async def test_closing_while_it_connects_asks_nobody() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    async with serving(serve) as url, connections() as pool:
        asking = asyncio.ensure_future(fetch(pool, url))
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(Broken, match="it was closed"):
            await asking
        assert await asyncio.wait_for(heard, 5) == b""


async def test_cancelling_while_it_connects_leaves_nothing() -> None:
    """A full backlog: the connection stays half open until it is given up."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            async with connections() as pool:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
                before = asyncio.all_tasks()
                asking = asyncio.ensure_future(fetch(pool, url))
                await asyncio.sleep(0)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                assert asyncio.all_tasks() == before
                assert not pool._all
        finally:
            for each in waiting:
                each.close()


async def test_a_name_that_is_none_is_not_reached() -> None:
    async with connections() as pool:
        for host in ("no-such-host.invalid", "a..b"):
            with pytest.raises(Unreachable):
                await fetch(pool, f"http://{host}:1/")


async def test_a_name_is_looked_up_and_connected_to() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Host: localhost:" in await reader.readuntil(b"\r\n\r\n")
        writer.write(FIVE)
        await reader.read()

    async with serving(serve) as url, connections() as pool:
        assert (await fetch(pool, url.replace("127.0.0.1", "localhost")))[0] == b"hello"


async def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    pool = Connections(connect_timeout=0.01)
    with pytest.raises(ConnectTimeout):
        await fetch(pool, "http://127.0.0.1:1/")
    await pool.close()


async def test_a_packed_body_is_unpacked() -> None:
    packed = gzip.compress(b'{"data": []}')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)

    async with serving(serve) as url:
        transport = Transport(Endpoint(backend=BackendName.OPENAI, url=url))
        for _ in range(2):
            assert (await transport.get("/models", in_seconds(5))).json() == {"data": []}
        await transport.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_is_not_there_is_said_in_the_systems_words(host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        async with connections() as pool, asyncio.timeout(10):
            with pytest.raises(Unreachable, match=r"^Connection refused$"):
                await fetch(pool, f"http://{host}:{unused.getsockname()[1]}/")
