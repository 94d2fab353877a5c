"""Asking the judge of a recipe: through the gate of an endpoint that has its model, by its budget and under its lease.

The questions of a batch are asked as a batch: its model is loaded once for them, and no more are in flight than the
endpoint takes. They are never taken from the cache, nor shared: each is a vote. What can't be asked has its reason, and
is a check that crashed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.enums import ErrorType
from models.errors import BackendUnavailable, PenstockError
from models.verdict import BatchVerdict, JudgeQuestion
from tasks.execute.asking import Asked, Asker
from tasks.execute.doors import Door, Doors
from tasks.execute.packing import Call, singly
from tasks.execute.reuse import Reply
from tasks.execute.work import Batch
from tasks.tokens import CHARACTERS_PER_TOKEN, weight

MAX_TOKENS = 512
"""Of a vote: one word and one sentence, and thoughts before them."""

LEAST_WAIT = 0.1
LOOK_SECONDS = 1.0

TRIES = 3
"""Of a question whose server was at fault; what its model says counts, whatever it is."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What is given to the checks of one batch: asks all questions, and gives a text or an error for each."""

    batch: Batch  # whose answers are judged: its place in line is theirs
    own: Door
    doors: Doors
    deadline: float | None  # on the loop's clock

    async def __call__(self, questions: Sequence[JudgeQuestion]) -> list[str | Exception]:
        replies: list[Reply] = [None] * len(questions)
        reason = "its endpoint stopped before it was asked"
        for _ in range(TRIES):
            left = [place for place, reply in enumerate(replies) if _asks_again(reply)]
            if not left or self._is_late():
                break
            try:
                async with self.doors.to(questions[0].model, self.own, self.batch.recipe) as door:
                    way = asyncio.create_task(self._make_way(door))
                    try:
                        some = await self._ask(door, [questions[place] for place in left])
                    finally:
                        way.cancel()
                        await asyncio.wait([way])
                    reason = door.pressure.closed_to(self.batch.recipe, questions[0].model) or reason
            except PenstockError as error:
                reason = str(error)
                break
            for place, reply in zip(left, some, strict=True):
                replies[place] = reply if reply is not None else replies[place]
        return [_said(reply, reason) for reply in replies]

    async def _make_way(self, door: Door) -> None:
        """Where the judge waits for memory of the device that our own model has, that one goes while it has nothing to
        do: the batch that waits for the judge would keep it for ever."""
        pressure = self.own.pressure
        while door is not self.own:
            await asyncio.sleep(LOOK_SECONDS)
            if pressure.contested is not None and pressure.gate.model is not None and not pressure.gate.wants:
                await pressure.hand_over()

    def _is_late(self) -> bool:
        return self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline

    async def _ask(self, door: Door, questions: Sequence[JudgeQuestion]) -> list[Reply]:
        """Once each, as far as the budget and the endpoint let it."""
        model = questions[0].model
        requests = [
            ModelRequest(
                item_id=each.item_id,
                model=model,
                system=each.system,
                prompt=each.prompt,
                schema=each.schema,
                max_tokens=MAX_TOKENS,
                temperature=each.temperature,
                context_tokens=door.endpoint.context_tokens,
            )
            for each in questions
        ]
        items = {item.id: item for item in self.batch.items}
        asked = tuple(items[each.item_id] for each in questions)
        batch = Batch(self.batch.id, self.batch.recipe, model, asked, self.batch.interactive)
        longest = max(weight(each.system) + weight(each.prompt) for each in requests)
        tokens = longest // CHARACTERS_PER_TOKEN + 1
        replies: list[Reply] = [None] * len(requests)
        rest = list(range(len(requests)))
        while rest:
            # A model that was left alone after failures is tried with one question.
            tries = door.pressure.wants_trial(model)
            if tries and not await door.pressure.take_trial(model):
                break
            grant = await door.pressure.reserve(1 if tries else len(rest), tokens, MAX_TOKENS, model)
            if not grant.requests:
                if tries:
                    await door.pressure.not_asked(model)
                if grant.stopped or self._is_late():
                    break
                await asyncio.sleep(max(grant.wait, LEAST_WAIT))
                continue
            now, rest = rest[: grant.requests], rest[grant.requests :]
            so_far = Asked(replies)
            try:
                await _while_held(door, Asker(door.calls), batch, singly(requests, now), so_far)
            finally:
                await door.pressure.settle(batch, so_far.spent(), grant, tokens + MAX_TOKENS)
        return replies


def unjudged(checked: BatchVerdict) -> set[int]:
    """The items whose judge could not be asked."""
    return {
        item
        for item, verdict in checked.verdicts.items()
        if any(
            each.layer == "judge" and each.error_type is ErrorType.CHECK_CRASHED for each in verdict.failures
        )
    }


async def _while_held(door: Door, asker: Asker, batch: Batch, calls: Sequence[Call], into: Asked) -> None:
    """Ask as long as the endpoint's lease is held; what is under way when it is lost is given up."""
    work = asyncio.ensure_future(asker.ask_all(batch, calls, into))
    lost = asyncio.ensure_future(door.lease.lost.wait())
    try:
        await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, lost):
            task.cancel()
        await asyncio.wait({work, lost})


def _asks_again(reply: Reply) -> bool:
    return reply is None or (isinstance(reply, ModelCallError) and not reply.error_type.charged)


def _said(reply: Reply, reason: str) -> str | Exception:
    if reply is None:
        return BackendUnavailable(reason)
    return reply.text if isinstance(reply, ModelAnswer) else reply
