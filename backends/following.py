"""Reading a body while it comes: how long each wait may be, how large it may get, and when it is at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import httpx

from backends.streams import Reader
from backends.wire import Body, Broken
from models.calls import ModelCallError
from models.enums import ErrorType, TimeoutKind

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of one reply; more is no answer but a server gone wrong."""

AFTER_END_SECONDS = 1.0
"""How long a server may take to end a body whose answer is complete; then the answer counts all the same."""


def check_size(size: int, url: str, limit: int | None = None) -> None:
    """Raises ModelCallError(MALFORMED) for more than `limit`, which is BODY_LIMIT where none is given."""
    limit = BODY_LIMIT if limit is None else limit
    if size > limit:
        raise ModelCallError(ErrorType.MALFORMED, f"{url} sent more than {limit >> 20} MiB for one answer.")


class Reading(Protocol):
    """Who is told the events of a streamed body."""

    def begin(self, simulated: bool, headers: dict[str, str]) -> None:
        """A streamed 200 begins. `headers` are those that may be kept."""
        ...

    @property
    def done(self) -> bool:
        """Nothing that matters can follow."""
        ...

    def feed(self, event: bytes) -> bool:
        """Was it a sign of the model at work (a token), not only of the server? Raises ModelCallError."""
        ...


class Watch:
    """The waits of one call: which one is on, how long it may take, and within all of them the one deadline.

    Each token begins another wait, a thousand times an answer: so the timer is not moved. When it fires, it looks how
    much is left of the newest wait, or of the deadline. Used as a context, which raises TimeoutError when a wait is
    over.
    """

    __slots__ = ("_bound", "_deadline", "_loop", "_timer", "_until", "kind", "seconds")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._bound = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._until = deadline
        self.kind = TimeoutKind.TOTAL
        self.seconds = 0.0

    async def __aenter__(self) -> Self:
        await self._bound.__aenter__()
        self._timer = self._loop.call_at(self._deadline, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._bound.__aexit__(kind, error, trace)

    def wait(self, kind: TimeoutKind, seconds: float, now: float) -> None:
        """From now on this may take so long."""
        self.kind, self.seconds, self._until = kind, seconds, now + seconds
        timer = self._timer
        if timer is not None and timer.when() > self._until:
            timer.cancel()
            self._timer = self._loop.call_at(self._until, self._look)

    def over(self) -> None:
        """What follows is waited for by somebody else."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._bound.reschedule(None)

    def timed_out(self) -> tuple[TimeoutKind, float]:
        """Which wait it was, and how long it could be."""
        return (TimeoutKind.TOTAL, 0.0) if self._until >= self._deadline else (self.kind, self.seconds)

    def _look(self) -> None:
        until = min(self._until, self._deadline)
        if until > self._loop.time():
            self._timer = self._loop.call_at(until, self._look)
        else:
            self._timer = None
            self._bound.reschedule(until)


class Following:
    """Reads one streamed body to its end."""

    def __init__(
        self,
        url: str,
        watch: Watch,
        reading: Reading,
        reader: Reader,
        stall: float,
        strike: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._url = url
        self._watch = watch
        self._reading = reading
        self._reader = reader
        self._stall = stall
        self._strike = strike

    async def run(self, begins: bytes, body: Body) -> float | None:
        """Gives when the first token was there, on the loop's clock; None if none was."""
        clock = asyncio.get_running_loop().time
        reading, reader = self._reading, self._reader
        first: float | None = None
        size, chunk = 0, begins
        while chunk:
            size += len(chunk)
            check_size(size, self._url)
            if self._feed(reader.feed(chunk)):
                now = clock()
                first = now if first is None else first
                self._watch.wait(TimeoutKind.STALL, self._stall, now)
            if reading.done:
                if not body.ended:
                    self._watch.over()
                    await self._rest(body)
                return first
            chunk = await body.read()
        if self._feed(reader.end()) and first is None:
            first = clock()
        return first

    def _feed(self, events: list[bytes]) -> bool:
        """Was there a token in one of them? Each is fed, whatever the others were."""
        if self._strike is not None:
            events = [self._strike(event) for event in events]
        return True in [self._reading.feed(event) for event in events]

    async def _rest(self, body: Body) -> None:
        """To the body's end, so that the connection can be used again; what a server adds to an answer is nothing."""
        size = 0
        try:
            async with asyncio.timeout(AFTER_END_SECONDS):
                while chunk := await body.read():
                    size += len(chunk)
                    check_size(size, self._url)
        except (TimeoutError, httpx.DecodingError, Broken):
            pass  # the answer is complete; the connection is not used again
