"""How the models of each recipe have done, and who gets its items: for people. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from models.recipe import Recipe
from models.settings import Settings
from sql.statements import statement
from tasks.execute.router import known_of, parameters
from tasks.execute.routing import Evidence, Known, Policy, best_of, expected, utilities
from tasks.intervals import Interval, share_interval

__all__ = ["ModelRecord", "records"]


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model of a recipe, its version as it is now. None: not known."""

    recipe: str
    version: str  # the recipe's hash
    model: str
    simulated: bool
    routed: bool  # among the recipe's `models`, and chosen among
    best: bool  # of those, the one that is asked
    tries: int  # first tries that say something of the model
    passed: int
    interval: Interval | None  # of their share, 95 %
    score: float | None  # success weighed with time and cost, as models are compared
    seconds: float | None
    cost: float | None  # US dollars of a try
    items: int  # that it was given lately
    share: float | None  # of the recipe's items
    explored: int  # of them, those that went to it to see how it does

    @property
    def accepted(self) -> float | None:
        return self.passed / self.tries if self.tries else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"accepted": self.accepted}


def records(
    connection: psycopg.Connection[Any], settings: Settings, recipes: Sequence[Recipe]
) -> list[ModelRecord]:
    """Of each recipe its `models` in their order, then others that were asked. Simulated ones by themselves."""
    asked = parameters({recipe.name: recipe.hash for recipe in recipes})
    rows = connection.execute(statement("routing.evidence"), asked).fetchall()
    real, made_up = known_of(rows, simulated=False), known_of(rows, simulated=True)
    given = {(recipe, model): (items, explored) for recipe, model, items, explored, *_ in rows}
    found: list[ModelRecord] = []
    for recipe in recipes:
        models = [*recipe.header.models, *(model for name, model in given if name == recipe.name)]
        for model in dict.fromkeys(models):
            by_simulator = recipe.name in made_up and model in made_up[recipe.name].models
            in_earnest = recipe.name in real and model in real[recipe.name].models
            for simulated in [False] * (in_earnest or not by_simulator) + [True] * by_simulator:
                known = (made_up if simulated else real).get(recipe.name, Known())
                counts = given.get((recipe.name, model), (0, 0))
                found.append(_record(settings, recipe, model, simulated, known, *counts))
    return found


def _record(
    settings: Settings,
    recipe: Recipe,
    model: str,
    simulated: bool,
    known: Known,
    items: int,
    explored: int,
) -> ModelRecord:
    policy, allowed = Policy.of(settings), recipe.header.models
    compared = allowed if model in allowed else [model]
    success = {each: expected(known, each) for each in compared}
    evidence = known.models.get(model, Evidence())
    routed = model in allowed and len(allowed) > 1 and settings.routing
    best = best_of(allowed, known, policy) if routed else next(iter(allowed), None)
    return ModelRecord(
        recipe=recipe.name,
        version=recipe.hash,
        model=model,
        simulated=simulated,
        routed=routed,
        best=model == best,
        tries=evidence.tries,
        passed=evidence.passed,
        interval=share_interval(evidence.passed, evidence.tries),
        score=utilities(compared, known, policy, success)[model] if evidence.tries else None,
        seconds=evidence.seconds,
        cost=evidence.cost,
        items=items,
        share=items / known.items if known.items else None,
        explored=explored,
    )
