"""Strikes: a recipe on a model whose answers fail again and again is stopped, and a person is asked.

Counted are answers in a row that were not accepted, of different items: one item that can't be done is that item's
matter (tasks/execute/policy.py). At `settings.strike_after` items the recipe is paused on that model, with a review of
the kind `strike`: retry resumes it, reject leaves it stopped. A model with `RECIPES` recipes stopped is stopped itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from models.enums import ErrorType, Fault
from models.pause import STRIKER
from sql.statements import statement
from tasks.execute.work import Report
from tasks.foreign import cut, storable

RECIPES = 3
"""Recipes stopped on a model, at which the model is to blame."""

LONGEST_ERROR = 300

Result = tuple[int, bool, str]
"""An item, whether its answer was accepted, and why not."""


@dataclass(frozen=True, slots=True)
class Strike:
    """What was stopped just now."""

    recipe: str
    model: str
    failures: int  # answers in a row
    items: int  # different ones
    whole_model: bool  # the model was stopped with it, for all recipes

    def __str__(self) -> str:
        what = (
            f"The model {self.model}"
            if self.whole_model
            else f"The recipe {self.recipe} on the model {self.model}"
        )
        return (
            f"{what} is stopped: {self.failures} answers in a row, of {self.items} different items, were not accepted. "
            "`penstock review list` has it."
        )


def counts(error: ErrorType) -> bool:
    """Does a try that ended so speak against the recipe or the model?

    Not what the server, the device or the account did, and not what no model could do better: documents without an
    answer, an item that a person is to be asked of anyway.
    """
    rule = error.rule
    return rule.charged and error is not ErrorType.NO_EVIDENCE and rule.fault is not Fault.NOBODY


def results(reports: Sequence[Report]) -> list[Result]:
    """What of a batch is counted. An answer that passed all checks is accepted here, also where a person decides."""
    found: list[Result] = []
    for report in reports:
        if report.error_type is None:
            found.append((report.item.id, True, ""))
        elif counts(report.error_type):
            found.append(
                (report.item.id, False, f"{report.error_type}: {report.error or 'no reason was given'}")
            )
    return found


async def count(
    connection: psycopg.AsyncConnection,
    recipe: str,
    model: str,
    results: Sequence[Result],
    *,
    strike_after: int,
) -> Strike | None:
    """Count a batch, in the order of its results; the strike, if this is the one that made it.

    One statement, two more where something is struck. Call it last in a transaction, or in autocommit.
    """
    accepted = max((place for place, (_, passed, _) in enumerate(results) if passed), default=-1)
    failed = results[accepted + 1 :]
    if not failed:
        if results:
            await connection.execute(statement("strikes.clear"), {"recipe": recipe, "model": model})
        return None
    parameters = {
        "recipe": recipe,
        "model": model,
        "failures": len(failed),
        "items": sorted({item for item, _, _ in failed}),
        "error": storable(cut(failed[-1][2], LONGEST_ERROR)),
        "fresh": accepted >= 0,
        "limit": strike_after,
        "striker": STRIKER,
        "recipes": RECIPES,
    }
    cursor = await connection.execute(statement("strikes.count"), parameters)
    row = await cursor.fetchone()
    if row is None:
        return None
    async with connection.transaction():
        await connection.execute(statement("strikes.hold_model"), parameters)
        cursor = await connection.execute(statement("strikes.whole_model"), parameters)
        whole = await cursor.fetchone() is not None
    return Strike(recipe, model, int(row[0]), int(row[1]), whole)
