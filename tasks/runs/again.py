"""Asking again what a run came to: which items, and what becomes of them.

    failed, waiting --rerun--> pending, ready     done --rerun--> pending, ready, its accepted answer stands meanwhile

An accepted answer is superseded only when a new one is accepted (tasks/execute/standing.py). What a person accepted,
and what only a person can settle, is left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from models.enums import ErrorType, Status
from models.words import counted
from sql.deadlocks import again_after_deadlock
from sql.statements import statement

__all__ = ["Choice", "Plan", "ask_again", "look_again", "plan"]

ONLY_PEOPLE = frozenset({ErrorType.HUMAN_ONLY, ErrorType.CYCLE, ErrorType.PLAN})
"""Why an item waits that asking again can't help: a person decides, whatever a model says."""

NOTE = "asked again by `penstock runs rerun`"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which items are asked again, besides those that are open."""

    failed: bool = False
    deferred: bool = False
    done: bool = False


@dataclass(slots=True)
class Plan:
    """What would be asked again, by the status it has now; and what would be, but for `left`."""

    items: dict[int, Status] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)

    def count(self, status: Status) -> int:
        return sum(each is status for each in self.items.values())

    @property
    def lines(self) -> list[str]:
        """As sentences."""
        failed, deferred, done = (self.count(each) for each in (Status.FAILED, Status.WAITING, Status.DONE))
        said = []
        if failed:
            said.append(f"{counted(failed, 'failed item is', 'failed items are')} asked again.")
        if deferred:
            said.append(
                f"{counted(deferred, 'item that waits', 'items that wait')} for a person leave the review queue and "
                "are asked again; their proposals stay in their history."
            )
        if done:
            said.append(
                f"{counted(done, 'answered item is', 'answered items are')} asked again. An accepted answer stands "
                "until a new one is accepted."
            )
        said += [f"Left alone: {number} {why}." for why, number in sorted(self.left.items())]
        return said


def plan(connection: psycopg.Connection[Any], boards: Sequence[int], choice: Choice) -> Plan:
    """What a rerun of these boards would ask again. Changes nothing."""
    found = Plan()
    for item, number, kind, error_type, accepted_by in connection.execute(
        statement("runs.askable"), {"boards": list(boards)}
    ):
        status = Status(number)
        if status is Status.FAILED and choice.failed:
            found.items[item] = status
        elif status is Status.WAITING and choice.deferred:
            if kind == "item" and error_type not in ONLY_PEOPLE:
                found.items[item] = status
            else:
                found.left["that only a person can settle"] += 1
        elif status is Status.DONE and choice.done:
            if accepted_by == "checks":
                found.items[item] = status
            else:
                found.left["whose answer a person accepted"] += 1
    return found


@again_after_deadlock
async def ask_again(connection: psycopg.AsyncConnection[Any], wanted: Plan, *, by: str) -> int:
    """Do it, in one transaction; what changed since the plan was made stays as it is. Gives how many items it were."""
    if not wanted.items:
        return 0
    ids = sorted(wanted.items)
    async with connection.transaction():
        await connection.execute(statement("runs.hold_items"), {"items": ids})
        cursor = await connection.execute(
            statement("runs.ask_again"),
            {"items": ids, "statuses": [int(wanted.items[item]) for item in ids]},
        )
        moved = [item for item, _ in await cursor.fetchall()]
        await connection.execute(statement("runs.close_reviews"), {"items": moved, "by": by, "note": NOTE})
        await connection.execute(statement("runs.ask_missing_again"), {"items": moved})
        await connection.execute(statement("runs.advance"), {"items": moved})
        await connection.execute(statement("runs.advance_councils"), {"items": moved})
    return len(moved)


async def look_again(connection: psycopg.AsyncConnection[Any], boards: Sequence[int]) -> None:
    """Recipes and needs of these boards are put in place anew when they are decomposed next."""
    await connection.execute(statement("runs.look_again"), {"boards": list(boards)})
