"""How a run begins and ends, and what people want of it meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import psycopg

from models.errors import InputError, RunStopped
from models.run import RunState, Stage, Wish
from sql.statements import statement
from tasks.life import Sign

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a wish came to. `at_once`: no process had the run, so it is paused or cancelled already."""

    at_once: bool
    shared: tuple[tuple[str, uuid.UUID], ...] = ()  # boards that go on, and the run for which


async def begin(
    connection: Connection,
    run: uuid.UUID,
    *,
    flow_run_id: str,
    params: Mapping[str, Any],
    stage: Stage = Stage.INGEST,
    boards: Sequence[int] = (),
) -> None:
    """A run is under way: a new one, or one that was stopped goes on. Its boards no longer rest.

    Raises InputError where another process does it, RunStopped where a person stopped it while Prefect started its
    flow run again.
    """
    await interrupt(connection)
    async with connection.transaction():
        cursor = await connection.execute(
            statement("runs.begin"),
            {
                "id": run,
                "params": orjson.dumps(dict(params)).decode(),
                "flow_run_id": flow_run_id,
                "stage": str(stage),
                "boards": list(boards),
            },
        )
        if await cursor.fetchone() is not None:
            await connection.execute(statement("runs.let_go"), {"boards": list(boards)})
            return
    state, *_ = await _state(connection, run)
    if state is RunState.RUNNING:
        raise InputError(f"Run {run} is under way already. `penstock runs show {str(run)[:8]}` says where.")
    raise RunStopped(f"The run was {state} before it started again.")


async def note(connection: Connection, name: str, run: uuid.UUID, **values: Any) -> None:
    """Something of a run, by the statement of that name: its boards, and that they do not rest, its backend, stage."""
    await connection.execute(statement(name), values | {"id": run})


async def finish(connection: Connection, run: uuid.UUID, state: RunState, error: str | None = None) -> None:
    """The run ended so; nothing where it had ended before. One that was stopped keeps its boards at rest."""
    async with connection.transaction():
        if state in (RunState.PAUSED, RunState.CANCELLED):
            await connection.execute(statement("runs.hold"), {"id": run})
        await connection.execute(statement("runs.finish"), {"id": run, "state": str(state), "error": error})


async def want(connection: Connection, run: uuid.UUID, wish: Wish, *, by: str) -> Stopped:
    """Pause or cancel a run. Its boards rest from now on; its process and its drains obey within two seconds.

    Raises InputError for one that has ended.
    """
    await interrupt(connection)
    async with connection.transaction():
        values = {"id": run, "wish": str(wish), "by": by}
        cursor = await connection.execute(statement("runs.wish"), values)
        at_once = await cursor.fetchone() is None
        if at_once:
            before = [RunState.INTERRUPTED]
            if wish is Wish.CANCEL:
                before += [RunState.PAUSED, RunState.FAILED]
            values |= {"state": str(wish.state), "from": [str(each) for each in before]}
            cursor = await connection.execute(statement("runs.stop"), values)
            if await cursor.fetchone() is None:
                state, *_ = await _state(connection, run)
                raise InputError(_ended(run, state, wish))
        await connection.execute(statement("runs.hold"), {"id": run})
        shared = await (await connection.execute(statement("runs.shared"), {"id": run})).fetchall()
    return Stopped(at_once, tuple((source, other) for source, other in shared))


async def stopped_here(connection: Connection, run: uuid.UUID, *, by: str) -> bool:
    """The process that did the run was stopped by a person: it is cancelled, and its drains hear of it.

    False where it had ended before.
    """
    async with connection.transaction():
        # Its process is gone by now: somebody may have seen that before this is said.
        before = [str(RunState.RUNNING), str(RunState.INTERRUPTED)]
        values = {"id": run, "by": by, "state": str(RunState.CANCELLED), "from": before}
        cursor = await connection.execute(statement("runs.stop"), values)
        if await cursor.fetchone() is None:
            return False
        await connection.execute(statement("runs.hold"), {"id": run})
    return True


async def wished(connection: Connection, run: uuid.UUID) -> tuple[Wish, str] | None:
    """What a person wants of it, or has made of it, and who; None while it is to go on."""
    state, wish, by = await _state(connection, run)
    if state in (RunState.PAUSED, RunState.CANCELLED):
        return (Wish.PAUSE if state is RunState.PAUSED else Wish.CANCEL), by
    return None if wish is None else (wish, by)


async def interrupt(connection: Connection) -> list[tuple[uuid.UUID, RunState]]:
    """Give the runs whose process is known to be gone a state that is true. Returns which, and their states."""
    rows = await (await connection.execute(statement("runs.under_way"))).fetchall()
    gone = [(run, flow_run) for run, flow_run, *sign in rows if is_gone(flow_run, *sign)]
    if not gone:
        return []
    cursor = await connection.execute(
        statement("runs.interrupt"),
        {"ids": [run for run, _ in gone], "flow_runs": [flow_run for _, flow_run in gone]},
    )
    return [(run, RunState(state)) for run, state in await cursor.fetchall()]


def is_gone(flow_run_id: str, holder: str | None, silent: float | None, leased: bool) -> bool:
    """Whether the process of a run that is called running is no more: it signed before the run began, and takes its
    sign away only after the run has ended."""
    return holder is None or Sign(flow_run_id, holder, timedelta(seconds=silent or 0.0), leased).dead


async def _state(connection: Connection, run: uuid.UUID) -> tuple[RunState, Wish | None, str]:
    row = await (await connection.execute(statement("runs.wished"), {"id": run})).fetchone()
    if row is None:
        raise InputError(f"There is no run {run}. `penstock runs` lists them.")
    return RunState(row[0]), Wish(row[1]) if row[1] else None, row[2]


def _ended(run: uuid.UUID, state: RunState, wish: Wish) -> str:
    if state is wish.state:
        return f"Run {str(run)[:8]} is {state} already."
    stop = "" if state is RunState.CANCELLED else " `penstock pause board PATH` stops a board."
    return f"Run {str(run)[:8]} has ended ({state}): there is nothing to {wish}.{stop}"
