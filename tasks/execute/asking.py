"""Asking a batch: each prompt rendered, sent through the gate, answered or failed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.calls import Backend, ModelAnswer, ModelCallError, ModelRequest, Passage
from models.endpoint import Endpoint
from models.recipe import ROLLUP, Recipe, Rendered
from tasks.execute.gate import INTERACTIVE, NORMAL, Gate
from tasks.execute.work import Batch, ClaimedItem

Reply = ModelAnswer | ModelCallError | None
"""None: not sent, because the drain is stopping or its model is left alone."""


class Render(Protocol):
    def __call__(
        self, recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None
    ) -> Rendered: ...


class Weather(Protocol):
    """What the asker has to look at before each call, and to tell after it (tasks/execute/pressure.py)."""

    gate: Gate

    async def may_send(self, model: str) -> bool: ...

    def answered(self, model: str, answer: ModelAnswer, sent_at: float, in_flight: int) -> None: ...

    async def failed(self, model: str, error: ModelCallError, sent_at: float) -> None: ...

    def weight(self, model: str) -> int: ...

    def most(self, model: str) -> int | None: ...


def as_request(
    batch: Batch,
    item: ClaimedItem,
    rendered: Rendered,
    *,
    context_tokens: int,
    recipes: Mapping[str, Recipe],
) -> ModelRequest:
    """What a model is asked for an item of a batch."""
    header = recipes[batch.recipe].header
    return ModelRequest(
        item_id=item.id,
        model=batch.model,
        system=rendered.system,
        prompt=rendered.prompt,
        question=item.question,
        passages=rendered.passages,
        rolls_up=batch.recipe == ROLLUP,
        schema=header.answer_schema,
        max_tokens=header.max_tokens,
        temperature=header.temperature,
        context_tokens=context_tokens,
    )


@dataclass(frozen=True, slots=True)
class Asker:
    backend: Backend
    endpoint: Endpoint
    render: Render
    weather: Weather
    deadline: float | None  # on the loop's clock

    async def ask_all(
        self,
        batch: Batch,
        recipe: Recipe,
        passages: Sequence[Sequence[Passage]],
        reasons: Mapping[int, str],
    ) -> tuple[list[Rendered | None], list[Reply]]:
        """A worker per slot, not a task per item. It stays in the gate until the batch has nothing left to send, or
        somebody before it in line wants in: so the batch before it ends first, and is checked while this one asks.
        """
        items = batch.items
        if not items:  # its budget allows none
            return [], []
        rendered: list[Rendered | None] = [None] * len(items)
        replies: list[Reply] = [None] * len(items)
        numbers = iter(range(len(items)))
        gate, weight = self.weather.gate, self.weather.weight(batch.model)
        most, lane = self.weather.most(batch.model), INTERACTIVE if batch.interactive else NORMAL

        async def work() -> None:
            inside = False
            try:
                while (number := next(numbers, None)) is not None:
                    if not inside:
                        try:
                            inside = await gate.enter(
                                batch.model, turn=batch.id, lane=lane, weight=weight, most=most
                            )
                        except ModelCallError as error:  # its model could not be loaded
                            replies[number] = error
                            rendered[number] = self.render(
                                recipe, items[number], passages[number], reasons.get(items[number].id)
                            )
                            return
                    if not inside or not await self.weather.may_send(batch.model):
                        return
                    item = items[number]
                    prompt = self.render(recipe, item, passages[number], reasons.get(item.id))
                    rendered[number] = prompt
                    replies[number] = await self._ask(batch, item, recipe, prompt)
                    if gate.must_yield(turn=batch.id, lane=lane):
                        inside = False
                        gate.leave(lane=lane, weight=weight)
            finally:
                if inside:
                    gate.leave(lane=lane, weight=weight)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.endpoint.slots, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
        return rendered, replies

    async def _ask(self, batch: Batch, item: ClaimedItem, recipe: Recipe, rendered: Rendered) -> Reply:
        """One call, within its deadline."""
        started = asyncio.get_running_loop().time()
        deadline = started + self.endpoint.call_timeout
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)
        request = as_request(
            batch,
            item,
            rendered,
            context_tokens=self.endpoint.context_tokens,
            recipes={recipe.name: recipe},
        )
        in_flight = self.weather.gate.in_flight
        try:
            answer = await self.backend.answer(request, deadline)
        except ModelCallError as error:
            await self.weather.failed(batch.model, error, started)
            return error
        self.weather.answered(batch.model, answer, started, in_flight)
        return answer
