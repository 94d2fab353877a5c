"""How often which rule failed: per recipe, model and day, out of the answers that were checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg

from models.enums import ErrorType, Fault
from sql.statements import statement
from tasks.validate import names

FAILED = tuple(
    str(each)
    for each in ErrorType
    if each.charged and each is not ErrorType.POISON and each.rule.fault is not Fault.NOBODY
)
"""Error types that speak of an answer. A server that was not there failed no rule."""

LAYERS = ("call", *names.LAYERS)
"""In the order in which an answer meets them; `call` is what the backend itself said of it."""

DAYS = 90


@dataclass(slots=True)
class RuleCount:
    """One rule of one recipe on one model."""

    recipe: str
    model: str
    layer: str
    check: str
    error_type: str
    failed: int = 0  # answers
    items: int = 0  # an item that failed on two days counts for each
    checked: int = 0  # answers of that recipe and model in all
    example: str = ""  # in words
    days: Counter[date] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return self.failed / self.checked if self.checked else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "model": self.model,
            "layer": self.layer,
            "check": self.check,
            "error_type": self.error_type,
            "failed": self.failed,
            "items": self.items,
            "checked": self.checked,
            "share": round(self.share, 4),
            "example": self.example,
            "days": {str(day): number for day, number in sorted(self.days.items())},
        }


@dataclass(slots=True)
class Checked:
    """Answers of one recipe by one model."""

    recipe: str
    model: str
    checked: int = 0
    failed: int = 0
    simulated: bool = False
    days: dict[date, tuple[int, int]] = field(default_factory=dict)  # checked, failed

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "model": self.model,
            "checked": self.checked,
            "failed": self.failed,
            "simulated": self.simulated,
            "days": {
                str(day): {"checked": all_, "failed": bad} for day, (all_, bad) in sorted(self.days.items())
            },
        }


@dataclass(slots=True)
class Statistics:
    """`rules`: what failed most first. `answers`: per recipe and model."""

    rules: list[RuleCount]
    answers: list[Checked]

    @property
    def checked(self) -> int:
        return sum(each.checked for each in self.answers)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.answers)

    def by_layer(self) -> dict[date, Counter[str]]:
        """Failed checks per day and layer. An answer may fail several."""
        found: dict[date, Counter[str]] = {}
        for rule in self.rules:
            for day, number in rule.days.items():
                found.setdefault(day, Counter())[rule.layer] += number
        return found

    def by_day(self) -> dict[date, tuple[int, int]]:
        """Answers checked and failed per day."""
        found: dict[date, tuple[int, int]] = {}
        for each in self.answers:
            for day, (checked, failed) in each.days.items():
                before = found.get(day, (0, 0))
                found[day] = (before[0] + checked, before[1] + failed)
        return dict(sorted(found.items()))

    def as_json(self) -> dict[str, Any]:
        return {
            "checked": self.checked,
            "failed": self.failed,
            "answers": [each.as_json() for each in self.answers],
            "rules": [each.as_json() for each in self.rules],
        }


def statistics(
    connection: psycopg.Connection[Any],
    *,
    boards: Sequence[int] | None = None,
    recipe: str | None = None,
    days: int = DAYS,
    zone: str = "UTC",
) -> Statistics:
    """Count the answers of the last `days`; days begin at midnight in `zone`."""
    parameters = {
        "boards": None if boards is None else list(boards),
        "recipe": recipe,
        "days": days,
        "zone": zone,
        "charged": list(FAILED),
    }
    answers: dict[tuple[str, str], Checked] = {}
    for day, name, model, checked, failed, simulated in connection.execute(
        statement("validate.checked"), parameters
    ):
        one = answers.setdefault((name, model), Checked(name, model))
        one.checked += checked
        one.failed += failed
        one.simulated |= bool(simulated)
        one.days[day] = (checked, failed)
    rules: dict[tuple[str, ...], RuleCount] = {}
    for day, *key, failed, items, example in connection.execute(statement("validate.failures"), parameters):
        name, model, layer, check, error_type = key
        rule = rules.setdefault(tuple(key), RuleCount(name, model, layer, check, error_type))
        rule.failed += failed
        rule.items += items
        rule.days[day] += failed
        rule.example = example or rule.example
        rule.checked = answers[name, model].checked
    return Statistics(
        sorted(rules.values(), key=lambda each: (-each.failed, each.recipe, each.model, each.check)),
        sorted(answers.values(), key=lambda each: (-each.checked, each.recipe, each.model)),
    )
