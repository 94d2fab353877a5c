"""A row of an export: one for each input row of a board, whatever became of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any


class Format(StrEnum):
    """What an export is written as."""

    MD = "md"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class ExportRow:
    """The columns, in their order. None: it is not known, or there is none.

    `answer`, `data`, `citations`: of the accepted result. `prompt_tokens`, `completion_tokens`, `cost` (US dollars): of
    all tries that had an answer; None where one of them did not say. `error_type`: why it is not done.
    """

    board: str  # where it is stored: a path
    line: int
    id: str | None  # as written on the board
    item: int  # its number in Penstock
    part_of: int | None  # the number of the item that it is a part of
    kind: str
    title: str
    declared: str  # what the board says
    status: str  # what Penstock knows
    answer: str | None
    data: Any
    citations: list[dict[str, Any]] | None
    accepted_by: str | None  # checks, person
    accepted_at: datetime | None
    simulated: bool | None
    recipe: str | None
    model: str | None
    attempts: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    error_type: str | None
    review: int | None  # the number of the open review
    review_reason: str | None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(each.name for each in fields(ExportRow))
