"""An item whose recipe asks a council gets its members as parts. No model is asked for that: the recipe names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson
import psycopg

from models.recipe import Recipe
from sql.statements import statement
from tasks.council.personas import member_recipe
from tasks.ingest.identity import derived_key
from tasks.ingest.rows import content_hash, length

KIND = "opinion"


class Question(Protocol):
    """What is read of a claimed item."""

    @property
    def id(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def parent_title(self) -> str | None: ...


async def convene(
    connection: psycopg.AsyncConnection[Any], recipe: Recipe, items: Sequence[Question]
) -> frozenset[int]:
    """Make containers of those of the items that have no opinions yet, and give their ids.

    For the transaction that claimed them: each has one part for each member then, ready at once (what the item needs
    is settled, or it could not have been claimed), and is claimed no more. It becomes ready again, as a synthesis, when
    all of them ended (sql/migrations, penstock_advance).
    """
    rule = recipe.header.council
    if rule is None:
        return frozenset()
    cursor = await connection.execute(
        statement("council.without_members"), {"items": [item.id for item in items]}
    )
    keys = dict(await cursor.fetchall())
    if not keys:
        return frozenset()
    seats = [(item, member) for item in items if item.id in keys for member in rule.members]
    bodies = [_body(item) for item, _ in seats]
    await connection.execute(
        statement("council.seat_members"),
        {
            "parents": [item.id for item, _ in seats],
            "keys": [
                derived_key(f"council\0{keys[item.id]}\0{recipe.name}\0{member.name}")
                for item, member in seats
            ],
            "names": [member.name for _, member in seats],
            "recipes": [member_recipe(recipe.name, member.name) for _, member in seats],
            "models": [member.model for _, member in seats],
            "labels": [
                orjson.dumps(
                    {"member": member.name} | ({"model": member.model} if member.model else {})
                ).decode()
                for _, member in seats
            ],
            "bodies": bodies,
            "hashes": [
                content_hash(item.title, body, KIND) for (item, _), body in zip(seats, bodies, strict=True)
            ],
            "lengths": [length(item.title, body) for (item, _), body in zip(seats, bodies, strict=True)],
            "kind": KIND,
        },
    )
    await connection.execute(
        statement("council.sit"), {"items": list(keys), "recipe": recipe.name, "quorum": rule.needed}
    )
    return frozenset(keys)


def _body(item: Question) -> str:
    """A member sees the question with what that is part of: its own parent is the question itself."""
    return "\n\n".join(filter(None, (item.body, item.parent_title and f"It is part of: {item.parent_title}")))
