"""Items sent as batches of a provider: half the price, an answer within a day, nothing lost in between.

    claim -> render -> rehearse -> write that it will be sent -> send -> keep its id -> ask for it -> settle

What was asked is in the database before it is sent. After a crash the next drain of the endpoint takes over what is
open: by its id, or, if the crash came between sending and keeping the id, by its label at the provider. Only when the
provider has no such batch do its items go back to be sent anew: at most one batch is paid for twice, and the log says
so. While a batch is out there its items hold no slot; items that changed on their board meanwhile ignore their answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from models.calls import (
    Batches,
    BatchReply,
    BatchState,
    BatchStatus,
    ModelAnswer,
    ModelCallError,
    ModelRequest,
)
from models.endpoint import Endpoint
from models.enums import ErrorType
from models.errors import BackendUnavailable
from models.recipe import Rendered
from tasks.execute.lease import Lease
from tasks.execute.provider_rows import Held, Prepared, ProviderRows, Query
from tasks.execute.work import Batch, ClaimedItem, Tally

log = logging.getLogger(__name__)

MOST_OPEN = 50
"""Batches that an endpoint has out at once."""

GIVE_UP_SECONDS = 3 * 86_400.0
"""A batch that nobody could ask for that long is no more: providers end one within a day or two."""

MAYBE_THERE = frozenset({ErrorType.TIMEOUT, ErrorType.CONNECTION, ErrorType.SERVER_ERROR})
"""After these, what was sent may have arrived all the same."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds."""

    first: float = 30.0  # until a batch is asked for the first time; then twice as long each time
    most: float = 600.0
    grace: float = 120.0  # for a batch whose sending was cut off to appear in its provider's list
    hold: float = 3600.0  # at most, before the next batch is sent after one failed
    submit: float = 600.0
    question: float = 60.0
    download: float = 900.0


Claim = Callable[[int], Awaitable[Batch | None]]
Prepare = Callable[[Batch], Awaitable[Prepared]]
MakeRequest = Callable[[Batch, ClaimedItem, Rendered], ModelRequest]
Settle = Callable[[Batch, Sequence[Rendered], Sequence[BatchReply]], Awaitable[Tally]]
GiveBack = Callable[[Sequence[int]], Awaitable[None]]


async def run_provider_batches(
    batches: Batches,
    endpoint: Endpoint,
    lease: Lease,
    *,
    query: Query,
    claim: Claim,
    prepare: Prepare,
    request: MakeRequest,
    settle: Settle,
    give_back: GiveBack,
    recipes: Collection[str],
    breaker_failures: int = 3,
    deadline: float | None = None,
    waits: Waits | None = None,
) -> Tally:
    """Send batches until nothing can be claimed and none is out; what former drains had sent is taken over first.

    `claim(n)` claims up to n items of one group, `prepare` renders them, `settle` checks and writes what came (as
    Drain.finish), `give_back` gives back what was not sent. Returns early at `deadline` (on the loop's clock): what is
    out then stays out, and the next drain goes on with it. Raises LeaseLost, and BackendUnavailable when the provider
    refused `breaker_failures` times in a row and nothing is out.
    """
    rows = ProviderRows(query, lease.token, endpoint.resource)
    work = _Work(
        batches=batches,
        endpoint=endpoint,
        lease=lease,
        rows=rows,
        claim=claim,
        prepare=prepare,
        request=request,
        settle=settle,
        give_back=give_back,
        recipes=recipes,
        breaker_failures=breaker_failures,
        deadline=deadline,
        waits=waits or Waits(),
    )
    return await work.run()


@dataclass(slots=True)
class _Work:
    batches: Batches
    endpoint: Endpoint
    lease: Lease
    rows: ProviderRows
    claim: Claim
    prepare: Prepare
    request: MakeRequest
    settle: Settle
    give_back: GiveBack
    recipes: Collection[str]
    breaker_failures: int
    deadline: float | None
    waits: Waits
    tally: Tally = field(default_factory=Tally)
    _open: dict[int, Held] = field(default_factory=dict)
    _failures: int = 0  # of sending, and of whole batches, since one ended well
    _refusals: int = 0  # of them, those that say that the provider or the key is not to be used
    _missing: bool = False
    _hold_until: float = 0.0
    _said: str = ""  # the latest of them

    async def run(self) -> Tally:
        await self._take_over()
        while True:
            self.lease.check()
            now = self._now()
            if self.deadline is not None and now >= self.deadline:
                return self.tally
            if now >= self._hold_until and len(self._open) < MOST_OPEN and await self._send_next():
                continue
            self._check_provider()
            if not self._open and now >= self._hold_until:
                return self.tally
            await self._rest()
            for held in [held for held in self._open.values() if held.next_at <= self._now()]:
                self.lease.check()
                await self._look(held)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _in(self, seconds: float) -> float:
        return self._now() + seconds

    async def _rest(self) -> None:
        """Until something is due, the lease is lost, or time is up. No connection, no slot, no transaction is held."""
        due = [held.next_at for held in self._open.values()]
        if self._hold_until > self._now():
            due.append(self._hold_until)
        if self.deadline is not None:
            due.append(self.deadline)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lease.lost.wait(), max(0.0, min(due) - self._now()))
        self.lease.check()

    # --- trouble with the provider as a whole ---------------------------------------------------------------

    def _failed(self, error: ModelCallError) -> None:
        """No new batch for a while; longer each time."""
        self._failures += 1
        if (
            error.error_type is ErrorType.MODEL_MISSING
        ):  # 404: it has no such thing, and won't have it in a minute
            self._missing = True
        self._refusals += error.error_type.rule.breaker
        self._said = str(error)
        rest = self.waits.first * 2 ** min(self._failures - 1, 16)
        rest = min(max(rest, error.retry_after or 0.0), self.waits.hold)
        self._hold_until = self._in(rest)
        log.warning("%s; the next batch is sent in %.0f s at the earliest.", self._said.rstrip("."), rest)

    def _check_provider(self) -> None:
        if any(held.provider_id for held in self._open.values()):
            return
        place = f"{self.endpoint.backend} at {self.endpoint.url}"
        kept = "Nothing is lost and no attempt was charged"
        if self._missing:
            raise BackendUnavailable(
                f"{place} does not have what batches = true asks it for: {self._said} {kept}: take batches out of "
                "penstock.toml where the server has no batch API, then run the same command again."
            )
        if self._refusals >= self.breaker_failures:
            raise BackendUnavailable(
                f"The batch API of {place} failed {self._refusals} times in a row; the last time: "
                f"{self._said.rstrip('.')}. {kept}: see what is wrong, then run the same command again."
            )

    # --- sending --------------------------------------------------------------------------------------------

    async def _send_next(self) -> bool:
        """Claim and send one more batch. False when there is nothing to claim."""
        batch = await self.claim(min(self.endpoint.batch_items, self.batches.most_requests))
        if batch is None:
            return False
        prepared = await self.prepare(batch)
        prepared = await self._only_what_fits(prepared)
        if not prepared.batch.items:
            return True
        first = self.request(prepared.batch, prepared.batch.items[0], prepared.rendered[0])
        try:
            await self.batches.rehearse(first, self._in(self.endpoint.call_timeout))
        except ModelCallError as error:
            await self._not_sent(prepared, error, charged=True)
            return True
        label = f"penstock-{uuid.uuid4().hex[:20]}"
        begun = await self.rows.begin(prepared, label)
        if begun is None:
            return True  # all of its items changed meanwhile, or the lease is lost, which is seen next
        held, items = begun
        await self._submit(held, prepared.only(items))
        return True

    async def _only_what_fits(self, prepared: Prepared) -> Prepared:
        """What can't be sent at all is settled as such at once; what is too much for one batch goes back."""
        fits: set[int] = set()
        refused: dict[int, BatchReply] = {}
        rest: list[int] = []
        size = 0
        for item, rendered in zip(prepared.batch.items, prepared.rendered, strict=True):
            try:
                if rendered.too_long:
                    raise ModelCallError(ErrorType.CONTEXT_TOO_LONG, rendered.too_long)
                weight = self.batches.weigh(self.request(prepared.batch, item, rendered))
            except ModelCallError as error:
                refused[item.id] = error
                continue
            if rest or size + weight > self.batches.most_bytes:
                rest.append(item.id)  # and all after it: urgent ones first
                continue
            size += weight
            fits.add(item.id)
        if refused:
            await self._settle(prepared.only(refused), refused)
        if rest:
            await self.give_back(rest)
        return prepared if len(fits) == len(prepared.batch.items) else prepared.only(fits)

    def _requests(self, prepared: Prepared) -> list[ModelRequest]:
        pairs = zip(prepared.batch.items, prepared.rendered, strict=True)
        return [self.request(prepared.batch, item, rendered) for item, rendered in pairs]

    async def _submit(self, held: Held, prepared: Prepared) -> None:
        held.read_at = self._now()
        requests = self._requests(prepared)
        try:
            provider_id = await self.batches.submit(requests, self._in(self.waits.submit), label=held.label)
        except ModelCallError as error:
            if error.error_type in MAYBE_THERE:
                log.warning("%s Whether a batch of %d items arrived is looked for.", error, held.size)
                self._failed(error)
                self._later(held)
                self._open[held.id] = held
            else:
                await self._not_sent(prepared, error, charged=False)
                await self.rows.close(held, "dropped", str(error))
            return
        await self._sent(held, provider_id)

    async def _sent(self, held: Held, provider_id: str) -> None:
        """The provider has it."""
        if not await self.rows.submitted(held, provider_id):
            # Another drain took it for lost and gave its items back: nobody would read it.
            self._open.pop(held.id, None)
            log.warning("The batch %s is not wanted any more and is cancelled.", provider_id)
            with contextlib.suppress(ModelCallError):  # it is answered and paid for then, no more
                await self.batches.cancel(provider_id, self._in(self.waits.question))
            return
        held.provider_id = provider_id
        held.asks = 0
        self._later(held)
        self._open[held.id] = held
        log.info(
            "%s at %s has a batch of %d items of %s: %s.",
            self.endpoint.backend,
            self.endpoint.url,
            held.size,
            held.recipe,
            provider_id,
        )

    async def _not_sent(self, prepared: Prepared, error: ModelCallError, *, charged: bool) -> None:
        """The provider said no before a batch was there.

        If that was no fault of the requests, they go back as if they had never been claimed. Else each of them failed
        so, or it would be tried for ever; `charged`: it was refused by itself, not only as a part of a batch.
        """
        self._failed(error)
        if not error.error_type.charged:
            await self.give_back([item.id for item in prepared.batch.items])
            return
        reply = (
            error if charged else ModelCallError(ErrorType.SERVER_ERROR, f"Its batch was refused. {error}")
        )
        await self._settle(prepared, {item.id: reply for item in prepared.batch.items})

    # --- looking after what was sent ------------------------------------------------------------------------

    async def _take_over(self) -> None:
        for held in await self.rows.take_over():
            held.read_at = self._now()
            if held.recipe not in self.recipes:
                await self._drop(held, "dropped", f"the recipe {held.recipe} is gone")
                continue
            self._open[held.id] = held
            log.info("Going on with a batch of %d items: %s.", held.size, held.provider_id or held.label)

    def _age(self, held: Held) -> float:
        return held.age + self._now() - held.read_at

    def _later(self, held: Held, check_in: float | None = None) -> None:
        """When it is asked for again: after twice as long each time, or when the provider says."""
        wait = self.waits.first * 2 ** min(held.asks, 16)
        held.asks += 1
        held.next_at = self._in(min(max(check_in or wait, self.waits.first), self.waits.most))

    async def _look(self, held: Held) -> None:
        """Ask for one batch, and settle it if it has ended."""
        try:
            if held.provider_id is None:
                await self._find(held)
                return
            state = await self.batches.poll(held.provider_id, self._in(self.waits.question))
            await self.rows.polled(held, state.done)
            if state.status is BatchStatus.RUNNING:
                self._later(held, state.check_in)
                return
            await self._finish(held, state)
        except ModelCallError as error:
            if held.provider_id is None:
                self._failed(error)
            elif self._age(held) > GIVE_UP_SECONDS:
                await self._drop(held, "lost", f"nobody could ask for it for days: {error}")
                return
            log.warning("The batch %s could not be asked for: %s", held.provider_id or held.label, error)
            self._later(held, error.retry_after)

    async def _find(self, held: Held) -> None:
        """It was to be sent, and its id was never kept: is it there?"""
        known = [other.provider_id for other in self._open.values() if other.provider_id]
        found = await self.batches.find(
            held.label,
            self._in(self.waits.question),
            size=held.size,
            since=held.created_at,
            known=known,
        )
        if found is not None:
            await self._sent(held, found)
        elif self._age(held) < self.waits.grace:
            self._later(held)
        else:
            log.warning(
                "%s has no batch with the label %s, so its %d items are sent anew. If it arrived all the same, they "
                "are paid for twice.",
                self.endpoint.url,
                held.label,
                held.size,
            )
            await self._drop(held, "lost", "it was not there")

    async def _finish(self, held: Held, state: BatchState) -> None:
        """Read what came of it and settle it. Raises ModelCallError where it can't be read."""
        assert held.provider_id is not None
        prepared = await self.rows.asked(held)
        if prepared.batch.items:
            replies: dict[int, BatchReply]
            if state.status is BatchStatus.FAILED:
                why = state.detail.rstrip(".") or "no reason was given"
                failure = ModelCallError(ErrorType.SERVER_ERROR, f"The provider's batch failed: {why}.")
                self._failed(failure)
                replies = {item.id: failure for item in prepared.batch.items}
            else:
                requests = self._requests(prepared)
                replies = dict(
                    await self.batches.results(
                        held.provider_id, requests, self._in(self.waits.download), label=held.label
                    )
                )
                self._failures = self._refusals = 0
            await self._settle(prepared, replies)
        await self.rows.close(held, str(state.status), state.detail)
        self._open.pop(held.id, None)

    async def _settle(self, prepared: Prepared, replies: dict[int, BatchReply]) -> None:
        ordered = [
            replace(reply, simulated=True)
            if isinstance(reply := replies[item.id], ModelAnswer) and item.id in prepared.simulated
            else reply
            for item in prepared.batch.items
        ]
        self.tally.add(await self.settle(prepared.batch, prepared.rendered, ordered))

    async def _drop(self, held: Held, state: str, why: str) -> None:
        """Nobody waits for it any more; its items go back as if they had never been claimed."""
        prepared = await self.rows.asked(held)
        if prepared.batch.items:
            await self.give_back([item.id for item in prepared.batch.items])
        await self.rows.close(held, state, why)
        self._open.pop(held.id, None)
