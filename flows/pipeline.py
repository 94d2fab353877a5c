"""The main job: ingest, remember, decompose, execute (with validation inside), remember, report."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from prefect import flow, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from flows.control import cancelled_in_prefect, check, drain_in_pool, own_id, watched
from flows.decompose import decompose
from flows.events import run_ended
from flows.execute import execute
from flows.ingest import ingest, take_off
from flows.opening import opened
from flows.remember import remember_accepted
from flows.validate import validate
from flows.write_back import write_marks
from models.enums import LaneName
from models.errors import BackendUnavailable, InputError, PenstockError, RunStopped
from models.run import RunState, Stage, Wish
from models.settings import Settings, settings
from models.words import counted
from sql.connection import Database
from sql.statements import statement
from tasks import report as reports
from tasks import runs
from tasks.decompose import look_again
from tasks.ingest import COUNTS
from tasks.places import absolute
from tasks.spill import Taken, take
from tasks.validate.pages import beside_report

__all__ = ["pipeline"]


def _name() -> str:
    board = (flow_run.parameters or {}).get("board") or ""
    boards = [board] if isinstance(board, str) else list(board)
    more = f" and {len(boards) - 1} more" if len(boards) > 1 else ""
    return f"run {Path(boards[0]).name if boards else ''}{more}"


@flow(name="pipeline", flow_run_name=_name, on_cancellation=[cancelled_in_prefect])
async def pipeline(
    board: str | list[str],
    dialect: str | None = None,
    backend: str | None = None,
    out: str | None = None,
    pools: bool = True,
    write_back: bool | None = None,
    approve_plans: bool | None = None,
    lane: LaneName | None = None,
    run_id: uuid.UUID | None = None,
    stage: Stage = Stage.INGEST,
    boards: list[int] | None = None,
) -> dict[str, Any] | State[Any]:
    """Bring one or several boards (files, folders, globs) from ingest to report.

    `backend` is a backend's name or `auto`; None takes the setting. `pools`: execute through the work pool that is
    pinned to the backend; False: in this process. `out` is the report's folder; None writes no files, the report is
    then the run's artifact. `write_back`: bring the marks of the boards' files in step; None takes the setting.
    `approve_plans`: a split waits for a person before any of its parts runs; None takes the setting.
    `lane`: who waits for the boards' answers (interactive, normal, bulk); None leaves it as it is.
    `run_id`: of a run that is to go on. `stage`: where it begins; after ingest it needs `boards`, the numbers of what
    it read. From `validate` results that no longer pass are superseded, and a person is asked about them.
    Returns run id, state (settled, waiting, paused) and counts. Fails when a server fails; what was accepted is kept,
    and the report is written all the same. Ends as cancelled when the run is.
    """
    run = own_id(run_id)
    paths = [board] if isinstance(board, str) else board  # as given: sentences about them are in these words
    asked = {
        "board": [absolute(each) for each in paths],
        "dialect": dialect,
        "backend": backend,
        "out": None if out is None else absolute(out),
        "write_back": write_back,
        "approve_plans": approve_plans,
        "lane": lane,
    }
    if boards is None and stage is not Stage.INGEST:
        raise InputError(f"A run from {stage} on needs the boards that it is to work on.")
    read = list(boards or [])
    async with opened() as (config, db):
        try:
            await _begin(db, run, asked, stage, read)
        except RunStopped as error:
            return Cancelled(message=str(error))
        try:
            async with watched(db, run):
                taken = await _chosen(db, config, run, backend) if stage.reaches(Stage.EXECUTE) else None
                if stage is Stage.INGEST:
                    read = await _ingest(db, run, paths, dialect, lane)
                if stage.reaches(Stage.DECOMPOSE):
                    await _decompose(db, run, read, approve_plans)
                if taken is not None:
                    await _work(db, config, run, taken, read, pools)
                if stage is Stage.VALIDATE:
                    await _note(db, "runs.stage", run, stage=stage)
                    await validate(read, apply=True)
                if stage is not Stage.REPORT and (config.write_back if write_back is None else write_back):
                    written = await asyncio.to_thread(write_marks, read)
                    await _note(db, "runs.written", run, written=written)
        except RunStopped as error:
            return await _stopped(db, run, read, out, error)
        except PenstockError as error:
            await _finish_run(db, run, RunState.FAILED, str(error))
            run_ended(run, RunState.FAILED, read, None, {"error": str(error)})
            # A run that read nothing has nothing to say: an earlier report stays where it is.
            if read:
                await write_report(db, run, read, out)
            raise
        return await _finish(db, run, read, out)


async def _begin(
    db: Database, run: uuid.UUID, asked: dict[str, Any], stage: Stage, boards: list[int]
) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        flow_run_id = str(flow_run.id)
        await runs.begin(connection, run, flow_run_id=flow_run_id, params=asked, stage=stage, boards=boards)
    finally:
        await connection.close()


async def _chosen(db: Database, config: Settings, run: uuid.UUID, backend: str | None) -> Taken:
    """What does the work. First of all: where nothing can, nothing is read."""
    taken = await _take(db, config, backend or config.backend)
    endpoint, probe = taken.endpoints[0]
    get_run_logger().info("Backend %s at %s: %s.", endpoint.backend, endpoint.url, probe.detail)
    model = endpoint.model or ""
    await _note(db, "runs.taken", run, backend=endpoint.backend, endpoint=endpoint.url, model=model)
    return taken


async def _ingest(
    db: Database, run: uuid.UUID, board: list[str], dialect: str | None, lane: LaneName | None
) -> list[int]:
    """Read the boards; from now on the run has them, and they do not rest any more."""
    ingested = await asyncio.to_thread(ingest, board, dialect, lane)
    boards: list[int] = [delta["board_id"] for delta in ingested["boards"]]
    await _note(
        db,
        "runs.boards",
        run,
        boards=boards,
        unreadable=ingested["unreadable"],
        gone=ingested["gone"],
        deltas=orjson.dumps(_deltas(ingested["boards"])).decode(),
    )
    await check(db, run)
    await _note(db, "runs.let_go", run, boards=boards)
    return boards


async def _decompose(db: Database, run: uuid.UUID, boards: list[int], approve_plans: bool | None) -> None:
    await check(db, run)
    await _note(db, "runs.stage", run, stage=Stage.DECOMPOSE)
    await asyncio.to_thread(decompose, boards, approve_plans)
    # Only now is it known whose work is refused for that of a board whose file may be gone.
    if gone := await asyncio.to_thread(take_off, boards, []):
        await _note(db, "runs.gone", run, gone=gone)
        await asyncio.to_thread(decompose, boards, approve_plans)


async def _work(
    db: Database, config: Settings, run: uuid.UUID, taken: Taken, boards: list[int], pools: bool
) -> None:
    await check(db, run)
    await _note(db, "runs.stage", run, stage=Stage.EXECUTE)
    if taken.reason:
        await _spilled(db, run, taken)
    taken = await _execute(db, config, run, taken, boards, pools)
    if await asyncio.to_thread(look_again, db, config):  # a part that a model made is another item's work
        await _execute(db, config, run, taken, boards, pools)
    await remember_accepted()


async def _stopped(
    db: Database, run: uuid.UUID, boards: list[int], out: str | None, error: RunStopped
) -> dict[str, Any] | State[Any]:
    """A person paused or cancelled the run. Paused it is over for now as well: nothing waits, nothing is held."""
    connection = await db.aconnect(autocommit=True)
    try:
        found = await runs.wished(connection, run)
        state = (found[0] if found else Wish.CANCEL).state
        await runs.finish(connection, run, state)
    finally:
        await connection.close()
    get_run_logger().warning("%s", error)
    if boards:
        await write_report(db, run, boards, out)
    run_ended(run, state, boards, None, {"words": str(error)})
    if state is RunState.CANCELLED:
        return Cancelled(message=str(error))
    return Completed(
        name="Paused", message=str(error), data={"run_id": str(run), "state": str(state), "boards": boards}
    )


async def _take(db: Database, config: Settings, wanted: str) -> Taken:
    connection = await db.aconnect(autocommit=True)
    try:
        return await take(config, wanted, connection)
    finally:
        await connection.close()


async def _spilled(db: Database, run: uuid.UUID, taken: Taken) -> None:
    """Say that another backend does the work, in the log and in the report."""
    get_run_logger().warning("%s", taken.sentence)
    await _note(db, "runs.spilled", run, wanted=taken.wanted, sentence=taken.sentence)


async def _execute(
    db: Database, config: Settings, run: uuid.UUID, taken: Taken, boards: list[int], pools: bool
) -> Taken:
    """Drain. Where the backend gives out in the middle, the one that the setting spill names goes on, if it may."""
    tried = {taken.backend}
    while True:
        try:
            await _drain(db, run, taken.backend, boards, pools, spilled=bool(taken.reason))
            await check(db, run)
        except BackendUnavailable as error:
            if taken.wanted not in config.spill:
                raise
            try:
                taken = await _take(db, config, taken.wanted)
            except BackendUnavailable as none:
                raise error from none
            if taken.backend in tried:
                raise  # it can be used, or could be: what went wrong was something else
            tried.add(taken.backend)
            if taken.reason:
                await _spilled(db, run, taken)
            else:
                get_run_logger().info("%s can be used again and goes on.", taken.backend)
        else:
            return taken


async def _drain(
    db: Database, run: uuid.UUID, backend: str, boards: list[int], pools: bool, *, spilled: bool
) -> None:
    if not pools:
        state: State[Any] | None = await execute(
            backend, boards, spilled=spilled, by_person=True, run_id=run, return_state=True
        )
        assert state is not None
        if not state.is_cancelled():
            await state.result()  # what it failed with
        return
    parameters = {"backend": backend, "boards": boards, "spilled": spilled}
    finished = await drain_in_pool(db, run, f"execute/{backend}", parameters)
    if finished.state is None or not finished.state.is_completed():
        state = finished.state
        words = f"{state.name}: {state.message}" if state else "without a state"
        raise BackendUnavailable(
            f"The drain {finished.name!r} on the pool {backend} ended {words}. Its log is in the Prefect UI; accepted "
            f"answers are kept, run the same command again."
        )


async def _finish(db: Database, run: uuid.UUID, boards: list[int], out: str | None) -> dict[str, Any]:
    report = await write_report(db, run, boards, out, settle=True)
    counts = {
        name: report.total(name)
        for name in ("to_do", "done", "waiting", "blocked", "queued", "failed", "rejected")
    }
    run_ended(run, RunState(report.state), boards, report.backend, counts | {"simulated": report.simulated})
    return {
        "run_id": str(run),
        "state": report.state,
        "boards": boards,
        "waiting": len(report.waiting),
        "blocked": len(report.blocked),
        "unreadable": report.unreadable,
        "simulated": report.simulated,
    }


@task(name="report", task_run_name="write the report", cache_policy=NO_CACHE, persist_result=False)
async def write_report(
    db: Database, run: uuid.UUID, boards: list[int], out: str | None, settle: bool = False
) -> reports.Report:
    """The report as artifacts and, with `out`, as files. `settle` ends the run as settled or waiting first."""

    def build() -> reports.Report:
        with db.connect() as connection:
            if settle:
                found = reports.build(connection, boards, run_id=run)
                state = RunState.WAITING if found.unsettled else RunState.SETTLED
                connection.execute(statement("runs.finish"), {"id": run, "state": str(state), "error": None})
            report = reports.build(connection, boards, run_id=run)
            if out is not None:
                graph = reports.draw(connection, boards)
                checks = beside_report(connection, settings(), boards)
        if out is not None:
            reports.write(report, Path(out), graph, checks)
        return report

    report = await asyncio.to_thread(build)
    label = " (simulated)" if report.simulated else ""
    await acreate_markdown_artifact(
        reports.as_markdown(report), key="report", description=f"Report of run {run}{label}"
    )
    if report.waiting:
        await acreate_table_artifact(
            [
                {"review": item.review, "item": item.title, "error": item.error_type, "why": item.reason}
                for item in report.waiting
            ],
            key="review-queue",
            description=f"{counted(len(report.waiting), 'item waits', 'items wait')} for a person",
        )
    return report


def _deltas(boards: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """What this run's ingest changed, of boards that have or had items, by board."""
    found = {str(delta["board_id"]): {name: delta[name] for name in COUNTS} for delta in boards}
    return {board: counts for board, counts in found.items() if any(counts.values())}


async def _note(db: Database, name: str, run: uuid.UUID, **values: Any) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        await runs.note(connection, name, run, **values)
    finally:
        await connection.close()


async def _finish_run(db: Database, run: uuid.UUID, state: RunState, error: str | None) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        await runs.finish(connection, run, state, error)
    finally:
        await connection.close()
