"""How well a model answers several items in one request; where it does badly, it is asked for each alone.

Bad is an item that had to be asked again alone: its answer was missing, there twice or mixed up with another one; or
it failed its checks when it was asked with others, and passed them when it was asked alone. A pause of the kind
`packing` ends the packing of that recipe on that model: by itself after `DAYS`, or with `penstock resume packing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psycopg

from models.enums import ErrorType
from models.pause import STRIKER
from sql.statements import statement
from tasks.execute.work import Report

WINDOW = 64
"""Items that are looked back at, at least; twice as many at most."""

FEWEST = 24
"""Items after which the packing may be paused."""

MOST_BAD = 0.2
"""Share of bad ones above which it is. A bad one costs its share of the pack and a request of its own."""

DAYS = 7.0


class Record(NamedTuple):
    """What became of a batch's packs."""

    asked: int  # items that were asked together with others
    bad: int
    calls: int


def record_of(reports: Sequence[Report]) -> Record:
    together = [report for report in reports if report.members is not None and _answered(report.error_type)]
    bad = sum(report.error_type is ErrorType.PACKED for report in together)
    bad += sum(report.mends for report in reports)
    calls = sum(1 / report.members for report in together if report.members)
    return Record(len(together), bad, round(calls))


def _answered(error: ErrorType | None) -> bool:
    """Does a try that ended so say anything of packing? Not what the server did."""
    return error is None or error is ErrorType.PACKED or error.charged


async def count(connection: psycopg.AsyncConnection, recipe: str, model: str, record: Record) -> str | None:
    """Count a batch; in words why the packing was paused, if it was by this. Call it outside of a transaction."""
    if not record.asked and not record.bad:
        return None
    parameters = {
        "recipe": recipe,
        "model": model,
        **record._asdict(),
        "window": WINDOW,
        "fewest": FEWEST,
        "most_bad": MOST_BAD,
        "days": DAYS,
        "by": STRIKER,
    }
    async with connection.transaction():
        row = await (await connection.execute(statement("packing.count"), parameters)).fetchone()
        if row is None:
            return None
        await connection.execute(statement("packing.forget"), parameters)
    return (
        f"Items of the recipe {recipe} are asked alone of {model} for {DAYS:g} days: {row[0]}. "
        f"`penstock resume packing '{recipe} {model}'` ends that."
    )
