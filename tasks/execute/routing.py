"""Which of a recipe's `models` is asked: the one that has done best, and now and then another. Pure; no I/O.

A model's success is the share of its first tries that passed every check. What is known of it after s of n is the
distribution Beta(1 + s, 1 + n - s). Thompson sampling draws a success for each model and takes the model with the
greatest utility: so one is tried as often as it is likely to be the best (Thompson, Biometrika 25, 1933; Chapelle and
Li, "An Empirical Evaluation of Thompson Sampling", NIPS 2011, who show that one draw for many items costs little).
Models change, so only the latest tries count (Trovo et al., "Sliding-Window Thompson Sampling", JAIR 68, 2020).

    utility = success * (least seconds / its seconds) ** routing_time * (least cost / its cost) ** routing_cost

At 0.1 a model that takes twice as long, or costs twice as much, must pass 7 % more; one of ten times, 26 % more. What
is not known weighs nothing; cost is left out where that of one that was tried is not known.

The best has the greatest utility of those that were tried `ENOUGH` times; before that it is the first of the list.
What goes to another one explores, in turns of at most `TURN` items, and never makes more than `routing_explore` of the
recipe's items. Sampling alone knows no such bound: at the start it would give each of them the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.enums import ErrorType, Fault
from models.settings import Settings

TURN = 8
"""Items of an exploration, at most: its model may have to be loaded, so it should be worth it."""

ENOUGH = TURN
"""First tries after which a model may be the best: one turn."""

STINT = 64
"""Items after which it is decided anew."""

CHEAPEST = 1e-6
"""US dollars of a try: less counts as so much, for there is no ratio to nothing."""

COUNTED = tuple(
    str(each)
    for each in ErrorType
    if each.charged and each.rule.fault in (Fault.MODEL, Fault.ITEM) and each is not ErrorType.NO_EVIDENCE
)
"""What speaks against a model: not what its server did, a check that crashed, or documents without an answer."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one model: its latest first tries."""

    tries: int = 0
    passed: int = 0
    seconds: float | None = None  # a try takes; None: not known
    cost: float | None = None  # US dollars of a try; None: not known


NOTHING = Evidence()


@dataclass(frozen=True, slots=True)
class Known:
    """Of one recipe."""

    models: Mapping[str, Evidence] = field(default_factory=dict)
    items: int = 0  # that it had lately
    explored: int = 0  # of these, those that went to what was not the best then


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that matter here."""

    explore: float = 0.1
    time: float = 0.1
    cost: float = 0.1

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        return cls(settings.routing_explore, settings.routing_time, settings.routing_cost)


@dataclass(frozen=True, slots=True)
class Pick:
    model: str
    explores: bool
    items: int  # after so many it is decided anew


def pick(
    models: Sequence[str],
    known: Known,
    policy: Policy,
    chance: random.Random,
    may_explore: Callable[[str], bool] = lambda model: True,
) -> Pick:
    """The model for the next items. `models`: those that may be asked now, at least one, in the recipe's order."""
    best = best_of(models, known, policy)
    drawn = {}
    for model in models:
        evidence = known.models.get(model, NOTHING)
        drawn[model] = chance.betavariate(1 + evidence.passed, 1 + evidence.tries - evidence.passed)
    sampled = _greatest(utilities(models, known, policy, drawn))
    room = known.explored + TURN <= policy.explore * (known.items + TURN)
    if sampled != best and room and may_explore(sampled):
        return Pick(sampled, True, TURN)
    return Pick(best, False, STINT)


def best_of(models: Sequence[str], known: Known, policy: Policy) -> str:
    """Of those that were tried often enough the one with the greatest expected utility; else the first."""
    tried = [model for model in models if known.models.get(model, NOTHING).tries >= ENOUGH]
    if not tried:
        return models[0]
    return _greatest(utilities(tried, known, policy, {model: expected(known, model) for model in tried}))


def expected(known: Known, model: str) -> float:
    """The mean of what its success may be."""
    evidence = known.models.get(model, NOTHING)
    return (1 + evidence.passed) / (2 + evidence.tries)


def utilities(
    models: Sequence[str], known: Known, policy: Policy, success: Mapping[str, float]
) -> dict[str, float]:
    """Success, less for what takes longer or costs more than the quickest and the cheapest of them."""
    seen = {model: known.models.get(model, NOTHING) for model in models}
    times = {model: each.seconds for model, each in seen.items() if each.seconds}
    costs = {model: max(each.cost, CHEAPEST) for model, each in seen.items() if each.cost is not None}
    if any(each.tries and each.cost is None for each in seen.values()):
        costs = {}
    found = {}
    for model in models:
        value = success[model]
        if model in times:
            value *= (min(times.values()) / times[model]) ** policy.time
        if model in costs:
            value *= (min(costs.values()) / costs[model]) ** policy.cost
        found[model] = value
    return found


def _greatest(values: Mapping[str, float]) -> str:
    """The first of the greatest."""
    return max(values, key=lambda model: values[model])
