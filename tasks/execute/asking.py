"""Asking a batch: each request sent through the gate, answered or failed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from models.calls import ModelCallError, ModelRequest, Passage
from models.enums import ErrorType, TimeoutKind
from models.recipe import ROLLUP, Recipe, Rendered
from tasks.execute.calls import Calls
from tasks.execute.gate import INTERACTIVE, NORMAL
from tasks.execute.reuse import Plan, Reply
from tasks.execute.work import Batch, ClaimedItem


class Render(Protocol):
    def __call__(
        self, recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None
    ) -> Rendered: ...


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

    replies: list[Reply]
    began: float | None = None  # when its first request was let in, on the loop's clock
    under_way: set[int] = field(default_factory=set)  # sent, and not answered yet

    @classmethod
    def of(cls, batch: Batch) -> Asked:
        return cls([None] * len(batch.items))

    def spent(self) -> list[Reply]:
        """The replies, with those that were given up while the server worked on them."""
        stopped = ModelCallError(ErrorType.TIMEOUT, "given up", timeout=TimeoutKind.TOTAL)
        return [stopped if place in self.under_way else reply for place, reply in enumerate(self.replies)]


@dataclass(frozen=True, slots=True)
class Asker:
    calls: Calls

    async def ask_all(self, batch: Batch, places: Sequence[int], plan: Plan, into: Asked) -> None:
        """Ask for the items at these places of the batch.

        A worker per slot, not a task per item. It stays in the gate until the batch has nothing left to send, or
        somebody before it in line wants in: so the batch before it ends first, and is checked while this one asks.
        """
        if not places:  # its budget allows none, or nothing has to be asked
            return
        waiting = iter(places)
        weather = self.calls.weather
        gate, weight = weather.gate, weather.weight(batch.model)
        most, lane = weather.most(batch.model), INTERACTIVE if batch.interactive else NORMAL
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
                    if weather.rests > 0:
                        leave()
                    if not await weather.may_send(batch.model):
                        return False
                    if mine:
                        return True
                    mine = await gate.enter(batch.model, turn=batch.id, lane=lane, weight=weight, most=most)
                    if not mine:
                        return False
                    if into.began is None:
                        into.began = clock()

            try:
                while (place := next(waiting, None)) is not None:
                    try:
                        if not await may_ask():
                            return
                    except ModelCallError as error:  # its model could not be loaded
                        into.replies[place] = error
                        return
                    into.under_way.add(place)
                    into.replies[place] = await self.calls.ask(plan.requests[place])
                    into.under_way.discard(place)
                    if gate.must_yield(turn=batch.id, lane=lane):
                        leave()
            finally:
                leave()

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.calls.endpoint.slots, len(places)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
