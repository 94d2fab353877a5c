"""Items that are asked again while an accepted answer stands: it goes only when a new one is accepted.

    done --asked again--> ready ... running --accepted--> done, the old answer superseded
                                            --deferred, failed, fallback--> done, with the answer that stands

`tasks/runs/again.py` asks again. These functions run in the transaction that settles a batch, around its statement, and
do nothing for a batch without such items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from sql.statements import statement
from tasks.execute.work import Batch, Report

KEPT = "kept"


async def replace(
    connection: psycopg.AsyncConnection[Any], reports: Sequence[Report], token: int
) -> dict[int, int]:
    """Before a batch is settled: the answers that its accepted ones replace. Gives their results' ids by item."""
    mine = [report for report in reports if report.item.again and report.next.outcome == "accepted"]
    if not mine:
        return {}
    cursor = await connection.execute(
        statement("runs.supersede_standing"),
        {
            "items": [report.item.id for report in mine],
            "claims": [report.item.tries for report in mine],
            "token": token,
        },
    )
    return dict(await cursor.fetchall())


async def keep(
    connection: psycopg.AsyncConnection[Any],
    batch: Batch,
    moved: Mapping[int, str],
    replaced: Mapping[int, int],
) -> dict[int, str]:
    """After it: what was not bettered is done as before, and nobody is asked. Gives these items' outcomes."""
    if unmoved := [result for item_id, result in replaced.items() if moved.get(item_id) != "accepted"]:
        await connection.execute(statement("runs.restore_standing"), {"results": unmoved})
    given_up = [
        item.id
        for item in batch.items
        if item.again and moved.get(item.id) in ("deferred", "failed", "fallback")
    ]
    if not given_up:
        return {}
    cursor = await connection.execute(
        statement("runs.keep_standing"), {"items": given_up, "recipe": batch.recipe}
    )
    return {item_id: KEPT for (item_id,) in await cursor.fetchall()}


async def follow(
    connection: psycopg.AsyncConnection[Any], moved: Mapping[int, str], replaced: Mapping[int, int]
) -> None:
    """Last of all: syntheses of answers that were replaced are made anew, once all of their parts have ended."""
    ended = [*replaced, *(item_id for item_id, outcome in moved.items() if outcome == KEPT)]
    if ended:
        await connection.execute(statement("runs.follow_parts"), {"items": ended})
