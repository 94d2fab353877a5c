"""A drain: it holds one endpoint's lease, then claims and runs batches until none are left.

Two half batches overlap, so that the server's slots stay full while the first half is checked and written, and the
next one is claimed right behind it; a small one of interactive items may run beside them. What is claimed and not yet
written takes about `settings.batch_seconds` (tasks/execute/sizing.py) and never exceeds `settings.batch_size`: that
is what a `kill -9` can cost. A drain that is stopped in order checks and writes what was answered, and gives the rest
back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.calls import Backend, HasBatches, Probe
from models.errors import BackendUnavailable
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from tasks.execute import council
from tasks.execute.batch_runner import BatchRunner, Stages
from tasks.execute.by_provider import ByProvider
from tasks.execute.calls import Calls
from tasks.execute.doors import Door, Doors
from tasks.execute.gate import INTERACTIVE, NORMAL
from tasks.execute.halt import Halt
from tasks.execute.lease import Lease
from tasks.execute.order import URGENT, Choice, Group, Order
from tasks.execute.pressure import Pressure, WhyNot
from tasks.execute.reuse import Flights, Reuse
from tasks.execute.router import Router
from tasks.execute.sizing import Sizes
from tasks.execute.stopping import stop
from tasks.execute.store import PER_BOARD, Scope, Store, Wish
from tasks.execute.work import Batch, ClaimedItem, Tally

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.05
"""Least pause between two claims that found nothing; twice as long each time."""

LONGEST_BUSY = 1.0

HURRY_SECONDS = 60.0
"""Between two looks for deadlines that are near."""

INTERACTIVE_SECONDS = 300.0
"""How long slots are kept for interactive items after the last one."""

WAVES = 2
"""Of interactive items, as many as the endpoint has slots, that are claimed and not yet written: one is answered while
the other is checked."""


class Free(NamedTuple):
    """What one more batch may be."""

    lane: int  # NORMAL: any
    room: int  # items


RunOne = Callable[[Batch], Awaitable[Tally]]


@dataclass(slots=True)
class Drain:
    store: Store
    lease: Lease
    backend: Backend
    endpoint: Endpoint
    model: str  # asked for where an item names none
    recipes: dict[str, Recipe]
    stages: Stages
    settings: Settings
    scope: Scope
    trace_id: str
    deadline: float | None = None  # on the loop's clock; nothing is started that could outlive it
    by_person: bool = False  # somebody waits: a model that is left alone after failures is tried once at once
    on_wait: Callable[[str], None] | None = None  # told why nothing is done just now
    probe: Probe | None = None  # what the server said of itself when it was chosen
    flights: Flights = field(default_factory=Flights)  # shared with the other drains of this process
    doors: Doors | None = None  # to judges' endpoints, likewise; None: judges can't be asked
    chance: random.Random = field(default_factory=random.Random)  # for models that are chosen among
    halt: Halt = field(default_factory=Halt)  # what a person wants of the run that it is a part of
    tally: Tally = field(default_factory=Tally)
    pressure: Pressure = field(init=False)
    runner: BatchRunner = field(init=False)
    _order: Order = field(init=False)
    _router: Router = field(init=False)
    _sizes: Sizes = field(init=False)
    _after: int = -1  # the board that was served last
    _vain: int = 0  # looks in a row that found nothing to claim
    _why_not: WhyNot | None = None  # nothing that is there may be claimed
    _interactive_at: float | None = None  # when interactive items were last there
    _hurried_at: float | None = None

    def __post_init__(self) -> None:
        self.pressure = Pressure(
            self.store.query,
            self.backend,
            self.endpoint,
            self.model,
            self.settings,
            self.lease,
            self.deadline,
            self.by_person,
            self.halt,
        )
        self._order = Order(self.settings.max_wait, self.model)
        self._sizes = Sizes(self.settings.batch_size, self.settings.batch_seconds)
        self.runner = BatchRunner(
            store=self.store,
            door=Door(
                self.endpoint,
                self.pressure,
                self.lease,
                Calls(self.backend, self.endpoint, self.pressure, self.deadline, self.stages.learn),
            ),
            recipes=self.recipes,
            stages=self.stages,
            settings=self.settings,
            reuse=Reuse(
                self.store.query,
                self.backend,
                self.endpoint,
                self.settings.cache_days,
                self.flights,
                self.probe,
            ),
            doors=self.doors,
            halt=self.halt,
            order=self._order,
            sizes=self._sizes,
            tally=self.tally,
            trace_id=self.trace_id,
            deterministic=self.backend.name == "extractive",
            deadline=self.deadline,
        )
        self._router = Router(
            self.settings,
            self._order,
            {name: self.recipes[name] for name in self.scope.recipes},
            self.endpoint.url,
            self.chance,
        )

    @property
    def kept(self) -> int:
        """Slots that are kept for interactive items while they come; an interactive batch has as many items."""
        if self.endpoint.slots < 2 or not self.settings.interactive_share:
            return 0
        return max(1, int(self.endpoint.slots * self.settings.interactive_share))

    async def run(self, run_batch: RunOne | None = None) -> Tally:
        """Drain until nothing in scope is left to claim.

        `run_batch` wraps `self.run_batch` (the flow makes a Prefect task run of it). Raises LeaseLost when
        another drain took over, BackendUnavailable when the endpoint failed `settings.breaker_failures` times in a
        row; items that were not written are given back first.
        """
        run_batch = run_batch or self.run_batch
        running: dict[asyncio.Task[Tally], Batch] = {}
        by_provider = ByProvider(self.runner, lambda size: self._claim([], size))
        await self.pressure.start()
        self._order.load_seconds = self.pressure.switch.load_seconds
        await self._router.start(self.backend, self.probe, asyncio.get_running_loop().time())
        watch = asyncio.create_task(self._watch(), name=f"watch {self.lease.resource}")
        if self.doors is not None:
            self.doors.hold(self.runner.door)
        try:
            while True:
                self._check()
                if watch.done():
                    watch.result()
                if self.endpoint.batches and isinstance(self.backend, HasBatches):
                    batches = by_provider.send(self.backend.batches)
                    if (sent := await self.halt.unless_heard(batches)) is not None:
                        self.tally.add(sent)
                    if not await self._wait_for_later():
                        return self.tally
                elif batch := await self._claim(list(running.values())):
                    running[asyncio.ensure_future(run_batch(batch))] = batch
                    self.pressure.poke()
                elif running:
                    await self._collect(running, watch)
                elif not await self._wait_for_later():
                    return self.tally
        finally:
            try:
                await self._abandon(running)
                if self.doors is not None:
                    await self.doors.let_go(self.runner.door)
            finally:
                stop(watch)
                await asyncio.wait([watch])
                await self.pressure.aclose()

    async def run_batch(self, batch: Batch) -> Tally:
        """One batch from claimed to settled."""
        return await self.runner.run(batch)

    async def _collect(self, running: dict[asyncio.Task[Tally], Batch], watch: asyncio.Task[None]) -> None:
        """Until a batch ended or there is something new to claim."""
        ends = (self.lease.lost, self.runner.news, self.halt.cancelled)
        lost, news, cancelled = (asyncio.ensure_future(event.wait()) for event in ends)
        try:
            await asyncio.wait([*running, lost, news, cancelled, watch], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (lost, news, cancelled):
                waiting.cancel()
        self.runner.news.clear()
        self.lease.check()
        for task in [task for task in running if task.done()]:
            self.tally.add(task.result())
            self.runner.forget(running.pop(task))

    async def _abandon(self, running: dict[asyncio.Task[Tally], Batch]) -> None:
        """Stop what is in flight and give it back. After a lost lease there is nothing to give back."""
        for task in running:
            stop(task)
        if running:
            await asyncio.wait(running)
        for task in running:
            if not task.cancelled() and task.exception() is None:
                self.tally.add(task.result())  # it had ended when it was to be stopped
        if self.lease.lost.is_set():
            return
        await self.store.give_back_rest()
        if (self.pressure.stop_because or self.pressure.broken) and self.runner.put_off:
            await self.store.undelay(self.runner.put_off)

    async def _watch(self) -> None:
        """Every second: what others know, deadlines that are near, and whether somebody came who can't wait."""
        clock = asyncio.get_running_loop().time
        while True:
            if self._hurried_at is None or clock() - self._hurried_at >= HURRY_SECONDS:
                self._hurried_at = clock()
                await self.store.hurry(self.settings.deadline_lead)
            await self.pressure.look()
            self._order.load_seconds = self.pressure.switch.load_seconds
            self._order.loaded = self.pressure.switch.resident
            groups = await self.store.groups(self.scope, self.pressure.without) if self.kept else []
            if any(group.urgency < URGENT for group in groups):
                self._interactive_at = clock()
                self.runner.news.set()
            recent = self._interactive_at is not None and clock() - self._interactive_at < INTERACTIVE_SECONDS
            self.pressure.gate.reserved = self.kept if recent else 0
            self.pressure.gate.changed()
            await self.pressure.watched()

    async def _claim(self, running: Sequence[Batch], size: int | None = None) -> Batch | None:
        """The next batch, if another one may run now."""
        may = self._may_claim(running, self.runner.writing)
        if may is None:
            return None
        held = self.halt.words or self.pressure.hold_because
        self._why_not = WhyNot(held) if held else None
        if held or self.pressure.rests > 0 or self._yields():
            return None
        clock = asyncio.get_running_loop().time
        wanted: Wish | None = None
        await self._router.prepare(self.store.query, clock())

        def choose(groups: list[Group]) -> Wish | None:
            nonlocal wanted
            # Its turn may have come late. A batch that was being written and failed to be counts again.
            may = self._may_claim(running, self.runner.written)
            if may is None or self.halt.words or self.pressure.hold_because:
                return None
            self._order.forget(groups)
            groups = self._router.routed(groups, self.pressure.takes, clock())
            there = [group for group in groups if self.pressure.takes(group)]
            self._why_not = self.pressure.why_not(groups)
            if any(group.urgency < URGENT for group in there):
                self._interactive_at = clock()
            if may.lane == INTERACTIVE:
                there = [group for group in there if group.urgency < URGENT]
            self._order.answering = self.pressure.gate.model
            wanted = self._wish(self._order.choose(there, clock()), may.room, size)
            return wanted

        def describe(recipe: str, model: str | None) -> dict[str, Any]:
            explores = wanted is not None and self._router.explores(wanted.group)
            return self._describe(recipe, model) | {"explores": explores}

        batch: Batch | None = Batch(0, "", "", ())
        while batch is not None and not batch.items:
            self._check()
            # Without items: they wait for their councils now, whose members may be claimed.
            batch = await self.store.claim(
                self.scope, self.pressure.without, choose, describe, self.pressure.limited, self._convene
            )
        if batch is not None and wanted is not None:
            if self.pressure.wants_trial(batch.model) and not await self.pressure.take_trial(batch.model):
                await self.store.give_back([item.id for item in batch.items])
                return None
            self._vain = 0
            self._order.took(wanted.group, clock())
            self._router.took(wanted.group, len(batch.items))
            # In the order of turns: from the one after the last, round to it.
            self._after = max(
                {item.board_id for item in batch.items}, key=lambda board: (board <= self._after, board)
            )
        return batch

    def _may_claim(self, running: Sequence[Batch], written: Collection[int]) -> Free | None:
        """What one more batch may be beside those not written; None: there may be none."""
        left = [batch for batch in running if batch.id not in written]
        room = self.settings.batch_size - sum(len(batch.items) for batch in left)
        beside = [len(batch.items) for batch in left if batch.interactive and self.kept]
        halves = len(left) - len(beside)
        if room < 1 or sum(beside) >= WAVES * self.endpoint.slots:
            return None
        if halves < 2:
            return Free(NORMAL, room)
        return (
            Free(INTERACTIVE, room) if self.kept and not beside and self._interactive_at is not None else None
        )

    async def _convene(self, connection: Any, items: Sequence[ClaimedItem]) -> frozenset[int]:
        """Items that are asked of a council first, and have none yet, get it instead of being run."""
        recipe = self.recipes[items[0].recipe]
        return await council.convene(connection, recipe, items) if recipe.header.council else frozenset()

    def _wish(self, choice: Choice | None, room: int, size: int | None) -> Wish | None:
        if choice is None:
            return None
        model = choice.group.asks or self.model
        packed = self.runner.most_packed(self.recipes[choice.group.recipe], model) or 1
        if size is None:  # of a provider's batch it is said
            urgent = self.kept and choice.group.urgency < URGENT
            key, at_once = (choice.group.recipe, model), packed * self._at_once(model)
            size = self.kept if urgent else self._sizes.half(key, at_once=at_once, kept=self.kept)
            size = min(size, room)
        size = self._router.room(choice.group, size)
        if self.pressure.wants_trial(model):
            size = 1
        return Wish(
            choice.group,
            size,
            aged=(size + 1) // 2 if choice.aged else 0,
            patience=self._order.patience(choice.group),
            after=self._after,
            together=max(PER_BOARD, packed),
        )

    def _at_once(self, model: str) -> int:
        """Requests of a model that are answered at a time."""
        return min(self.endpoint.slots, self.pressure.most(model) or self.endpoint.slots)

    def _describe(self, recipe: str, model: str | None) -> dict[str, Any]:
        known = self.recipes[recipe]
        return {
            "backend": self.endpoint.backend,
            "endpoint": self.endpoint.url,
            "model": model or self.model,
            "recipe": recipe,
            "recipe_hash": known.hash,
            "hash": known.hash,
            "name": known.name,
            "text": known.text,
            "flow_run_id": self.trace_id,
        }

    def _check(self) -> None:
        self.lease.check()
        self.halt.check()
        if self.pressure.stop_because:
            raise BackendUnavailable(self.pressure.stop_because)

    def _yields(self) -> bool:
        """Whether another drain has waited for `max_wait` for the memory that our model has: nothing new is begun, and
        the model goes when what runs has ended."""
        waited = self.pressure.contested
        return waited is not None and waited >= self.settings.max_wait

    async def _wait_for_later(self) -> bool:
        """Nothing runs and nothing was claimed: wait for what is due later. False when there is nothing to wait for.

        Raises BackendUnavailable where all that is left is of models that failed again and again.
        """
        self._check()
        if self._yields():
            await self.pressure.hand_over()
            return True
        if self._why_not is not None:
            if self._why_not.broken:
                raise BackendUnavailable(self._why_not.words)
            if self.on_wait:
                self.on_wait(self._why_not.words)
            return False
        left = await self.store.left(self.scope, self.pressure.without)
        if not left.anything:
            if self.on_wait and self.pressure.without and (await self.store.left(self.scope)).anything:
                self.on_wait("What is left is of boards that are paused; `penstock pause` lists them.")
            return False
        loop = asyncio.get_running_loop()
        # Ready, and yet nothing was claimed: another transaction has these rows locked just now, their boards have as
        # many running as they may, or the account rests.
        busy = min(BUSY_SECONDS * 2 ** min(self._vain, 16), LONGEST_BUSY)
        self._vain += 1
        wait = max(left.wait or 0.0, self.pressure.rests, busy)
        if self.deadline is not None and loop.time() + wait > self.deadline:
            return False
        ends = [asyncio.ensure_future(event.wait()) for event in (self.lease.lost, self.halt.heard)]
        await asyncio.wait(
            ends, timeout=min(wait, self.settings.heartbeat), return_when=asyncio.FIRST_COMPLETED
        )
        for waiting in ends:
            waiting.cancel()
        self._check()
        return True
