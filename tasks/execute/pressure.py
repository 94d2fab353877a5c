"""How hard a drain may push its endpoint now: what is paused, broken, slowed down, used up, or shared with others.

One object per drain. It is asked before each claim and each call, told after each call, and looks at what others know
(the database) every `LOOK_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from models.calls import ModelAnswer, ModelCallError
from models.settings import Endpoint, Settings
from tasks.execute.gate import Gate
from tasks.execute.lease import Lease
from tasks.execute.order import Group

LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Pressure:
    endpoint: Endpoint
    model: str  # what an item without a model is asked of
    settings: Settings
    lease: Lease
    deadline: float | None  # on the loop's clock
    gate: Gate = field(init=False)
    stop_because: str = ""  # nothing more is sent or claimed; why, for people
    without: frozenset[int] = frozenset()  # boards that are paused
    limited: frozenset[int] = frozenset()  # boards with a limit of running items
    _failures: int = 0  # of the endpoint, in a row, not counting what was in flight at the same time
    _failed_at: float = 0.0
    _not_before: float = 0.0  # the server asked for silence until then, on the loop's clock

    def __post_init__(self) -> None:
        self.gate = Gate(self.endpoint.slots)

    async def look(self) -> None:
        """What others know."""

    def takes(self, group: Group) -> bool:
        """Whether a group may be claimed now."""
        return True

    def weight(self, model: str) -> int:
        return self.endpoint.spec(model).weight

    def most(self, model: str) -> int | None:
        return self.endpoint.spec(model).slots

    async def may_send(self, model: str) -> bool:
        """Wait while the server wants to be left alone. False when the drain is stopping."""
        clock = asyncio.get_running_loop().time
        while not (self.stop_because or self.lease.lost.is_set()):
            if (wait := self._not_before - clock()) <= 0:
                return True
            if self.deadline is not None and self._not_before >= self.deadline:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lease.lost.wait(), min(wait, self.settings.heartbeat))
        return False

    def answered(self, model: str, answer: ModelAnswer, sent_at: float) -> None:
        self._failures = 0

    async def failed(self, model: str, error: ModelCallError, sent_at: float) -> None:
        if error.error_type.charged:
            self._failures = 0  # the server answered; this item is the trouble
            return
        wait = error.retry_after or 0.0
        if wait > self.settings.retry_delay_cap:
            self._stop(
                f"{self.endpoint.backend} at {self.endpoint.url} wants to be asked again only in {_span(wait)}: "
                f"{error} Nothing accepted is lost and no attempt was charged: run the same command again then."
            )
            return
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + wait)
        if sent_at < self._failed_at:
            return  # in flight together with one already counted: the same incident
        self._failures += 1
        self._failed_at = asyncio.get_running_loop().time()
        if self._failures >= self.settings.breaker_failures:
            self._stop(
                f"{self.endpoint.backend} at {self.endpoint.url} failed {self._failures} times in a row; the last "
                f"time: {error}. Nothing accepted is lost and no attempt was charged: see that the server answers, "
                f"then run the same command again."
            )

    def _stop(self, because: str) -> None:
        self.stop_because = because
        self.gate.close()

    async def aclose(self) -> None:
        await self.gate.aclose()


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
