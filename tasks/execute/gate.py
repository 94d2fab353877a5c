"""The door to an endpoint: how many requests are in flight, of which model, and who goes next.

One object for what must be decided together. A request enters when there is room for it, and when its model is the one
that is loaded; the first in line whose model is another waits until nothing is in flight, has the model switched,
and goes in. Nobody overtakes it meanwhile, so a model is never changed while it answers, and a switch is never shared.

In line: interactive before all others, then by batch, then by arrival. While interactive items come, a share of the
room is kept for them.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from tasks.execute.stopping import stop

INTERACTIVE, NORMAL = 0, 1

Switch = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Makes a model the one that answers. Awaits its second argument before it sends anything to the server: only then is
there room for what it sends. (Waiting for the model's memory takes no seat from others.)"""


class _Request(NamedTuple):
    model: str
    lane: int
    weight: int
    most: int | None


@dataclass(slots=True, order=True)
class _Waiting:
    lane: int
    turn: int
    number: int
    request: _Request = field(compare=False)
    admitted: asyncio.Future[bool] = field(compare=False)


class Gate:
    """`room` is how many requests may be in flight; `reserved` of them are for the interactive lane alone.

    `seats` is what they may weigh together, None where nothing is shared. All three may be changed at any time (call
    `changed` then): what is in flight goes on, and nothing enters before there is room. `switch` is awaited with
    nothing in flight; what it raises, all that wait for that model get: nobody loads it again in the same breath.
    """

    def __init__(self, room: int, switch: Switch | None = None, model: str | None = None) -> None:
        self.room = room
        self.reserved = 0
        self.seats: int | None = None
        self.model = model  # None: not known, the first request has it switched
        self.in_flight = 0
        self.weight = 0  # of all in flight
        self._normal = 0  # in flight that are not interactive
        self._switch = switch
        self._line: list[_Waiting] = []
        self._numbers = count()
        self._switching: asyncio.Task[None] | None = None
        self._entry: tuple[_Request, asyncio.Future[None]] | None = None  # a switch that waits for room
        self._closed = False

    @property
    def wants(self) -> bool:
        """Whether anything is in flight or could be, if there were room for it."""
        if self.in_flight or self._entry is not None:
            return True
        return self._switching is None and any(each.request.model == self.model for each in self._line)

    @property
    def wants_model(self) -> str | None:
        """The model whose requests `wants` is about."""
        return self.model if self._entry is None else self._entry[0].model

    async def enter(
        self, model: str, *, turn: int, lane: int = NORMAL, weight: int = 1, most: int | None = None
    ) -> bool:
        """Wait until the request may be sent; False when the gate was closed. Raises what the switch raised.

        `most`: requests of this model at once. Who was let in must `leave`, with the same lane and weight.
        """
        if self._closed:
            return False
        request = _Request(model, lane, weight, most)
        if not self._line and self._switching is None and self._admits(request):
            self._count(request)
            return True
        loop = asyncio.get_running_loop()
        waiting = _Waiting(lane, turn, next(self._numbers), request, loop.create_future())
        heapq.heappush(self._line, waiting)
        self.changed()
        try:
            return await waiting.admitted
        except asyncio.CancelledError:
            done = waiting.admitted.done() and not waiting.admitted.cancelled()
            if done and waiting.admitted.exception() is None and waiting.admitted.result():
                self.leave(lane=lane, weight=weight)  # it was let in at the very moment
            else:
                self._remove(waiting)
            raise

    def leave(self, *, lane: int = NORMAL, weight: int = 1) -> None:
        self._count(_Request("", lane, weight, None), -1)
        self.changed()

    def must_yield(self, *, turn: int, lane: int = NORMAL) -> bool:
        """Whether a request that just ended should leave, so that somebody before it in line comes in."""
        if self._closed or self.in_flight > self.room:
            return True
        if self.seats is not None and self.weight > self.seats:
            return True
        if lane != INTERACTIVE and self._normal > self._room(lane):
            return True
        return bool(self._line) and (self._line[0].lane, self._line[0].turn) < (lane, turn)

    def changed(self) -> None:
        """Let in who may enter now."""
        if self._entry is not None and self._fits(self._entry[0]):
            request, let_in = self._entry
            self._entry = None
            if not let_in.done():
                self._count(request)
                let_in.set_result(None)
        while self._line and self._switching is None and not self._closed:
            first = self._line[0]
            if first.admitted.done():
                heapq.heappop(self._line)
            elif self._admits(first.request):
                heapq.heappop(self._line)
                self._count(first.request)
                first.admitted.set_result(True)
            elif first.request.model != self.model and not self.in_flight and self.room > 0:
                heapq.heappop(self._line)
                self._switching = asyncio.ensure_future(self._switched(first))
            else:
                return

    def close(self) -> None:
        """Nobody enters any more; who waits is told so."""
        self._closed = True
        for waiting in self._line:
            if not waiting.admitted.done():
                waiting.admitted.set_result(False)
        self._line.clear()

    async def aclose(self) -> None:
        """`close`, and a switch that is under way is given up."""
        self.close()
        if self._switching is not None:
            stop(self._switching)
            await asyncio.wait([self._switching])

    async def _switched(self, first: _Waiting) -> None:
        request, admitted = first.request, first.admitted
        counted = entered = False

        async def let_in() -> None:
            nonlocal counted
            if not counted:
                entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._entry = (request, entry)
                self.changed()
                try:
                    await entry
                finally:
                    counted = entry.done() and not entry.cancelled()
                    self._entry = None

        self.model = None
        try:
            if self._switch is not None:
                await self._switch(request.model, let_in)
            await let_in()
            self.model = request.model
            entered = not (admitted.done() or self._closed)
            if not admitted.done():
                admitted.set_result(entered)
        except asyncio.CancelledError:
            if not admitted.done():
                admitted.set_result(False)
            raise
        except Exception as error:  # noqa: BLE001  whoever waits for that model gets it
            for waiting in [first, *(each for each in self._line if each.request.model == request.model)]:
                if not waiting.admitted.done():
                    waiting.admitted.set_exception(error)
        finally:
            self._switching = None
            if counted and not entered:
                self._count(request, -1)
            self.changed()

    def _admits(self, request: _Request) -> bool:
        return request.model == self.model and self._fits(request)

    def _fits(self, request: _Request) -> bool:
        most = self.room if request.most is None else min(self.room, request.most)
        if self.in_flight >= most or (self.seats is not None and self.weight + request.weight > self.seats):
            return False
        return request.lane == INTERACTIVE or self._normal < self._room(request.lane)

    def _room(self, lane: int) -> int:
        return self.room if lane == INTERACTIVE else max(min(1, self.room), self.room - self.reserved)

    def _count(self, request: _Request, sign: int = 1) -> None:
        self.in_flight += sign
        self.weight += sign * request.weight
        if request.lane != INTERACTIVE:
            self._normal += sign

    def _remove(self, waiting: _Waiting) -> None:
        if waiting in self._line:
            self._line.remove(waiting)
            heapq.heapify(self._line)
            self.changed()
