"""Golden sets asked of variants: under the endpoint's lease, through its gate, within its limits and its account's.

It is one more worker of the endpoint, as a drain is: while a drain holds it, it waits. But it claims nothing and writes
nothing of what it gets. The exact cache is not asked, nor is a recipe's judge; each case is asked once, and again only
where the server was at fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from backends.replies import same_model
from models.calls import Backend, ModelAnswer, ModelCallError, Passage, Probe
from models.errors import BackendUnavailable, InputError
from models.recipe import Recipe, Rendered
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, Verdict
from sql.connection import Database
from tasks.evaluate.cases import Case, GoldenSet
from tasks.evaluate.results import CaseResult, VariantResult
from tasks.evaluate.scoring import score
from tasks.execute.asking import Asked, Asker, as_request
from tasks.execute.budget import cost
from tasks.execute.calls import Calls
from tasks.execute.lease import endpoint_lease
from tasks.execute.order import Group
from tasks.execute.packing import singly
from tasks.execute.pressure import Pressure
from tasks.execute.reuse import Reply
from tasks.execute.work import Batch, ClaimedItem
from tasks.prompts import render
from tasks.tokens import CHARACTERS_PER_TOKEN
from tasks.validate import validate_batch

TRIES = 3
"""Of a case whose server was at fault; then it is not known."""

WAIT_SECONDS = 2.0
"""Between looks whether the endpoint is free, at most."""

LONGEST_PAUSE = 10.0
"""Seconds before a case is tried again, unless the server asks for more."""


@dataclass(frozen=True, slots=True)
class Seat:
    """The endpoint that is asked, and what it said of itself."""

    backend: Backend
    endpoint: Endpoint
    probe: Probe


@dataclass(frozen=True, slots=True)
class Variant:
    """A model, and the recipes that it is asked with, by name."""

    name: str
    model: str
    recipes: Mapping[str, Recipe]


async def evaluate(
    database: Database,
    settings: Settings,
    seat: Seat,
    sets: Sequence[GoldenSet],
    variants: Sequence[Variant],
    *,
    on_wait: Callable[[str], None] = lambda words: None,
    on_case: Callable[[], None] = lambda: None,
) -> list[VariantResult]:
    """Ask all cases of all variants; results in the order of `variants`. `on_case` is called after each case.

    Raises InputError for a model that the endpoint does not have, BackendUnavailable where it may not be asked now or
    wants to be left alone for long, LeaseLost.
    """
    for variant in variants:
        _check(seat, variant)
    connection = await database.aconnect(autocommit=True, application_name="penstock eval")
    try:
        async with _leased(database, settings, seat, connection, on_wait) as bench:
            found: dict[str, VariantResult] = {}
            # One model after another, or it would be loaded for each variant.
            for variant in sorted(variants, key=lambda each: [v.model for v in variants].index(each.model)):
                found[variant.name] = await bench.run(sets, variant, on_case)
    finally:
        await connection.close()
    return [found[variant.name] for variant in variants]


def _check(seat: Seat, variant: Variant) -> None:
    has = [model.name for model in seat.probe.models]
    if has and not any(same_model(variant.model, name) for name in has):
        raise InputError(
            f"{seat.endpoint.backend} at {seat.endpoint.url} does not have the model {variant.model!r}; it has "
            f"{', '.join(has[:8])}. Correct --model, or get it there."
        )


@contextlib.asynccontextmanager
async def _leased(
    database: Database,
    settings: Settings,
    seat: Seat,
    connection: psycopg.AsyncConnection,
    on_wait: Callable[[str], None],
) -> AsyncIterator[_Bench]:
    """The endpoint's lease and what watches it, as soon as no drain holds it."""
    lock = asyncio.Lock()

    async def query(ask: Callable[[psycopg.AsyncConnection], Awaitable[Any]]) -> Any:
        async with lock, connection.transaction():
            return await ask(connection)

    said = False
    while True:
        async with endpoint_lease(
            lambda: database.aconnect(autocommit=True, application_name="penstock heartbeat"),
            backend=seat.endpoint.backend,
            url=seat.endpoint.url,
            model=seat.endpoint.model,
            heartbeat=settings.heartbeat,
        ) as lease:
            if lease is not None:
                pressure = Pressure(
                    query,
                    seat.backend,
                    seat.endpoint,
                    seat.endpoint.model or "",
                    settings,
                    lease,
                    None,
                    by_person=True,
                )
                await pressure.start()
                watch = asyncio.create_task(_watch(pressure), name=f"watch {lease.resource}")
                try:
                    yield _Bench(seat, settings, pressure, watch)
                finally:
                    watch.cancel()
                    await asyncio.wait([watch])
                    await pressure.aclose()
                return
        if not said:
            said = True
            on_wait(f"A drain works on {seat.endpoint.backend} at {seat.endpoint.url}; waiting for it.")
        await asyncio.sleep(min(settings.heartbeat, WAIT_SECONDS))


async def _watch(pressure: Pressure) -> None:
    while True:
        await pressure.look()
        await pressure.watched()


@dataclass(slots=True)
class _Bench:
    """A leased endpoint."""

    seat: Seat
    settings: Settings
    pressure: Pressure
    watch: asyncio.Task[None]
    _batches: int = field(default=0)

    async def run(
        self, sets: Sequence[GoldenSet], variant: Variant, on_case: Callable[[], None]
    ) -> VariantResult:
        results: list[CaseResult] = []
        for golden in sets:
            recipe = variant.recipes[golden.recipe]
            size = max(1, self.settings.batch_size // 2)
            for start in range(0, len(golden.cases), size):
                cases = golden.cases[start : start + size]
                results += await self._ask(golden, cases, recipe, variant.model, on_case)
        hashes = {golden.recipe: variant.recipes[golden.recipe].hash for golden in sets}
        simulated = self.seat.probe.simulated or any(each.simulated for each in results)
        return VariantResult(
            name=variant.name, model=variant.model, recipes=hashes, cases=tuple(results), simulated=simulated
        )

    async def _ask(
        self,
        golden: GoldenSet,
        cases: Sequence[Case],
        recipe: Recipe,
        model: str,
        on_case: Callable[[], None],
    ) -> list[CaseResult]:
        items = tuple(_item(number, case, golden) for number, case in enumerate(cases, 1))
        prompts = [self._rendered(recipe, item, case) for item, case in zip(items, cases, strict=True)]
        self._batches += 1
        batch = Batch(self._batches, recipe.name, model, items)
        replies: list[Reply] = [None] * len(items)
        for number in range(TRIES):
            open_ = [place for place, reply in enumerate(replies) if _again(reply)]
            if not open_:
                break
            if number:
                await self._pause([replies[place] for place in open_])
            await self._send(batch, recipe, prompts, open_, replies)
        verdicts = await self._checked(recipe, items, prompts, replies)
        results = []
        for case, item, reply in zip(cases, items, replies, strict=True):
            results.append(self._result(golden, case, model, reply, verdicts.get(item.id)))
            on_case()
        return results

    async def _send(
        self,
        batch: Batch,
        recipe: Recipe,
        prompts: Sequence[Rendered],
        places: Sequence[int],
        replies: list[Reply],
    ) -> None:
        """Ask for these places, in as many parts as its budget asks for."""
        context = self.seat.endpoint.context_tokens
        requests = [
            as_request(batch, item, prompt, context_tokens=context, recipes={recipe.name: recipe})
            for item, prompt in zip(batch.items, prompts, strict=True)
        ]
        longest = max(len(prompt.system) + len(prompt.prompt) for prompt in prompts)
        tokens = longest // CHARACTERS_PER_TOKEN + 1
        asker = Asker(Calls(self.seat.backend, self.seat.endpoint, self.pressure, None))
        waiting = list(places)
        while waiting and (most := await self._allowed(batch.model)):
            wanted = min(most, len(waiting))
            grant = await self.pressure.reserve(wanted, tokens, recipe.header.max_tokens, batch.model)
            part, waiting = waiting[: grant.requests], waiting[grant.requests :]
            so_far = Asked.of(batch)
            try:
                await asker.ask_all(batch, singly(requests, part), so_far)
            finally:
                each = tokens + recipe.header.max_tokens
                await self.pressure.settle(batch, so_far.spent(), grant, each)
            for place in part:
                replies[place] = so_far.replies[place]

    async def _allowed(self, model: str) -> int:
        """How many may be asked now: one of a model that is tried again after failures, none while it is left alone.

        Waits while the endpoint or its account rests. Raises BackendUnavailable where nothing may be asked for long.
        """
        mine = Group("", "", model, 0, 0.0)
        while True:
            if self.watch.done():
                self.watch.result()
            self.pressure.lease.check()
            if why := self.pressure.stop_because or self.pressure.hold_because:
                raise BackendUnavailable(why)
            waited = self.pressure.contested
            if waited is not None and waited >= self.settings.max_wait:
                await self.pressure.hand_over()
            if (rest := self.pressure.rests) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self.pressure.lease.lost.wait(), min(rest, self.settings.heartbeat)
                    )
            elif self.pressure.wants_trial(model):
                return int(self.pressure.takes(mine) and await self.pressure.take_trial(model))
            elif not self.pressure.takes(mine):
                raise BackendUnavailable(f"The model {model} is paused; `penstock pause` lists what is.")
            else:
                return sys.maxsize

    async def _pause(self, replies: Sequence[Reply]) -> None:
        asked = [reply.retry_after or 0.0 for reply in replies if isinstance(reply, ModelCallError)]
        await asyncio.sleep(max(min(self.settings.retry_delay, LONGEST_PAUSE), *asked, 0.0))

    async def _checked(
        self,
        recipe: Recipe,
        items: Sequence[ClaimedItem],
        prompts: Sequence[Rendered],
        replies: Sequence[Reply],
    ) -> Mapping[int, Verdict]:
        """Each by itself: what one case scores must not depend on which others there are."""
        alone = replace(recipe, header=recipe.header.model_copy(update={"judge": None}))
        found: dict[int, Verdict] = {}
        for item, prompt, reply in zip(items, prompts, replies, strict=True):
            if isinstance(reply, ModelAnswer):
                row = AnswerRow(
                    item.id, prompt.question, reply, prompt.passages, files=prompt.files, fence=prompt.fence
                )
                found |= (await validate_batch(alone, [row])).verdicts
        return found

    def _result(
        self, golden: GoldenSet, case: Case, model: str, reply: Reply, verdict: Verdict | None
    ) -> CaseResult:
        found = score(case, reply, verdict)
        answer = reply if isinstance(reply, ModelAnswer) else reply.partial if reply is not None else None
        return CaseResult(
            golden=golden.name,
            case=case.id,
            hash=case.hash,
            score=found.value,
            missed=found.missed,
            text=verdict.text if verdict is not None else answer.text if answer is not None else "",
            seconds=answer.seconds if answer is not None else None,
            cost=cost(answer, self.pressure.price(model)) if answer is not None else None,
            simulated=answer is not None and answer.simulated,
        )

    def _rendered(self, recipe: Recipe, item: ClaimedItem, case: Case) -> Rendered:
        passages = [Passage(cite, text, -place) for place, (cite, text) in enumerate(case.passages.items())]
        return render(recipe, item, passages, context_tokens=self.seat.endpoint.context_tokens)


def _again(reply: Reply) -> bool:
    return reply is None or (isinstance(reply, ModelCallError) and not reply.error_type.charged)


def _item(number: int, case: Case, golden: GoldenSet) -> ClaimedItem:
    return ClaimedItem(
        id=number,
        board_id=0,
        recipe=golden.recipe,
        model=None,
        attempts=0,
        tries=1,
        kind=case.kind,
        ext_id=None,
        title=case.title,
        body=case.body,
        line=1,
        labels={},
        source=f"{golden.name}.md",
        board_title=golden.name,
        parent_title=case.parent or None,
        parent_body=None,
    )
