"""What the members of councils said, read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg

from models.council import Opinion
from sql.statements import statement
from tasks.foreign import cut

LONGEST_ERROR = 200


async def opinions_of(
    connection: psycopg.AsyncConnection[Any], items: Sequence[int]
) -> dict[int, list[Opinion]]:
    """The members' opinions by the item that asked them, in the council's order; missing members too."""
    cursor = await connection.execute(statement("council.opinions"), {"items": list(items)})
    found: dict[int, list[Opinion]] = defaultdict(list)
    for (
        parent,
        item,
        name,
        status,
        result,
        text,
        data,
        citations,
        simulated,
        model,
        digest,
        error,
    ) in await cursor.fetchall():
        found[parent].append(
            Opinion(
                item,
                name,
                status,
                result,
                text or "",
                data if isinstance(data, dict) else {},
                citations or [],
                simulated,
                model,
                digest,
                cut(" ".join(error.split()), LONGEST_ERROR) if error else None,
            )
        )
    return found
