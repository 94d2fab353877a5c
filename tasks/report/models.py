"""The report's content, the same for Markdown and JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class ItemReport(BaseModel):
    item_id: int
    line: int
    id: str | None
    kind: str
    title: str
    declared: str
    status: str
    text: str | None = None  # the accepted answer
    citations: list[dict[str, Any]] = Field(default_factory=list)
    accepted_by: str | None = None
    model: str | None = None
    simulated: bool = False
    review: int | None = None
    reason: str | None = None
    error_type: str | None = None
    waits_for: list[str] = Field(default_factory=list)


class BoardReport(BaseModel):
    board_id: int
    source: str
    dialect: str
    title: str
    declared: dict[str, int]  # what the board says, by its own marks
    statuses: dict[str, int]  # what Penstock knows
    items: list[ItemReport]
    findings: list[dict[str, Any]]

    def having(self, *statuses: str) -> list[ItemReport]:
        return [item for item in self.items if item.status in statuses]


class Report(BaseModel):
    run_id: str | None
    state: str  # settled, waiting, failed, running
    started_at: datetime | None
    finished_at: datetime | None
    backend: str | None
    endpoint: str | None
    model: str | None
    simulated: bool
    error: str | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    boards: list[BoardReport]

    @property
    def waiting(self) -> list[ItemReport]:
        return [item for board in self.boards for item in board.having("waiting")]

    @property
    def blocked(self) -> list[ItemReport]:
        return [item for board in self.boards for item in board.items if item.waits_for]
