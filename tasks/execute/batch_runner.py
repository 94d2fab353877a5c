"""One batch from claimed to settled: its material, its prompts, the calls, the checks, the rows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from models.calls import ModelAnswer, ModelRequest, Passage
from models.enums import ErrorType
from models.recipe import ROLLUP, Recipe, Rendered
from models.settings import Settings
from models.verdict import AnswerRow, BatchVerdict, Failure
from tasks.execute import council, pack_record, packing
from tasks.execute.again import NEW, Past
from tasks.execute.asking import Asked, Asker, Render, as_request, prompt_of
from tasks.execute.budget import cost
from tasks.execute.calls import Learn
from tasks.execute.doors import Door, Doors
from tasks.execute.halt import Halt
from tasks.execute.judging import Judge, unjudged
from tasks.execute.order import Order
from tasks.execute.parts import gather
from tasks.execute.policy import time_limit
from tasks.execute.reporting import Reporter
from tasks.execute.reuse import Plan, Reply, Reuse, Reused
from tasks.execute.sizing import Sizes
from tasks.execute.stopping import last_thing, to_the_end
from tasks.execute.store import OnSplit, Store
from tasks.execute.work import BREATHE, Batch, ClaimedItem, Report, Tally
from tasks.tokens import CHARACTERS_PER_TOKEN

log = logging.getLogger(__name__)

Recall = Callable[[Any, Sequence[ClaimedItem], int], Awaitable[list[list[Passage]]]]
CheckSplits = Callable[[Any, Mapping[int, dict[str, Any]]], Awaitable[dict[int, str]]]
FilesFor = Callable[[Sequence[ClaimedItem], int, Sequence[Sequence[Passage]]], Awaitable[list[list[Passage]]]]
"""What an item's folder or repository has for it, beside the passages that it has already."""
Validate = Callable[..., Awaitable[BatchVerdict]]
"""As tasks.validate.validate_batch; `judge` is given where the recipe has one."""


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
class BatchRunner:
    """Runs the batches of one drain; several may run at once."""

    store: Store
    door: Door  # to the drain's endpoint
    recipes: Mapping[str, Recipe]
    stages: Stages
    settings: Settings
    reuse: Reuse
    doors: Doors | None  # to judges' endpoints; None: judges can't be asked
    halt: Halt
    order: Order  # told what a batch took
    sizes: Sizes  # likewise
    tally: Tally  # the drain's: what is settled while it is stopped is added
    trace_id: str
    deterministic: bool  # the same question gets the same answer
    deadline: float | None  # on the loop's clock
    put_off: list[int] = field(default_factory=list)  # items that came back since the last answer
    writing: set[int] = field(default_factory=set)  # batches whose turn to be written has come, and went well
    written: set[int] = field(default_factory=set)  # of these, those that are
    news: asyncio.Event = field(default_factory=asyncio.Event)  # set when something may be claimed

    async def run(self, batch: Batch) -> Tally:
        """Ask, check, write: one batch from claimed to settled."""
        recipe = self.recipes[batch.recipe]
        past = await self.store.past(batch.items)
        batch, passages, simulated = await self.material(batch, recipe)
        rendered = await self.rendered(batch, recipe, passages, past)
        packs = self.most_packed(recipe, batch.model) is not None
        plan = await self.reuse.plan(batch, recipe, self.requests(batch, rendered), rendered, packs=packs)
        so_far = Asked.of(batch)
        try:
            await self._ask(batch, recipe, rendered, plan, past, so_far)
            replies = so_far.told(batch, simulated)
            return await self.finish(batch, rendered, replies, plan, so_far)
        except asyncio.CancelledError:
            if not so_far.whole and so_far.answered and not self.door.lease.lost.is_set():
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
            most = self.most_packed(recipe, batch.model)
            calls = packing.calls(
                batch, recipe, plan, rendered, past, most=most, backend=self.door.endpoint.backend
            )
            tokens = max(packing.prompt_tokens(call.request) for call in calls)
            answer = max(call.request.max_tokens for call in calls)
            grant = await self.door.pressure.reserve(len(calls), tokens, answer, batch.model)
            try:
                limit = time_limit(recipe, NEW, self.recipes, self.settings)
                asker = Asker(self.door.calls, past, self._times_up(recipe, past), limit)
                await asker.ask_all(batch, calls[: grant.requests], so_far)
            finally:
                plan.land(so_far.replies)
                await self.door.pressure.settle(batch, so_far.spent(), grant, tokens + answer)
            began = so_far.began or began  # without its wait for a model
        else:
            await self.door.pressure.not_asked(batch.model)
        if None not in [so_far.replies[place] for place in plan.ask]:
            seconds = clock() - began
            if plan.ask:
                self.order.ended(seconds)
            self.sizes.ended((batch.recipe, batch.model), len(batch.items), seconds)
        await plan.arrive(so_far.replies)
        so_far.whole = True

    async def rendered(
        self,
        batch: Batch,
        recipe: Recipe,
        passages: Sequence[Sequence[Passage]],
        past: Mapping[int, Past],
    ) -> list[Rendered]:
        rendered = []
        for place, (item, found) in enumerate(zip(batch.items, passages, strict=True)):
            before = past.get(item.id)
            rendered.append(prompt_of(self.stages.render, recipe, item, found, before, self.door.endpoint))
            if place % BREATHE == 0:
                await asyncio.sleep(0)
        return rendered

    def requests(self, batch: Batch, rendered: Sequence[Rendered]) -> list[ModelRequest]:
        return [
            as_request(
                batch,
                item,
                prompt,
                context_tokens=self.door.endpoint.context_tokens,
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
        await self.door.pressure.judge(batch, [report for report in reports if not report.reused])
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
            await self.door.pressure.look()

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
            self.door.endpoint.context_tokens,
            deterministic=self.deterministic,
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
        price = self.door.pressure.price(batch.model)
        for report in reports:
            report.cost = cost(report.answer, price) if report.answer is not None else None
            report.digest = plan.who.digest if plan is not None else None
        if plan is not None:
            _mark_reused(reports, plan.reused(batch))
        if any(isinstance(reply, ModelAnswer) for reply in replies):
            self.put_off.clear()
        self.put_off += [report.item.id for report in reports if report.next.outcome == "returned"]
        try:
            tally = await self.store.settle(
                batch,
                reports,
                recipe=recipe,
                validation=checked.validation,
                trace_id=self.trace_id,
                on_split=self.stages.on_split,
                keys=plan.keeps(batch, replies, packed) if plan is not None else {},
                decided=decided,
                on_turn=partial(self._turn_came, batch) if _went_well(reports, replies) else None,
            )
        except BaseException:
            self.writing.discard(batch.id)
            raise
        self.written |= self.writing & {batch.id}
        if plan is not None:
            # Before anything of it is claimed again, or that would follow itself and get the reply that it had.
            self.reuse.leave(plan)
        unsent = [item.id for item, reply in zip(batch.items, replies, strict=True) if reply is None]
        if unsent:
            await self.store.give_back(unsent)
        return tally, reports

    def _turn_came(self, batch: Batch) -> None:
        """It is being written. A claim that is asked for from now on has its turn after that, and so may be asked for
        already: else the database would wait for it, and then whoever answers."""
        self.writing.add(batch.id)
        self.news.set()

    def forget(self, batch: Batch) -> None:
        self.writing.discard(batch.id)
        self.written.discard(batch.id)

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

    async def material(
        self, batch: Batch, recipe: Recipe
    ) -> tuple[Batch, list[list[Passage]], frozenset[int]]:
        """What the answers are to be made from: passages of memory and files, for a synthesis the parts' results.

        The third value: items whose material is simulated.
        """
        if recipe.synthesises:
            ids = [item.id for item in batch.items]
            room = CHARACTERS_PER_TOKEN * max(self.door.endpoint.context_tokens - recipe.header.max_tokens, 0)
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

    def most_packed(self, recipe: Recipe, model: str) -> int | None:
        """Items of a recipe that a model is asked in one request; None: one."""
        return recipe.header.pack if self.door.pressure.packs(recipe.name, model) else None


def _went_well(reports: Sequence[Report], replies: Sequence[Reply]) -> bool:
    """Whoever claims next need not wait for what is learned from this batch: that its recipe fails, say."""
    return None not in replies and any(report.next.outcome == "accepted" for report in reports)


def _mark_reused(reports: Sequence[Report], why: Mapping[int, Reused]) -> None:
    """No call was made for these: they cost nothing, and say where their answers are from."""
    for report in reports:
        if (reused := why.get(report.item.id)) is not None:
            report.reused, report.cost = True, 0.0
            report.checks.append(
                {"layer": "call", "check": reused.check, "error_type": None, "message": reused.words}
            )
