"""How hard a drain may push its endpoint now: what is paused, broken, slowed down, used up, or shared with others.

One object per drain. It is asked before each claim and each call, told after each call, and looks at what others know
(the database) every `LOOK_SECONDS`. Each concern is a module of its own; here they meet:

    tasks/pause.py, quiet.py    what people stopped, and when
    breaker.py, broken.py       models that failed in a row
    pace.py, seats.py           how many requests the endpoint bears, and its device gives
    switching.py                which model is loaded
    budget.py                   what the account may use, and the rest that its provider asked for
    gate.py                     what all that comes to for one request
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg

from models.calls import Backend, ModelAnswer, ModelCallError
from models.endpoint import Budget, Price
from models.enums import ErrorType
from models.errors import NoRoom
from models.pause import Paused
from models.settings import Endpoint, Settings
from models.words import span
from sql.statements import statement
from tasks import pause
from tasks.execute import budget, pace, strikes
from tasks.execute.broken import Broken
from tasks.execute.gate import Gate
from tasks.execute.halt import Halt
from tasks.execute.lease import Lease
from tasks.execute.limits import limits
from tasks.execute.order import Group
from tasks.execute.residents import Query
from tasks.execute.reuse import Reply
from tasks.execute.seats import Seats
from tasks.execute.switching import Switch
from tasks.execute.work import Batch, Report

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

HOST_SECONDS = 5.0
"""Between two readings of this machine's memory and processors, where the server is on it."""


class WhyNot(NamedTuple):
    """Why nothing of what is there may be claimed."""

    words: str  # for people
    broken: bool = False  # its model is left alone after failures


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Pressure:
    query: Query  # runs statements on the drain's connection, in turn with its own
    backend: Backend
    endpoint: Endpoint
    model: str  # what an item without a model is asked of
    settings: Settings
    lease: Lease
    deadline: float | None  # on the loop's clock
    by_person: bool = False  # somebody waits: what others' failures have left alone is tried once at once
    halt: Halt = field(default_factory=Halt)  # the run was stopped: what is not sent yet is not sent
    wall: Callable[[], datetime] = _now
    gate: Gate = field(init=False)
    pace: pace.Pace = field(init=False)
    switch: Switch = field(init=False)
    stop_because: str = ""  # the drain fails; why, for people
    hold_because: str = ""  # nothing is claimed: a pause, quiet hours, a budget that is used up; why
    without: frozenset[int] = frozenset()  # boards that are paused
    limited: frozenset[int] = frozenset()  # boards with a limit of running items
    contested: float | None = None  # seconds that another drain has waited for the memory of our models
    _seats: Seats | None = field(init=False)
    _budget: Budget = field(init=False)
    _paused: Paused = field(default_factory=Paused)
    _broken: Broken = field(init=False)
    _used_up: str = ""  # the account's budget for the day; what it says
    _not_before: float = 0.0  # nothing is sent until then, on the loop's clock
    _settled_at: float = 0.0  # until then the seats of a drain that was killed are kept
    _sitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _rested: asyncio.TimerHandle | None = None  # looks again when that rest is over
    _host_at: float = 0.0
    _poke: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self._budget = self.settings.budget(self.endpoint)
        self.pace = pace.Pace(self.endpoint.slots)
        self._broken = Broken(self.query, self.endpoint, self.lease.token, self.settings)
        self.switch = Switch(
            query=self.query,
            lease=self.lease,
            endpoint=self.endpoint,
            backend=self.backend,
            settings=self.settings,
            clock=clock,
        )
        self.gate = Gate(self.endpoint.slots, self._switch)
        device = self.settings.device(self.endpoint)
        self._seats = None
        if self.settings.shared(self.endpoint):
            self._seats = Seats(device, self.lease.token, self._seated)
            self.gate.seats = 0
        self._settled_at = clock() + self.lease.settling
        if self.lease.settling:
            self._wait(self._settled_at, "requests of a drain that was killed may run still")

    # --- before a claim -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Before the first claim. Raises what the database raises."""
        now = asyncio.get_running_loop().time()
        self.pace = await self.query(lambda connection: pace.load(connection, self.endpoint, now))
        self.pace.local &= self.settings.watch_host
        usual = {"resource": self.endpoint.resource}
        times = await self.query(
            lambda connection: connection.execute(statement("switching.usual_times"), usual)
        )
        self.switch.load_seconds |= dict(await times.fetchall())
        await self.look()
        if self.by_person:
            self._broken.forgive()
        await self.switch.start()

    async def look(self) -> None:
        """What others know and want, and how this machine does."""
        clock = asyncio.get_running_loop().time
        self._read_host(clock())

        async def ask(connection: psycopg.AsyncConnection[Any]) -> None:
            resource, device = self.endpoint.resource, self.settings.device(self.endpoint).name
            self._paused = await pause.paused(
                connection, resource=resource, backend=self.endpoint.backend, device=device
            )
            rows = await (await connection.execute(statement("execute.limited_boards"))).fetchall()
            self.limited = frozenset(row[0] for row in rows)
            await self._broken.read(connection)
            rest, why = await budget.cooldown(connection, self._budget.account)
            if rest > 0:
                self._wait(clock() + rest, why)
            self.contested = await self.switch.contested(connection)
            if self.pace.changed:
                await self._save(connection)

        await self.query(ask)
        if self._seats is not None:
            async with self._sitting:
                self.gate.seats = await self.query(self._sit)
        self.without = self._paused.boards
        quiet = pause.quiet(self.endpoint.quiet, self.settings.timezone, self.wall())
        self.hold_because = self._paused.whole or self._used_up
        if quiet and not self.hold_because:
            self.hold_because = (
                f"{self.endpoint.backend} at {self.endpoint.url} has quiet hours ({self.endpoint.quiet}) for "
                f"{span(quiet)} more."
            )
        self._settle_room()

    async def watched(self) -> None:
        """Until it is time to look again, or something asks for it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._poke.wait(), LOOK_SECONDS)
        self._poke.clear()
        if self.halt.wish:
            self.gate.close()  # who waits in line has not been sent

    def takes(self, group: Group) -> bool:
        """Whether a group may be claimed now."""
        model = group.asks or self.model
        return not self._paused.stops(group.recipe, model) and not self._broken.why(model)

    def why_not(self, groups: Sequence[Group]) -> WhyNot | None:
        """Why none of these may be claimed; None where one may."""
        if not groups or any(self.takes(group) for group in groups):
            return None
        for group in groups:
            model = group.asks or self.model
            if not self._paused.stops(group.recipe, model) and (why := self._broken.why(model)):
                return WhyNot(why, broken=True)
        first = groups[0]
        return WhyNot(
            f"{first.recipe} on {first.asks or self.model} is paused; `penstock pause` lists what is."
        )

    def closed_to(self, recipe: str, model: str) -> str:
        """Why this model may not be asked for this recipe now, in a sentence; empty where it may."""
        if why := self.stop_because or self.hold_because:
            return why
        if self._paused.stops(recipe, model):
            return f"{recipe} on {model} is paused; `penstock pause` lists what is."
        return self._broken.why(model)

    def packs(self, recipe: str, model: str) -> bool:
        """May several items of a recipe be asked of a model in one request?"""
        return self._paused.packs(recipe, model)

    @property
    def broken(self) -> bool:
        """Whether any model is left alone after failures."""
        return bool(self._broken)

    async def hand_over(self) -> None:
        """Another drain has waited long enough for the memory: our models go, and its model comes."""
        self.gate.model = None
        await self.switch.leave()
        self.contested = None

    @property
    def rests(self) -> float:
        """Seconds until anything may be sent."""
        return self._not_before - asyncio.get_running_loop().time()

    def wants_trial(self, model: str) -> bool:
        return model in self._broken

    async def take_trial(self, model: str) -> bool:
        """The one item that may be asked of a model that is left alone. False: another drain tries."""
        return await self._broken.take_trial(model)

    # --- around a batch -------------------------------------------------------------------------------------

    async def reserve(self, requests: int, tokens: int, max_tokens: int, model: str) -> budget.Grant:
        """How many of these may be sent, each of `tokens` and up to `max_tokens` more."""
        if not limits(self._budget):
            return budget.Grant(requests)
        usd = budget.estimated_cost(tokens, max_tokens, self.price(model))
        day = budget.today(self.settings.timezone, self.wall())
        grant: budget.Grant = await self.query(
            lambda connection: budget.reserve(
                connection,
                self._budget,
                requests=requests,
                tokens=tokens + max_tokens,
                usd=usd,
                day=day,
                token=self.lease.token,
            )
        )
        if grant.warned:
            log.warning("%s", grant.warned)
        if grant.stopped:
            self._used_up = self.hold_because = grant.stopped
        elif grant.wait:
            self._wait(
                asyncio.get_running_loop().time() + grant.wait, "its budget for this minute is used up"
            )
        return grant

    async def settle(self, batch: Batch, replies: Sequence[Reply], grant: budget.Grant, tokens: int) -> None:
        """What the batch really used; and that its model answers, if it did."""
        price = self.price(batch.model)
        usd = budget.estimated_cost(tokens, 0, price)
        used = budget.used(replies, price, tokens=tokens, usd=usd)
        answered = any(isinstance(reply, ModelAnswer) or _charged(reply) for reply in replies)

        async def write(connection: psycopg.AsyncConnection[Any]) -> None:
            if grant.reserved is not None:
                await budget.settle(connection, reserved=grant.reserved, used=used, token=self.lease.token)
            await self._broken.settle(connection, batch.model, answered=answered)

        await self.query(write)
        self._broken.settled(batch.model)
        await self.switch.touch(batch.model)

    async def not_asked(self, model: str) -> None:
        """A batch of this model needed no call: who was to try it once, has not."""
        await self._broken.not_asked(model)

    async def unspent(self, reserved: budget.Reservation) -> None:
        """What was reserved and is not sent after all."""
        await self.query(
            lambda connection: budget.settle(
                connection, reserved=reserved, used=budget.Usage(), token=self.lease.token
            )
        )

    async def judge(self, batch: Batch, reports: Sequence[Report]) -> None:
        """Whether a recipe fails on its model again and again."""
        strike = await self.query(
            lambda connection: strikes.count(
                connection,
                batch.recipe,
                batch.model,
                strikes.results(reports),
                strike_after=self.settings.strike_after,
            )
        )
        if strike is not None:
            log.warning("%s", strike)
            await self.look()

    # --- around a call --------------------------------------------------------------------------------------

    def price(self, model: str) -> Price | None:
        """What its tokens cost here; by a provider's batch API half as much."""
        price = self.endpoint.spec(model).price
        return price.halved() if price is not None and self.endpoint.batches else price

    def weight(self, model: str) -> int:
        weight = self.endpoint.spec(model).weight
        return weight if self._seats is None else self._seats.unit(weight)

    def most(self, model: str) -> int | None:
        return self.endpoint.spec(model).slots

    async def may_send(self, model: str) -> bool:
        """Wait while the server wants to be left alone. False when the drain is stopping, or the model is broken."""
        clock = asyncio.get_running_loop().time
        while not (self.stop_because or self.halt.wish or self.lease.lost.is_set()):
            if self._broken.stops(model):
                return False
            if (wait := self._not_before - clock()) <= 0:
                return True
            if self.deadline is not None and self._not_before >= self.deadline:
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lease.lost.wait(), min(wait, LOOK_SECONDS))
        return False

    def answered(self, model: str, answer: ModelAnswer, sent_at: float, in_flight: int) -> None:
        self.pace.answered(
            seconds=answer.seconds - (answer.load_seconds or 0.0),
            tokens=answer.completion_tokens,
            in_flight=in_flight,
            sent_at=sent_at,
            now=asyncio.get_running_loop().time(),
        )
        self._settle_room()

    async def failed(self, model: str, error: ModelCallError, sent_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self.pace.failed(error.error_type, sent_at=sent_at, now=now, timeout=error.timeout)
        self._settle_room()
        rule = error.error_type.rule
        wait = error.retry_after or 0.0
        if rule.charged:
            return  # the server answered; this item is the trouble
        if wait > self.settings.retry_delay_cap:
            self.stop_because = (
                f"{self.endpoint.backend} at {self.endpoint.url} wants to be asked again only in {span(wait)}: "
                f"{error} Nothing accepted is lost and no attempt was charged: run the same command again then."
            )
            self.gate.close()
        if wait:
            self._wait(now + wait, str(error))
        if error.error_type is ErrorType.RATE_LIMITED and wait:
            await self.query(
                lambda connection: budget.cool(connection, self._budget.account, wait, str(error))
            )
        if rule.breaker and await self._broken.failed(model, str(error), sent=sent_at, failed=now):
            self.switch.doubt()

    # --- inside ---------------------------------------------------------------------------------------------

    async def _switch(self, model: str, let_in: Callable[[], Awaitable[None]]) -> None:
        started = asyncio.get_running_loop().time()
        try:
            await self.switch.to(model, self.deadline, let_in)
        except NoRoom as error:  # time is up, and nobody is to blame
            raise ModelCallError(ErrorType.OVERLOADED, str(error)) from error
        except ModelCallError as error:
            await self.failed(model, error, started)
            raise
        self.pace.forget(asyncio.get_running_loop().time())
        self._poke.set()

    async def _sit(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Seats of a shared device, for what waits and is in flight. How many may be used, once committed."""
        assert self._seats is not None
        model = self.gate.wants_model or self.model
        weight = self.endpoint.spec(model).weight
        want = self._seats.unit(weight) * min(self.gate.room, self.most(model) or self.gate.room)
        return await self._seats.refresh(
            connection,
            want=want if self.gate.wants else 0,
            busy=self._busy,
            weight=weight,
        )

    def _busy(self) -> int:
        """Seats' worth in flight; all that may be held while requests of a drain that was killed may still run."""
        assert self._seats is not None
        settling = asyncio.get_running_loop().time() < self._settled_at
        return self._seats.device.slots if settling else self.gate.weight

    def _seated(self, allowed: int) -> None:
        """Fewer count at once; more only when they are committed (`look`)."""
        self.gate.seats = min(self.gate.seats or 0, allowed)

    async def _save(self, connection: psycopg.AsyncConnection[Any]) -> None:
        now = asyncio.get_running_loop().time()
        await pace.save(connection, self.endpoint, self.pace, token=self.lease.token, now=now)

    def poke(self) -> None:
        """Something is there that wants seats: look soon."""
        if self._seats is not None:
            self._poke.set()

    def _read_host(self, now: float) -> None:
        if now - self._host_at >= HOST_SECONDS:
            self._host_at = now
            if self.pace.local:
                self.pace.host(pace.read_host(), now)

    def _settle_room(self) -> None:
        self.gate.room = 0 if self.rests > 0 else min(self.endpoint.slots, self.pace.allowed)
        self.gate.changed()
        if self._seats is not None and self._seats.held > self._seats.allowed:
            self._poke.set()  # a seat is to be given back as soon as it is not in use

    def _wait(self, until: float, why: str) -> None:
        if until > self._not_before:
            self._not_before = until
            if self._rested is not None:
                self._rested.cancel()
            loop = asyncio.get_running_loop()
            self._rested = loop.call_at(
                until + 0.001, self._settle_room
            )  # a loop's timers may be early by a hair
            self._settle_room()
            log.info("%s rests for %s: %s", self.endpoint.resource, span(self.rests), why)

    async def aclose(self) -> None:
        """Nothing is sent any more: leave the models and the seats."""
        if self._rested is not None:
            self._rested.cancel()
        await self.gate.aclose()
        if self.lease.lost.is_set():
            return
        await self.switch.leave()
        if self._seats is not None:
            await self.query(self._seats.release)
        if self.pace.changed:
            await self.query(self._save)


def _charged(reply: Reply) -> bool:
    return isinstance(reply, ModelCallError) and reply.error_type.charged
