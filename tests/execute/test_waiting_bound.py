"""The waiting bound, with the drain's own order, gate and asker before a simulated machine, on the machine's clock."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backends.simulator.clock import virtually
from backends.simulator.engine import Call, Engine
from backends.simulator.options import Options
from models.calls import ModelAnswer, ModelCallError, ModelRequest, Probe
from models.endpoint import Endpoint
from tasks.execute.asking import Asked, Asker
from tasks.execute.calls import Calls
from tasks.execute.gate import Gate
from tasks.execute.order import Group, Order
from tasks.execute.packing import singly
from tasks.execute.work import Batch, ClaimedItem

URGENCY = 12
ALWAYS = "always"
"""A model with as much to do as there is time for."""


@dataclass
class Machine:
    """A backend whose server is the simulator's engine, without HTTP."""

    engine: Engine
    sent: dict[int, float] = field(default_factory=dict)  # when each item's request was sent
    name: str = "openai"
    url: str = "test://engine"

    async def probe(self, deadline: float) -> Probe:
        return Probe(True, "the engine")

    async def close(self) -> None:
        return None

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        self.sent[request.item_id] = asyncio.get_running_loop().time()
        with self.engine.request(Call(request.model, "", request.prompt)) as asked:
            asked.admit()
            await asked.start()
            await asked.finish()
            asked.answered()
        return ModelAnswer("yes", request.model, "stop")


@dataclass
class Calm:
    """Weather in which everything may be sent."""

    gate: Gate
    rests: float = 0.0

    async def may_send(self, model: str) -> bool:
        return True

    def answered(self, model: str, answer: ModelAnswer, sent_at: float, in_flight: int) -> None:
        return None

    async def failed(self, model: str, error: ModelCallError, sent_at: float) -> None:
        raise error

    def weight(self, model: str) -> int:
        return 1

    def most(self, model: str) -> int | None:
        return None


def claimed(number: int, model: str) -> ClaimedItem:
    return ClaimedItem(
        number, 1, "task", model, 0, 1, "task", None, f"item {number}", "", 1, {}, "b", "", None, None
    )


@dataclass
class World:
    """A drain without a database: two half batches overlap, the next half is claimed when the one before is written."""

    options: Options
    max_wait: float
    size: int  # of a half batch
    ready: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)  # item, and since when, by model
    since: dict[int, float] = field(default_factory=dict)  # when the wait of each item for a turn began
    served: dict[str, float] = field(default_factory=dict)  # the latest turn of each model
    batches: list[float] = field(default_factory=list)  # what each half took, without its wait for the model
    loads: list[float] = field(default_factory=list)
    numbers: count[int] = field(default_factory=lambda: count(1))

    async def run(self, arrivals: Sequence[tuple[float, str]], until: float) -> dict[int, float]:
        """How long each item of the others waited for its turn: from when it was ready, or from the latest turn of its
        group, until its request was sent."""
        clock = asyncio.get_running_loop().time
        machine = Machine(Engine(self.options))
        gate = Gate(self.options.slots, partial(self._switch, machine.engine))
        seconds = self.options.load_seconds
        assert isinstance(seconds, float)
        order = Order(self.max_wait, ALWAYS)
        endpoint = Endpoint(backend="openai", url="http://127.0.0.1:1", slots=self.options.slots)
        asker = Asker(Calls(machine, endpoint, Calm(gate), None))
        coming = asyncio.create_task(self._arrive(arrivals))
        running: set[asyncio.Task[None]] = set()
        while clock() < until:
            while len(running) < 2:
                order.load_seconds = dict.fromkeys([*self.ready, ALWAYS], seconds)
                order.loaded, order.answering = frozenset(machine.engine.loaded), gate.model
                groups = [self._group(ALWAYS, clock()), *(self._group(m, clock()) for m in self.ready)]
                choice = order.choose(groups, clock())
                assert choice is not None
                order.took(choice.group, clock())
                items = self._take(choice.group.model, clock())
                batch = Batch(next(self.numbers), "task", choice.group.model, items)
                running.add(asyncio.create_task(self._half(asker, order, batch)))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        coming.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(coming, *running, return_exceptions=True)
        await gate.aclose()
        assert machine.engine.judge.total.max_in_flight <= self.options.slots
        assert machine.engine.judge.evictions_of_busy == 0
        return {number: machine.sent.get(number, clock()) - since for number, since in self.since.items()}

    async def _arrive(self, arrivals: Sequence[tuple[float, str]]) -> None:
        clock = asyncio.get_running_loop().time
        for when, model in sorted(arrivals):
            await asyncio.sleep(max(0.0, when - clock()))
            number = next(self.numbers)
            self.since[number] = clock()
            self.ready.setdefault(model, deque()).append((number, clock()))

    def _group(self, model: str, now: float) -> Group:
        waited = 0.0 if model == ALWAYS else now - self.ready[model][0][1]
        return Group("", "task", model, URGENCY, waited)

    def _take(self, model: str, now: float) -> tuple[ClaimedItem, ...]:
        if model == ALWAYS:
            return tuple(claimed(next(self.numbers), model) for _ in range(self.size))
        queue = self.ready[model]
        taken = tuple(claimed(queue.popleft()[0], model) for _ in range(min(self.size, len(queue))))
        for item in taken:
            self.since[item.id] = max(self.since[item.id], self.served.get(model, 0.0))
        self.served[model] = now
        if not queue:
            del self.ready[model]
        return taken

    async def _half(self, asker: Asker, order: Order, batch: Batch) -> None:
        asked = Asked.of(batch)
        requests = [ModelRequest(item.id, batch.model, "", f"item {item.id}") for item in batch.items]
        await asker.ask_all(batch, singly(requests, range(len(requests))), asked)
        assert asked.began is not None
        order.ended(seconds := asyncio.get_running_loop().time() - asked.began)
        self.batches.append(seconds)

    async def _switch(self, engine: Engine, model: str, let_in: Callable[[], Awaitable[None]]) -> None:
        started = asyncio.get_running_loop().time()
        await let_in()
        await engine.load(model, 0, None)
        self.loads.append(asyncio.get_running_loop().time() - started)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    others=st.integers(1, 4),
    max_wait=st.floats(60, 300),
    load=st.floats(0.5, 10),
    answer=st.floats(0.5, 4),
    slots=st.integers(1, 6),
    rounds=st.integers(1, 3),
)
def test_nobody_waits_longer_than_max_wait_one_batch_and_one_load(
    seed: int, others: int, max_wait: float, load: float, answer: float, slots: int, rounds: int
) -> None:
    """One model could keep the machine busy for ever; items of others come now and then.

    As the bound says: the turns of the others fit into `max_wait`, and so do four loads (else a switch pays not).
    """
    half = rounds * answer
    assume((others + 1) * (2 * half + load) <= max_wait)
    assume(4 * load <= max_wait)
    draw = random.Random(seed)
    size, end = slots * rounds, 8 * max_wait
    arrivals: list[tuple[float, str]] = []
    for number in range(others):
        when, mean = 0.0, max_wait * draw.uniform(0.5, 3)
        while (when := when + draw.expovariate(1 / mean)) < end:
            arrivals += [(when, f"m{number}")] * draw.randint(1, size)
    world = World(
        Options(slots=slots, load_seconds=load, latency=answer, resident=1, keep_alive=-1.0), max_wait, size
    )
    waits = virtually(world.run(arrivals, until=end + 2 * max_wait))
    assert len(waits) == len(arrivals), "all came"
    bound = max_wait + 2 * max(world.batches) + max(world.loads)
    assert max(waits.values(), default=0.0) <= bound + 1e-6
