"""Validate: check stored results again under the recipes as they are now. Calls no model, changes nothing unasked."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_table_artifact

from flows.opening import opened
from flows.remember import remember_accepted
from models.settings import Settings
from sql.connection import Database
from tasks.foreign import cut
from tasks.recipes import load_recipes
from tasks.validate.rerun import Change, Recheck, recheck, supersede
from tasks.validate.statistics import DAYS, Statistics, statistics

__all__ = ["validate"]

MOST_ROWS = 500
"""Of an artifact; the rest is counted."""


@flow(name="validate", flow_run_name="check stored results")
async def validate(
    boards: list[int] | None = None, recipe: str | None = None, apply: bool = False
) -> dict[str, Any]:
    """Check the accepted results of `boards` (all when None) again; those a person accepted are left alone.

    Shows as artifacts what would change, and how often which rule failed. Only with `apply` it changes anything:
    results that do not pass are superseded, and a person is asked about their items.
    """
    async with opened() as (config, db):
        recipes = load_recipes(config)
        connection = await db.aconnect(autocommit=True)
        try:
            found = await recheck(connection, recipes, boards=boards, recipe=recipe)
            await _show(found)
            moved = await supersede(connection, found) if apply else None
        finally:
            await connection.close()
        if moved is not None and moved.items:
            await remember_accepted()  # memory forgets what no longer stands
        await _show_statistics(await asyncio.to_thread(_count, db, config, boards, recipe))
    summary = found.as_json()
    if moved is not None:
        summary |= {"superseded": len(moved.items), "left": moved.left}
    return summary


async def _show(found: Recheck) -> None:
    rows = [_row(each, "would not pass") for each in found.failing]
    rows += [_row(each, "could not be checked") for each in found.unchecked]
    rows += [_row(each, f"review {each.id} would pass") for each in found.passing]
    await acreate_table_artifact(
        rows[:MOST_ROWS]
        or [
            {"item": "-", "place": "-", "recipe": "-", "what": "-", "why": "every stored result passes today"}
        ],
        key="validation-of-results",
        description=found.sentence + _cut(len(rows)),
    )


async def _show_statistics(found: Statistics) -> None:
    rows = [
        {
            "recipe": each.recipe,
            "model": each.model,
            "layer": each.layer,
            "check": each.check,
            "failed": each.failed,
            "of": each.checked,
            "share": f"{each.share:.1%}",
            "example": cut(each.example, 200),
        }
        for each in found.rules
    ]
    await acreate_table_artifact(
        rows[:MOST_ROWS] or [{"recipe": "-", "model": "-", "check": "no check failed", "failed": 0}],
        key="validation-statistics",
        description=(
            f"{found.failed} of {found.checked} answers of {DAYS} days failed a check, by rule, model and recipe"
            + _cut(len(rows))
        ),
    )


def _count(db: Database, config: Settings, boards: list[int] | None, recipe: str | None) -> Statistics:
    with db.connect() as connection:
        return statistics(connection, boards=boards, recipe=recipe, zone=config.timezone)


def _row(change: Change, what: str) -> dict[str, Any]:
    shown = change.as_json()
    return {name: shown[name] for name in ("item", "place", "recipe")} | {
        "what": what,
        "why": cut(change.why, 300),
    }


def _cut(number: int) -> str:
    return f" The first {MOST_ROWS} of {number} rows." if number > MOST_ROWS else ""
