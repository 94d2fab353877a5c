"""Which of a recipe's models is asked: the cap on exploring always holds, and the good one is found."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from hypothesis import example, given
from hypothesis import strategies as st

from tasks.execute.routing import ENOUGH, STINT, TURN, Evidence, Known, Policy, best_of, pick, utilities

MODELS = ("a", "b", "c")


@dataclass
class World:
    """Models that pass with a fixed probability, asked in batches as a drain does it."""

    truth: Mapping[str, float]
    policy: Policy
    chance: random.Random
    batch: int = 16
    done: dict[str, list[bool]] = field(default_factory=dict)
    given: list[tuple[str, bool]] = field(default_factory=list)  # model, explores

    @property
    def known(self) -> Known:
        models = {model: Evidence(len(all_), sum(all_), 1.0) for model, all_ in self.done.items()}
        return Known(models, len(self.given), sum(explores for _, explores in self.given))

    def run(self, items: int, models: Sequence[str] = MODELS) -> None:
        while len(self.given) < items:
            chosen = pick(models, self.known, self.policy, self.chance)
            left = chosen.items
            while left > 0 and len(self.given) < items:
                size = min(self.batch, left) if chosen.explores else self.batch
                left -= size
                for _ in range(size):
                    passed = self.chance.random() < self.truth[chosen.model]
                    self.done.setdefault(chosen.model, []).append(passed)
                    self.given.append((chosen.model, chosen.explores))

    def regret(self, start: int, end: int) -> float:
        best = max(self.truth.values())
        return fmean(best - self.truth[model] for model, _ in self.given[start:end])


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.floats(0, 1),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
@example([0.0, 1.0, 1.0], 0.1, 16, 1)
@example([0.5, 0.5, 0.5], 1.0, 1, 2)
def test_never_more_than_the_cap_is_explored(
    truth: list[float], explore: float, batch: int, seed: int
) -> None:
    world = World(dict(zip(MODELS, truth, strict=True)), Policy(explore), random.Random(seed), batch)
    world.run(600)
    explored = 0
    for number, (_, explores) in enumerate(world.given, 1):
        explored += explores
        # A turn is counted whole when it begins: its first items come before those that pay for its last.
        assert explored <= explore * (number + TURN)
    if explore == 0:
        assert {model for model, _ in world.given} == {"a"}


def test_regret_shrinks_wherever_the_good_one_stands() -> None:
    for place, model in enumerate(MODELS):
        truth = {"a": 0.5, "b": 0.3, "c": 0.2} | {model: 0.9}
        worlds = [World(truth, Policy(), random.Random(f"{place} {seed}")) for seed in range(20)]
        for world in worlds:
            world.run(4000)
        first, last = (fmean(w.regret(*part) for w in worlds) for part in ((0, 1000), (3000, 4000)))
        bound = 0.1 * (0.9 - 0.2)  # all that the cap lets go to the worst
        assert last < bound / 2, (model, last)
        assert place == 0 or last < first / 4, (model, first, last)
        assert {best_of(MODELS, world.known, world.policy) for world in worlds} == {model}


def test_the_same_chance_gives_the_same_choices() -> None:
    runs = []
    for _ in range(2):
        world = World({"a": 0.4, "b": 0.6, "c": 0.5}, Policy(), random.Random(7))
        world.run(1500)
        runs.append(world.given)
    assert runs[0] == runs[1]
    assert any(explores for _, explores in runs[0])


def test_without_evidence_the_first_is_asked_and_nothing_is_explored_yet() -> None:
    for seed in range(50):
        chosen = pick(MODELS, Known(), Policy(), random.Random(seed))
        assert (chosen.model, chosen.explores, chosen.items) == ("a", False, STINT)


def test_one_that_was_hardly_tried_is_not_the_best() -> None:
    few = Known({"a": Evidence(100, 40), "b": Evidence(ENOUGH - 1, ENOUGH - 1)}, 107, 7)
    assert best_of(MODELS, few, Policy()) == "a"
    more = Known({"a": Evidence(100, 40), "b": Evidence(ENOUGH, ENOUGH)}, 108, 8)
    assert best_of(MODELS, more, Policy()) == "b"
    assert best_of(("a", "c"), more, Policy()) == "a", "one that can't be asked now"


def test_time_and_cost_weigh_as_they_are_told_to() -> None:
    known = Known({"a": Evidence(100, 90, 10.0, 0.01), "b": Evidence(100, 80, 1.0, 0.001)})
    assert best_of(MODELS, known, Policy(time=0, cost=0)) == "a"
    assert best_of(MODELS, known, Policy(time=0.1, cost=0)) == "b"
    assert best_of(MODELS, known, Policy(time=0, cost=0.1)) == "b"
    values = utilities(("a", "b"), known, Policy(time=0.1, cost=0.0), {"a": 1.0, "b": 1.0})
    assert values == {"a": 10**-0.1, "b": 1.0}


def test_a_cost_that_is_not_known_is_not_taken_for_nothing() -> None:
    known = Known({"a": Evidence(100, 90, 1.0, 0.01), "b": Evidence(100, 90, 1.0, None)})
    assert best_of(("a", "b"), known, Policy(cost=1.0)) == "a"
    free = Known({"a": Evidence(100, 90, 1.0, 0.01), "b": Evidence(100, 90, 1.0, 0.0)})
    assert best_of(("a", "b"), free, Policy(cost=1.0)) == "b"
