"""What was saved by not asking the very same twice, for people. Statements: sql/reuse.sql."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from sql.statements import statement


@dataclass(frozen=True, slots=True)
class Saved:
    """Of one recipe and model: the items that got an answer, and those of them for which no call was made."""

    recipe: str
    model: str
    answers: int
    cached: int  # their answer was found
    shared: int  # the same was asked for another item at that moment
    tokens: int  # that these would have cost
    simulated: bool

    @property
    def share(self) -> float:
        return (self.cached + self.shared) / self.answers

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*self.__slots__, "share")}


@dataclass(frozen=True, slots=True)
class Savings:
    kept: int  # answers that can be found again
    oldest: datetime | None
    saved: list[Saved]

    @property
    def answers(self) -> int:
        return sum(each.answers for each in self.saved)

    @property
    def unasked(self) -> int:
        return sum(each.cached + each.shared for each in self.saved)

    def as_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "oldest": self.oldest.isoformat() if self.oldest else None,
            "answers": self.answers,
            "without_a_call": self.unasked,
            "saved": [each.as_json() for each in self.saved],
        }


def savings(connection: psycopg.Connection[Any], days: int) -> Savings:
    """What is kept now, and what was saved in the last `days` days."""
    size = connection.execute(statement("reuse.size")).fetchone()
    rows = connection.execute(statement("reuse.uses"), {"days": days}).fetchall()
    kept, oldest = size or (0, None)
    return Savings(kept, oldest, [Saved(*row) for row in rows])


def clear(connection: psycopg.Connection[Any]) -> int:
    """Forget all answers; gives how many. The attempts stay."""
    return connection.execute(statement("reuse.clear")).rowcount
