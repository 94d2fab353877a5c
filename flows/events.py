"""What people automate on, as Prefect events. docs/operations.md lists them; names and resources are stable.

Sending is left to Prefect's own thread: nothing here waits for a server, or fails when it is away.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from prefect.events import emit_event

from models.run import RunState
from models.words import counted
from tasks.execute import Batch, Tally

__all__ = ["BULK", "Batches", "drained", "items_deferred", "run_ended"]

BULK = 10
"""So many items that one drain sends to people are worth an event; it is one per drain."""

EVERY_SECONDS = 60.0
"""Least time between two events of one drain that a batch failed."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batches:
    """Watches the batches of one drain for those that failed as a whole."""

    backend: str
    clock: Callable[[], float] = monotonic
    _next_at: float = 0.0
    _unsaid: int = 0
    _said: bool = field(default=False)

    def ended(self, batch: Batch, tally: Tally) -> None:
        """Nothing of it was accepted or sent to a person: its server failed, or no answer passed. At most one event a
        minute, with how many batches more that was since the last."""
        size = len(batch.items)
        if not size or tally.returned + tally.retry + tally.failed < size:
            return
        now = self.clock()
        if self._said and now < self._next_at:
            self._unsaid += 1
            return
        _emit(
            "penstock.batch.failed",
            f"penstock.backend.{self.backend}",
            self.backend,
            payload={
                "batch": batch.id,
                "recipe": batch.recipe,
                "model": batch.model,
                "items": size,
                "returned": tally.returned,
                "retry": tally.retry,
                "failed": tally.failed,
                "batches_unsaid": self._unsaid,
            },
            boards={item.board_id for item in batch.items},
        )
        self._said, self._unsaid, self._next_at = True, 0, now + EVERY_SECONDS


def items_deferred(backend: str, tally: Tally, boards: Sequence[int] | None) -> None:
    """One drain sent many items to people."""
    if tally.deferred >= BULK:
        payload = {"deferred": tally.deferred, "accepted": tally.accepted, "simulated": tally.simulated}
        _emit(
            "penstock.items.deferred",
            f"penstock.backend.{backend}",
            backend,
            payload=payload,
            boards=boards or (),
        )


def drained(backend: str, tally: Tally, boards: Sequence[int] | None) -> None:
    """A drain did something, and nothing is ready or running on its boards any more."""
    _emit(
        "penstock.backlog.drained",
        f"penstock.backend.{backend}",
        backend,
        payload=tally.as_json(),
        boards=boards or (),
    )


def run_ended(
    run: uuid.UUID, state: RunState, boards: Sequence[int], backend: str | None, payload: Mapping[str, Any]
) -> None:
    """A run was settled, or ended otherwise: `penstock.run.<state>`."""
    _emit(
        f"penstock.run.{state}",
        f"penstock.run.{run}",
        f"run {str(run)[:8]}",
        payload=payload,
        boards=boards,
        backend=backend,
    )


MOST_RELATED = 90
"""Prefect refuses an event with more than 100 related resources."""


def _emit(
    event: str,
    resource: str,
    name: str,
    *,
    payload: Mapping[str, Any],
    boards: Iterable[int],
    backend: str | None = None,
) -> None:
    numbers = sorted(boards)
    related = [
        {"prefect.resource.id": f"penstock.board.{number}", "prefect.resource.role": "board"}
        for number in numbers[:MOST_RELATED]
    ]
    if backend is not None:
        related.append(
            {"prefect.resource.id": f"penstock.backend.{backend}", "prefect.resource.role": "backend"}
        )
    said = dict(payload) | {"boards": counted(len(numbers), "board") if numbers else "all boards"}
    try:
        emit_event(
            event,
            {"prefect.resource.id": resource, "prefect.resource.name": name},
            related=related,
            payload=said,
        )
    except Exception as error:  # noqa: BLE001  an event is a comfort: no work fails for want of it
        log.warning("The event %s could not be sent: %s", event, error)
