"""One HTTP exchange as raw ASGI (a framework would cost half of the speed), and what can be wrong with one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MARK = (b"x-penstock-simulator", b"1")
_JSON: Headers = [(b"content-type", b"application/json"), MARK]

CREATED = 1_700_000_000
STAMP = "2023-11-14T22:13:20Z"


class Problem(Exception):
    """A request that gets an error; each protocol has its own words and status for the kind.

    Kinds: invalid, bad_json, auth, not_found, no_route, too_long, unsupported, rate_limited, overloaded, loading,
    internal, out_of_memory.
    """

    def __init__(
        self, kind: str, message: str, *, retry_after: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after
        self.status = status  # where a server has an unusual one for this case


class Exchange:
    """A request that is read and answered."""

    __slots__ = ("_receive", "_send", "headers", "method", "params", "path", "scope", "started")

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self._receive = receive
        self._send = send
        self.headers: Headers = []  # sent with the reply, whatever it is
        self.params: tuple[str, ...] = ()  # what stood in the variable parts of the path
        self.started = False

    def header(self, name: bytes) -> str:
        for key, value in self.scope["headers"]:
            if key == name:
                text: str = value.decode("latin-1")
                return text
        return ""

    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))

    async def body(self) -> bytes:
        message = await self._receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await self._receive()
            body += message.get("body", b"")
        return body

    async def json(self) -> dict[str, Any]:
        """Raises Problem for what is no JSON object."""
        body = await self.body()
        if not body:
            raise Problem("bad_json", "missing request body")
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Problem("bad_json", f"unexpected EOF or no JSON: {error}") from None
        if not isinstance(data, dict):
            raise Problem("bad_json", "an object is required")
        return data

    async def reply(self, status: int, page: Any, *, kind: bytes = b"", cut: bool = False) -> None:
        """Send bytes as they are and anything else as JSON; with `cut`, half of it, which ends the connection."""
        raw = isinstance(page, bytes)
        body = page if raw else orjson.dumps(page)
        headers = [*_JSON, (b"content-length", str(len(body)).encode()), *self.headers]
        if raw:
            headers[0] = (b"content-type", kind or b"text/html")
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if cut:
            await self._send(
                {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            )
            return
        await self._send({"type": "http.response.body", "body": body})

    async def open(self, kind: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Begin a body of unknown length."""
        self.started = True
        start = [(b"content-type", kind), MARK, (b"cache-control", b"no-cache"), *headers, *self.headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": start})

    async def write(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def close(self) -> None:
        """End it well. Who opened and does not close cuts the connection."""
        await self._send({"type": "http.response.body", "body": b""})

    async def unless_gone(self, run: Awaitable[None]) -> None:
        """Do it, or stop when the client left first, as real servers stop theirs."""
        work = asyncio.ensure_future(run)
        gone = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


def text_of(content: Any, what: str = "content") -> tuple[str, int]:
    """The text of a message's content, and how many images are in it. Raises Problem for what is neither."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        raise Problem("invalid", f"{what} must be text or a list of parts")
    texts, images = [], 0
    for part in content:
        if not isinstance(part, dict):
            raise Problem("invalid", f"{what} has a part that is no object")
        if isinstance(text := part.get("text"), str):
            texts.append(text)
        elif part.get("type") in ("image", "image_url", "input_image") or "inlineData" in part:
            images += 1
    return "\n".join(texts), images


IMAGE_TOKENS = 258
"""What an image counts in a prompt."""
