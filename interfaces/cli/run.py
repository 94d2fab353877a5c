"""`penstock run`, `penstock demo`, `penstock report`: the main job and what came of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.enums import LaneName
from models.errors import DatabaseError, PenstockError, RunStopped

if TYPE_CHECKING:
    import uuid

    from models.settings import Settings
    from sql.connection import Database
    from tasks.report import Report

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Paths = Annotated[
    list[str], typer.Argument(help="Files, folders, globs, FOLDER@REV:PATH in git, or - for standard input.")
]
Backend = Annotated[
    str | None,
    typer.Option(help="auto, ollama, openai, mlx, extractive ...; without it, the setting (auto)."),
]
Out = Annotated[Path, typer.Option(help="Folder for report.md, report.json, graph.svg and validation.html.")]


def run(
    paths: Paths,
    backend: Backend = None,
    dialect: Annotated[str | None, typer.Option(help="Read boards as this dialect.")] = None,
    out: Out = Path("penstock-report"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show items, findings and what would be asked first; call no model."),
    ] = False,
    write_back: Annotated[
        bool | None,
        typer.Option(
            "--write-back/--no-write-back",
            help="Change the marks of items that were settled in the boards' files; with --dry-run, show the diff.",
        ),
    ] = None,
    approve_plans: Annotated[
        bool | None,
        typer.Option(
            "--approve-plans/--no-approve-plans",
            help="Ask a person before any part of an item that was split runs; without it, the setting (no).",
        ),
    ] = None,
    lane: Annotated[
        LaneName | None,
        typer.Option(
            help="interactive, normal or bulk; without it, a board keeps its lane (a new one: normal)."
        ),
    ] = None,
) -> None:
    """Bring boards from plan to answers, what is doubtful to a review queue, and a report beside.

    Run it again and only what is not settled is done. Boards are written to only with --write-back, and then only
    their marks.

    Exit codes: 0 everything is settled, 3 something is left (for a person, or for later), 1 failed, 2 bad input, 130
    stopped by Ctrl-C.
    """
    from interfaces.cli.reading import check_readable
    from models.settings import settings

    config = settings()
    if backend is not None:
        config = config.with_backend(backend)
    check_readable(paths, config.max_source_bytes, dialect)
    if dry_run:
        from interfaces.cli.dry_run import dry_run as show

        show(config, paths, dialect)
        if config.write_back if write_back is None else write_back:
            from interfaces.cli.write_back import show as show_marks

            show_marks(config, paths, dry_run=True, note=config.write_back_note)
        return
    given = {
        "board": paths,
        "dialect": dialect,
        "backend": backend,
        "out": str(out),
        "write_back": write_back,
        "approve_plans": approve_plans,
        "lane": lane,
    }
    raise typer.Exit(exit_code(run_pipeline(config, given)))


def demo(out: Out = Path("penstock-report")) -> None:
    """Run the whole pipeline on the example boards. Needs no model, no account, no network."""
    from interfaces.cli.render import console
    from models.settings import settings

    console().print(
        "[bold]Penstock demo[/]: the example team's boards and documents in examples/, without a model.\n"
        "The [bold]extractive[/] backend answers an item by quoting the documents and defers what it finds no "
        "evidence for.\n"
    )
    given = {"board": [str(EXAMPLES)], "backend": "extractive", "out": str(out)}
    result = run_pipeline(settings(), given)
    console().print("Next: [bold]penstock review list[/], or your own board: [bold]penstock run PLAN.md[/]")
    if exit_code(result) == 1:
        raise typer.Exit(1)


def report(
    out: Out = Path("penstock-report"),
    run_id: Annotated[
        str | None, typer.Option("--run", help="A run's id, or its beginning; without it, the latest run.")
    ] = None,
) -> None:
    """Write the report of a run again, as things stand now."""
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks import report as reports
    from tasks import runs
    from tasks.validate.pages import beside_report

    with opened() as (config, database), database.connect() as connection:
        run = runs.one(connection, run_id or "last")
        found = reports.build(connection, run.boards, run_id=run.id)
        graph = reports.draw(connection, run.boards)
        checks = beside_report(connection, config, list(run.boards))
    markdown, data = reports.write(found, out, graph, checks)
    console().print(f"Report: [bold]{markdown}[/] and {data}")


def run_pipeline(config: Settings, given: dict[str, Any]) -> Report:
    """Bring up what is not there, run the pipeline flow in this process, show how it goes and what came of it.

    `given`: the flow's parameters; with a `run_id` that run goes on.
    """
    import uuid

    import psycopg

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console

    run_id: uuid.UUID = given.get("run_id") or uuid.uuid4()
    out = Path(given.get("out") or "penstock-report")
    status = console().status("Starting the database ...")
    status.start()
    try:
        with opened(config) as (config, database):
            status.update("Starting the Prefect server ...")
            from deployments.server import orchestrator

            with orchestrator(config, database) as prefect:
                status.update("Loading the flows ...")
                from flows.pipeline import pipeline
                from interfaces.cli.progress import RunProgress
                from interfaces.cli.running import run_flow

                status.stop()
                pools = prefect.has_workers
                where = "through the work pools of the running `penstock up`" if pools else "in this process"
                console().print(f"Prefect: {prefect.ui_url}  (executing {where})", style="bright_black")
                try:
                    with RunProgress(database, run_id):
                        flow = pipeline(**given | {"pools": pools, "run_id": run_id})
                        run_flow(flow, prefect, database)
                except BaseException as error:
                    # Where the database itself is gone there is nothing to show; the error says so.
                    with suppress(DatabaseError, psycopg.Error):
                        _ended(database, run_id, error)
                        if isinstance(error, PenstockError):
                            _show(database, run_id, out)
                    raise
                return _show(database, run_id, out)
    finally:
        status.stop()


def _ended(database: Database, run_id: uuid.UUID, error: BaseException) -> None:
    """A run that could not say itself how it ended. Stopped by Ctrl-C it is cancelled, its drains on pools, too."""
    import asyncio
    import getpass

    from models.run import RunState
    from tasks import runs

    async def end() -> bool:
        connection = await database.aconnect(autocommit=True)
        try:
            if isinstance(error, KeyboardInterrupt):
                return await runs.stopped_here(connection, run_id, by=getpass.getuser())
            if not isinstance(error, RunStopped):
                words = str(error) if isinstance(error, PenstockError) else "It was stopped."
                await runs.finish(connection, run_id, RunState.FAILED, words)
            return False
        finally:
            await connection.close()

    if asyncio.run(end()):
        from deployments.runs import cancel_in_prefect

        with database.connect() as connection:
            flow_run = runs.one(connection, str(run_id)).flow_run_id
        if flow_run is not None:
            asyncio.run(cancel_in_prefect(flow_run, "It was stopped by Ctrl-C."))


def _show(database: Database, run_id: uuid.UUID, out: Path) -> Report:
    import asyncio

    from interfaces.cli.pause import pause_lines
    from interfaces.cli.render import console, run_summary
    from models.pause import PauseKind
    from sql.statements import statement
    from tasks import report as reports
    from tasks.pause import in_force

    with database.connect() as connection:
        row = connection.execute(statement("report.one_run"), {"id": run_id}).fetchone()
        found = reports.build(connection, row[4] if row else [], run_id=run_id)
        pauses = in_force(connection) if found.unsettled else []
    named = {board.path for board in found.boards}
    words = pause_lines(
        each
        for each in pauses
        if each.kind is not PauseKind.PACKING and (each.kind is not PauseKind.BOARD or each.name in named)
    )
    if found.backend and found.total("queued"):
        words += asyncio.run(_held(database, found.backend))
    console().print(run_summary(found, words))
    if not found.boards:
        return found
    console().print(f"Report: [bold]{out / 'report.md'}[/] and {out / 'report.json'}")
    return found


async def _held(database: Database, backend: str) -> list[str]:
    from models.settings import settings
    from tasks.held import held

    connection = await database.aconnect(autocommit=True)
    try:
        return await held(connection, settings(), backend)
    finally:
        await connection.close()


def exit_code(report: Report) -> int:
    return {"settled": 0, "waiting": 3, "paused": 3, "cancelled": 3}.get(report.state, 1)
