"""A drain whose endpoint takes a provider's batches: the same items and the same prompts, asked by the thousand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from models.calls import Batches, Passage
from models.recipe import Recipe, Rendered
from tasks.execute.asking import as_request
from tasks.execute.batch_runner import BatchRunner
from tasks.execute.limits import Grant, Reservation
from tasks.execute.provider_batch import run_provider_batches
from tasks.execute.provider_rows import Prepared
from tasks.execute.reuse import Reply
from tasks.execute.work import Batch, Tally
from tasks.tokens import CHARACTERS_PER_TOKEN


@dataclass(slots=True)
class ByProvider:
    runner: BatchRunner
    claim: Callable[[int], Awaitable[Batch | None]]
    _granted: dict[int, tuple[Reservation, int]] = field(
        default_factory=dict
    )  # by item that a batch is to have: what is reserved for it, and the estimate of its tokens

    async def send(self, batches: Batches) -> Tally:
        """By the provider's batch API: until nothing is left to send, and none of them is out."""
        return await run_provider_batches(
            batches,
            self.runner.door.endpoint,
            self.runner.door.lease,
            query=self.runner.store.query,
            claim=self.claim,
            prepare=self._prepared,
            request=partial(
                as_request,
                context_tokens=self.runner.door.endpoint.context_tokens,
                recipes=self.runner.recipes,
            ),
            settle=self._finish_batch,
            give_back=self._not_sent,
            recipes=self.runner.recipes,
            breaker_failures=self.runner.settings.breaker_failures,
            deadline=self.runner.deadline,
        )

    async def _prepared(self, batch: Batch) -> Prepared:
        recipe = self.runner.recipes[batch.recipe]
        past = await self.runner.store.past(batch.items)
        batch, passages, simulated = await self.runner.material(batch, recipe)
        rendered = await self.runner.rendered(batch, recipe, passages, past)
        batch, passages, rendered = await self._without_known(batch, passages, rendered)
        tokens = self._estimate(batch, recipe, passages)
        grant = await self.runner.door.pressure.reserve(
            len(batch.items), tokens, recipe.header.max_tokens, batch.model
        )
        if grant.reserved is not None:
            each = grant.reserved.part(1)
            self._granted |= {
                item.id: (each, tokens + recipe.header.max_tokens) for item in batch.items[: grant.requests]
            }
        if unasked := batch.items[grant.requests :]:
            await self.runner.store.give_back([item.id for item in unasked])
            batch = replace(batch, items=batch.items[: grant.requests])
        return Prepared(batch, tuple(rendered[: len(batch.items)]), simulated)

    async def _without_known(
        self, batch: Batch, passages: list[list[Passage]], rendered: list[Rendered]
    ) -> tuple[Batch, list[list[Passage]], list[Rendered]]:
        """Settle what has an answer already, and go on with the rest."""
        recipe = self.runner.recipes[batch.recipe]
        plan = await self.runner.reuse.keyed(batch, recipe, self.runner.requests(batch, rendered), rendered)
        await self.runner.reuse.look(batch, plan)
        if not plan.found:
            return batch, passages, rendered
        known = sorted(plan.found)
        settled = replace(batch, items=tuple(batch.items[place] for place in known))
        answers = [plan.found[place].answer for place in known]
        prompts = [rendered[place] for place in known]
        self.runner.tally.add(await self.runner.finish(settled, prompts, answers, plan.only_found()))
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
            await self.runner.door.pressure.settle(batch, [replies[place] for place in mine], grant, tokens)
        recipe = self.runner.recipes[batch.recipe]
        plan = await self.runner.reuse.keyed(batch, recipe, self.runner.requests(batch, rendered), rendered)
        return await self.runner.finish(batch, rendered, replies, plan)

    async def _not_sent(self, items: Sequence[int]) -> None:
        """Give back items of a provider's batch, and what was reserved for them."""
        granted = [self._granted.pop(item)[0] for item in items if item in self._granted]
        if granted:
            await self.runner.door.pressure.unspent(granted[0].part(len(granted)))
        await self.runner.store.give_back(items)

    def _estimate(self, batch: Batch, recipe: Recipe, passages: Sequence[Sequence[Passage]]) -> int:
        """Tokens of the longest prompt of a batch, roughly: what a budget is reserved by."""
        texts = [
            len(item.question) + len(item.parent_body or "") + sum(len(passage.text) for passage in context)
            for item, context in zip(batch.items, passages, strict=True)
        ]
        own = len(recipe.system) + len(recipe.prompt)
        return (own + max(texts, default=0)) // CHARACTERS_PER_TOKEN + 1
