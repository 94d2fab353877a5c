"""Decisions as they are kept. Written in the transaction that accepts a decision, or that asks a person about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson
import psycopg

from models.council import Decided, DecisionRecord, Seat
from models.errors import InputError
from models.recipe import Recipe, Risk
from sql.statements import statement
from tasks.council.combine import by_person
from tasks.council.opinions import opinions_of
from tasks.council.text import read

__all__ = ["approve", "ask_missing_again", "keep", "record", "records"]

Connection = psycopg.AsyncConnection[Any]

MOST = 1_000


async def keep(connection: Connection, recipe: Recipe, decided: Mapping[int, Decided]) -> None:
    """Keep what was decided for these items, as proposals where a review is open."""
    if decided:
        await _keep(connection, recipe.name, recipe.hash, decided, None)


async def _keep(
    connection: Connection, recipe: str, digest: str, decided: Mapping[int, Decided], by: str | None
) -> None:
    await connection.execute(
        statement("council.keep"),
        {
            "items": list(decided),
            "records": [orjson.dumps(each.as_json()).decode() for each in decided.values()],
            "recipe": recipe,
            "recipe_hash": digest,
            "by": by,
        },
    )


async def approve(
    connection: Connection, review_id: int, item_id: int, text: str, *, by: str, edited: bool
) -> None:
    """A person took the proposal of this review, or wrote another: `text` is what holds now. Within the decision's
    transaction, after its result is there. Nothing where the item asks no council."""
    written = read(text) if edited else None
    cursor = await connection.execute(
        statement("council.approve"),
        {
            "review": review_id,
            "by": by,
            "edited": edited,
            "decision": written and written.decision,
            "reasons": written and orjson.dumps(written.reasons).decode(),
            "risks": written and orjson.dumps(written.risks).decode(),
        },
    )
    if await cursor.fetchone() is not None:
        return
    cursor = await connection.execute(statement("council.of_item"), {"item": item_id})
    row = await cursor.fetchone()
    if row is None:
        return
    # No synthesis stood: too few had answered, it failed its checks, or its result was undone later.
    recipe, digest = row
    written = read(text)
    opinions = (await opinions_of(connection, [item_id])).get(item_id, [])
    decided = by_person(written.decision, written.reasons, written.risks, opinions)
    await _keep(connection, recipe, digest, {item_id: decided}, by)


async def ask_missing_again(connection: Connection, item_id: int) -> None:
    """Members that did not answer are asked again, with fresh attempts. Who did is not."""
    await connection.execute(statement("council.ask_missing_again"), {"item": item_id})


def records(
    connection: psycopg.Connection[Any],
    *,
    boards: Sequence[int] | None = None,
    item: int | None = None,
    standing: bool = False,
    limit: int = MOST,
) -> list[DecisionRecord]:
    """Stored decisions, the latest first. `standing`: only what was accepted or waits for a person."""
    return _read(connection, boards=boards, item=item, standing=standing, limit=limit)


def record(connection: psycopg.Connection[Any], number: int) -> DecisionRecord:
    """One of them. Raises InputError when there is none of that number."""
    found = _read(connection, number=number)
    if not found:
        raise InputError(f"There is no decision {number}. `penstock decisions list` shows them.")
    return found[0]


def _read(
    connection: psycopg.Connection[Any],
    *,
    boards: Sequence[int] | None = None,
    item: int | None = None,
    number: int | None = None,
    standing: bool = False,
    limit: int = MOST,
) -> list[DecisionRecord]:
    scope = {
        "record": number,
        "item": item,
        "boards": None if boards is None else list(boards),
        "standing": standing,
        "limit": limit,
    }
    cursor = connection.execute(statement("council.records"), scope)
    names = [column.name for column in cursor.description or ()]
    return [_record(dict(zip(names, row, strict=True))) for row in cursor]


def _record(row: dict[str, Any]) -> DecisionRecord:
    inner = {each.name for each in fields(Decided)}
    values = {name: value for name, value in row.items() if name in inner}
    values["members"] = [Seat(**seat) for seat in values["members"]]
    values["risk"] = Risk(values["risk"])
    rest = {name: value for name, value in row.items() if name not in inner or name == "simulated"}
    rest.pop("simulated")
    return DecisionRecord(**rest, decided=Decided(**values))
