"""What follows when a try did not end in an accepted answer: by error type, as models.enums.RULES has it.

| what went wrong                         | what follows                                                        |
| --------------------------------------- | ------------------------------------------------------------------- |
| server, device or account (not charged) | back to the queue, later; after `MAX_RETURNS` of them a person      |
| answer or checks (charged)              | asked again at once with the reason; after `max_attempts` a person  |
| too long, no evidence, human only       | a person at once: asking again would bring the same                 |
| a check crashed                         | a person at once: an answer that could not be checked is not a pass |

Before a person is asked, a recipe with a `fallback` goes on as that recipe with fresh attempts. One that splits does
not: the item's own list is its split then, else a person says how to split it. (Where the backend may not split at all,
the fallback does the item whole: tasks/execute, `_reroute`.)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from models.enums import ErrorType, Retry
from models.recipe import Recipe, ReviewPolicy
from models.settings import Settings

Outcome = Literal["accepted", "retry", "returned", "fallback", "deferred", "failed"]

MAX_RETURNS = 10
"""Uncharged tries after which an item goes to a person: a server that fails on one item only is poisoned by it."""


@dataclass(frozen=True, slots=True)
class Next:
    outcome: Outcome
    charged: int = 0  # attempts added to the item: 0 or 1
    delay: float = 0.0  # seconds until it may be claimed again, added to the database's clock
    next_recipe: str | None = None


def after_failure(
    error_type: ErrorType,
    recipe: Recipe,
    settings: Settings,
    *,
    attempts: int,
    returns: int,
    retry_after: float | None = None,
    deterministic: bool = False,
    spread: random.Random | None = None,
) -> Next:
    """Decide. `attempts`: charged before this try; `returns`: how often in a row the server was at fault before it.

    `deterministic`: the backend gives the same answer to the same question (`extractive`), so a second try of a
    charged failure is pointless. `spread` is the source of jitter (full jitter: Brooker, "Exponential Backoff and
    Jitter", 2015, halved at most so that a wait is never shorter than half of what is documented).
    """
    rule = error_type.rule
    if not rule.charged:
        if returns + 1 >= MAX_RETURNS:
            return Next("deferred")
        exponent = min(returns, 16)
        delay = min(settings.retry_delay * 2**exponent, settings.retry_delay_cap)
        jittered = delay * (spread or random).uniform(0.5, 1.0)
        return Next("returned", delay=max(jittered, min(retry_after or 0.0, settings.retry_delay_cap)))

    limit = recipe.header.max_attempts or settings.max_attempts
    final = rule.retry is Retry.NEVER or deterministic or attempts + 1 >= limit
    if not final:
        return Next("retry", charged=1)
    if recipe.header.fallback and not recipe.header.splits:
        return Next("fallback", charged=1, next_recipe=recipe.header.fallback)
    return Next("deferred", charged=0 if error_type is ErrorType.HUMAN_ONLY else 1)


def after_success(recipe: Recipe) -> Next:
    """An answer that passed every check is accepted, unless the recipe always asks a person."""
    if recipe.header.review is ReviewPolicy.ALWAYS:
        return Next("deferred")
    return Next("accepted")
