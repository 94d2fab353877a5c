"""What the checks say of one answer, and of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.calls import ModelAnswer, Passage
from models.enums import ErrorType


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer on its way through the checks: one row of the batch's table."""

    item_id: int
    question: str
    answer: ModelAnswer
    passages: tuple[Passage, ...] = ()
    criteria: tuple[str, ...] = ()  # the item's acceptance criteria; those in `question` are found there
    files: Mapping[str, str] = field(default_factory=dict)  # whole files that were given, by path
    fence: str = ""  # the random key of its prompt; empty: it has none
    pack: int | None = (
        None  # which request of the batch asked for it together with others; None: it was asked alone
    )


@dataclass(frozen=True, slots=True)
class Failure:
    layer: str  # transport, shape, grounding, rules, acceptance, judge (tasks/validate/names.py)
    check: str  # the check's name, for example expect_column_value_lengths_to_be_between(answer)
    error_type: ErrorType
    message: str  # in words: what was seen and what was expected

    def as_json(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "check": self.check,
            "error_type": str(self.error_type),
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Passed only when `failures` is empty. `text`, `data` and `citations` are what would become the result."""

    item_id: int
    failures: tuple[Failure, ...]
    text: str
    data: dict[str, Any] | None = None
    citations: tuple[dict[str, str], ...] = ()
    repairs: tuple[str, ...] = ()  # what was put right to read the answer, in words; no failures
    unchecked: tuple[str, ...] = ()  # acceptance criteria that no machine here can check

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """One vote on an answer that is asked for (tasks/validate/judge.py)."""

    item_id: int
    model: str
    vote: int  # 1, 2 ...: never from a cache, which would make one vote of N
    system: str
    prompt: str
    schema: dict[str, Any]
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchVerdict:
    verdicts: dict[int, Verdict]  # one per row, by item id: never fewer
    validation: dict[str, Any] = field(default_factory=dict)  # Great Expectations' result, JSON-ready
