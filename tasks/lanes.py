"""Who waits for a board's answers, and how many of its items may run at once: what people set at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from models.enums import Lane
from sql.deadlocks import again_after_deadlock
from sql.statements import statement

__all__ = ["set_boards"]

Connection = psycopg.Connection[Any]


@again_after_deadlock
def set_boards(
    connection: Connection, boards: Sequence[int], *, lane: Lane | None = None, wip: int | None = None
) -> int:
    """Set the lane of boards and of their items that are not settled, and how many of each board's may run at once.

    None leaves as it is; a `wip` of 0 is no limit. All in one transaction; gives how many items changed lanes. What
    runs is not interrupted.
    """
    changed = 0
    with connection.transaction():
        parameters = {"boards": sorted(boards), "lane": None if lane is None else int(lane), "wip": wip}
        sources = connection.execute(statement("lanes.sources"), parameters).fetchall()
        for (
            source,
        ) in sources:  # in one order; an ingest writes new items with the lane that it read under this lock
            connection.execute(statement("ingest.lock"), {"source": source})
        connection.execute(statement("lanes.set_boards"), parameters)
        # Again while something changed: parts that a drain made of an item which this waited for are new to it.
        while lane is not None and (
            moved := connection.execute(statement("lanes.move_items"), parameters).rowcount
        ):
            changed += moved
    return changed
