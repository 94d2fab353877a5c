"""Streams of odd servers: what is a token, which wait was too long, when an answer is complete, who disconnects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from backends.registry import make
from backends.testing import eventually
from models.calls import Backend, ModelAnswer, ModelCallError
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind

from .conftest import in_seconds, make_request

SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Scripted:
    """A server that reads a request, then does what its script says; it sees when the client leaves."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.connections = 0
        self.left = asyncio.Event()


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    server = Scripted()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        server.connections += 1
        try:
            begun = b""  # of the next request, which a quick client has sent already
            while True:
                head = (begun + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                if length:
                    await reader.readexactly(int(length[0].partition(":")[2]))
                server.requests += 1
                more = asyncio.ensure_future(reader.read(1))
                work = asyncio.ensure_future(script(writer))
                await asyncio.wait({more, work}, return_when=asyncio.FIRST_COMPLETED)
                if more.done() and not (begun := more.result()):
                    server.left.set()
                    work.cancel()
                    return
                await work
                more.cancel()
                (came,) = await asyncio.gather(more, return_exceptions=True)
                begun = came if isinstance(came, bytes) else b""
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            serving.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        left = list(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(delta: dict[str, object] | None = None, finish: str | None = None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return chunk(b"data: " + orjson.dumps({"model": "m", "choices": choices, **more}) + b"\n\n")


ROLE = event({"role": "assistant", "content": ""})
DONE = chunk(b"data: [DONE]\n\n")
END = b"0\r\n\r\n"


async def says(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


def sends(*parts: bytes, then: Callable[[], Awaitable[object]] | None = None) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD, *parts)
        if then is not None:
            await then()

    return script


async def forever() -> None:
    await asyncio.Event().wait()


def backend_at(url: str, **values: object) -> Backend:
    waits = {"first_token_timeout": 0.2, "stall_timeout": 0.2}
    return make(Endpoint.model_validate({"backend": "openai", "url": url, **waits, **values}))


async def ask(script: Script, seconds: float = 5, **values: object) -> ModelAnswer | ModelCallError:
    async with scripted(script) as server:
        backend = backend_at(server.url, **values)
        try:
            return await backend.answer(make_request("m"), in_seconds(seconds))
        except ModelCallError as error:
            return error
        finally:
            await backend.close()


def is_error(found: ModelAnswer | ModelCallError, kind: ErrorType) -> ModelCallError:
    assert isinstance(found, ModelCallError), found
    assert found.error_type is kind, found
    return found


async def test_a_role_is_no_token() -> None:
    error = is_error(await ask(sends(ROLE, then=forever)), ErrorType.TIMEOUT)
    assert error.timeout is TimeoutKind.FIRST_TOKEN
    assert "began no answer within 0.2 s" in str(error)


async def test_signs_of_life_are_no_tokens() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD)
        while True:
            await says(writer, chunk(b": keepalive 1/1\n\n"))
            await asyncio.sleep(0.02)

    assert is_error(await ask(script), ErrorType.TIMEOUT).timeout is TimeoutKind.FIRST_TOKEN


async def test_silence_within_an_answer_is_a_stall_and_what_came_is_kept() -> None:
    error = is_error(await ask(sends(ROLE, event({"content": "It st"}), then=forever)), ErrorType.TIMEOUT)
    assert error.timeout is TimeoutKind.STALL
    assert "silent for 0.2 s" in str(error)
    assert error.partial is not None
    assert error.partial.text == "It st"


async def test_an_answer_that_goes_on_and_on_meets_the_deadline() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD)
        while True:
            await says(writer, event({"content": "and "}))
            await asyncio.sleep(0.01)

    error = is_error(await ask(script, seconds=0.3), ErrorType.TIMEOUT)
    assert error.timeout is TimeoutKind.TOTAL
    assert "0.3 s" in str(error)


async def test_the_deadline_is_shorter_than_the_waits() -> None:
    error = is_error(await ask(sends(ROLE, then=forever), 0.1, first_token_timeout=50), ErrorType.TIMEOUT)
    assert error.timeout is TimeoutKind.TOTAL


async def test_reasoning_is_a_sign_of_work() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD)
        for _ in range(6):
            await says(writer, event({"reasoning_content": "hm "}))
            await asyncio.sleep(0.06)
        await says(writer, event({"content": "yes"}), event(finish="stop"), DONE, END)

    answer = await ask(script)
    assert isinstance(answer, ModelAnswer), answer
    assert answer.text == "yes"


async def test_a_complete_answer_counts_though_the_server_does_not_end() -> None:
    answer = await ask(sends(event({"content": "yes"}), event(finish="stop"), DONE, then=forever))
    assert isinstance(answer, ModelAnswer), answer
    assert answer.text == "yes"


@pytest.mark.parametrize("last", [DONE + END, END])
async def test_the_end_alone_is_no_finish(last: bytes) -> None:
    error = is_error(await ask(sends(event({"content": "It st"}), last)), ErrorType.SERVER_ERROR)
    assert "no finish reason" in str(error)
    assert error.partial is not None


async def test_usage_in_the_last_event_and_no_done() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
    answer = await ask(sends(event({"content": "yes"}), event(finish="stop", usage=usage), END))
    assert isinstance(answer, ModelAnswer), answer
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (5, 1, 2)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ({"error": {"message": "boom", "code": 500}}, ErrorType.SERVER_ERROR),
        ({"error": {"message": "CUDA out of memory", "code": 500}}, ErrorType.OUT_OF_MEMORY),
        ({"error": {"message": "slowly", "code": 429}}, ErrorType.RATE_LIMITED),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, ErrorType.OVERLOADED),
        ({"object": "error", "message": "boom", "code": 400}, ErrorType.MALFORMED),
        ({"error": "the runner died"}, ErrorType.SERVER_ERROR),
    ],
)
async def test_an_error_after_the_stream_began(page: dict[str, object], kind: ErrorType) -> None:
    broken = chunk(b"data: " + orjson.dumps(page) + b"\n\n")
    error = is_error(await ask(sends(event({"content": "It st"}), broken, END)), kind)
    assert error.partial is not None
    assert error.partial.text == "It st"


async def test_an_event_that_is_no_json() -> None:
    error = is_error(
        await ask(sends(event({"content": "a"}), chunk(b"data: {\n\n"), END)), ErrorType.SERVER_ERROR
    )
    assert "no JSON" in str(error)


async def test_a_connection_that_is_cut_within_an_answer() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD, event({"content": "It st"}))
        writer.transport.abort()

    error = is_error(await ask(script), ErrorType.CONNECTION)
    assert error.partial is not None


async def test_a_whole_reply_is_read_where_a_stream_was_asked_for() -> None:
    page = {"model": "m", "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    raw = orjson.dumps(page)

    async def script(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
        await says(writer, head, raw)

    answer = await ask(script)
    assert isinstance(answer, ModelAnswer), answer
    assert (answer.text, answer.first_seconds) == ("yes", None)


async def test_a_stream_under_a_wrong_name_is_one() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await says(writer, SSE_HEAD.replace(b"text/event-stream", b"text/plain"))
        await says(writer, event({"content": "yes"}), event(finish="stop"), DONE, END)

    answer = await ask(script)
    assert isinstance(answer, ModelAnswer), answer
    assert answer.first_seconds is not None


async def test_a_machine_that_takes_no_connection() -> None:
    """A full backlog: connected by nobody, refused by nobody."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(place)
            backend = backend_at(f"http://127.0.0.1:{place[1]}", connect_timeout=0.2, first_token_timeout=5)
            with pytest.raises(ModelCallError) as caught:
                await backend.answer(make_request("m"), in_seconds(5))
            await backend.close()
        finally:
            for each in waiting:
                each.close()
    error = is_error(caught.value, ErrorType.TIMEOUT)
    assert error.timeout is TimeoutKind.CONNECT


@pytest.mark.parametrize("parts", [(), (ROLE,), (event({"content": "a"}),)], ids=["nothing", "role", "token"])
async def test_cancelling_disconnects_at_any_time(parts: tuple[bytes, ...]) -> None:
    async with scripted(sends(*parts, then=forever)) as server:
        backend = backend_at(server.url, first_token_timeout=50, stall_timeout=50)
        task = asyncio.ensure_future(backend.answer(make_request("m"), in_seconds(60)))
        await eventually(lambda: server.requests == 1, "the server is asked")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 5)
        await backend.close()


async def test_connections_are_used_again() -> None:
    async with scripted(sends(event({"content": "yes"}), event(finish="stop"), DONE, END)) as server:
        backend = backend_at(server.url)
        for _ in range(3):
            await backend.answer(make_request("m"), in_seconds(5))
        assert (server.requests, server.connections) == (3, 1)
        await backend.close()
