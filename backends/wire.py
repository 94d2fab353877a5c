"""One exchange with a model server, whichever way its bytes go: how it is asked, what answers, how it breaks off."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import httpx

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections are dropped before llama-server and uvicorn drop them (5 s), or a call lands on a dead
one."""

Headers = tuple[tuple[bytes, bytes], ...]

# RFC 9110, 5.1 and 5.5: a line break in a value would begin a header that nobody meant to send.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?")
_TARGET = re.compile(rb"[\x21-\x7e]+")


class Broken(Exception):
    """The exchange broke off, or could not begin; says why."""


class Unreachable(Broken):
    """There is no connection to the server."""


class ConnectTimeout(Broken):
    """It took no connection in time."""


class Origin(NamedTuple):
    secure: bool
    host: str  # a name in ASCII or an address, IPv6 without its brackets
    port: int


class Head(NamedTuple):
    """A request up to its length."""

    origin: Origin
    method: bytes
    target: bytes
    headers: Headers  # Host is the first
    text: bytes  # all of it as HTTP/1.1 writes it


class Answer(NamedTuple):
    status: int
    headers: Headers  # names in lower case


class Body(Protocol):
    @property
    def ended(self) -> bool:
        """Is it known already that nothing follows?"""
        ...

    async def read(self) -> bytes:
        """What came since the last piece, b"" at the end; raises Broken."""
        ...


class Connection(Body, Protocol):
    """To one server, with one exchange at a time."""

    @property
    def origin(self) -> Origin: ...

    async def ask(self, head: Head, body: bytes | None) -> Answer:
        """Connects where that was not done; what `read` gives next is the answer's body. Raises Broken."""
        ...

    def rest(self, whole: bool) -> bool:
        """Can it be used again? `whole`: whoever asked read the answer to its end."""
        ...

    def usable(self) -> bool:
        """Is it still good after a rest?"""
        ...

    async def close(self) -> None:
        """At once: this is what stops a server at work."""
        ...


def head_of(method: str, url: str, headers: Headers) -> Head:
    """`headers`: all but the host and the length. Raises Broken for what can't be sent, without showing it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Broken(str(error)) from None
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise Broken("the URL is not one of http:// or https://")
    secure = parsed.scheme == "https"
    port = parsed.port or (443 if secure else 80)
    if port > 65535:
        raise Broken("the URL has a port above 65535")
    host = parsed.raw_host.decode("ascii").removeprefix("[").removesuffix("]")
    origin = Origin(secure, host, port)
    target = parsed.raw_path
    every = ((b"Host", parsed.netloc), *headers)
    if not _TARGET.fullmatch(target):
        raise Broken("the URL has characters that can't be sent")
    for name, value in every:
        if not _NAME.fullmatch(name):
            raise Broken("a header has a name that can't be sent")
        if not _VALUE.fullmatch(value):
            raise Broken(f"the header {name.decode()} has a value that can't be sent")
    lines = [b"%s %s HTTP/1.1\r\n" % (method.encode("ascii"), target)]
    lines += [b"%s: %s\r\n" % header for header in every]
    return Head(origin, method.encode("ascii"), target, every, b"".join(lines))


def has_length(head: Head, body: bytes | None) -> bool:
    return body is not None or head.method in (b"POST", b"PUT", b"PATCH")
