"""A drain: it holds one endpoint's lease, then claims and runs batches until none are left.

Two half batches overlap, so that the server's slots stay full while the first half is checked and written; a small one
of interactive items may run beside them. What is claimed and not yet written takes about `settings.batch_seconds`
(tasks/execute/sizing.py) and never exceeds `settings.batch_size`: that is what a `kill -9` can cost. A drain that is
stopped in order checks and writes what was answered, and gives the rest back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from models.calls import Backend, Batches, HasBatches, ModelAnswer, ModelRequest, Passage, Probe
from models.enums import ErrorType
from models.errors import BackendUnavailable
from models.recipe import ROLLUP, Recipe, Rendered
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Failure
from tasks.execute import council, pack_record, packing
from tasks.execute.again import NEW, Past
from tasks.execute.asking import Asked, Asker, Render, as_request, prompt_of
from tasks.execute.budget import cost
from tasks.execute.calls import Calls, Learn
from tasks.execute.doors import Door, Doors
from tasks.execute.halt import Halt
from tasks.execute.judging import Judge, unjudged
from tasks.execute.lease import Lease
from tasks.execute.limits import Grant, Reservation
from tasks.execute.order import URGENT, Choice, Group, Order
from tasks.execute.parts import gather
from tasks.execute.policy import time_limit
from tasks.execute.pressure import Pressure, WhyNot
from tasks.execute.provider_batch import run_provider_batches
from tasks.execute.provider_rows import Prepared
from tasks.execute.reporting import Reporter
from tasks.execute.reuse import Flights, Plan, Reply, Reuse, Reused
from tasks.execute.router import Router
from tasks.execute.sizing import Sizes
from tasks.execute.stopping import last_thing, stop, to_the_end
from tasks.execute.store import PER_BOARD, OnSplit, Scope, Store, Wish
from tasks.execute.work import BREATHE, Batch, ClaimedItem, Report, Tally
from tasks.tokens import CHARACTERS_PER_TOKEN

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.05
"""Least pause between two claims that found nothing; twice as long each time."""

LONGEST_BUSY = 1.0

HURRY_SECONDS = 60.0
"""Between two looks for deadlines that are near."""

INTERACTIVE_SECONDS = 300.0
"""How long slots are kept for interactive items after the last one."""

Recall = Callable[[Any, Sequence[ClaimedItem], int], Awaitable[list[list[Passage]]]]
CheckSplits = Callable[[Any, Mapping[int, dict[str, Any]]], Awaitable[dict[int, str]]]
FilesFor = Callable[[Sequence[ClaimedItem], int, Sequence[Sequence[Passage]]], Awaitable[list[list[Passage]]]]
"""What an item's folder or repository has for it, beside the passages that it has already."""
Validate = Callable[..., Awaitable[BatchVerdict]]
"""As tasks.validate.validate_batch; `judge` is given where the recipe has one."""

RunOne = Callable[[Batch], Awaitable[Tally]]


@dataclass(frozen=True, slots=True)
class Stages:
    """The other stages that a drain calls; given by the flow, so that this module knows none of them."""

    recall: Recall
    render: Render
    validate: Validate
    on_split: OnSplit
    check_splits: CheckSplits | None = None
    files: FilesFor | None = None
    learn: Learn | None = None


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
    calls: Calls = field(init=False)
    reuse: Reuse = field(init=False)
    door: Door = field(init=False)
    _order: Order = field(init=False)
    _router: Router = field(init=False)
    _sizes: Sizes = field(init=False)
    _after: int = -1  # the board that was served last
    _granted: dict[int, tuple[Reservation, int]] = field(
        default_factory=dict
    )  # by item that a provider's batch is to have: what is reserved for it, and the estimate of its tokens
    _put_off: list[int] = field(default_factory=list)
    _vain: int = 0  # looks in a row that found nothing to claim
    _why_not: WhyNot | None = None  # nothing that is there may be claimed
    _interactive_at: float | None = None  # when interactive items were last there
    _hurried_at: float | None = None
    _news: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # something may be claimed that could not be before

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
        self.calls = Calls(self.backend, self.endpoint, self.pressure, self.deadline, self.stages.learn)
        self.door = Door(self.endpoint, self.pressure, self.lease, self.calls)
        self.reuse = Reuse(
            self.store.query,
            self.backend,
            self.endpoint,
            self.settings.cache_days,
            self.flights,
            self.probe,
        )
        self._router = Router(
            self.settings,
            self._order,
            {name: self.recipes[name] for name in self.scope.recipes},
            self.endpoint.url,
            self.chance,
        )
        self._sizes = Sizes(self.settings.batch_size, self.settings.batch_seconds)

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
        await self.pressure.start()
        self._order.load_seconds = self.pressure.switch.load_seconds
        await self._router.start(self.backend, self.probe, asyncio.get_running_loop().time())
        watch = asyncio.create_task(self._watch(), name=f"watch {self.lease.resource}")
        if self.doors is not None:
            self.doors.hold(self.door)
        try:
            while True:
                self._check()
                if watch.done():
                    watch.result()
                if self.endpoint.batches and isinstance(self.backend, HasBatches):
                    batches = self._send_batches(self.backend.batches)
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
                    await self.doors.let_go(self.door)
            finally:
                stop(watch)
                await asyncio.wait([watch])
                await self.pressure.aclose()

    async def _collect(self, running: dict[asyncio.Task[Tally], Batch], watch: asyncio.Task[None]) -> None:
        """Until a batch ended or there is something new to claim."""
        ends = (self.lease.lost, self._news, self.halt.cancelled)
        lost, news, cancelled = (asyncio.ensure_future(event.wait()) for event in ends)
        try:
            await asyncio.wait([*running, lost, news, cancelled, watch], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (lost, news, cancelled):
                waiting.cancel()
        self._news.clear()
        self.lease.check()
        for task in [task for task in running if task.done()]:
            self.tally.add(task.result())
            del running[task]

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
        if running:
            await self.store.give_back([item.id for batch in running.values() for item in batch.items])
        if (self.pressure.stop_because or self.pressure.broken) and self._put_off:
            await self.store.undelay(self._put_off)

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
                self._news.set()
            recent = self._interactive_at is not None and clock() - self._interactive_at < INTERACTIVE_SECONDS
            self.pressure.gate.reserved = self.kept if recent else 0
            self.pressure.gate.changed()
            await self.pressure.watched()

    async def _send_batches(self, batches: Batches) -> Tally:
        """By the provider's batch API: until nothing is left to send, and none of them is out."""
        return await run_provider_batches(
            batches,
            self.endpoint,
            self.lease,
            query=self.store.query,
            claim=lambda size: self._claim([], size),
            prepare=self._prepared,
            request=partial(as_request, context_tokens=self.endpoint.context_tokens, recipes=self.recipes),
            settle=self._finish_batch,
            give_back=self._not_sent,
            recipes=self.recipes,
            breaker_failures=self.settings.breaker_failures,
            deadline=self.deadline,
        )

    async def _prepared(self, batch: Batch) -> Prepared:
        recipe = self.recipes[batch.recipe]
        past = await self.store.past(batch.items)
        batch, passages, simulated = await self._material(batch, recipe)
        rendered = await self._rendered(batch, recipe, passages, past)
        batch, passages, rendered = await self._without_known(batch, passages, rendered)
        tokens = self._estimate(batch, recipe, passages)
        grant = await self.pressure.reserve(len(batch.items), tokens, recipe.header.max_tokens, batch.model)
        if grant.reserved is not None:
            each = grant.reserved.part(1)
            self._granted |= {
                item.id: (each, tokens + recipe.header.max_tokens) for item in batch.items[: grant.requests]
            }
        if unasked := batch.items[grant.requests :]:
            await self.store.give_back([item.id for item in unasked])
            batch = replace(batch, items=batch.items[: grant.requests])
        return Prepared(batch, tuple(rendered[: len(batch.items)]), simulated)

    async def _without_known(
        self, batch: Batch, passages: list[list[Passage]], rendered: list[Rendered]
    ) -> tuple[Batch, list[list[Passage]], list[Rendered]]:
        """Settle what has an answer already, and go on with the rest."""
        recipe = self.recipes[batch.recipe]
        plan = await self.reuse.keyed(batch, recipe, self._requests(batch, rendered), rendered)
        await self.reuse.look(batch, plan)
        if not plan.found:
            return batch, passages, rendered
        known = sorted(plan.found)
        settled = replace(batch, items=tuple(batch.items[place] for place in known))
        answers = [plan.found[place].answer for place in known]
        prompts = [rendered[place] for place in known]
        self.tally.add(await self.finish(settled, prompts, answers, plan.only_found()))
        rest = replace(batch, items=tuple(batch.items[place] for place in plan.ask))
        return rest, [passages[place] for place in plan.ask], [rendered[place] for place in plan.ask]

    async def _finish_batch(
        self, batch: Batch, rendered: Sequence[Rendered], replies: Sequence[Reply]
    ) -> Tally:
        mine = [place for place, item in enumerate(batch.items) if item.id in self._granted]
        granted = [self._granted.pop(batch.items[place].id) for place in mine]
        if granted:  # what a drain before this one had sent is spent as it had reserved
            each, tokens = granted[0]
            grant = Grant(len(mine), reserved=each.part(len(mine)))
            await self.pressure.settle(batch, [replies[place] for place in mine], grant, tokens)
        recipe = self.recipes[batch.recipe]
        plan = await self.reuse.keyed(batch, recipe, self._requests(batch, rendered), rendered)
        return await self.finish(batch, rendered, replies, plan)

    async def _not_sent(self, items: Sequence[int]) -> None:
        """Give back items of a provider's batch, and what was reserved for them."""
        granted = [self._granted.pop(item)[0] for item in items if item in self._granted]
        if granted:
            await self.pressure.unspent(granted[0].part(len(granted)))
        await self.store.give_back(items)

    async def _claim(self, running: Sequence[Batch], size: int | None = None) -> Batch | None:
        """The next batch, if another one may run now."""
        normal = sum(not batch.interactive for batch in running)
        only_interactive = normal >= 2
        if only_interactive and (not self.kept or len(running) > normal or self._interactive_at is None):
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
            self._order.forget(groups)
            groups = self._router.routed(groups, self.pressure.takes, clock())
            there = [group for group in groups if self.pressure.takes(group)]
            self._why_not = self.pressure.why_not(groups)
            if any(group.urgency < URGENT for group in there):
                self._interactive_at = clock()
            if only_interactive:
                there = [group for group in there if group.urgency < URGENT]
            self._order.answering = self.pressure.gate.model
            wanted = self._wish(self._order.choose(there, clock()), size)
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

    async def _convene(self, connection: Any, items: Sequence[ClaimedItem]) -> frozenset[int]:
        """Items that are asked of a council first, and have none yet, get it instead of being run."""
        recipe = self.recipes[items[0].recipe]
        return await council.convene(connection, recipe, items) if recipe.header.council else frozenset()

    def _wish(self, choice: Choice | None, size: int | None) -> Wish | None:
        if choice is None:
            return None
        model = choice.group.asks or self.model
        packed = self._most_packed(self.recipes[choice.group.recipe], model) or 1
        size = size or (
            self.kept
            if self.kept and choice.group.urgency < URGENT
            else self._sizes.half(
                (choice.group.recipe, model), at_once=packed * self._at_once(model), kept=self.kept
            )
        )
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

    def _most_packed(self, recipe: Recipe, model: str) -> int | None:
        """Items of a recipe that a model is asked in one request; None: one."""
        return recipe.header.pack if self.pressure.packs(recipe.name, model) else None

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

    async def run_batch(self, batch: Batch) -> Tally:
        """Ask, check, write: one batch from claimed to settled."""
        recipe = self.recipes[batch.recipe]
        past = await self.store.past(batch.items)
        batch, passages, simulated = await self._material(batch, recipe)
        rendered = await self._rendered(batch, recipe, passages, past)
        plan = await self.reuse.plan(batch, recipe, self._requests(batch, rendered), rendered)
        so_far = Asked.of(batch)
        try:
            await self._ask(batch, recipe, rendered, plan, past, so_far)
            replies = so_far.told(batch, simulated)
            return await self.finish(batch, rendered, replies, plan, so_far)
        except asyncio.CancelledError:
            if not so_far.whole and so_far.answered and not self.lease.lost.is_set():
                replies = so_far.told(batch, simulated)
                settle = partial(self._settle, batch, rendered, replies, plan, so_far)
                await last_thing(settle, self._tell)
            raise
        finally:
            self.reuse.leave(plan)

    async def _ask(
        self,
        batch: Batch,
        recipe: Recipe,
        rendered: Sequence[Rendered],
        plan: Plan,
        past: Mapping[int, Past],
        so_far: Asked,
    ) -> None:
        """Ask for those items that have to be; the others get their replies from where they are."""
        clock = asyncio.get_running_loop().time
        began = clock()
        if plan.ask:
            most = self._most_packed(recipe, batch.model)
            calls = packing.calls(
                batch, recipe, plan, rendered, past, most=most, backend=self.endpoint.backend
            )
            tokens = max(packing.prompt_tokens(call.request) for call in calls)
            answer = max(call.request.max_tokens for call in calls)
            grant = await self.pressure.reserve(len(calls), tokens, answer, batch.model)
            try:
                limit = time_limit(recipe, NEW, self.recipes, self.settings)
                asker = Asker(self.calls, past, self._times_up(recipe, past), limit)
                await asker.ask_all(batch, calls[: grant.requests], so_far)
            finally:
                plan.land(so_far.replies)
                await self.pressure.settle(batch, so_far.spent(), grant, tokens + answer)
            began = so_far.began or began  # without its wait for a model
        else:
            await self.pressure.not_asked(batch.model)
        if None not in [so_far.replies[place] for place in plan.ask]:
            seconds = clock() - began
            if plan.ask:
                self._order.ended(seconds)
            self._sizes.ended((batch.recipe, batch.model), len(batch.items), seconds)
        await plan.arrive(so_far.replies)
        so_far.whole = True

    async def _rendered(
        self,
        batch: Batch,
        recipe: Recipe,
        passages: Sequence[Sequence[Passage]],
        past: Mapping[int, Past],
    ) -> list[Rendered]:
        rendered = []
        for place, (item, found) in enumerate(zip(batch.items, passages, strict=True)):
            before = past.get(item.id)
            rendered.append(prompt_of(self.stages.render, recipe, item, found, before, self.endpoint))
            if place % BREATHE == 0:
                await asyncio.sleep(0)
        return rendered

    def _requests(self, batch: Batch, rendered: Sequence[Rendered]) -> list[ModelRequest]:
        return [
            as_request(
                batch,
                item,
                prompt,
                context_tokens=self.endpoint.context_tokens,
                recipes=self.recipes,
            )
            for item, prompt in zip(batch.items, rendered, strict=True)
        ]

    def _times_up(self, recipe: Recipe, past: Mapping[int, Past]) -> dict[int, float]:
        """By item: when its time is up, on the loop's clock. With a fallback it is tried once, whatever the time."""
        now = asyncio.get_running_loop().time()
        until: dict[int, float] = {}
        for item_id, before in past.items():
            limit = time_limit(recipe, before, self.recipes, self.settings)
            if limit is not None and before.here:
                until[item_id] = now + limit - before.elapsed
        return until

    def _estimate(self, batch: Batch, recipe: Recipe, passages: Sequence[Sequence[Passage]]) -> int:
        """Tokens of the longest prompt of a batch, roughly: what a budget is reserved by."""
        texts = [
            len(item.question) + len(item.parent_body or "") + sum(len(passage.text) for passage in context)
            for item, context in zip(batch.items, passages, strict=True)
        ]
        own = len(recipe.system) + len(recipe.prompt)
        return (own + max(texts, default=0)) // CHARACTERS_PER_TOKEN + 1

    async def finish(
        self,
        batch: Batch,
        rendered: Sequence[Rendered | None],
        replies: Sequence[Reply],
        plan: Plan | None = None,
        sent: Asked | None = None,
    ) -> Tally:
        """Check and write what was asked, also where the drain is stopped meanwhile; give back what was not.

        `plan`: what was not asked for itself. `sent`: how long calls took, and whom they asked together.
        """
        settle = partial(self._settle, batch, rendered, replies, plan, sent)
        tally, reports = await to_the_end(settle, self._tell)
        await self.pressure.judge(batch, [report for report in reports if not report.reused])
        if self.recipes[batch.recipe].header.pack:
            await self._record_packs(batch, reports)
        return tally

    async def _record_packs(self, batch: Batch, reports: Sequence[Report]) -> None:
        record = pack_record.record_of(reports)
        paused = await self.store.query(
            lambda connection: pack_record.count(connection, batch.recipe, batch.model, record)
        )
        if paused is not None:
            log.warning("%s", paused)
            await self.pressure.look()

    def _tell(self, settled: tuple[Tally, list[Report]]) -> None:
        """Of a batch that was stopped: nobody else counts it."""
        self.tally.add(settled[0])

    async def _settle(
        self,
        batch: Batch,
        rendered: Sequence[Rendered | None],
        replies: Sequence[Reply],
        plan: Plan | None,
        sent: Asked | None,
    ) -> tuple[Tally, list[Report]]:
        recipe = self.recipes[batch.recipe]
        past = await self.store.past(batch.items)
        packed = sent.packed if sent is not None else {}
        rows = [
            AnswerRow(
                item.id,
                prompt.question,
                reply,
                prompt.passages,
                files=prompt.files,
                fence=packed[place].key if place in packed else prompt.fence,
                pack=packed[place].number if place in packed else None,
            )
            for place, (item, prompt, reply) in enumerate(zip(batch.items, rendered, replies, strict=True))
            if prompt is not None and isinstance(reply, ModelAnswer)
        ]
        checked = await self._checked(batch, recipe, rows)
        if self.halt.wish is not None:
            # A stop is no crash that a person has to look at: who could not be judged is asked again.
            left = unjudged(checked)
            replies = [
                None if item.id in left else reply for item, reply in zip(batch.items, replies, strict=True)
            ]
        if recipe.header.splits:
            checked = await self._checked_splits(checked)
        asked = [item.id for item in batch.items] if recipe.header.council else []
        opinions = (
            await self.store.query(lambda connection: council.opinions_of(connection, asked)) if asked else {}
        )
        checked = council.checked(checked, opinions) if asked else checked
        reporter = Reporter(
            self.recipes,
            self.settings,
            past,
            self.endpoint.context_tokens,
            deterministic=self.backend.name == "extractive",
            packed={batch.items[place].id: each for place, each in packed.items()},
        )
        took = sent.seconds if sent is not None else {}
        reports = [
            reporter.report(recipe, item, prompt, reply, checked.verdicts.get(item.id), took.get(place))
            for place, (item, prompt, reply) in enumerate(zip(batch.items, rendered, replies, strict=True))
            if prompt is not None and reply is not None
        ]
        if recipe.member_of:
            council.speak(reports)
        decided = council.conclude(recipe, reports, opinions) if asked else {}
        price = self.pressure.price(batch.model)
        for report in reports:
            report.cost = cost(report.answer, price) if report.answer is not None else None
            report.digest = plan.who.digest if plan is not None else None
        if plan is not None:
            _mark_reused(reports, plan.reused(batch))
        if any(isinstance(reply, ModelAnswer) for reply in replies):
            self._put_off.clear()
        self._put_off += [report.item.id for report in reports if report.next.outcome == "returned"]
        tally = await self.store.settle(
            batch,
            reports,
            recipe=recipe,
            validation=checked.validation,
            trace_id=self.trace_id,
            on_split=self.stages.on_split,
            keys=plan.keeps(batch, replies, packed) if plan is not None else {},
            decided=decided,
        )
        unsent = [item.id for item, reply in zip(batch.items, replies, strict=True) if reply is None]
        if unsent:
            await self.store.give_back(unsent)
        return tally, reports

    async def _checked(self, batch: Batch, recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        if not rows:
            return BatchVerdict({})
        if recipe.header.judge is None or self.doors is None:
            return await self.stages.validate(recipe, rows)
        judge = Judge(batch, self.door, self.doors, self.deadline)
        return await self.stages.validate(recipe, rows, judge=judge)

    async def _checked_splits(self, checked: BatchVerdict) -> BatchVerdict:
        """A split that passed by itself and can't be used where its item stands is asked again, with the reason."""
        check = self.stages.check_splits
        splits = {one.item_id: one.data for one in checked.verdicts.values() if one.passed and one.data}
        if check is None or not splits:
            return checked
        problems = await self.store.query(lambda connection: check(connection, splits))
        for item_id, problem in problems.items():
            failure = Failure("rules", "split", ErrorType.RULE, problem)
            checked.verdicts[item_id] = replace(checked.verdicts[item_id], failures=(failure,))
        return checked

    async def _material(
        self, batch: Batch, recipe: Recipe
    ) -> tuple[Batch, list[list[Passage]], frozenset[int]]:
        """What the answers are to be made from: passages of memory and files, for a synthesis the parts' results.

        The third value: items whose material is simulated.
        """
        if recipe.synthesises:
            ids = [item.id for item in batch.items]
            room = CHARACTERS_PER_TOKEN * max(self.endpoint.context_tokens - recipe.header.max_tokens, 0)
            if recipe.name == ROLLUP:
                parts = gather(await self.store.results_of_parts(ids), batch.items, room)
            else:
                parts = await self.store.query(lambda connection: council.material(connection, ids, room))
            told = [part.told(item) for part, item in zip(parts, batch.items, strict=True)]
            simulated = frozenset(
                item.id for part, item in zip(parts, batch.items, strict=True) if part.simulated
            )
            return replace(batch, items=tuple(told)), [part.passages for part in parts], simulated
        found: list[list[Passage]] = [[] for _ in batch.items]
        if recipe.header.passages:
            found = await self.store.query(
                lambda connection: self.stages.recall(connection, batch.items, recipe.header.passages)
            )
        if recipe.header.files and self.stages.files is not None:
            found = await self.stages.files(batch.items, recipe.header.files, found)
        return batch, found, frozenset()


def _mark_reused(reports: Sequence[Report], why: Mapping[int, Reused]) -> None:
    """No call was made for these: they cost nothing, and say where their answers are from."""
    for report in reports:
        if (reused := why.get(report.item.id)) is not None:
            report.reused, report.cost = True, 0.0
            report.checks.append(
                {"layer": "call", "check": reused.check, "error_type": None, "message": reused.words}
            )
