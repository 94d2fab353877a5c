"""Spill: another backend takes a backend's work while none of its endpoints can be used, where the settings say so.

Only by policy, `spill = {ollama = "extractive"}`, because another model answers otherwise. An endpoint can't be used
when it does not answer, when the breaker of its model is open, or when its account has used up its budget; one that a
person has paused is left to that person, and one that is described wrongly says so to whoever runs it. The first
backend has its work back as soon as one of its endpoints can be used, for nothing is noted on the items. An item that
names its backend itself, and one whose recipe may not be done by the other backend, waits for the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from backends.registry import LOADING_SECONDS, choices
from models.calls import Probe
from models.endpoint import Endpoint
from models.errors import BackendUnavailable
from models.recipe import Recipe
from models.settings import Settings
from sql.statements import statement
from tasks.execute import breaker
from tasks.execute.budget import estimated_cost, today
from tasks.execute.limits import State, decide, limits

__all__ = [
    "Taken",
    "allows",
    "first_usable",
    "kept",
    "left_alone",
    "line",
    "spilled",
    "take",
    "usable",
    "used_up",
]

AUTO = "auto"

MAX_TOKENS = 1024
"""Of an answer, where the recipe is not known: for what one more request may take of a budget."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The backend that takes the work, its endpoints that can be used, and why it is not the one that was wanted."""

    wanted: str
    backend: str
    endpoints: Sequence[tuple[Endpoint, Probe]]
    reason: str = ""

    @property
    def sentence(self) -> str:
        """For people; empty where nothing was spilled."""
        return spilled(self.wanted, self.backend, self.reason) if self.reason else ""


def spilled(wanted: str, backend: str, reason: str) -> str:
    """The sentence that says so everywhere."""
    return f"{wanted} can't be used, so {backend} takes its work, as the setting spill says. {reason}"


def line(wanted: str, spill: Mapping[str, str]) -> list[str]:
    """The backends that may take the work of `wanted`, in order, itself first. None comes twice: a ring ends there."""
    found = [wanted]
    while (after := spill.get(found[-1])) is not None and after not in found:
        found.append(after)
    return found


async def first_usable(
    backends: Sequence[str], obstacle: Callable[[str], Awaitable[str | None]]
) -> tuple[str | None, list[str]]:
    """The first of `backends` without an obstacle, and the obstacles of those before it. None: all have one."""
    reasons: list[str] = []
    for backend in backends:
        reason = await obstacle(backend)
        if reason is None:
            return backend, reasons
        reasons.append(reason)
    return None, reasons


async def take(
    settings: Settings,
    wanted: str,
    connection: psycopg.AsyncConnection[Any] | None = None,
    *,
    max_tokens: int = MAX_TOKENS,
) -> Taken:
    """As `registry.choices`, with the setting spill: where none of `wanted` can be used, the next in line that can.

    `auto` is the backend that it takes now. `connection`: to know of breakers and budgets; without it only who answers
    counts. A backend without a policy is taken as ever, whatever its breakers say: whoever drains it waits for them.
    Raises BackendUnavailable when none answers.
    """
    backend = wanted
    if wanted == AUTO:
        answering = await choices(settings, wanted)
        backend = answering[0][0].backend
        if backend not in settings.spill:
            return Taken(backend, backend, answering)
    elif wanted not in settings.spill:
        return Taken(wanted, wanted, await choices(settings, wanted))
    found: dict[str, Sequence[tuple[Endpoint, Probe]]] = {}

    async def obstacle(name: str) -> str | None:
        try:
            found[name] = await usable(settings, name, connection, max_tokens=max_tokens)
        except BackendUnavailable as error:
            return str(error)
        return None

    taken, reasons = await first_usable(line(backend, settings.spill), obstacle)
    if taken is None:  # as without a policy: it fails, or waits for its breaker, where it was wanted
        return Taken(backend, backend, await choices(settings, backend))
    return Taken(backend, taken, found[taken], reasons[0] if reasons else "")


def kept(recipes: Mapping[str, Recipe], backend: str) -> dict[str, Recipe]:
    """The recipes for a drain that takes another backend's work: what `backend` may not do waits for the other one.

    Elsewhere such an item goes on as the recipe's fallback, for good; a spill is to leave no trace.
    """
    return {
        name: recipe
        if allows(recipe, backend)
        else replace(recipe, header=recipe.header.model_copy(update={"fallback": None}))
        for name, recipe in recipes.items()
    }


def allows(recipe: Recipe | None, backend: str) -> bool:
    """Whether the recipe itself may be done by that backend; one that is gone is given another by the drain."""
    return recipe is None or not recipe.header.backends or backend in recipe.header.backends


async def usable(
    settings: Settings,
    backend: str,
    connection: psycopg.AsyncConnection[Any] | None = None,
    *,
    max_tokens: int = MAX_TOKENS,
    patience: float = LOADING_SECONDS,
) -> list[tuple[Endpoint, Probe]]:
    """The endpoints of a backend that answer, without an open breaker and with budget left.

    `patience`: seconds for a server that is loading. Raises BackendUnavailable when there is none, SettingsError for an
    endpoint that can't be used as written.
    """
    answering = await choices(settings, backend, patience)
    if connection is None:
        return answering
    found, refused = [], []
    for endpoint, probe in answering:
        reason = await left_alone(connection, endpoint) or await used_up(
            connection, settings, endpoint, max_tokens
        )
        if reason is None:
            found.append((endpoint, probe))
        else:
            refused.append(reason)
    if not found:
        raise BackendUnavailable(f"No {backend} server can be used: {'; '.join(refused)}")
    return found


async def left_alone(connection: psycopg.AsyncConnection[Any], endpoint: Endpoint) -> str | None:
    """Why its model is left alone now. One whose time is up may be tried, so it is none."""
    blocked = (await breaker.state(connection, endpoint.resource)).get(endpoint.model or "")
    if blocked is None or blocked.until_seconds <= 0:
        return None
    return (
        f"{endpoint.url} with {endpoint.model} is left alone for {blocked.until_seconds:.0f} s after "
        f"failures ({blocked.error.rstrip('.')})"
    )


async def used_up(
    connection: psycopg.AsyncConnection[Any],
    settings: Settings,
    endpoint: Endpoint,
    max_tokens: int = MAX_TOKENS,
) -> str | None:
    """Why its budget has no room for one more request like today's."""
    budget = settings.budget(endpoint)
    if not limits(budget):
        return None
    parameters = {"names": [budget.account], "day": today(settings.timezone)}
    rows = await (await connection.execute(statement("budget.accounts"), parameters)).fetchall()
    for name, minute, minute_left, *counts, _, _, _ in rows:
        if name == budget.account:
            state = State(minute, minute_left, *counts)
            usual = state.day_tokens // max(state.day_requests, 1)
            cost = estimated_cost(usual, max_tokens, endpoint.spec(endpoint.model or "").price)
            grant, _ = decide(budget, state, requests=1, tokens=usual + max_tokens, usd=cost)
            return grant.stopped
    return None
