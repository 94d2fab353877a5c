"""Asking a batch: each request sent through the gate, answered or failed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from models.calls import ModelAnswer, ModelCallError, ModelRequest, Passage
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
from models.recipe import ROLLUP, Recipe, Rendered
from tasks.execute.again import NEW, Past, adapted
from tasks.execute.calls import Calls
from tasks.execute.gate import INTERACTIVE, NORMAL
from tasks.execute.packing import Call, Packed
from tasks.execute.reuse import Reply
from tasks.execute.stopping import stop
from tasks.execute.work import Batch, ClaimedItem


class Render(Protocol):
    def __call__(
        self,
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        """`share`: of the prompt's length, that may be sent of it."""
        ...


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
        question=rendered.question,
        passages=rendered.passages,
        rolls_up=batch.recipe == ROLLUP,
        schema=header.answer_schema,
        max_tokens=rendered.max_tokens or header.max_tokens,
        temperature=header.temperature,
        context_tokens=context_tokens,
        too_long=rendered.too_long,
    )


def prompt_of(
    render: Render,
    recipe: Recipe,
    item: ClaimedItem,
    passages: Sequence[Passage],
    past: Past | None,
    endpoint: Endpoint,
) -> Rendered:
    """The prompt of an item's next try; `past` None: of its first."""
    if past is None:
        return render(recipe, item, passages, None)
    rendered = render(recipe, item, passages, past.reason, share=past.share)
    return adapted(rendered, recipe, past, endpoint.context_tokens)


def too_late(past: Past) -> ModelCallError:
    """Of an item whose time was up before it could be asked again; with what it failed with the last time."""
    last = f" The last time ({past.error_type}): {past.error}" if past.error else ""
    return ModelCallError(ErrorType.TIMEOUT, f"Its time was up before it could be asked.{last}")


@dataclass(slots=True)
class Asked:
    """What became of a batch so far, item by item: of one that is stopped in the middle, too."""

    replies: list[Reply]
    began: float | None = None  # when its first request was let in, on the loop's clock
    calls: list[ModelAnswer | ModelCallError] = field(default_factory=list)  # what each request was answered
    under_way: int = 0  # requests that were sent and not answered yet
    seconds: dict[int, float] = field(
        default_factory=dict
    )  # by place, that its call took, or its share of it
    packed: dict[int, Packed] = field(default_factory=dict)  # by place, of those that were asked with others
    whole: bool = False  # nothing is waited for any more

    @classmethod
    def of(cls, batch: Batch) -> Asked:
        return cls([None] * len(batch.items))

    @property
    def answered(self) -> bool:
        return any(reply is not None for reply in self.replies)

    def told(self, batch: Batch, simulated: Collection[int]) -> list[Reply]:
        """The replies. `simulated`: items whose material is, and so their answers."""
        return [
            replace(reply, simulated=True)
            if isinstance(reply, ModelAnswer) and item.id in simulated
            else reply
            for item, reply in zip(batch.items, self.replies, strict=True)
        ]

    def spent(self) -> list[Reply]:
        """What the requests were answered, and those that were given up while the server worked on them."""
        stopped = ModelCallError(ErrorType.TIMEOUT, "given up", timeout=TimeoutKind.TOTAL)
        return [*self.calls, *[stopped] * self.under_way]

    def got(self, call: Call, reply: ModelAnswer | ModelCallError) -> None:
        """What came of a request, for each of its items."""
        self.calls.append(reply)
        replies, foreign = call.replies(reply)
        for place, each in zip(call.places, replies, strict=True):
            self.replies[place] = each
        for place, codes in zip(call.places, call.codes, strict=False):  # none of a call for one item
            self.packed[place] = Packed(call.places[0], len(call.places), foreign, codes.key)


@dataclass(frozen=True, slots=True)
class Asker:
    calls: Calls
    past: Mapping[int, Past] = field(default_factory=dict)  # by item; not of those that were never tried
    until: Mapping[int, float] = field(
        default_factory=dict
    )  # by item, of those that were: when its time is up, on the loop's clock
    limit: float | None = None  # seconds that the others have, from when they are asked

    async def ask_all(self, batch: Batch, calls: Sequence[Call], into: Asked) -> None:
        """Make these calls for items of the batch.

        A worker per slot, not a task per item. It stays in the gate until the batch has nothing left to send, or
        somebody before it in line wants in: so the batch before it ends first, and is checked while this one asks.
        """
        if not calls:  # its budget allows none, or nothing has to be asked
            return
        waiting = iter(calls)
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
                while (call := next(waiting, None)) is not None:
                    items = [batch.items[place] for place in call.places]
                    ends = [self.until[item.id] for item in items if item.id in self.until]
                    until = min(ends, default=None)
                    try:
                        async with asyncio.timeout_at(until):
                            if not await may_ask():
                                return
                    except TimeoutError:  # its own time was up while it waited
                        for place, item in zip(call.places, items, strict=True):
                            if self.until.get(item.id, math.inf) <= clock():
                                into.replies[place] = too_late(self.past.get(item.id, NEW))
                        continue
                    except ModelCallError as error:  # its model could not be loaded
                        into.got(call, error)
                        return
                    into.under_way += 1
                    sent = clock()
                    if self.limit is not None and any(item.id not in self.past for item in items):
                        until = min(sent + self.limit, until or math.inf)
                    reply = await self.calls.ask(call.request, until)
                    into.under_way -= 1
                    into.got(call, reply)
                    into.seconds |= dict.fromkeys(call.places, (clock() - sent) / len(call.places))
                    if gate.must_yield(turn=batch.id, lane=lane):
                        leave()
            finally:
                leave()

        workers = [asyncio.ensure_future(work()) for _ in range(min(self.calls.endpoint.slots, len(calls)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                stop(worker)
            await asyncio.wait(workers)
