"""What a council said and came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.recipe import Risk


class Position(StrEnum):
    """How an opinion stands to the decision."""

    SUPPORTS = "supports"
    DISSENTS = "dissents"
    ABSTAINS = "abstains"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one member said; without a result it is missing."""

    item_id: int
    name: str
    status: int
    result_id: int | None
    text: str
    data: dict[str, Any]
    citations: list[dict[str, str]]
    simulated: bool
    model: str  # empty where a person wrote it
    recipe_hash: str
    error: str | None = None  # of one that is missing: the last

    @property
    def cite(self) -> str:
        """How a synthesis refers to it."""
        return f"item:{self.item_id}"

    @property
    def heard(self) -> bool:
        return self.result_id is not None

    @property
    def confidence(self) -> float:
        """Its own word, 0 to 1. What a person wrote is certain; what says nothing of it is not."""
        value = self.data.get("confidence")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return min(max(float(value), 0.0), 1.0)
        return 0.0 if self.model else 1.0

    @property
    def risks(self) -> list[tuple[str, Risk]]:
        return risks_of(self.data)


@dataclass(frozen=True, slots=True)
class Seat:
    """A member in a decision record."""

    name: str
    item: int
    result: int | None
    model: str
    recipe_hash: str
    position: str | None  # None: it did not answer, or nobody said how it stands
    says: str
    confidence: float | None
    risk: str | None  # the highest that it names
    missing: str | None = None  # why it did not answer


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as the opinions and their synthesis make it."""

    decision: str
    reasons: list[str]
    risks: list[dict[str, str]]  # {risk, level}
    risk: Risk  # the highest that the synthesis or a member names
    confidence: float | None  # None: a person wrote it
    claimed: float | None
    agreement: float | None
    members: list[Seat]
    citations: list[dict[str, str]]
    simulated: bool = False

    def having(self, position: Position) -> list[Seat]:
        return [seat for seat in self.members if seat.position == position]

    @property
    def dissent(self) -> list[Seat]:
        return self.having(Position.DISSENTS)

    @property
    def missing(self) -> list[Seat]:
        return [seat for seat in self.members if seat.missing is not None]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A stored decision."""

    id: int
    item_id: int
    source: str
    line: int
    ext_id: str | None
    question: str
    recipe: str
    recipe_hash: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None  # US dollars, as far as known
    began_at: datetime | None
    created_at: datetime
    approved_by: str | None  # None: the checks accepted it, or nobody yet
    edited: bool
    status: str  # proposed, accepted, rejected, superseded
    review: int | None  # the open one
    decided_at: datetime | None
    decided: Decided = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__ if name != "decided"}
        dissent = [asdict(seat) for seat in self.decided.dissent]
        return values | self.decided.as_json() | {"dissent": dissent}


def risks_of(data: Mapping[str, Any]) -> list[tuple[str, Risk]]:
    """The risks that an answer names; what has no level that is known counts as high."""
    found = []
    for entry in data.get("risks") or ():
        if isinstance(entry, dict) and (text := " ".join(str(entry.get("risk") or "").split())):
            level = entry.get("level")
            found.append((text, Risk(level) if level in set(Risk) else Risk.HIGH))
    return found
