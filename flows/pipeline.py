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
from prefect.deployments.flow_runs import arun_deployment
from prefect.runtime import flow_run

from flows.decompose import decompose
from flows.execute import execute
from flows.ingest import ingest, take_off
from flows.opening import opened
from flows.remember import remember_accepted
from flows.write_back import write_marks
from models.enums import LaneName
from models.errors import BackendUnavailable, PenstockError
from models.settings import Settings, settings
from models.words import counted
from sql.connection import Database
from sql.statements import statement
from tasks import report as reports
from tasks.decompose import look_again
from tasks.ingest import COUNTS
from tasks.spill import Taken, take
from tasks.validate.pages import beside_report

__all__ = ["pipeline"]


def _name() -> str:
    board = (flow_run.parameters or {}).get("board") or ""
    boards = [board] if isinstance(board, str) else list(board)
    more = f" and {len(boards) - 1} more" if len(boards) > 1 else ""
    return f"run {Path(boards[0]).name if boards else ''}{more}"


@flow(name="pipeline", flow_run_name=_name)
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
) -> dict[str, Any]:
    """Bring one or several boards (files, folders, globs) from ingest to report.

    `backend` is a backend's name or `auto`; None takes the setting. `pools`: execute through the work pool that is
    pinned to the backend; False: in this process. `out` is the report's folder; None writes no files, the report is
    then the run's artifact. `write_back`: bring the marks of the boards' files in step; None takes the setting.
    `approve_plans`: a split waits for a person before any of its parts runs; None takes the setting.
    `lane`: who waits for the boards' answers (interactive, normal, bulk); None leaves it as it is.
    Returns run id, state (settled, waiting) and counts. Fails when a server fails; what was accepted is kept, and the
    report is written all the same.
    """
    logger = get_run_logger()
    run = run_id or uuid.uuid4()
    async with opened() as (config, db):
        await _store(db, "report.start_run", id=run, params=orjson.dumps({"board": board}).decode())
        boards: list[int] = []
        try:
            taken = await _take(db, config, backend or config.backend)
            endpoint, probe = taken.endpoints[0]
            model = endpoint.model or ""
            logger.info("Backend %s at %s: %s.", endpoint.backend, endpoint.url, probe.detail)
            ingested = await asyncio.to_thread(ingest, board, dialect, lane)
            boards = [delta["board_id"] for delta in ingested["boards"]]
            await _store(
                db,
                "report.run_boards",
                id=run,
                boards=boards,
                backend=endpoint.backend,
                endpoint=endpoint.url,
                model=model,
                unreadable=ingested["unreadable"],
                gone=ingested["gone"],
                deltas=orjson.dumps(_deltas(ingested["boards"])).decode(),
            )
            await asyncio.to_thread(decompose, boards, approve_plans)
            # Only now is it known whose work is refused for that of a board whose file may be gone.
            if gone := await asyncio.to_thread(take_off, boards, []):
                await _store(db, "report.run_gone", id=run, gone=[*ingested["gone"], *gone])
                await asyncio.to_thread(decompose, boards, approve_plans)
            if taken.reason:
                await _spilled(db, run, taken)
            taken = await _execute(db, config, run, taken, boards, pools)
            if await asyncio.to_thread(
                look_again, db, config
            ):  # a part that a model made is another item's work
                await _execute(db, config, run, taken, boards, pools)
            await remember_accepted()
            if config.write_back if write_back is None else write_back:
                written = await asyncio.to_thread(write_marks, boards)
                await _store(db, "report.run_written", id=run, written=written)
        except PenstockError as error:
            await _store(db, "report.finish_run", id=run, state="failed", error=str(error))
            # A run that read nothing has nothing to say: an earlier report stays where it is.
            if boards:
                await write_report(db, run, boards, out)
            raise
        return await _finish(db, run, boards, out)


async def _take(db: Database, config: Settings, wanted: str) -> Taken:
    connection = await db.aconnect(autocommit=True)
    try:
        return await take(config, wanted, connection)
    finally:
        await connection.close()


async def _spilled(db: Database, run: uuid.UUID, taken: Taken) -> None:
    """Say that another backend does the work, in the log and in the report."""
    get_run_logger().warning("%s", taken.sentence)
    await _store(db, "report.run_spilled", id=run, wanted=taken.wanted, sentence=taken.sentence)


async def _execute(
    db: Database, config: Settings, run: uuid.UUID, taken: Taken, boards: list[int], pools: bool
) -> Taken:
    """Drain. Where the backend gives out in the middle, the one that the setting spill names goes on, if it may."""
    tried = {taken.backend}
    while True:
        try:
            await _drain(taken.backend, boards, pools, spilled=bool(taken.reason))
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


async def _drain(backend: str, boards: list[int], pools: bool, *, spilled: bool) -> None:
    if not pools:
        await execute(backend, boards, spilled=spilled, by_person=True)
        return
    finished = await arun_deployment(
        f"execute/{backend}",
        parameters={"backend": backend, "boards": boards, "spilled": spilled},
        timeout=None,
        poll_interval=1,
    )
    if finished.state is None or not finished.state.is_completed():
        state = finished.state
        words = f"{state.name}: {state.message}" if state else "without a state"
        raise BackendUnavailable(
            f"The drain {finished.name!r} on the pool {backend} ended {words}. Its log is in the Prefect UI; accepted "
            f"answers are kept, run the same command again."
        )


async def _finish(db: Database, run: uuid.UUID, boards: list[int], out: str | None) -> dict[str, Any]:
    report = await write_report(db, run, boards, out, settle=True)
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
                state = "waiting" if found.unsettled else "settled"
                connection.execute(statement("report.finish_run"), {"id": run, "state": state, "error": None})
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


async def _store(db: Database, name: str, **parameters: Any) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        await connection.execute(statement(name), parameters)
    finally:
        await connection.close()
