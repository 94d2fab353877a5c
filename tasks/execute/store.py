"""The drain's side of the database: claim, settle, give back. Statements: sql/execute.sql.

Two pinned connections per drain: acquiring one per statement costs five times as much (docs/database.md). Batches are
claimed and written on one, and what is looked up meanwhile must not wait for that. The transactions of each are
serialised by a lock, since two batches of a drain overlap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from psycopg.pq import TransactionStatus

from models.council import Decided
from models.recipe import Recipe
from sql.deadlocks import again_after_deadlock
from sql.statements import statement
from tasks.council.records import keep
from tasks.execute import reuse, standing
from tasks.execute.again import Past, reason_of
from tasks.execute.order import URGENT, Group
from tasks.execute.work import Batch, ClaimedItem, Report, Tally

Convene = Callable[[psycopg.AsyncConnection, Sequence[ClaimedItem]], Awaitable[Collection[int]]]
OnSplit = Callable[[psycopg.AsyncConnection, int, dict[str, Any] | None], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which items a drain may take."""

    backend: str
    recipes: tuple[str, ...]
    boards: tuple[int, ...] | None = None  # None: all
    models: Mapping[str, str] = field(default_factory=dict, hash=False)  # by recipe, of those that name one

    def group(self, *row: Any) -> Group:
        """A row of `execute.groups`, with the model of its recipe."""
        group = Group(*row)
        return group._replace(of_recipe=self.models.get(group.recipe, ""))

    def parameters(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "recipes": list(self.recipes),
            "boards": None if self.boards is None else list(self.boards),
        }

    def places(self) -> dict[str, Any]:
        """For the statements that look for groups and claim."""
        few = self.boards is not None and len(self.boards) <= FEW_BOARDS
        boards = None if self.boards is None else list(self.boards)
        return self.parameters() | {"boards": boards if few else None, "among": None if few else boards}


PER_BOARD = 4
"""Items of one board that a batch takes at least where there are so many: they share the beginning of their prompts."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a drain wants to claim."""

    group: Group
    size: int
    aged: int = 0  # of these, the group's oldest that have waited for `patience` seconds
    patience: float = 0.0
    after: int = -1  # the board that was served last
    together: int = PER_BOARD


FEW_BOARDS = 50
"""So many boards are looked at one by one; of more, what is found among all is filtered."""


@dataclass(frozen=True, slots=True)
class Outlook:
    now: int
    later: int
    wait: float | None  # seconds until the first of `later`
    running: int


@dataclass(frozen=True, slots=True)
class Left:
    now: bool  # something may be claimed
    wait: float | None  # if not: seconds until something may be; None: nothing is put off
    running: bool

    @property
    def anything(self) -> bool:
        return self.now or self.wait is not None


@asynccontextmanager
async def _transaction(connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """A transaction that is over when this is.

    Who is cancelled while it commits would leave it open: where the server gives up the COMMIT, psycopg rolls nothing
    back. What came next would be a savepoint in there, which is refused, or never committed.
    """
    outer = connection.info.transaction_status is TransactionStatus.IDLE
    try:
        async with connection.transaction():
            yield
    finally:
        if outer and connection.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        ):
            await connection.rollback()


class Store:
    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        token: int,
        *,
        away: float = 90.0,
        beside: psycopg.AsyncConnection | None = None,
    ) -> None:
        """`away`: seconds for which what failed on this endpoint is another's, where one is alive.
        `beside`: for what is looked up; None: the same connection.
        """
        self._connection = connection
        self._beside = beside or connection
        self._token = token
        self._away = away
        self._lock = asyncio.Lock()
        self._beside_lock = self._lock if beside is None else asyncio.Lock()

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """A transaction for what is looked up."""
        async with self._beside_lock, _transaction(self._beside):
            yield self._beside

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        async with self._lock, _transaction(self._connection):
            yield

    async def groups(self, scope: Scope, without: Collection[int] = ()) -> list[Group]:
        """The groups that have something to claim, on boards that are not among `without`."""
        parameters = self._places(scope) | {"without": list(without)}
        async with self._looking() as connection:
            await connection.execute(statement("execute.by_index"))
            cursor = await connection.execute(statement("execute.groups"), parameters)
            return [scope.group(*row) for row in await cursor.fetchall()]

    async def claim(
        self,
        scope: Scope,
        without: frozenset[int],
        choose: Callable[[list[Group]], Wish | None],
        describe: Callable[..., dict[str, Any]],
        limited: frozenset[int] = frozenset(),
        convene: Convene | None = None,
    ) -> Batch | None:
        """Look at the groups, claim a batch of the one that `choose` wants, and open it: in one transaction.

        `without`: boards that nothing is taken of. `limited`: those with a limit of running items; of one that has
        reached it there are no groups, so that others are chosen. `describe(recipe, model)` gives the batch's
        row (endpoint, model's name, recipe's hash and text). `convene` is shown what was claimed, and says which of it
        waits for its parts now and is not to be run; a batch without items: all of it.
        """
        async with self._writing():
            await self._connection.execute(statement("execute.by_index"))
            boards = {"limited": list(limited)}
            full = [board for board, left in await self._room(boards) if not left] if limited else []
            look = self._places(scope) | {"without": [*without, *full]}
            cursor = await self._connection.execute(statement("execute.groups"), look)
            wish = choose([scope.group(*row) for row in await cursor.fetchall()])
            if wish is None:
                return None
            room: dict[int, int] = {}
            if limited:
                await self._connection.execute(statement("execute.hold_limited"), boards)
                room = dict(await self._room(boards))
            parameters = self._places(scope) | {
                "group_backend": wish.group.backend,
                "recipe": wish.group.recipe,
                "model": wish.group.model,
                "urgency": wish.group.urgency,
                "size": wish.size,
                "aged": wish.aged,
                "patience": wish.patience,
                "spread": max(1, wish.size // wish.together),
                "after": wish.after,
                "without": [*without, *(board for board, left in room.items() if not left)],
                "limited": list(room),
                "room": list(room.values()),
            }
            rows = await (await self._connection.execute(statement("execute.claim"), parameters)).fetchall()
            if not rows:
                return None
            items = tuple(ClaimedItem(*row) for row in rows)
            if convene is not None and (waiting := await convene(self._connection, items)):
                items = tuple(item for item in items if item.id not in waiting)
                if not items:
                    return Batch(0, wish.group.recipe, "", ())
            row = describe(items[0].recipe, wish.group.asks)
            row = {"explores": False} | row | {"lease": self._token, "size": len(items)}
            await self._connection.execute(statement("execute.keep_recipe"), row)
            opened = await (await self._connection.execute(statement("execute.open_batch"), row)).fetchone()
            assert opened is not None
            return Batch(
                int(opened[0]), items[0].recipe, str(row["model"]), items, wish.group.urgency < URGENT
            )

    def _places(self, scope: Scope) -> dict[str, Any]:
        return scope.places() | {"token": self._token, "away": self._away}

    async def _room(self, boards: dict[str, list[int]]) -> list[tuple[int, int]]:
        cursor = await self._connection.execute(statement("execute.limited"), boards)
        return await cursor.fetchall()

    async def hurry(self, lead: float) -> None:
        """Items whose deadline is less than `lead` seconds away go first from now on."""
        await self._run("execute.hurry", {"lead": lead})

    async def past(self, items: Sequence[ClaimedItem]) -> dict[int, Past]:
        """The tries of each since it began anew; nothing of one that is tried for the first time."""
        again = [item for item in items if item.tries > item.tried_before + 1]
        if not again:
            return {}
        parameters = {"items": [item.id for item in again], "since": [item.tried_before for item in again]}
        async with self._looking() as connection:
            cursor = await connection.execute(statement("execute.past"), parameters)
            found: dict[int, Past] = {}
            for item_id, *counts, recipes, why, packed in await cursor.fetchall():
                elapsed, returns, here, truncated, too_long, memory, error_type, error = counts
                found[item_id] = Past(
                    elapsed=elapsed,
                    returns=returns,
                    here=here,
                    truncated=truncated,
                    too_long=too_long,
                    memory=memory,
                    error_type=error_type,
                    error=error,
                    recipes=tuple(recipes),
                    reason=reason_of(*why) if why else None,
                    packed=packed,
                )
            return found

    @again_after_deadlock
    async def settle(
        self,
        batch: Batch,
        reports: Sequence[Report],
        *,
        recipe: Recipe,
        validation: dict[str, Any],
        trace_id: str,
        on_split: OnSplit,
        keys: Mapping[int, bytes] | None = None,
        decided: Mapping[int, Decided] | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> Tally:
        """Write what became of a batch, in one transaction. What is no longer ours is counted as `ignored`.

        `keys`: by item what its answer is found again by, once it is accepted. `decided`: what councils came to, kept
        with the result or the review that it is. `on_turn` is called when its turn has come: what asks for one from
        then on comes after it.
        """
        columns = _columns(reports, batch.model) | {
            "token": self._token,
            "batch": batch.id,
            "trace_id": trace_id,
        }
        tally = Tally(batches=1)
        async with self._writing():
            if on_turn is not None:
                on_turn()
            async with self._connection.pipeline():  # one wait for all three
                await self._connection.execute(
                    statement("execute.hold"), {"items": columns["items"], "token": self._token}
                )
                replaced = await standing.replace(self._connection, reports, self._token)
                cursor = await self._connection.execute(statement("execute.settle"), columns, binary=True)
                rows = await cursor.fetchall()
            moved: dict[int, str] = {item_id: outcome for item_id, outcome, _ in rows}
            moved |= await standing.keep(self._connection, batch, moved, replaced)
            done = [item_id for item_id, outcome in moved.items() if outcome == "accepted"]
            if recipe.header.splits:
                by_id = {report.item.id: report for report in reports}
                for item_id in done:
                    if not await on_split(self._connection, item_id, by_id[item_id].data or {}):
                        moved[item_id] = "deferred"  # it can't be used, or somebody must approve it first
                for item_id in [
                    one for one, outcome in moved.items() if outcome == "deferred" and one not in done
                ]:
                    # The model gave no split that can be used. What the item's own text lists is one, perhaps.
                    if await on_split(self._connection, item_id, None):
                        moved[item_id] = "fallback"
            if decided:
                # What was not bettered has the result of another decision.
                made = [item_id for item_id, outcome in moved.items() if outcome in ("accepted", "deferred")]
                stands = {item_id: decided[item_id] for item_id in made if item_id in decided}
                await keep(self._connection, recipe, stands)
            if recipe.synthesises:
                # Whatever became of them: their parts may have changed while the model wrote.
                for name in ("execute.lock_frontiers", "execute.advance_stale"):
                    await self._connection.execute(statement(name), {"items": list(moved)})
            for report in reports:
                outcome = moved.get(report.item.id, "ignored")
                setattr(tally, outcome, getattr(tally, outcome) + 1)
                tally.cached += report.reused
                if report.answer is not None and not report.reused:
                    tally.prompt_tokens += report.answer.prompt_tokens or 0
                    tally.completion_tokens += report.answer.completion_tokens or 0
                if report.answer is not None:
                    tally.simulated |= report.answer.simulated
            ends = ("accepted", "failed", standing.KEPT)
            async with self._connection.pipeline():
                if ended := [item_id for item_id, outcome in moved.items() if outcome in ends]:
                    await self._connection.execute(statement("execute.advance"), {"items": ended})
                if keys:
                    attempts = {item_id: attempt_id for item_id, _, attempt_id in rows}
                    await self._keep(reports, moved, keys, attempts)
                await standing.follow(self._connection, moved, replaced)
                await self._connection.execute(
                    statement("execute.close_batch"),
                    {
                        "batch": batch.id,
                        "accepted": tally.accepted,
                        "retried": tally.retry + tally.fallback,
                        "deferred": tally.deferred,
                        "returned": tally.returned,
                        "validation": orjson.dumps(validation).decode(),
                    },
                )
        return tally

    async def _keep(
        self,
        reports: Sequence[Report],
        moved: Mapping[int, str],
        keys: Mapping[int, bytes],
        attempts: Mapping[int, int],
    ) -> None:
        """The answers that are to be found again, of those that were accepted. `attempts`: their ids, by item."""
        accepted = {
            report.item.id: report.answer.finish_reason
            for report in reports
            if report.item.id in keys and moved.get(report.item.id) == "accepted" and report.answer
        }
        if accepted:
            of_these = {item: attempts[item] for item in accepted}
            await reuse.keep(self._connection, of_these, keys, accepted)

    async def give_back(self, items: Sequence[int]) -> None:
        held = {"items": list(items), "token": self._token}
        async with self._writing():
            await self._connection.execute(statement("execute.hold"), held)
            await self._connection.execute(statement("execute.give_back"), held)

    async def give_back_rest(self) -> None:
        """All that is still claimed, whether or not its claim was heard of: of a drain that ends."""
        await self._run("execute.give_back_rest", {"token": self._token})

    async def results_of_parts(self, items: Sequence[int]) -> list[tuple[Any, ...]]:
        async with self._looking() as connection:
            cursor = await connection.execute(statement("execute.results_of_parts"), {"items": list(items)})
            return await cursor.fetchall()

    async def undelay(self, items: Sequence[int]) -> None:
        await self._run("execute.undelay", {"items": list(items)})

    async def outlook(self, scope: Scope) -> Outlook:
        async with self._looking() as connection:
            cursor = await connection.execute(statement("execute.outlook"), scope.parameters())
            row = await cursor.fetchone()
        assert row is not None
        return Outlook(*row)

    async def left(self, scope: Scope, without: Collection[int] = ()) -> Left:
        """The same without counting, on boards that are not among `without`: it costs the same for any number."""
        parameters = scope.parameters() | {"without": list(without)}
        async with self._looking() as connection:
            cursor = await connection.execute(statement("execute.left"), parameters)
            row = await cursor.fetchone()
        assert row is not None
        return Left(*row)

    async def query(self, ask: Callable[[psycopg.AsyncConnection], Awaitable[Any]]) -> Any:
        """Run another stage's reads (recall) on the drain's connection, in turn with its own."""
        async with self._looking() as connection:
            return await ask(connection)

    async def _run(self, name: str, parameters: dict[str, Any]) -> None:
        async with self._writing():
            await self._connection.execute(statement(name), parameters)


def _json(value: Any) -> str | None:
    if value is None:
        return None
    text = orjson.dumps(value).decode()
    return orjson.dumps(_without_nul(value)).decode() if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    return [_without_nul(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(text: str | None) -> str | None:
    """Postgres' text can't hold NUL, which a broken server may send."""
    return None if text is None else text.replace("\0", "")


def _columns(reports: Sequence[Report], asked: str) -> dict[str, list[Any] | None]:
    """`asked`: the model of the batch."""
    answers = [report.answer for report in reports]
    columns: dict[str, list[Any] | None] = {
        "items": [report.item.id for report in reports],
        "outcomes": [report.next.outcome for report in reports],
        "charged": [report.next.charged for report in reports],
        "delays": [float(report.next.delay) for report in reports],
        "next_recipes": [report.next.next_recipe for report in reports],
        "models": [answer.model if answer else asked for answer in answers],
        "prompt_hashes": [report.prompt_hash for report in reports],
        "prompt_tokens": [answer.prompt_tokens if answer else None for answer in answers],
        "completion_tokens": [answer.completion_tokens if answer else None for answer in answers],
        "seconds": [float(report.seconds) for report in reports],
        "error_types": [str(report.error_type) if report.error_type else None for report in reports],
        "errors": [_plain(report.error) for report in reports],
        "answers": [_plain(answer.text) if answer else None for answer in answers],
        "checks": [_json(report.checks) if report.checks else None for report in reports],
        "texts": [_plain(report.text) for report in reports],
        "data": [_json(report.data) for report in reports],
        "citations": [_json(list(report.citations)) if report.citations else None for report in reports],
        "simulated": [bool(answer and answer.simulated) for answer in answers],
        "claims": [report.item.tries for report in reports],
        "cached_tokens": [answer.cached_tokens if answer else None for answer in answers],
        "costs": [report.cost for report in reports],
        "reused": [report.reused for report in reports],
        "digests": [report.digest for report in reports],
        "next_models": [report.next.next_model for report in reports],
        "elsewhere": [report.next.elsewhere for report in reports],
        "tried": [report.tried or None for report in reports],
        "members": [report.members for report in reports],
    }
    for name, values in columns.items():
        # What no row has need not be sent: unnest fills up with nulls what is shorter than the items.
        if name != "items" and values and all(value is None for value in values):
            columns[name] = None
    return columns
