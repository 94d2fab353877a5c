"""Runs as they are listed. Reads only: a run whose process is gone is shown as what it is."""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from typing import Any

import psycopg

from models.enums import Status
from models.errors import InputError
from models.run import RunRow, RunState, Stage, Wish
from sql.statements import statement
from tasks.runs.control import is_gone

Connection = psycopg.Connection[Any]

LAST = "last"
_PREFIX = re.compile(r"[0-9a-f-]{1,36}")


def run_rows(connection: Connection, limit: int | None = 20) -> list[RunRow]:
    """The latest runs first, with what their boards' items come to now."""
    return _rows(connection, {"like": None, "id": None, "limit": limit})


def one(connection: Connection, name: str) -> RunRow:
    """The run that a person means: the beginning of its id, or `last`.

    Raises InputError for none, and for several, which it names.
    """
    word = name.strip().lower()
    if word == LAST:
        found = _rows(connection, {"like": None, "id": None, "limit": 1})
        if not found:
            raise InputError("There is no run yet. `penstock run PATH` makes one.")
        return found[0]
    if not _PREFIX.fullmatch(word):
        raise InputError(
            f"{name!r} is no run's id, nor its beginning. `penstock runs` lists them; `last` is the newest."
        )
    found = _rows(connection, {"like": f"{word}%", "id": None, "limit": 3})
    if not found:
        raise InputError(f"There is no run {name!r}. `penstock runs` lists them; `last` is the newest.")
    if len(found) > 1:
        several = ", ".join(str(row.id) for row in found)
        raise InputError(f"{name!r} is the beginning of more than one run: {several}. Write more of it.")
    return found[0]


def held_runs(connection: Connection) -> list[tuple[uuid.UUID, RunState, str, list[str]]]:
    """Stopped runs that keep boards at rest: id, state, by whom, the boards."""
    rows = connection.execute(statement("runs.held_runs")).fetchall()
    return [(run, RunState(state), by, sources) for run, state, by, _, sources in rows]


def _rows(connection: Connection, parameters: dict[str, Any]) -> list[RunRow]:
    rows = connection.execute(statement("runs.listed"), parameters).fetchall()
    boards = sorted({board for row in rows for board in row[8]})
    sources = dict(connection.execute(statement("runs.sources"), {"boards": boards}).fetchall())
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for board, status, number in connection.execute(statement("runs.counts"), {"boards": boards}):
        counts[board][Status(status).label] += number
    gone = {
        run
        for run, flow_run, *sign in connection.execute(statement("runs.under_way"))
        if is_gone(flow_run, *sign)
    }
    return [
        RunRow(
            id=run,
            state=_state(state, wish, run in gone),
            stage=Stage(stage),
            started_at=started_at,
            finished_at=finished_at,
            wish=Wish(wish) if wish else None,
            wished_by=wished_by,
            flow_run_id=flow_run_id,
            boards=tuple(own),
            backend=backend,
            endpoint=endpoint,
            model=model,
            error=error,
            params=params,
            sources=tuple(sources[board] for board in own if board in sources),
            counts=sum((counts[board] for board in own), Counter()),
        )
        for (
            run,
            state,
            stage,
            started_at,
            finished_at,
            wish,
            wished_by,
            flow_run_id,
            own,
            backend,
            endpoint,
            model,
            error,
            params,
        ) in rows
    ]


def _state(state: str, wish: str | None, gone: bool) -> RunState:
    if not gone:
        return RunState(state)
    return Wish(wish).state if wish else RunState.INTERRUPTED
