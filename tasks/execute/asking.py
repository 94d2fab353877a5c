"""Asking a batch: each prompt rendered, sent through the gate, answered or failed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from models.calls import Backend, ModelAnswer, ModelCallError, ModelRequest, Passage
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
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

    @property
    def rests(self) -> float: ...

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


@dataclass(slots=True)
class Asked:
    """What became of a batch so far, item by item: of one that is stopped in the middle, too."""

    rendered: list[Rendered | None]
    replies: list[Reply]
    began: float | None = None  # when its first request was let in, on the loop's clock
    under_way: set[int] = field(default_factory=set)  # sent, and not answered yet

    @classmethod
    def of(cls, batch: Batch) -> Asked:
        return cls([None] * len(batch.items), [None] * len(batch.items))

    def spent(self) -> list[Reply]:
        """The replies, with those that were given up while the server worked on them."""
        stopped = ModelCallError(ErrorType.TIMEOUT, "given up", timeout=TimeoutKind.TOTAL)
        return [stopped if place in self.under_way else reply for place, reply in enumerate(self.replies)]


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
        into: Asked,
    ) -> None:
        """A worker per slot, not a task per item. It stays in the gate until the batch has nothing left to send, or
        somebody before it in line wants in: so the batch before it ends first, and is checked while this one asks.
        """
        items = batch.items
        if not items:  # its budget allows none
            return
        numbers = iter(range(len(items)))
        gate, weight = self.weather.gate, self.weather.weight(batch.model)
        most, lane = self.weather.most(batch.model), INTERACTIVE if batch.interactive else NORMAL
        clock = asyncio.get_running_loop().time

        async def work() -> None:
            mine = False

            def leave() -> None:
                nonlocal mine
                if mine:
                    mine = False
                    gate.leave(lane=lane, weight=weight)

            async def may_ask() -> bool:
                """In the gate, while the server wants to be asked. While it rests, others have its seats."""
                nonlocal mine
                while True:
                    if self.weather.rests > 0:
                        leave()
                    if not await self.weather.may_send(batch.model):
                        return False
                    if mine:
                        return True
                    mine = await gate.enter(batch.model, turn=batch.id, lane=lane, weight=weight, most=most)
                    if not mine:
                        return False
                    if into.began is None:
                        into.began = clock()

            try:
                while (number := next(numbers, None)) is not None:
                    item = items[number]
                    try:
                        if not await may_ask():
                            return
                    except ModelCallError as error:  # its model could not be loaded
                        into.replies[number] = error
                        into.rendered[number] = self.render(
                            recipe, item, passages[number], reasons.get(item.id)
                        )
                        return
                    prompt = self.render(recipe, item, passages[number], reasons.get(item.id))
                    into.rendered[number] = prompt
                    into.under_way.add(number)
                    into.replies[number] = await self._ask(batch, item, recipe, prompt)
                    into.under_way.discard(number)
                    if gate.must_yield(turn=batch.id, lane=lane):
                        leave()
            finally:
                leave()

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.endpoint.slots, len(items)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)

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
