"""A drain's choice among a recipe's `models`: for a stint, not for an item, or each item would load another model.

A recipe's items that name no model are asked of one of its `models` until none of them is ready any more, or
`Pick.items` are taken, or `max_wait` has passed; then it is decided anew (routing.py) by what the database has of all
drains. Left out are models that the endpoint does not have, and those that may not be asked now: paused, struck,
broken.

An exploration waits its turn like any other group, after what the loaded model still has to do (order.py), and while
a person waits there is none. In a drain its loads, there and back, take no more of the time than its items may have of
all items.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from backends.replies import same_model
from models.calls import Backend, Probe
from models.enums import BackendName
from models.recipe import Recipe
from models.settings import Settings
from sql.statements import statement
from tasks.execute.order import URGENT, Group, Order
from tasks.execute.routing import COUNTED, Evidence, Known, Pick, Policy, best_of, pick

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0

OLD_SECONDS = 60.0
"""After which evidence is read again, though no stint has ended here: others learn, too."""

DAYS = 30
BATCHES = 2000
TRIES = 400
"""Evidence is of the latest so many first tries of a model, within a version's latest batches."""

WITHOUT = (str(BackendName.EXTRACTIVE),)
"""Has no model: what it answers says nothing of the one that a recipe names."""

Query = Callable[[Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]], Awaitable[Any]]


def parameters(recipes: Mapping[str, str], endpoint: str | None = None) -> dict[str, Any]:
    """For the statement `routing.evidence`. `recipes`: hashes by name."""
    return {
        "recipes": list(recipes),
        "hashes": list(recipes.values()),
        "endpoint": endpoint,
        "without": list(WITHOUT),
        "counted": [*COUNTED, "human_only"],
        "days": DAYS,
        "batches": BATCHES,
        "tries": TRIES,
    }


def known_of(rows: Sequence[Sequence[Any]], simulated: bool) -> dict[str, Known]:
    """The rows of `routing.evidence` by recipe. What simulated models did says nothing of real ones."""
    found: dict[str, Known] = {}
    counted: set[tuple[str, str]] = set()
    for recipe, model, items, explored, made_up, tries, passed, seconds, cost in rows:
        known = found.get(recipe, Known())
        if (recipe, model) not in counted:
            counted.add((recipe, model))
            known = replace(known, items=known.items + items, explored=known.explored + explored)
        if made_up is simulated:
            known = replace(known, models={**known.models, model: Evidence(tries, passed, seconds, cost)})
        found[recipe] = known
    return found


@dataclass(slots=True)
class _Stint:
    pick: Pick
    since: float
    left: int


@dataclass(slots=True)
class Router:
    """The memory of one drain. Without a recipe that has several `models` it does nothing."""

    settings: Settings
    order: Order
    recipes: Mapping[str, Recipe]
    endpoint: str  # its URL
    chance: random.Random
    _sets: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by recipe, those that the endpoint has
    _known: dict[str, Known] = field(default_factory=dict)
    _stints: dict[str, _Stint] = field(default_factory=dict)
    _simulated: bool = False
    _read_at: float | None = None
    _free_since: float = 0.0  # when an exploration ended, or the drain began

    async def start(self, backend: Backend, probe: Probe | None, now: float) -> None:
        """What the endpoint has, as it said (`probe`) or says now. `now` is on the loop's clock, here and below."""
        self._free_since = now
        sets = {name: each.header.models for name, each in self.recipes.items() if each.header.models}
        if not self.settings.routing or not any(len(models) > 1 for models in sets.values()):
            return
        probe = probe or await backend.probe(asyncio.get_running_loop().time() + PROBE_SECONDS)
        self._simulated = probe.simulated
        has = [model.name for model in probe.models if not model.embedding]
        for recipe, models in sets.items():
            there = [each for each in models if not has or any(same_model(each, name) for name in has)]
            if there:  # of none, the first is asked, and the server says that it has it not
                self._sets[recipe] = tuple(there)

    async def prepare(self, query: Query, now: float) -> None:
        """Before groups are looked at: what is over ends, and what must be known for another decision is read."""
        if not self._sets:
            return
        over = [
            recipe
            for recipe, stint in self._stints.items()
            if stint.left <= 0 or now - stint.since >= self.settings.max_wait
        ]
        for recipe in over:
            self._end(recipe, now)
        if over or self._read_at is None or now - self._read_at >= OLD_SECONDS:
            await query(self._read)
            self._read_at = now

    def routed(self, groups: Sequence[Group], takes: Callable[[Group], bool], now: float) -> list[Group]:
        """The groups, those of items that name no model with the model of their recipe's stint."""
        if not self._sets:
            return list(groups)
        mine = [group for group in groups if self._routes(group)]
        for recipe in set(self._stints) - {group.recipe for group in mine}:
            self._end(recipe, now)
        return [
            group._replace(of_recipe=self._model(group, takes, now)) if self._routes(group) else group
            for group in groups
        ]

    def room(self, group: Group, size: int) -> int:
        """How many items a batch of this group may have: an exploration's no more than are left of its turn."""
        stint = self._stints.get(group.recipe) if self._routes(group) else None
        return min(size, max(stint.left, 1)) if stint is not None and stint.pick.explores else size

    def explores(self, group: Group) -> bool:
        stint = self._stints.get(group.recipe) if self._routes(group) else None
        return stint is not None and stint.pick.explores

    def took(self, group: Group, items: int) -> None:
        """A batch of so many items was claimed."""
        if self._routes(group) and (stint := self._stints.get(group.recipe)) is not None:
            stint.left -= items

    def _routes(self, group: Group) -> bool:
        return not group.model and group.recipe in self._sets

    def _model(self, group: Group, takes: Callable[[Group], bool], now: float) -> str:
        able = [each for each in self._sets[group.recipe] if takes(group._replace(of_recipe=each))]
        urgent = group.urgency < URGENT
        stint = self._stints.get(group.recipe)
        if (
            stint is not None
            and (stint.pick.model in able or not able)
            and not (urgent and stint.pick.explores)
        ):
            return stint.pick.model
        if stint is not None:
            self._end(group.recipe, now)
        if not able:  # as without a choice: whoever claims says what keeps it from being asked
            return self._sets[group.recipe][0]
        known = self._known.get(group.recipe, Known())
        chosen = pick(
            able,
            known,
            Policy.of(self.settings),
            self.chance,
            lambda model: not urgent and self._pays(model, able, known, now),
        )
        self._stints[group.recipe] = _Stint(chosen, now, chosen.items)
        if chosen.explores:
            log.info("%s: %d items go to %s, to see how it does.", group.recipe, chosen.items, chosen.model)
        return chosen.model

    def _pays(self, model: str, able: Sequence[str], known: Known, now: float) -> bool:
        """Whether an exploration's loads were a small enough part of the time since the last one."""
        if model in self.order.loaded:
            return True
        back = best_of(able, known, Policy.of(self.settings))
        loads = self.order.usual(model) + self.order.usual(back)
        return loads <= self.settings.routing_explore * (now - self._free_since)

    def _end(self, recipe: str, now: float) -> None:
        if self._stints.pop(recipe).pick.explores:
            self._free_since = now

    async def _read(self, connection: psycopg.AsyncConnection[Any]) -> None:
        hashes = {name: self.recipes[name].hash for name in self._sets}
        rows = await connection.execute(statement("routing.evidence"), parameters(hashes, self.endpoint))
        self._known = known_of(await rows.fetchall(), self._simulated)
