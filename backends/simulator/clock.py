"""An event loop whose time jumps to the next timer instead of passing: hours are simulated in milliseconds.

    seconds = virtually(scenario())     # asyncio.sleep(3600) inside takes no time, and loop.time() says 3600

For what waits on timers and on its own tasks, as the engine does; sockets and threads live in real time and are
not for it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class NothingToWaitFor(RuntimeError):
    """Every task waits for another and no timer is set: in real time this would hang for ever."""


class _Jumping(selectors.SelectSelector):
    """Says at once that the time has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise NothingToWaitFor("all tasks wait and no timer is set")
            self.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def virtually(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)
