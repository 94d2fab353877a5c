"""What a person is asked, and what came of the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.enums import Decision


@dataclass(frozen=True, slots=True)
class OpenReview:
    """A row of the review queue."""

    id: int
    kind: str  # item, plan, document, strike
    title: str
    reason: str
    error_type: str
    proposal: str | None
    patch_path: str | None
    opened_at: datetime
    item_id: int | None
    source: str | None
    line: int | None
    ext_id: str | None
    item_kind: str | None
    recipe: str | None
    attempts: int | None

    @property
    def place(self) -> str:
        """Where the item stands on its board, for example `plan.md:12`."""
        return f"{self.source}:{self.line}" if self.source else ""


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt in an item's history."""

    number: int
    model: str
    outcome: str
    error_type: str | None
    error: str | None
    answer: str | None
    seconds: float
    simulated: bool
    finished_at: datetime
    endpoint: str  # with its backend
    recipe: str
    tried: str | None = None  # what was otherwise than at a first try
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reused: str | None = None  # where its answer is from, where no call was made for it
    notes: list[str] = field(default_factory=list)  # what was done to the prompt before it was asked


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """One review with all that a person needs to decide it."""

    review: OpenReview
    details: dict[str, Any]
    body: str | None
    decision: str | None = None
    text: str | None = None
    note: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    history: list[Try] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision did."""

    review_id: int
    decision: Decision
    item_id: int | None
    title: str
    released: int  # items that became ready through it, itself included when it is tried again
