"""What need not be asked: the very same request has an accepted answer, or is under way already.

The same is what is the same to the last character: the model (by the digest that its server gives; else its name, the
endpoint's address and options), all parameters, the recipe's hash, the schema and the rendered prompt, with nothing
left out but the random fence. A retry is never answered so: neither one that was charged, nor one that a person
decided on or wants asked again.

An accepted answer is found again for `settings.cache_days` days (table `answer_cache`, which refers to its attempt).
What is found is checked like any other answer. Statements: sql/reuse.sql.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import psycopg

from models.calls import Backend, Identifies, ModelAnswer, ModelCallError, ModelRequest, Probe
from models.endpoint import Endpoint
from models.enums import BackendName
from models.recipe import CachePolicy, Recipe, Rendered
from sql.statements import statement
from tasks.execute.residents import Query
from tasks.execute.work import BREATHE, Batch, ClaimedItem

Reply = ModelAnswer | ModelCallError | None
"""None: not sent, because the drain is stopping or its model is left alone."""

CACHED, SHARED = "cached", "shared"

IDENTITY_SECONDS = 30.0
"""For so long it is taken for granted that a name stands for the same model."""

QUESTION_SECONDS = 5.0

LOOKS_FURTHER = frozenset({BackendName.COMMAND})
"""Backends that may look at more than the prompt: an agent reads files, which are others tomorrow."""


@dataclass(frozen=True, slots=True)
class Who:
    """Which model answers to a name just now."""

    model: str
    digest: str | None = None  # None: its server does not say
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that needs no call."""

    answer: ModelAnswer
    words: str  # where it is from, for people


class Reused(NamedTuple):
    """Why no call was made for an item: a note among the attempt's checks."""

    check: str  # CACHED or SHARED
    words: str


@dataclass(slots=True, eq=False)
class Flight:
    """One request that is under way for several items."""

    key: bytes
    item: int  # the one that is asked for
    interactive: bool
    landed: bool = False
    reply: Reply = None  # once it landed
    _told: asyncio.Event | None = None  # there while somebody waits

    def land(self, reply: Reply) -> None:
        """It has this reply; what comes later counts no more."""
        if not self.landed:
            self.landed, self.reply = True, reply
            if self._told is not None:
                self._told.set()

    async def arrival(self) -> Reply:
        if not self.landed:
            self._told = self._told or asyncio.Event()
            await self._told.wait()
        return self.reply


@dataclass(slots=True)
class Plan:
    """Who of a batch is asked. Places are those of the batch's items; each is in one of `ask`, `found`, `follows`.

    `requests`: what each is asked, by place. `keys`: what makes it the same as another, of those that may be.
    """

    requests: list[ModelRequest]
    who: Who
    ask: list[int]
    found: dict[int, Found] = field(default_factory=dict)
    follows: dict[int, Flight] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)
    leads: dict[int, Flight] = field(default_factory=dict)

    def land(self, replies: Sequence[Reply]) -> None:
        """Tell those that follow what came of it."""
        for place, flight in self.leads.items():
            flight.land(replies[place])

    async def arrive(self, replies: list[Reply]) -> None:
        """Put in the replies of those that were not asked for themselves. `land` comes before."""
        for place, found in self.found.items():
            replies[place] = found.answer
        for place, flight in self.follows.items():
            replies[place] = await flight.arrival()

    def reused(self, batch: Batch) -> dict[int, Reused]:
        """By item why no call was made for it."""
        why = {batch.items[place].id: Reused(CACHED, found.words) for place, found in self.found.items()}
        for place, flight in self.follows.items():
            words = (
                f"Asked once: item {flight.item} asks the very same of {self.who.model}, and what came of that holds "
                "for both."
            )
            why[batch.items[place].id] = Reused(SHARED, words)
        return why

    def only_found(self) -> Plan:
        """Of those alone that have an answer already, in their order."""
        places = sorted(self.found)
        return Plan(
            [self.requests[place] for place in places],
            self.who,
            [],
            {number: self.found[place] for number, place in enumerate(places)},
        )

    def keeps(
        self, batch: Batch, replies: Sequence[Reply], without: Collection[int] = ()
    ) -> dict[int, bytes]:
        """By item the keys of the answers that may be found again once they are accepted.

        `without`: places that were asked together with others, which is not the very same request.
        """
        return {
            batch.items[place].id: key
            for place, key in self.keys.items()
            if place not in self.found
            and place not in self.follows
            and place not in without
            and isinstance(reply := replies[place], ModelAnswer)
            and reply.simulated == self.who.simulated
        }


class Flights:
    """What the drains of one process have under way."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}

    def join(self, plan: Plan, batch: Batch) -> None:
        """Each item that has a key follows one that asks the same, here or elsewhere, or is followed itself."""
        for place, key in plan.keys.items():
            flight = self._by_key.get(key)
            if flight is None:
                flight = Flight(key, batch.items[place].id, batch.interactive)
                self._by_key[key] = plan.leads[place] = flight
            elif flight.interactive or not batch.interactive:  # who can't wait follows nobody who may
                plan.follows[place] = flight

    def leave(self, plan: Plan) -> None:
        """The batch is settled: what was accepted is in the cache, and nobody joins any more."""
        for flight in plan.leads.values():
            flight.land(None)
            if self._by_key.get(flight.key) is flight:
                del self._by_key[flight.key]


class Reuse:
    """What one drain knows of what need not be asked. `probe`: what its server said of itself when it was chosen."""

    def __init__(
        self,
        query: Query,
        backend: Backend,
        endpoint: Endpoint,
        days: int,
        flights: Flights,
        probe: Probe | None = None,
    ) -> None:
        self._query = query
        self._backend = backend
        self._days = days
        self._flights = flights
        self._simulated = probe is not None and probe.simulated
        self._known: dict[
            str, tuple[float, str | None]
        ] = {}  # by name: when its server was asked, the digest
        self._place = endpoint.model_dump(mode="json", include={"backend", "options", "command", "poll"})
        self._url = endpoint.url

    async def plan(
        self,
        batch: Batch,
        recipe: Recipe,
        requests: Sequence[ModelRequest],
        rendered: Sequence[Rendered],
        *,
        packs: bool = False,
    ) -> Plan:
        """Who of a batch need not be asked: found in one statement, before any of it is in a queue.

        `packs`: those that are asked may be asked together. Then nobody follows another one: what a pack answers is
        checked beside its other members, which who follows has not. Whoever plans calls `leave` when the batch is
        settled.
        """
        plan = await self.keyed(batch, recipe, requests, rendered)
        # First join, then look: what is settled in between is in the cache by then.
        if not packs:
            self._flights.join(plan, batch)
        try:
            await self.look(batch, plan)
        except BaseException:
            self.leave(plan)
            raise
        return plan

    async def keyed(
        self,
        batch: Batch,
        recipe: Recipe,
        requests: Sequence[ModelRequest],
        rendered: Sequence[Rendered],
    ) -> Plan:
        """A plan by which all are asked, with the keys of those whose answers may be used again."""
        everyone = list(range(len(batch.items)))
        if not self.is_on(recipe):
            return Plan(list(requests), Who(batch.model, simulated=self._simulated), everyone)
        plan = Plan(list(requests), await self.who(batch.model), everyone)
        if plan.who.digest is None and isinstance(self._backend, Identifies):
            return plan  # its server could tell, and does not just now: nobody knows which model this is
        shared: dict[tuple[Any, ...], Any] = {}
        for place, item in enumerate(batch.items):
            if place % BREATHE == 0:
                await asyncio.sleep(0)
            if _is_first(item):
                request = requests[place]
                # All else in `_common` is the recipe's, or the batch's.
                alike = (request.max_tokens, request.temperature, request.context_tokens, request.wants_image)
                if (common := shared.get(alike)) is None:
                    common = shared[alike] = self._common(plan.who, request, recipe)
                plan.keys[place] = self._key(common, request, rendered[place])
        return plan

    def leave(self, plan: Plan) -> None:
        self._flights.leave(plan)

    def is_on(self, recipe: Recipe) -> bool:
        """Whether answers of this recipe are used again here."""
        if not self._days or self._backend.name == BackendName.EXTRACTIVE:
            return False
        if recipe.header.cache is not None:
            return recipe.header.cache is CachePolicy.EXACT
        # Above 0 a recipe wants answers that differ; an agent's answer depends on more than what it is asked.
        return recipe.header.temperature == 0 and self._backend.name not in LOOKS_FURTHER

    async def who(self, model: str) -> Who:
        """Which model a name stands for, as its server said in the last IDENTITY_SECONDS."""
        digest: str | None = None
        if isinstance(self._backend, Identifies):
            now = asyncio.get_running_loop().time()
            asked_at, digest = self._known.get(model, (None, None))
            if asked_at is None or now - asked_at >= IDENTITY_SECONDS:
                digest = await self._backend.identify(model, now + QUESTION_SECONDS)
                if digest is not None:
                    self._known[model] = (now, digest)
        return Who(model, digest, self._simulated)

    def key(self, who: Who, request: ModelRequest, recipe: Recipe, rendered: Rendered) -> bytes:
        """sha256 of all that is asked, and of whom."""
        return self._key(self._common(who, request, recipe), request, rendered)

    def _common(self, who: Who, request: ModelRequest, recipe: Recipe) -> Any:
        """What most requests of a batch share: hashed once for them."""
        asked = [
            [who.digest] if who.digest is not None else [who.model, self._url],
            self._place,
            who.simulated,
            recipe.hash,
            [request.temperature, request.max_tokens, request.context_tokens, request.wants_image],
            request.schema,
        ]
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS))

    def _key(self, common: Any, request: ModelRequest, rendered: Rendered) -> bytes:
        prompt = request.prompt.replace(rendered.fence, "") if rendered.fence else request.prompt
        digest = common.copy()
        for text in (request.system, prompt):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8))
            digest.update(data)
        for image in request.images:
            digest.update(hashlib.sha256(image.data).digest())
        key: bytes = digest.digest()
        return key

    async def look(self, batch: Batch, plan: Plan) -> None:
        """What is found need not be asked; what a person wants asked anew must be."""
        if not plan.keys:
            return
        places = {batch.items[place].id: place for place in plan.keys}
        parameters = {"items": list(places), "keys": list(plan.keys.values()), "days": self._days}

        async def ask(connection: psycopg.AsyncConnection[Any]) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(statement("reuse.known"), parameters)
            return await cursor.fetchall()

        rows: list[tuple[Any, ...]] = await self._query(ask)
        for item_id, anew, text, model, finish, *numbers, simulated, of_item, at in rows:
            place = places[item_id]
            if anew:
                plan.follows.pop(place, None)
            elif simulated == self._simulated:
                prompt_tokens, completion_tokens, seconds = numbers
                answer = ModelAnswer(
                    text, model, finish, prompt_tokens, completion_tokens, seconds, simulated=simulated
                )
                plan.found[place] = Found(answer, _words(plan.who, of_item, f"{at:%Y-%m-%d %H:%M}"))
                plan.follows.pop(place, None)
                if (flight := plan.leads.get(place)) is not None:
                    flight.land(answer)
        plan.ask = [place for place in plan.ask if place not in plan.found and place not in plan.follows]


def _is_first(item: ClaimedItem) -> bool:
    return item.attempts == 0 and not item.again


def _words(who: Who, item: int, at: str) -> str:
    sure = "" if who.digest else " (its server gives no digest: the same by name and address)"
    return (
        f"From the cache: item {item} asked the very same of {who.model}{sure}; that answer of {at} was accepted. "
        "No call was made."
    )


async def keep(
    connection: psycopg.AsyncConnection[Any],
    attempts: Mapping[int, int],
    keys: Mapping[int, bytes],
    finish_reasons: Mapping[int, str],
) -> None:
    """Have accepted answers found again; in the transaction that accepts them. `attempts`: their ids, by item."""
    items = {keys[item]: item for item in attempts}
    in_order = sorted(items)  # the same for all, or two could wait for each other
    await connection.execute(
        statement("reuse.keep"),
        {
            "keys": in_order,
            "attempts": [attempts[items[key]] for key in in_order],
            "finish": [finish_reasons[items[key]] for key in in_order],
        },
        binary=True,
    )


async def expire(connection: psycopg.AsyncConnection[Any], days: int) -> int:
    """Forget what is too old to be found; gives how many."""
    return (await connection.execute(statement("reuse.expire"), {"days": days})).rowcount
