"""Work that is nearly done when a drain is stopped in order: it gets a few seconds more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

log = logging.getLogger(__name__)

STOP_SECONDS = 6.0
"""For checking and writing what was answered. `penstock run` waits 10 seconds for a flow that it stops
(interfaces/cli/running.py), `penstock down` 25 (deployments/up.py); what is left has to be given back within that."""

T = TypeVar("T")


def stop(task: asyncio.Task[T]) -> None:
    """Cancel it, unless it is cancelled already: a second time would break into what it does at its end, and psycopg
    closes a connection whose query is cancelled twice."""
    if not task.cancelling():
        task.cancel()


async def to_the_end(
    work: Callable[[], Awaitable[T]], done: Callable[[T], None], seconds: float = STOP_SECONDS
) -> T:
    """Do it. Where the caller is cancelled meanwhile it is done once more from its beginning, within `seconds`; `done`
    gets what came of that, and the cancellation goes on.

    Once more, and not shielded: a process that ends cancels all of its tasks, a shielded one too. `work` must bear
    being cancelled and begun again. What fails or takes too long then is logged: it is about to be given back.
    """
    try:
        return await work()
    except asyncio.CancelledError:
        await last_thing(work, done, seconds)
        raise


async def last_thing(
    work: Callable[[], Awaitable[T]], done: Callable[[T], None], seconds: float = STOP_SECONDS
) -> None:
    """The second half of `to_the_end`: for who was just cancelled."""
    try:
        async with asyncio.timeout(seconds):
            done(await work())
    except TimeoutError:
        log.warning(
            "What was answered could not be checked and written within %g s; it is asked again.", seconds
        )
    except Exception as error:  # noqa: BLE001  the drain is stopping: the cancellation must go on, and is told
        log.warning("What was answered could not be written: %s. It is asked again.", error)
