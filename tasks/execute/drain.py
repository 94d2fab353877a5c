"""A drain: it holds one endpoint's lease, then claims and runs batches until none are left.

Two half batches overlap, so that the server's slots stay full while the first half is checked and written. What is
claimed and not yet written never exceeds `settings.batch_size`: that is what a `kill -9` can cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from models.calls import Backend, ModelAnswer, ModelCallError, ModelRequest, Passage
from models.enums import ErrorType
from models.errors import BackendUnavailable, PenstockError
from models.recipe import ROLLUP, Recipe, Rendered
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import policy
from tasks.execute.lease import Lease
from tasks.execute.parts import gather
from tasks.execute.store import OnSplit, Scope, Store
from tasks.execute.work import Batch, ClaimedItem, Report, Tally
from tasks.prompts import CHARACTERS_PER_TOKEN

log = logging.getLogger(__name__)

BUSY_SECONDS = 0.05
"""Least pause between two claims that found nothing."""

Recall = Callable[[Any, Sequence[ClaimedItem], int], Awaitable[list[list[Passage]]]]
CheckSplits = Callable[[Any, Mapping[int, dict[str, Any]]], Awaitable[dict[int, str]]]
Validate = Callable[[Recipe, Sequence[AnswerRow]], Awaitable[BatchVerdict]]


class Render(Protocol):
    def __call__(
        self, recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None
    ) -> Rendered: ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The other stages that a drain calls; given by the flow, so that this module knows none of them."""

    recall: Recall
    render: Render
    validate: Validate
    on_split: OnSplit
    check_splits: CheckSplits | None = None


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
    tally: Tally = field(default_factory=Tally)
    _slots: asyncio.Semaphore = field(init=False)
    _last: tuple[str | None, str | None] = (None, None)
    _failures: int = 0  # of the endpoint, in a row, not counting what was in flight at the same time
    _failed_at: float = 0.0
    _stop_because: str = ""
    _put_off: list[int] = field(default_factory=list)
    _returns: dict[int, int] = field(default_factory=dict)  # by item, before this try
    _not_before: float = 0.0  # the server asked for silence until then, on the loop's clock

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.endpoint.slots)

    @property
    def size(self) -> int:
        """Items of one batch: half of what may be unwritten at once."""
        return max(1, self.settings.batch_size // 2)

    async def run(self, run_batch: Callable[[Batch], Awaitable[Tally]] | None = None) -> Tally:
        """Drain until nothing in scope is left to claim.

        `run_batch` wraps `self.run_batch` (the flow makes a Prefect task run of it). Raises LeaseLost when
        another drain took over, BackendUnavailable when the endpoint failed `settings.breaker_failures` times in a row;
        items that were not written are given back first.
        """
        run_batch = run_batch or self.run_batch
        running: dict[asyncio.Task[Tally], Batch] = {}
        try:
            while True:
                self._check()
                if len(running) < 2 and (batch := await self._claim()):
                    running[asyncio.ensure_future(run_batch(batch))] = batch
                    continue
                if running:
                    await self._collect(running)
                elif not await self._wait_for_later():
                    return self.tally
        finally:
            await self._abandon(running)

    async def _collect(self, running: dict[asyncio.Task[Tally], Batch]) -> None:
        lost = asyncio.ensure_future(self.lease.lost.wait())
        try:
            await asyncio.wait([*running, lost], return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        self.lease.check()
        for task in [task for task in running if task.done()]:
            self.tally.add(task.result())
            del running[task]

    async def _abandon(self, running: dict[asyncio.Task[Tally], Batch]) -> None:
        """Stop what is in flight and give it back. After a lost lease there is nothing to give back."""
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if running and not self.lease.lost.is_set():
            await self.store.give_back([item.id for batch in running.values() for item in batch.items])

    async def _claim(self) -> Batch | None:
        batch = await self.store.claim(self.scope, self.size, self._last, self._describe)
        if batch:
            self._last = (batch.recipe, batch.items[0].model)
        return batch

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
        if self._stop_because:
            raise BackendUnavailable(self._stop_because)

    async def _wait_for_later(self) -> bool:
        """Wait for retries that are due later. False when nothing is left."""
        outlook = await self.store.outlook(self.scope)
        if not outlook.now and (not outlook.later or outlook.wait is None):
            return False
        loop = asyncio.get_running_loop()
        # Ready, and yet nothing was claimed: another transaction has these rows locked just now.
        wait = BUSY_SECONDS if outlook.now else max(outlook.wait or 0.0, BUSY_SECONDS)
        if self.deadline is not None and loop.time() + wait > self.deadline:
            return False
        try:
            await asyncio.wait_for(self.lease.lost.wait(), min(wait, self.settings.heartbeat))
        except TimeoutError:
            return True
        self.lease.check()
        return True

    async def run_batch(self, batch: Batch) -> Tally:
        """Ask, check, write: one batch from claimed to settled."""
        recipe = self.recipes[batch.recipe]
        reasons = await self.store.reasons(batch.items)
        self._returns |= {item.id: 0 for item in batch.items} | await self.store.returns(batch.items)
        batch, passages, simulated = await self._material(batch, recipe)
        rendered, replies = await self._ask_all(batch, recipe, passages, reasons)
        replies = [
            replace(reply, simulated=True)
            if isinstance(reply, ModelAnswer) and item.id in simulated
            else reply
            for item, reply in zip(batch.items, replies, strict=True)
        ]
        rows = [
            AnswerRow(item.id, item.question, reply, prompt.passages)
            for item, prompt, reply in zip(batch.items, rendered, replies, strict=True)
            if prompt is not None and isinstance(reply, ModelAnswer)
        ]
        checked = await self.stages.validate(recipe, rows) if rows else BatchVerdict({})
        if recipe.header.splits:
            checked = await self._checked_splits(checked)
        reports = [
            self._report(recipe, item, prompt, reply, checked.verdicts.get(item.id))
            for item, prompt, reply in zip(batch.items, rendered, replies, strict=True)
            if prompt is not None and reply is not None
        ]
        tally = await self.store.settle(
            batch,
            reports,
            recipe=recipe,
            validation=checked.validation,
            trace_id=self.trace_id,
            on_split=self.stages.on_split,
        )
        unsent = [item.id for item, reply in zip(batch.items, replies, strict=True) if reply is None]
        if unsent:
            await self.store.give_back(unsent)
        self._put_off += [report.item.id for report in reports if report.next.outcome == "returned"]
        if self._stop_because and self._put_off:
            await self.store.undelay(self._put_off)
            self._put_off = []
        return tally

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
        """What the answers are to be made from: passages of memory, for a synthesis the results of the parts.

        The third value: items whose material is simulated.
        """
        if recipe.name == ROLLUP:
            rows = await self.store.results_of_parts([item.id for item in batch.items])
            tokens = max(self.endpoint.context_tokens - recipe.header.max_tokens, 0)
            parts = gather(rows, batch.items, CHARACTERS_PER_TOKEN * tokens)
            told = [part.told(item) for part, item in zip(parts, batch.items, strict=True)]
            simulated = frozenset(
                item.id for part, item in zip(parts, batch.items, strict=True) if part.simulated
            )
            return replace(batch, items=tuple(told)), [part.passages for part in parts], simulated
        if not recipe.header.passages:
            return batch, [[] for _ in batch.items], frozenset()
        found: list[list[Passage]] = await self.store.query(
            lambda connection: self.stages.recall(connection, batch.items, recipe.header.passages)
        )
        return batch, found, frozenset()

    async def _ask_all(
        self,
        batch: Batch,
        recipe: Recipe,
        passages: Sequence[Sequence[Passage]],
        reasons: Mapping[int, str],
    ) -> tuple[list[Rendered | None], list[ModelAnswer | ModelCallError | None]]:
        """Render and ask, within the endpoint's slots. None: not sent, because the drain is stopping.

        A worker per slot, not a task per item. It keeps its slot until the batch has nothing left to send: so the
        batch before it ends first, and is checked while this one asks.
        """
        items = batch.items
        rendered: list[Rendered | None] = [None] * len(items)
        replies: list[ModelAnswer | ModelCallError | None] = [None] * len(items)
        numbers = iter(range(len(items)))

        async def work() -> None:
            async with self._slots:
                for number in numbers:
                    if not await self._may_send():
                        return
                    item = items[number]
                    prompt = self.stages.render(recipe, item, passages[number], reasons.get(item.id))
                    rendered[number] = prompt
                    replies[number] = await self._ask(batch, item, recipe, prompt)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.endpoint.slots, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return rendered, replies

    async def _may_send(self) -> bool:
        """Wait while the server wants to be left alone. False when the drain is stopping."""
        clock = asyncio.get_running_loop().time
        while not (self._stop_because or self.lease.lost.is_set()):
            if (wait := self._not_before - clock()) <= 0:
                return True
            if self.deadline is not None and self._not_before >= self.deadline:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lease.lost.wait(), min(wait, self.settings.heartbeat))
        return False

    async def _ask(
        self, batch: Batch, item: ClaimedItem, recipe: Recipe, rendered: Rendered
    ) -> ModelAnswer | ModelCallError:
        """One call, within its deadline."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + self.endpoint.call_timeout
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)
        request = ModelRequest(
            item_id=item.id,
            model=batch.model,
            system=rendered.system,
            prompt=rendered.prompt,
            question=item.question,
            passages=rendered.passages,
            rolls_up=recipe.name == ROLLUP,
            schema=recipe.header.answer_schema,
            max_tokens=recipe.header.max_tokens,
            temperature=recipe.header.temperature,
            context_tokens=self.endpoint.context_tokens,
        )
        try:
            answer = await self.backend.answer(request, deadline)
        except ModelCallError as error:
            self._count_failure(error, started)
            return error
        self._failures = 0
        self._put_off.clear()
        return answer

    def _count_failure(self, error: ModelCallError, started: float) -> None:
        if error.error_type.charged:
            self._failures = 0  # the server answered; this item is the trouble
            return
        wait = error.retry_after or 0.0
        if wait > self.settings.retry_delay_cap:
            self._stop_because = (
                f"{self.endpoint.backend} at {self.endpoint.url} wants to be asked again only in {_span(wait)}: "
                f"{error} Nothing accepted is lost and no attempt was charged: run the same command again then."
            )
            return
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + wait)
        if started < self._failed_at:
            return  # in flight together with one already counted: the same incident
        self._failures += 1
        self._failed_at = asyncio.get_running_loop().time()
        if self._failures >= self.settings.breaker_failures:
            self._stop_because = (
                f"{self.endpoint.backend} at {self.endpoint.url} failed {self._failures} times in a row; the last "
                f"time: {error}. Nothing accepted is lost and no attempt was charged: see that the server answers, "
                f"then run the same command again."
            )

    def _report(
        self,
        recipe: Recipe,
        item: ClaimedItem,
        rendered: Rendered,
        reply: ModelAnswer | ModelCallError,
        verdict: Verdict | None,
    ) -> Report:
        if isinstance(reply, ModelCallError):
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(reply.error_type, recipe, item, reply.retry_after),
                reply.partial,
                reply.error_type,
                str(reply),
            )
        elif verdict is None:
            # The checks gave no verdict for this row: an answer that was not checked is not a pass.
            error_type = ErrorType.CHECK_CRASHED
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(error_type, recipe, item),
                reply,
                error_type,
                "The checks said nothing about this answer.",
            )
        elif verdict.passed:
            then = policy.after_success(recipe)
            asks_person = then.outcome == "deferred"
            report = Report(
                item,
                rendered.prompt_hash,
                then,
                reply,
                ErrorType.HUMAN_ONLY if asks_person else None,
                f"The recipe {recipe.name} always asks a person; the answer passed every check."
                if asks_person
                else None,
                _repairs(verdict),
                text=verdict.text,
                data=verdict.data,
                citations=verdict.citations,
            )
        else:
            error_type = verdict.failures[0].error_type
            report = Report(
                item,
                rendered.prompt_hash,
                self._after(error_type, recipe, item),
                reply,
                error_type,
                "; ".join(failure.message for failure in verdict.failures),
                [failure.as_json() for failure in verdict.failures] + _repairs(verdict),
                text=verdict.text,
                data=verdict.data,
                citations=verdict.citations,
            )
        return report

    def _after(
        self, error_type: ErrorType, recipe: Recipe, item: ClaimedItem, retry_after: float | None = None
    ) -> policy.Next:
        then = policy.after_failure(
            error_type,
            recipe,
            self.settings,
            attempts=item.attempts,
            returns=self._returns.get(item.id, 0),
            retry_after=retry_after,
            deterministic=self.backend.name == "extractive",
        )
        if then.next_recipe is not None and then.next_recipe not in self.recipes:
            raise PenstockError(
                f"The recipe {recipe.name} falls back to {then.next_recipe!r}, which does not exist. "
                f"Write that recipe, or correct `fallback` in {recipe.path}."
            )
        return then


def _repairs(verdict: Verdict) -> list[dict[str, Any]]:
    """What was put right before the checks, beside them: no failure, so it has no error type."""
    return [
        {"layer": "shape", "check": "repaired", "error_type": None, "message": repair}
        for repair in verdict.repairs
    ]


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
