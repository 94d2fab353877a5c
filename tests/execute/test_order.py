"""Which group comes next: urgency, the loaded model, and a bound for whoever waits."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tasks.execute.order import Choice, Group, Order


def group(model: str = "", *, urgency: int = 12, waited: float = 0.0, recipe: str = "task") -> Group:
    return Group("", recipe, model, urgency, waited)


def order(**values: float) -> Order:
    return Order(values.get("max_wait", 900.0), "default", batch_seconds=values.get("batch_seconds", 10.0))


def chosen(choice: Choice | None) -> Group:
    assert choice is not None
    return choice.group


def test_nothing_is_chosen_of_nothing() -> None:
    assert order().choose([], 0.0) is None


def test_the_most_urgent_goes_first_whatever_is_loaded() -> None:
    it = order()
    it.took(group("a"), 0.0)
    assert chosen(it.choose([group("a"), group("b", urgency=11)], 1.0)).model == "b"


def test_among_equals_the_loaded_model_goes_on() -> None:
    it = order()
    it.took(group("b"), 0.0)
    there = [group("a", waited=500), group("b"), group("c", waited=600)]
    assert chosen(it.choose(there, 1.0)).model == "b"


def test_another_recipe_of_the_same_model_comes_before_another_model() -> None:
    it = order()
    it.took(group("b"), 0.0)
    there = [group("a", waited=500), group("b", recipe="check"), group("c", waited=600)]
    assert chosen(it.choose(there, 1.0)) == there[1]


def test_a_recipe_that_chose_another_model_comes_after_what_the_loaded_one_has_to_do() -> None:
    it = order()
    it.took(group()._replace(of_recipe="a"), 0.0)
    there = [
        group()._replace(of_recipe="b"),
        group("a", recipe="check"),
        group("a", recipe="consult", waited=5),
    ]
    assert chosen(it.choose(there, 1.0)) == there[2]
    assert chosen(it.choose([*there, group()._replace(of_recipe="a")], 1.0)).recipe == "task"
    assert chosen(it.choose([there[0]], 1.0)) == there[0]


def test_what_a_server_has_loaded_comes_first_at_the_start() -> None:
    it = order()
    it.loaded = frozenset({"c", "default"})
    assert chosen(it.choose([group("a", waited=9), group("c")], 0.0)).model == "c"
    assert chosen(it.choose([group("a", waited=9), group("")], 0.0)).model == ""


def test_else_the_one_that_has_waited_longest() -> None:
    assert chosen(order().choose([group("a", waited=5), group("b", waited=9)], 0.0)).model == "b"


def test_whoever_has_waited_too_long_goes_first_with_its_oldest_items() -> None:
    it = order(max_wait=60)
    it.took(group("a"), 0.0)
    choice = it.choose([group("a", urgency=11), group("b", waited=61, urgency=15)], 1.0)
    assert chosen(choice).model == "b"
    assert choice is not None
    assert choice.aged


def test_waiting_counts_from_the_latest_turn_of_a_group_with_much_to_do() -> None:
    """Else two groups with old items each would have their models switched at every batch."""
    it = order(max_wait=60)
    it.took(group("b"), 100.0)
    it.took(group("a"), 110.0)
    there = [group("a", waited=5000), group("b", waited=5000)]
    it.answering = "a"
    assert chosen(it.choose(there, 120.0)).model == "a"
    assert chosen(it.choose(there, 161.0)).model == "b"


def test_a_model_that_loads_for_long_is_waited_for_longer() -> None:
    it = order(max_wait=60)
    it.took(group("a"), 0.0)
    it.load_seconds, it.answering = {"b": 100.0}, "a"
    assert chosen(it.choose([group("a"), group("b", waited=380)], 1.0)).model == "a"
    assert chosen(it.choose([group("a"), group("b", waited=401)], 1.0)).model == "b"


def test_one_goes_earlier_where_anothers_turn_would_make_it_late() -> None:
    it = order(max_wait=60, batch_seconds=10)
    it.load_seconds, it.answering = {"b": 5.0, "c": 5.0}, "a"
    it.took(group("a"), 0.0)
    there = [group("a"), group("b", waited=40), group("c", waited=36)]
    assert chosen(it.choose(there, 1.0)).model == "b", "c has 24 seconds left; a's batch and b's turn take 25"
    assert chosen(it.choose([group("a"), group("b", waited=30), group("c", waited=26)], 1.0)).model == "a"


@dataclass
class World:
    """One endpoint in numbers: a half batch takes `batch` seconds, a load `load`; items come by a schedule.

    As a drain does it: the next half is claimed when the one before it begins. `always` has as much to do as there is
    time for.
    """

    order: Order
    batch: float
    load: float
    size: int
    always: str | None = None
    now: float = 0.0
    loaded: str = ""
    loads: int = 0
    ready: dict[str, deque[float]] = field(default_factory=dict)  # when each became ready, oldest first
    waits: dict[str, list[float]] = field(
        default_factory=dict
    )  # for a turn: of each item, or since its group's latest
    turns: dict[str, float] = field(default_factory=dict)

    def run(self, arrivals: list[tuple[float, str]], until: float = float("inf")) -> None:
        coming = deque(sorted(arrivals))
        claimed: deque[tuple[str, list[float]]] = deque()
        while (coming or claimed or any(self.ready.values())) and self.now < until:
            while coming and coming[0][0] <= self.now:
                when, model = coming.popleft()
                self.ready.setdefault(model, deque()).append(when)
            there = [group(m, waited=self.now - times[0]) for m, times in self.ready.items() if times]
            if self.always is not None:
                there.append(group(self.always))
            self.order.forget(there)
            self.order.answering = self.loaded
            choice = self.order.choose(there, self.now)
            if choice is None and not claimed:
                self.now = coming[0][0]
                continue
            if choice is not None:
                self.order.took(choice.group, self.now)
                queue = self.ready.get(choice.group.model, deque())
                turn = self.turns.get(choice.group.model, 0.0)
                taken = [max(queue.popleft(), turn) for _ in range(min(self.size, len(queue)))]
                self.turns[choice.group.model] = self.now
                claimed.append((choice.group.model, taken))
            if len(claimed) == 2 or choice is None:
                self._serve(*claimed.popleft())
        while claimed:
            self._serve(*claimed.popleft())

    def _serve(self, model: str, taken: list[float]) -> None:
        if model != self.loaded:
            self.now += self.load
            self.loads += 1
            self.loaded = model
        self.waits.setdefault(model, []).extend(self.now - when for when in taken)
        self.now += self.batch
        self.order.ended(self.batch)


@settings(max_examples=100, deadline=None)
@example(seed=182800, others=2, max_wait=60, load=2, batch=4)  # more items than one batch takes
@given(
    seed=st.integers(0, 10**9),
    others=st.integers(1, 4),
    max_wait=st.floats(60, 300),
    load=st.floats(0.5, 10),
    batch=st.floats(1, 8),
)
def test_nobody_waits_longer_than_the_bound(
    seed: int, others: int, max_wait: float, load: float, batch: float
) -> None:
    """One model that could keep the endpoint busy for ever, and others whose items come now and then.

    The turns of the others fit into `max_wait`, as the bound says, and so do four loads (else a switch pays not).
    """
    assume((others + 1) * (2 * batch + load) <= max_wait)
    assume(4 * load <= max_wait)
    draw = random.Random(seed)
    size, end = 8, 40 * max_wait
    arrivals: list[tuple[float, str]] = []
    models = [f"m{n}" for n in range(others)]
    for model in models:
        when = 0.0
        mean = max_wait * draw.uniform(0.5, 3)
        while (when := when + draw.expovariate(1 / mean)) < end:
            arrivals += [(when, model)] * draw.randint(1, size // 2)
    loads = dict.fromkeys([*models, "always"], load)
    world = World(Order(max_wait, "default", load_seconds=loads), batch, load, size, always="always")
    world.run(arrivals, until=end)
    worst = max((wait for model in models for wait in world.waits.get(model, [0.0])), default=0.0)
    assert worst <= max_wait + 2 * batch + load + 1e-6, "one batch: two halves"


@pytest.mark.parametrize("models", [2, 3, 5])
def test_a_backlog_is_done_with_one_load_for_each_model(models: int) -> None:
    draw = random.Random(models)
    arrivals = [(0.0, f"m{draw.randrange(models)}") for _ in range(2000)]
    world = World(Order(1e6, "default"), batch=1.0, load=2.0, size=16)
    world.run(arrivals)
    assert world.loads == models


def test_all_at_work_for_days_take_turns_of_max_wait() -> None:
    """More work than time: each of three is served every `max_wait`, so a turn is half of it, not one batch."""
    arrivals = [(0.0, model) for model in "abc" for _ in range(8000)]
    world = World(Order(900.0, "default", load_seconds=dict.fromkeys("abc", 30.0)), 60.0, 30.0, 16)
    world.run(arrivals)
    turns = world.now / 900
    assert world.loads <= 2.5 * turns
    served = [len(world.waits[model]) for model in "abc"]
    assert served == [8000] * 3


def test_the_memory_of_turns_does_not_grow() -> None:
    it = order()
    for number in range(100):
        it.took(group(f"m{number}"), float(number))
    it.forget([group("m7"), group("m8")])
    assert set(it.served) == {("", "task", "m7"), ("", "task", "m8")}


def test_the_choice_does_not_depend_on_the_order_of_groups() -> None:
    it = order()
    there = [group("a", waited=3), group("b", waited=3), group("c", urgency=13, waited=800)]
    assert {chosen(it.choose(each, 0.0)).model for each in itertools.permutations(there)} == {"a"}
