"""Runs: their states, what a person may want of one, and one as it is listed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunState(StrEnum):
    """Stored. Only of a running one is a process alive; what waits, is paused or cancelled holds nothing."""

    RUNNING = "running"
    SETTLED = "settled"
    WAITING = "waiting"  # it came to its end, and something is left: for a person, or for later
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # its process died


RESUMABLE = (RunState.PAUSED, RunState.CANCELLED, RunState.INTERRUPTED, RunState.FAILED)


class Wish(StrEnum):
    """What a person wants of a run that is under way. Stored."""

    PAUSE = "pause"  # begin nothing new; what was sent is let end
    CANCEL = "cancel"  # stop what was sent, too

    @property
    def state(self) -> RunState:
        return RunState.PAUSED if self is Wish.PAUSE else RunState.CANCELLED


class Stage(StrEnum):
    """Where a run has come to, and where one may begin. Stored."""

    INGEST = "ingest"
    DECOMPOSE = "decompose"
    EXECUTE = "execute"
    VALIDATE = "validate"
    REPORT = "report"

    def reaches(self, other: Stage) -> bool:
        """Whether a run that begins here does that stage."""
        stages = list(Stage)
        return stages.index(self) <= stages.index(other)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it stands now. `counts`: its boards' items that are run, by status, as they are now and not as they
    were when it ended."""

    id: uuid.UUID
    state: RunState
    stage: Stage
    started_at: datetime
    finished_at: datetime | None
    wish: Wish | None
    wished_by: str
    flow_run_id: str | None
    boards: tuple[int, ...]
    backend: str | None
    endpoint: str | None
    model: str | None
    error: str | None
    params: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """What people write for its id."""
        return str(self.id)[:8]

    @property
    def done(self) -> int:
        return self.counts.get("done", 0)

    @property
    def waiting(self) -> int:
        return self.counts.get("waiting", 0)

    @property
    def open(self) -> int:
        return sum(self.counts.get(name, 0) for name in ("pending", "ready", "running"))

    @property
    def given(self) -> list[str]:
        """The boards as they were given: files, folders, globs."""
        board = self.params.get("board") or []
        return [board] if isinstance(board, str) else list(board)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "state": self.state,
            "stage": self.stage,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "wish": self.wish,
            "backend": self.backend,
            "endpoint": self.endpoint,
            "model": self.model,
            "error": self.error,
            "boards": list(self.sources),
            "items": dict(self.counts),
            "flow_run_id": self.flow_run_id,
            "params": dict(self.params),
        }
