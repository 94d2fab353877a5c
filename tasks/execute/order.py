"""Which group of ready items a drain takes next: urgency, then the loaded model, and nobody waits for ever.

A group is what runs with one model and one recipe. The whole durable backlog is looked at, by its groups: there are few
of them, however many items there are. The rules, in this order:

1. A group that has waited for `max_wait` goes first, the longest waiting one of several. Waiting is counted from when
   its oldest item became ready, or from when the group was last served, whichever is shorter ago. Where the turns of
   others before it would make it late, it goes that much earlier.
2. The most urgent item decides: lane, then a deadline that is near, then priority (the column `item.urgency`).
3. Among equally urgent groups: the one that ran last, one of the same model, one of a model that is loaded, and then
   the one that has waited longest. So a model is left when its work is done.

The bound: a group waits at most `max_wait`, one batch and one load, as long as the others' single turns fit into
`max_wait`. A switch has to pay, too: `max_wait` counts as `WORTH` loads of that model where that is more, so that a
model that loads for minutes is not switched to for a single item each quarter of an hour.

Within a group items go by urgency, board by board in turn, then what shares a prompt prefix, longest first
(sql/execute.sql); where the oldest has waited for `max_wait`, half of the batch are the oldest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

WORTH = 4.0
"""Loads of a model that `max_wait` is at least: switching there and back then takes half of the time at most."""

URGENT = 10
"""An urgency below is the interactive lane's (models.enums.Lane)."""


class Group(NamedTuple):
    """Ready items with one recipe and one model, as `execute.groups` gives them."""

    backend: str  # "": any
    recipe: str
    model: str  # that the items name; "": none
    urgency: int  # of its most urgent item
    waited: float  # seconds, of its oldest item
    of_recipe: str = ""  # the model that its recipe names, for items that name none

    @property
    def asks(self) -> str:
        """The model that is asked; "": the endpoint's."""
        return self.model or self.of_recipe

    @property
    def key(self) -> tuple[str, str, str]:
        return self.backend, self.recipe, self.model


@dataclass(frozen=True, slots=True)
class Choice:
    group: Group
    aged: bool  # half of the batch are the group's oldest items


@dataclass(slots=True)
class Order:
    """The memory of one drain: what it served when, and what that took."""

    max_wait: float
    default_model: str  # what "" means
    last: Group | None = None
    served: dict[tuple[str, str, str], float] = field(default_factory=dict)
    batch_seconds: float = 0.0  # of a whole batch, smoothed
    load_seconds: Mapping[str, float] = field(default_factory=dict)  # by model, as learned
    loaded: frozenset[str] = frozenset()
    answering: str | None = (
        None  # the model that answers now: what was claimed last may have to be loaded yet
    )

    def model(self, group: Group) -> str:
        return group.asks or self.default_model

    def patience(self, group: Group) -> float:
        """Seconds after which a group goes first."""
        return max(self.max_wait, WORTH * self._load(group))

    def choose(self, groups: Sequence[Group], now: float) -> Choice | None:
        """The group to take next, of those that may be taken. `now` is on the clock of `took`."""
        if not groups:
            return None
        best = min(group.urgency for group in groups)
        next_one = min((group for group in groups if group.urgency == best), key=self._rank)
        chosen = self._late(groups, next_one, now) or next_one
        return Choice(chosen, chosen.waited >= self.patience(chosen))

    def took(self, group: Group, now: float) -> None:
        """A batch of this group was claimed."""
        self.last = group
        self.served[group.key] = now

    def ended(self, seconds: float) -> None:
        """A batch took that long."""
        self.batch_seconds = seconds if not self.batch_seconds else 0.8 * self.batch_seconds + 0.2 * seconds

    def forget(self, groups: Iterable[Group]) -> None:
        """Keep what is known of these groups alone: the others have no work left."""
        there = {group.key for group in groups}
        self.served = {key: when for key, when in self.served.items() if key in there}

    def _waited(self, group: Group, now: float) -> float:
        when = self.served.get(group.key)
        return group.waited if when is None else min(group.waited, now - when)

    def _load(self, group: Group) -> float:
        model = self.model(group)
        current = self.last is not None and self.model(self.last) == model
        return 0.0 if current else self.usual(model)

    def usual(self, model: str) -> float:
        """What its load takes; of one that was never seen here, what the longest one here does."""
        known = self.load_seconds
        return known[model] if model in known else max(known.values(), default=0.0)

    def _late(self, groups: Sequence[Group], next_one: Group, now: float) -> Group | None:
        """The longest waiting group, if it, or one after it when it has had its turn, would wait too long else.

        Else: what was claimed last and what would come next have their models loaded first, and the next one its batch.
        """
        others = [g for g in groups if self.last is None or g.key != self.last.key]
        others.sort(key=lambda group: -self._waited(group, now))
        before = self.batch_seconds + self._load(next_one)
        if self.last is not None and self.model(self.last) != self.answering:
            before += self.usual(self.model(self.last))
        for group in others:
            if self._waited(group, now) + before >= self.patience(group):
                return others[0]
            before += self.batch_seconds + self._load(group)
        return None

    def _rank(self, group: Group) -> tuple[int, float, tuple[str, str, str]]:
        if self.last is not None and (group.key, self.model(group)) == (self.last.key, self.model(self.last)):
            nearness = 0  # its recipe may have chosen another model since (router.py)
        elif self.last is not None and self.model(group) == self.model(self.last):
            nearness = 1
        else:
            nearness = 2 if self.model(group) in self.loaded else 3
        return nearness, -group.waited, group.key
