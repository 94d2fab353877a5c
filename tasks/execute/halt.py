"""What a person wants of the run that a drain is a part of, as the drain hears of it.

It is told from outside (tasks/runs/hearing.py). A drain that belongs to no run is never told anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.errors import RunStopped
from models.run import Wish
from tasks.execute.stopping import stop

T = TypeVar("T")


@dataclass(slots=True)
class Halt:
    wish: Wish | None = None
    words: str = ""  # why nothing is begun, as a sentence
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, wish: Wish, words: str) -> None:
        """A cancellation is not taken back by a pause."""
        if self.wish is not Wish.CANCEL:
            self.wish, self.words = wish, words
        self.heard.set()
        if wish is Wish.CANCEL:
            self.cancelled.set()

    def check(self) -> None:
        """Raises RunStopped once the run is cancelled: what is in flight is to be given up."""
        if self.cancelled.is_set():
            raise RunStopped(self.words)

    async def unless_heard(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do it, but not longer than until anything is heard; None: it was given up. For what may take hours."""
        doing, heard = asyncio.ensure_future(work), asyncio.ensure_future(self.heard.wait())
        try:
            await asyncio.wait([doing, heard], return_when=asyncio.FIRST_COMPLETED)
            return doing.result() if doing.done() else None
        finally:
            heard.cancel()
            stop(doing)
            await asyncio.wait([doing])
