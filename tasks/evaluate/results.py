"""What an evaluation came to, compared case by case, and kept as a file. What is not known is no number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import InputError
from tasks.intervals import Interval, changed_by_chance, mean_interval, share_interval

LONGEST_TEXT = 2000
"""Characters of an answer that are kept."""


class CaseResult(BaseModel):
    """One case by one variant."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    golden: str
    case: str
    hash: str  # of the case
    score: float | None = Field(ge=0, le=1)  # None: not known
    missed: tuple[str, ...] = ()  # what does not hold, or why it is not known
    text: str = ""
    seconds: float | None = None
    cost: float | None = None  # US dollars
    simulated: bool = False

    @property
    def passed(self) -> bool | None:
        return None if self.score is None else self.score == 1.0


class VariantResult(BaseModel):
    """All cases by one variant."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    model: str
    recipes: dict[str, str]  # hashes by name
    cases: tuple[CaseResult, ...]
    simulated: bool

    @property
    def known(self) -> list[CaseResult]:
        return [each for each in self.cases if each.score is not None]

    @property
    def unknown(self) -> int:
        return len(self.cases) - len(self.known)

    @property
    def passed(self) -> int:
        return sum(each.passed is True for each in self.cases)

    @property
    def score(self) -> float | None:
        return _mean(each.score for each in self.known)

    @property
    def seconds(self) -> float | None:
        return _mean(each.seconds for each in self.cases)

    @property
    def cost(self) -> float | None:
        """Of all cases that were answered; None where that of one is not known."""
        costs = [each.cost for each in self.known]
        found = [cost for cost in costs if cost is not None]
        return sum(found) if found and len(found) == len(costs) else None

    def figures(self) -> dict[str, Any]:
        known = self.known
        return {
            "cases": len(self.cases),
            "unknown": self.unknown,
            "passed": self.passed,
            "passed_interval": share_interval(self.passed, len(known)),
            "score": self.score,
            "score_interval": mean_interval([each.score for each in known if each.score is not None]),
            "seconds": self.seconds,
            "cost": self.cost,
        }


class Evaluation(BaseModel):
    """A run of `penstock eval`, and what `--save` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    penstock_eval: Literal[1] = 1
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    backend: str
    endpoint: str
    variants: tuple[VariantResult, ...] = Field(min_length=1)

    def save(self, path: Path) -> None:
        """Raises InputError where it can't be written."""
        cut = [
            variant.model_copy(
                update={
                    "cases": tuple(
                        each.model_copy(update={"text": each.text[:LONGEST_TEXT]}) for each in variant.cases
                    )
                }
            )
            for variant in self.variants
        ]
        kept = self.model_copy(update={"variants": tuple(cut)}).model_dump(mode="json")
        try:
            path.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            raise InputError(
                f"{path} can't be written: {error.strerror}. Name another file with --save."
            ) from error


def read_saved(path: Path) -> Evaluation:
    """What `save` wrote. Raises InputError."""
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}. Write it with --save first.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(
            f"{path} was not written by `penstock eval --save`: {where}: {first['msg']}."
        ) from error


@dataclass(frozen=True, slots=True)
class Comparison:
    """One variant against another one, over the cases whose score is known of both."""

    first: str
    second: str
    cases: int
    left_out: int  # cases of either that the other has not, or has otherwise, or whose score is not known
    difference: float | None  # mean score of the second less that of the first; None: no case can be compared
    interval: Interval | None  # of the difference
    only_first: int  # cases that passed there alone
    only_second: int
    by_chance: float | None  # how likely so uneven a pair of these two is by chance; None: there are none
    simulated: bool

    def regressed(self, threshold: float) -> bool:
        return self.difference is not None and self.difference < -threshold

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def compare(first: VariantResult, second: VariantResult) -> Comparison:
    """Paired by case. Raises InputError where one of them is simulated and the other is not."""
    if first.simulated != second.simulated:
        one, other = (first, second) if first.simulated else (second, first)
        raise InputError(
            f"{one.name} is simulated and {other.name} is not: what the simulator answers says nothing of a model. "
            "Compare with a baseline of the same kind."
        )
    mine, theirs = ({(each.golden, each.case, each.hash): each for each in v.cases} for v in (first, second))
    pairs = [
        (mine[key], theirs[key])
        for key in mine
        if key in theirs and mine[key].score is not None and theirs[key].score is not None
    ]
    differences = [(after.score or 0.0) - (before.score or 0.0) for before, after in pairs]
    only_first = sum(bool(before.passed and not after.passed) for before, after in pairs)
    only_second = sum(bool(after.passed and not before.passed) for before, after in pairs)
    names = {key[:2] for key in (*mine, *theirs)}
    return Comparison(
        first=first.name,
        second=second.name,
        cases=len(pairs),
        left_out=len(names) - len(pairs),
        difference=_mean(differences),
        interval=mean_interval(differences),
        only_first=only_first,
        only_second=only_second,
        by_chance=changed_by_chance(only_first, only_second),
        simulated=first.simulated,
    )


def against(baseline: Evaluation, variants: Sequence[VariantResult]) -> list[Comparison]:
    """Each variant against that of the baseline with its name, else its model, else the only one there.

    Raises InputError where there is none, or no case is the same.
    """
    found = []
    for variant in variants:
        by_name = [each for each in baseline.variants if each.name == variant.name]
        by_model = [each for each in baseline.variants if each.model == variant.model]
        only = baseline.variants if len(baseline.variants) == 1 else ()
        before = next(iter([*by_name, *by_model, *only]), None)
        if before is None:
            has = ", ".join(each.name for each in baseline.variants)
            raise InputError(f"The baseline has nothing to compare {variant.name} with; it has {has}.")
        if not {each.hash for each in before.cases} & {each.hash for each in variant.cases}:
            raise InputError("No case is the same in the baseline. Write it anew with --save.")
        found.append(compare(before, variant))
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found else None
