"""`penstock run`, `penstock demo`, `penstock report`: the main job and what came of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.enums import LaneName
from models.errors import DatabaseError, PenstockError

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
    raise typer.Exit(
        _exit_code(_pipeline(config, paths, dialect, backend, out, write_back, approve_plans, lane))
    )


def demo(out: Out = Path("penstock-report")) -> None:
    """Run the whole pipeline on the example boards. Needs no model, no account, no network."""
    from interfaces.cli.render import console
    from models.settings import settings

    console().print(
        "[bold]Penstock demo[/]: the example team's boards and documents in examples/, without a model.\n"
        "The [bold]extractive[/] backend answers an item by quoting the documents and defers what it finds no "
        "evidence for.\n"
    )
    result = _pipeline(settings(), [str(EXAMPLES)], None, "extractive", out)
    console().print("Next: [bold]penstock review list[/], or your own board: [bold]penstock run PLAN.md[/]")
    if _exit_code(result) == 1:
        raise typer.Exit(1)


def report(
    out: Out = Path("penstock-report"),
    run_id: Annotated[
        str | None, typer.Option("--run", help="A run's id; without it, the latest run.")
    ] = None,
) -> None:
    """Write the report of a run again, as things stand now."""
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.errors import InputError
    from sql.statements import statement
    from tasks import report as reports
    from tasks.validate.pages import beside_report

    with opened() as (config, database), database.connect() as connection:
        row = connection.execute(statement("report.latest_run"), {"id": run_id}).fetchone()
        if row is None:
            raise InputError(f"There is no run {run_id or 'yet'}. `penstock run PATH` makes one.")
        found = reports.build(connection, row[1], run_id=row[0])
        graph = reports.draw(connection, row[1])
        checks = beside_report(connection, config, row[1])
    markdown, data = reports.write(found, out, graph, checks)
    console().print(f"Report: [bold]{markdown}[/] and {data}")


def _pipeline(
    config: Settings,
    paths: list[str],
    dialect: str | None,
    backend: str | None,
    out: Path,
    write_back: bool | None = None,
    approve_plans: bool | None = None,
    lane: LaneName | None = None,
) -> Report:
    """Bring up what is not there, run the pipeline flow in this process, show how it goes and what came of it."""
    import uuid

    import psycopg

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console

    run_id = uuid.uuid4()
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
                        flow = pipeline(
                            paths,
                            dialect,
                            backend,
                            str(out),
                            pools=pools,
                            write_back=write_back,
                            approve_plans=approve_plans,
                            lane=lane,
                            run_id=run_id,
                        )
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
    """A run that could not say itself how it ended."""
    from sql.statements import statement

    words = str(error) if isinstance(error, PenstockError) else "It was stopped."
    with database.connect() as connection:
        connection.execute(statement("report.stop_run"), {"id": run_id, "error": words})


def _show(database: Database, run_id: uuid.UUID, out: Path) -> Report:
    import asyncio

    from interfaces.cli.pause import pause_lines
    from interfaces.cli.render import console, run_summary
    from models.pause import PauseKind
    from sql.statements import statement
    from tasks import report as reports
    from tasks.pause import in_force

    with database.connect() as connection:
        row = connection.execute(statement("report.latest_run"), {"id": str(run_id)}).fetchone()
        found = reports.build(connection, row[1] if row else [], run_id=run_id)
        pauses = in_force(connection) if found.unsettled else []
    named = {board.path for board in found.boards}
    words = pause_lines(each for each in pauses if each.kind is not PauseKind.BOARD or each.name in named)
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


def _exit_code(report: Report) -> int:
    return {"settled": 0, "waiting": 3}.get(report.state, 1)
