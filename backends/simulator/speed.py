"""How fast a busy GPU is: all requests that are read or answered share it.

Of `n` busy requests each is served at

    speed / (1 + crowding * (n - 1))

tokens a second. A crowding of 0 means that they don't hinder each other, 1 that together they are no faster than
one alone. Reading the prompt (prefill, bound by arithmetic) and writing the answer (decode, bound by memory) have a
crowding each; `n` counts both kinds. The sharing is exact: when `n` changes in the middle of an answer, the rest
of it goes on at the new speed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

_SLACK = 1e-9
"""Seconds that a timer may come too early without being set anew."""


class Gpu:
    """One GPU. Requests `join` and `leave`; `prefill` and `decode` say how far the shared work has come."""

    def __init__(self, prefill_crowding: float, decode_crowding: float) -> None:
        self.prefill = Progress(prefill_crowding)
        self.decode = Progress(decode_crowding)
        self._busy = 0

    def join(self) -> None:
        self._share(self._busy + 1)

    def leave(self) -> None:
        self._share(self._busy - 1)

    def _share(self, busy: int) -> None:
        self._busy = busy
        self.prefill.share(busy)
        self.decode.share(busy)


class Progress:
    """Seconds of undisturbed work that each busy request has been given since the beginning."""

    def __init__(self, crowding: float) -> None:
        self._crowding = crowding
        self._slowdown = 1.0
        self._done = 0.0
        self._at: float | None = None
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._order = itertools.count()

    def now(self) -> float:
        """How far it has come."""
        time = asyncio.get_running_loop().time()
        if self._at is not None:
            self._done += (time - self._at) / self._slowdown
        self._at = time
        return self._done

    def share(self, busy: int) -> None:
        """From now on so many share it."""
        self.now()
        self._slowdown = 1.0 + self._crowding * max(0, busy - 1)
        self._set()

    async def reach(self, target: float) -> None:
        """Wait until it has come so far."""
        if self.now() >= target - _SLACK:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        heapq.heappush(self._waiting, (target, next(self._order), future))
        if self._waiting[0][2] is future:
            self._set()
        await future

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._waiting[0][2].done():  # the one that waited was cancelled
            heapq.heappop(self._waiting)
        if self._waiting:
            loop = asyncio.get_running_loop()
            seconds = max(0.0, self._waiting[0][0] - self._done) * self._slowdown
            self._timer = loop.call_at(loop.time() + seconds, self._due)

    def _due(self) -> None:
        done = self.now() + _SLACK
        while self._waiting and self._waiting[0][0] <= done:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        self._timer = None
        self._set()
