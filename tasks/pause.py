"""Pause and resume at run time: a board, model, endpoint, backend, device or recipe; and the packing of a recipe.

Of what is paused nothing new is claimed; calls that run end. Drains ask once a second. A pause that lapsed counts as
gone, and goes when somebody pauses or lists. What Penstock strikes (tasks/execute/strikes.py) is a pause, too; resuming
it forgets the failures and settles the review.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import psycopg

from models.errors import InputError
from models.pause import STRIKER, Pause, Paused, PauseKind
from sql.statements import statement
from tasks.foreign import storable
from tasks.quiet import quiet

__all__ = ["PauseKind", "confirm", "duration", "in_force", "listed", "pause", "paused", "quiet", "resume"]

LONGEST_DAYS = 3660

_DURATION = re.compile(
    r"(?:(?P<d>\d{1,6})d)?\s*(?:(?P<h>\d{1,6})h)?\s*(?:(?P<m>\d{1,6})m)?\s*(?:(?P<s>\d{1,9})s)?",
    re.IGNORECASE,
)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


async def pause(
    connection: psycopg.AsyncConnection,
    kind: PauseKind,
    name: str,
    *,
    until: datetime | None = None,
    seconds: float | None = None,
    reason: str = "",
    by: str = "",
) -> Pause:
    """Pause it until a time, for some seconds from now, or without either until it is resumed.

    What is paused already gets the new time and reason. `name` is as stored (models.pause.PauseKind).
    """
    if until is not None and seconds is not None:
        raise ValueError("give until or seconds, not both")
    cursor = await connection.execute(
        statement("pause.pause"),
        {
            "kind": str(kind),
            "name": storable(name),
            "until": until,
            "seconds": seconds,
            "reason": storable(reason),
            "by": storable(by),
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    await connection.execute(statement("pause.drop_lapsed"))
    return _pause(row)


async def resume(
    connection: psycopg.AsyncConnection, kind: PauseKind, name: str, *, by: str = STRIKER
) -> bool:
    """Let it go on. False: it was not paused."""
    parameters = {"kind": str(kind), "name": storable(name), "by": storable(by), "striker": STRIKER}
    async with connection.transaction():
        await connection.execute(statement("pause.hold_streaks"), parameters)
        cursor = await connection.execute(statement("pause.resume"), parameters)
        row = await cursor.fetchone()
    return bool(row and row[0])


async def confirm(connection: psycopg.AsyncConnection, kind: PauseKind, name: str, *, by: str) -> None:
    """What Penstock struck stays so: a person said it."""
    await connection.execute(
        statement("pause.confirm"), {"kind": str(kind), "name": name, "by": storable(by)}
    )


async def listed(connection: psycopg.AsyncConnection) -> list[Pause]:
    """All pauses in force."""
    await connection.execute(statement("pause.drop_lapsed"))
    cursor = await connection.execute(statement("pause.listed"))
    return [_pause(row) for row in await cursor.fetchall()]


def in_force(connection: psycopg.Connection[Any]) -> list[Pause]:
    """The same for who only reads."""
    return [_pause(row) for row in connection.execute(statement("pause.listed"))]


async def paused(
    connection: psycopg.AsyncConnection, *, resource: str, backend: str, device: str | None = None
) -> Paused:
    """What a drain of this endpoint may not do now; `device` is the name of settings.device(endpoint)."""
    cursor = await connection.execute(
        statement("pause.paused"), {"resource": resource, "backend": backend, "device": device}
    )
    rows = await cursor.fetchall()
    if not rows:
        return Paused()
    boards: set[int] = set()
    names: dict[str, set[str]] = {PauseKind.MODEL: set(), PauseKind.RECIPE: set(), PauseKind.PACKING: set()}
    whole: list[tuple[str, datetime | None]] = []
    for kind, name, board, until, reason, by in rows:
        if kind == PauseKind.BOARD:
            boards.add(board)
        elif kind in names:
            names[kind].add(name)
        else:
            whole.append((sentence(PauseKind(kind), name, until, reason, by), until))
    pairs = {name for name in names[PauseKind.RECIPE] if " " in name}
    ends = [until for _, until in whole]
    return Paused(
        boards=frozenset(boards),
        models=frozenset(names[PauseKind.MODEL]),
        recipes=frozenset(names[PauseKind.RECIPE] - pairs),
        recipe_models=frozenset(
            (recipe, model) for recipe, _, model in (pair.partition(" ") for pair in pairs)
        ),
        packing=frozenset(names[PauseKind.PACKING]),
        whole=" ".join(words for words, _ in whole) or None,
        until=None if None in ends else max((end for end in ends if end is not None), default=None),
    )


def sentence(kind: PauseKind, name: str, until: datetime | None, reason: str, by: str) -> str:
    """`The device gpu is paused until 2026-03-01 07:00 (ana): it is being cooled.`"""
    words = f"The {kind} {name} is paused"
    words += f" until {until.astimezone():%Y-%m-%d %H:%M}" if until is not None else " until it is resumed"
    words += f" ({by})" if by else ""
    reason = reason.strip()
    return f"{words}: {reason}" + ("" if reason.endswith((".", "!", "?")) else ".") if reason else f"{words}."


def duration(text: str) -> float:
    """Seconds of `2h`, `90m`, `1d 12h`. Raises InputError for what is none."""
    match = _DURATION.fullmatch(text.strip())
    seconds = sum(int(match[unit] or 0) * size for unit, size in _UNITS.items()) if match else 0
    if not seconds:
        raise InputError(
            f"{text!r} is no length of time. Write days, hours, minutes or seconds: 1d, 2h, 1h30m, 45s."
        )
    if seconds > LONGEST_DAYS * _UNITS["d"]:
        raise InputError(
            f"{text!r} is more than {LONGEST_DAYS} days. Leave it out: then only `resume` ends the pause."
        )
    return float(seconds)


def _pause(row: tuple[Any, ...]) -> Pause:
    return Pause(PauseKind(row[0]), *row[1:])
