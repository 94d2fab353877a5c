"""What follows when a try did not end in an accepted answer: the steps that models.enums.RULES has for its error type.

docs/protocols.md shows that table and says what each step is. The first step that can be taken is taken:

- `elsewhere`, `later` and `alone` cost the item nothing. After `MAX_RETURNS` of the first two in a row it is given up:
  a server that fails on one item only is poisoned by it.
- The others cost an attempt each, and there are `max_attempts` of them.
- An item is also given up when `give_up_after` has passed since its first try, or would have before the next one.

Given up: a recipe with a `fallback` goes on as that recipe, with fresh attempts and what is left of the time; where
nothing is left, that recipe is tried once. Then a person. A recipe that splits does not fall back: the item's own list
is its split then, else a person says how to split it. (Where the backend may not split at all, the fallback does the
item whole: tasks/execute, `_reroute`; so does that of a council.) A member of a council that gives up asks nobody: it
ends as failed, and is missing there.

So an item is tried at most `most_tries` times before somebody is asked.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from models.enums import ErrorType, Step
from models.recipe import Recipe, ReviewPolicy
from models.settings import Settings
from tasks.execute.again import LEAST_SHARE, LONGER_TIMES, NEW, Past

Outcome = Literal["accepted", "retry", "returned", "fallback", "deferred", "failed"]

MAX_RETURNS = 10
"""Uncharged tries in a row after which an item is given up."""


@dataclass(frozen=True, slots=True)
class Next:
    outcome: Outcome
    charged: int = 0  # attempts added to the item: 0 or 1
    delay: float = 0.0  # seconds until it may be claimed again, added to the database's clock
    elsewhere: float | None = (
        None  # the same for another endpoint, where one is alive: the one that failed leaves it
    )
    next_recipe: str | None = None
    next_model: str | None = None
    why: str = ""  # beside the error, in words


@dataclass(frozen=True, slots=True)
class Room:
    """What the next try could do otherwise, besides being asked again."""

    longer: bool = False  # the context has room for a longer answer
    shorter: bool = False  # the prompt has something that can be left out


NO_ROOM = Room()


def after_failure(
    error_type: ErrorType,
    recipe: Recipe,
    settings: Settings,
    *,
    attempts: int,
    past: Past = NEW,
    model: str | None = None,
    room: Room = NO_ROOM,
    limit: float | None = None,
    retry_after: float | None = None,
    deterministic: bool = False,
    spread: random.Random | None = None,
) -> Next:
    """Decide. `attempts`: charged before this try; `past`: the tries before it, its `elapsed` to now.

    `model`: that the item has; None: its recipe's. `limit`: seconds from the first try (`time_limit`).
    `deterministic`: the backend gives the same answer to the same question (`extractive`), so a second try of a charged
    failure is pointless. `spread` is the source of jitter (full jitter: Brooker, "Exponential Backoff and Jitter",
    2015, halved at most so that a wait is never shorter than half of what is documented).
    """
    if error_type.charged:
        then = (
            None if deterministic else _ask_again(error_type, recipe, settings, attempts, past, model, room)
        )
    else:
        then = _come_back(error_type, settings, past, retry_after, (spread or random).uniform(0.5, 1.0))
    if then is None:
        why = "" if error_type.charged else f"Its server failed on it {past.returns + 1} times in a row."
        return _give_up(error_type, recipe, why)
    if limit is not None and past.elapsed + then.delay >= limit:
        return _give_up(
            error_type,
            recipe,
            f"It is not tried again: give_up_after ({limit:g} s) counts from its first try.",
        )
    return then


def time_limit(recipe: Recipe, past: Past, recipes: Mapping[str, Recipe], settings: Settings) -> float | None:
    """Seconds since an item's first try, after which it is not tried again; None: no limit.

    The least of the recipes that it was tried with: a fallback has what is left of it.
    """
    known = [recipe, *(recipes[name] for name in past.recipes if name in recipes)]
    limits = [each.header.give_up_after or settings.give_up_after for each in known]
    return min((limit for limit in limits if limit is not None), default=None)


def most_attempts(recipe: Recipe, settings: Settings) -> int:
    """Answers that an item may cost with a recipe: each model of a ladder has one at least."""
    return max(recipe.header.max_attempts or settings.max_attempts, len(recipe.header.ladder))


def most_tries(recipe: Recipe, recipes: Mapping[str, Recipe], settings: Settings) -> int:
    """The bound: each attempt, of the recipe and of its fallbacks, ends or follows a row of at most MAX_RETURNS; and
    once it may have been packed in vain."""
    tries = 0
    following: str | None = recipe.name
    while following is not None:
        each = recipes[following]
        tries += most_attempts(each, settings) * MAX_RETURNS + (each.header.pack is not None)
        following = each.header.fallback
    return tries


_ACCEPTED, _DEFERRED = Next("accepted"), Next("deferred")


def after_success(recipe: Recipe) -> Next:
    """An answer that passed every check is accepted, unless the recipe always asks a person."""
    if recipe.header.review is ReviewPolicy.ALWAYS:
        return _DEFERRED
    return _ACCEPTED


def _come_back(
    error_type: ErrorType, settings: Settings, past: Past, retry_after: float | None, jitter: float
) -> Next | None:
    if Step.ALONE in error_type.rule.steps:
        return Next("retry")  # once at most: whoever was answered is never packed again
    if past.returns + 1 >= MAX_RETURNS:
        return None
    delay = min(settings.retry_delay * 2 ** min(past.returns, 16), settings.retry_delay_cap)
    delay = max(delay * jitter, min(retry_after or 0.0, settings.retry_delay_cap))
    then = Next("returned", delay=delay)
    if Step.ELSEWHERE in error_type.rule.steps:
        # At once the first time only: two endpoints that both fail must not hand it to and fro.
        then = replace(then, elsewhere=0.0 if past.returns == 0 else delay)
    return then


def _ask_again(
    error_type: ErrorType,
    recipe: Recipe,
    settings: Settings,
    attempts: int,
    past: Past,
    model: str | None,
    room: Room,
) -> Next | None:
    """The first step that can be taken; None: there is none, or all attempts are spent."""
    limit = most_attempts(recipe, settings)
    used = attempts + 1
    if used >= limit:
        return None
    upper = _next_model(recipe, model)
    steps = error_type.rule.steps
    for step in steps:
        if step is Step.LONGER and room.longer and past.truncated < LONGER_TIMES:
            return Next("retry", charged=1)
        if step is Step.SHORTER and room.shorter and past.share > LEAST_SHARE:
            return Next("retry", charged=1)
        if step is Step.MODEL and upper is not None:
            return Next("retry", charged=1, next_model=upper)
        # The attempts are shared out among the models of the ladder: the last has its own, too.
        if step is Step.REASON and not (
            Step.MODEL in steps and upper is not None and used >= _turns(recipe, upper, limit)
        ):
            return Next("retry", charged=1)
    return None


def _next_model(recipe: Recipe, model: str | None) -> str | None:
    """The model above; None: there is none. An item that names a model which is not of the ladder stays with it."""
    ladder = recipe.header.ladder
    if not ladder or (model is not None and model not in ladder):
        return None
    place = ladder.index(model) if model is not None else 0
    return ladder[place + 1] if place + 1 < len(ladder) else None


def _turns(recipe: Recipe, model: str, limit: int) -> int:
    """Attempts of `limit` after which it is this model's turn."""
    ladder = recipe.header.ladder
    return -(-limit * ladder.index(model) // len(ladder))


def _give_up(error_type: ErrorType, recipe: Recipe, why: str) -> Next:
    charged = int(error_type.charged)
    if recipe.member_of:
        return Next("failed", charged=charged, why=why)
    if recipe.header.fallback and not (recipe.header.splits or recipe.header.council):
        return Next("fallback", charged=charged, next_recipe=recipe.header.fallback, why=why)
    return Next("deferred", charged=0 if error_type is ErrorType.HUMAN_ONLY else charged, why=why)
