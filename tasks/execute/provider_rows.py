"""The rows of provider batches: what was asked, of whom, and who looks after it. Statements: sql/provider_batch.sql."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import psycopg

from models.calls import Passage
from models.recipe import Note, Rendered
from sql.statements import statement
from tasks.execute.work import Batch, ClaimedItem

Query = Callable[[Callable[[psycopg.AsyncConnection], Awaitable[Any]]], Awaitable[Any]]
"""As Store.query: runs what it is given in a transaction of the drain's connection."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch with all its prompts, in the order of its items."""

    batch: Batch
    rendered: tuple[Rendered, ...]
    simulated: frozenset[int] = frozenset()  # items whose material is

    def only(self, items: Collection[int]) -> Prepared:
        """Some of its items."""
        kept = [pair for pair in zip(self.batch.items, self.rendered, strict=True) if pair[0].id in items]
        batch = Batch(
            self.batch.id,
            self.batch.recipe,
            self.batch.model,
            tuple(item for item, _ in kept),
            self.batch.interactive,
        )
        return Prepared(batch, tuple(prompt for _, prompt in kept), self.simulated)


@dataclass(slots=True)
class Held:
    """An open provider batch that is looked after."""

    id: int
    batch_id: int
    label: str
    provider_id: str | None
    model: str
    recipe: str
    size: int
    created_at: datetime
    age: float  # seconds since then, by the database's clock, when it was read
    read_at: float = 0.0  # then, on the loop's clock
    next_at: float = 0.0  # when to ask for it
    asks: int = 0


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """As people see it."""

    resource: str
    model: str
    recipe: str
    size: int
    done: int
    state: str
    provider_id: str | None
    label: str
    created_at: datetime
    submitted_at: datetime | None
    polled_at: datetime | None


async def resources(connection: psycopg.AsyncConnection[Any]) -> set[str]:
    """Endpoints (Endpoint.resource) that have open batches."""
    cursor = await connection.execute(statement("provider_batch.resources"))
    return {row[0] for row in await cursor.fetchall()}


async def open_batches(connection: psycopg.AsyncConnection[Any]) -> list[OpenBatch]:
    """All open ones, the oldest first."""
    cursor = await connection.execute(statement("provider_batch.open"))
    return [OpenBatch(*row) for row in await cursor.fetchall()]


class ProviderRows:
    """The provider batches of one drain."""

    def __init__(self, query: Query, token: int, resource: str) -> None:
        self._query = query
        self._token = token
        self._resource = resource

    async def begin(self, prepared: Prepared, label: str) -> tuple[Held, set[int]] | None:
        """Write that a batch will be sent; gives it and its items that are still ours. None: the lease is lost."""
        batch, rendered = prepared.batch, prepared.rendered
        parameters = {
            "batch": batch.id,
            "resource": self._resource,
            "label": label,
            "model": batch.model,
            "recipe": batch.recipe,
            "token": self._token,
            "items": [item.id for item in batch.items],
            "claims": [item.tries for item in batch.items],
            "asked": [json.dumps(asdict(item)) for item in batch.items],
            "prompts": [json.dumps(asdict(prompt)) for prompt in rendered],
            "simulated": [item.id in prepared.simulated for item in batch.items],
        }
        rows = await self._rows(statement("provider_batch.begin"), parameters)
        if not rows:
            return None
        id, created_at, items = rows[0]
        held = Held(id, batch.id, label, None, batch.model, batch.recipe, len(items), created_at, 0.0)
        return held, set(items)

    async def take_over(self) -> list[Held]:
        """What former holders of the endpoint left, ours now; with what is ours already."""
        await self._run(
            statement("provider_batch.take_over"), {"resource": self._resource, "token": self._token}
        )
        return [
            Held(*row) for row in await self._rows(statement("provider_batch.held"), {"token": self._token})
        ]

    async def submitted(self, held: Held, provider_id: str) -> bool:
        """Keep its id. False: nobody waits for it any more."""
        return bool(
            await self._rows(
                statement("provider_batch.submitted"), {"id": held.id, "provider_id": provider_id}
            )
        )

    async def polled(self, held: Held, done: int) -> None:
        await self._run(statement("provider_batch.polled"), {"id": held.id, "done": done})

    async def asked(self, held: Held) -> Prepared:
        """What is still to be settled of it."""
        rows = await self._rows(statement("provider_batch.asked"), {"id": held.id, "token": self._token})
        items = [_item(row[0]) for row in rows]
        batch = Batch(held.batch_id, held.recipe, held.model, tuple(items))
        simulated = frozenset(item.id for item, row in zip(items, rows, strict=True) if row[2])
        return Prepared(batch, tuple(_rendered(row[1]) for row in rows), simulated)

    async def close(self, held: Held, state: str, detail: str = "") -> None:
        await self._run(
            statement("provider_batch.close"),
            {"id": held.id, "state": state, "detail": detail.replace("\0", "")},
        )

    async def _rows(self, query: bytes, parameters: dict[str, Any]) -> Sequence[Any]:
        async def run(connection: psycopg.AsyncConnection) -> Sequence[Any]:
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchall()

        rows: Sequence[Any] = await self._query(run)
        return rows

    async def _run(self, query: bytes, parameters: dict[str, Any]) -> None:
        async def run(connection: psycopg.AsyncConnection) -> None:
            await connection.execute(query, parameters)

        await self._query(run)


_ITEM_FIELDS = frozenset(field.name for field in fields(ClaimedItem))


def _item(text: str) -> ClaimedItem:
    """As it was claimed. A drain of an older version may have written it: what this one does not know is left out."""
    return ClaimedItem(**{name: value for name, value in json.loads(text).items() if name in _ITEM_FIELDS})


def _rendered(text: str) -> Rendered:
    values = json.loads(text)
    passages = tuple(Passage(**passage) for passage in values.pop("passages"))
    notes = tuple(Note(**note) for note in values.pop("notes"))
    return Rendered(**values, passages=passages, notes=notes)
