"""`penstock runs`: what was run, and control of it: pause, resume, cancel, ask again from a stage."""

from __future__ import annotations

import getpass
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interfaces.cli.default import Listing
from models.run import Stage, Wish

if TYPE_CHECKING:
    from models.run import RunRow
    from models.settings import Settings
    from sql.connection import Database
    from tasks.runs.again import Plan

app = typer.Typer(
    cls=Listing,
    help="What was run, and control of it. A run is named by the beginning of its id, or `last`. "
    "`penstock runs` alone lists.",
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The beginning of its id, or last.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only say it; don't wait until it is so.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
STAGES = ", ".join(Stage)

CANCEL_SECONDS = 60.0
LOOK_SECONDS = 0.3


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the latest first.")] = 20,
    json: Json = False,
) -> None:
    """List runs, the latest first. Items are counted as they are now, not as they were when the run ended."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from interfaces.cli.run_views import runs_table
    from tasks.runs import run_rows

    with opened() as (_, database), database.connect() as connection:
        rows = run_rows(connection, limit)
    if json:
        said = orjson.dumps([row.as_json() for row in rows], option=orjson.OPT_INDENT_2)
        sys.stdout.write(said.decode() + "\n")
    elif rows:
        terminal = console()
        terminal.print(runs_table(rows, terminal.width))
    else:
        console().print("There is no run yet. `penstock run PATH` makes one.", markup=False)


@app.command()
def show(run: Run = "last", json: Json = False) -> None:
    """Show one run: its state and stage, boards, items, what did the work, what it was given, and what can be done."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from interfaces.cli.run_views import run_view
    from tasks.runs import one

    with opened() as (_, database), database.connect() as connection:
        row = one(connection, run)
    if json:
        sys.stdout.write(orjson.dumps(row.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(run_view(row))


@app.command()
def pause(run: Run, no_wait: NoWait = False) -> None:
    """Begin nothing new for a run; what was sent to a model is let end. The run's process ends: waiting costs nothing.

    Its boards rest until it is resumed, or run anew. A board that another run which is under way has goes on for that
    one.
    """
    _stop(run, Wish.PAUSE, no_wait)


@app.command()
def cancel(run: Run, no_wait: NoWait = False) -> None:
    """Stop a run, also what is being answered. Items go back and are not charged; what was accepted stays.

    Its boards rest, so that `penstock up` does not take their items up again. `resume`, or a new run of them, goes on.
    """
    _stop(run, Wish.CANCEL, no_wait)


@app.command()
def resume(run: Run) -> None:
    """Go on with a run that was paused, cancelled, interrupted or failed, from the stage that it had come to.

    In this terminal; with `penstock up` running, by its workers.
    """
    from interfaces.cli.opening import opened
    from models.errors import InputError
    from models.run import RESUMABLE, RunState

    with opened() as (config, database):
        row = _found(database, run)
        if row.state not in RESUMABLE:
            more = f"`penstock runs rerun {row.short} --from execute` asks again."
            if row.state is RunState.RUNNING:
                more = f"`penstock runs show {row.short}` says how far it is."
            raise InputError(f"Run {row.short} is {row.state}: there is nothing to resume. {more}")
        stage = row.stage if row.boards else Stage.INGEST
        _go_on(config, database, row, stage, run_id=row.id)


@app.command()
def rerun(
    run: Run,
    stage: Annotated[Stage, typer.Option("--from", help=f"The stage that it begins at: {STAGES}.")],
    failed: Annotated[bool, typer.Option("--failed", help="Ask failed items again.")] = False,
    deferred: Annotated[
        bool,
        typer.Option("--deferred", help="Ask items again that wait for a person; their reviews are closed."),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Both, and what machines answered: an answer stands until a new one is accepted."
        ),
    ] = False,
    backend: Annotated[str | None, typer.Option(help="Another backend than the run's.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Run the boards of a run again from a stage, as a new run with the same parameters.

    - **ingest** reads the files again, and goes on as `penstock run` does.
    - **decompose** chooses recipes and puts needs in place anew; parts that were made stay, and what has not begun may
      be split.
    - **execute** asks: what is open, and with --failed, --deferred or --all what was asked before.
    - **validate** checks stored results under the recipes as they are now, without a model; those that do not pass go
      to a person.
    - **report** writes the report.
    """
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.errors import InputError
    from models.run import RunState
    from tasks.runs.again import Choice, ask_again, look_again
    from tasks.runs.again import plan as look

    asks = failed or deferred or everything
    if asks and not stage.reaches(Stage.EXECUTE):
        raise InputError(
            f"--failed, --deferred and --all are for a rerun that asks models; --from {stage} asks none."
        )
    with opened() as (config, database):
        row = _found(database, run)
        if row.state is RunState.RUNNING:
            raise InputError(f"Run {row.short} is under way. Pause or cancel it first.")
        if stage is not Stage.INGEST and not row.boards:
            raise InputError(f"Run {row.short} has read no boards. `--from ingest` reads them.")
        _check_given(row, stage)
        with database.connect() as connection:
            choice = Choice(failed or everything, deferred or everything, everything)
            wanted = look(connection, row.boards, choice)
        lines, discards = _would(config, database, row, stage, wanted)
        for line in lines:
            console().print(line, markup=False)
        if dry_run:
            return
        if discards and not yes and not _sure("Go on?"):
            console().print("Nothing was changed.")
            return
        if wanted.items:
            _ask(database, lambda connection: ask_again(connection, wanted, by=getpass.getuser()))
        if stage is Stage.DECOMPOSE:
            _ask(database, lambda connection: look_again(connection, row.boards))
        _go_on(config, database, row, stage, backend=backend)


def _would(
    config: Settings, database: Database, row: RunRow, stage: Stage, wanted: Plan
) -> tuple[list[str], bool]:
    """What a rerun would change, in sentences, and whether anything of it takes something away."""
    from models.enums import Status
    from models.words import counted
    from tasks.recipes import load_recipes
    from tasks.validate.rerun import recheck

    boards = counted(len(row.boards), "board")
    if stage is Stage.REPORT:
        return [f"The report of {boards} is written again; nothing else changes."], False
    if stage is Stage.VALIDATE:
        found = _ask(
            database, lambda connection: recheck(connection, load_recipes(config), boards=row.boards)
        )
        lines = [found.sentence]
        lines += [
            f"  {change.source}:{change.line} {change.title}: {change.why}" for change in found.failing[:10]
        ]
        if len(found.failing) > 10:
            lines.append(f"  and {len(found.failing) - 10} more")
        if found.failing:
            lines.append("These results no longer stand then, and a person is asked about each item.")
        return lines, bool(found.failing)
    lines = []
    if stage is Stage.INGEST:
        lines.append(f"{counted(len(row.given), 'path')} read again: {', '.join(row.given)}.")
    if stage.reaches(Stage.DECOMPOSE):
        lines.append(
            f"Recipes and needs of {boards} are put in place anew where something changed."
            if stage is Stage.INGEST
            else f"Recipes and needs of {boards} are put in place anew. Parts that were made stay; large items that "
            "have not begun may be split."
        )
    lines += wanted.lines
    with database.connect() as connection:
        from sql.statements import statement

        (ready,) = connection.execute(
            statement("runs.ready_items"), {"boards": list(row.boards)}
        ).fetchone() or (0,)
    if ready:
        lines.append(
            f"{counted(ready, 'item')} that {'is' if ready == 1 else 'are'} ready now would run, too."
        )
    else:
        lines.append("No other item is ready to run.")
    return lines, wanted.count(Status.WAITING) > 0


def _stop(name: str, wish: Wish, no_wait: bool) -> None:
    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console
    from tasks.places import shown
    from tasks.runs import want

    with opened() as (_, database):
        row = _found(database, name)
        stopped = _ask(database, lambda connection: want(connection, row.id, wish, by=getpass.getuser()))
        for source, other in stopped.shared:
            console().print(
                f"{clean(shown(source))} goes on: run {str(other)[:8]} has it, too.", markup=False
            )
        if not stopped.at_once and not no_wait and not _wait(database, row, wish):
            console().print(
                f"Run {row.short} has not ended yet; it will be {wish.state}. `penstock runs show {row.short}`",
                markup=False,
            )
            raise typer.Exit(1)
        verb = "will be" if no_wait and not stopped.at_once else "is"
        console().print(
            f"Run {row.short} {verb} {wish.state}. `penstock runs resume {row.short}` goes on.", markup=False
        )


def _wait(database: Database, row: RunRow, wish: Wish) -> bool:
    """Until the run has ended as it was asked to, or otherwise. What was sent when it was paused may take its time."""
    from interfaces.cli.render import console
    from models.run import RunState
    from models.words import counted
    from sql.statements import statement
    from tasks.runs import one

    give_up = time.monotonic() + CANCEL_SECONDS if wish is Wish.CANCEL else None
    with (
        database.connect(autocommit=True) as connection,
        console().status("Waiting for what is under way ...") as status,
    ):
        while give_up is None or time.monotonic() < give_up:
            if one(connection, str(row.id)).state is not RunState.RUNNING:
                return True
            (left,) = connection.execute(
                statement("runs.running_items"), {"boards": list(row.boards)}
            ).fetchone() or (0,)
            status.update(f"Waiting for what is under way: {counted(left, 'item')} ...")
            time.sleep(LOOK_SECONDS)
    return False


def _found(database: Database, name: str) -> RunRow:
    from tasks.runs import interrupt, one

    _ask(database, interrupt)
    with database.connect() as connection:
        return one(connection, name)


def _check_given(row: RunRow, stage: Stage) -> None:
    from models.errors import InputError

    if stage is Stage.INGEST and "-" in row.given:
        raise InputError(
            f"Run {row.short} read standard input, which can't be read again. Take --from decompose or later, or give "
            "it again: `penstock run -`."
        )


def _go_on(
    config: Settings,
    database: Database,
    row: RunRow,
    stage: Stage,
    *,
    backend: str | None = None,
    run_id: Any = None,
) -> None:
    """Start the pipeline: by the workers of `penstock up` where it runs, else here."""
    from deployments.server import orchestrator
    from interfaces.cli.render import console
    from interfaces.cli.run import exit_code, run_pipeline

    _check_given(row, stage)
    names = ("dialect", "backend", "out", "write_back", "approve_plans", "lane")
    given: dict[str, Any] = {name: row.params.get(name) for name in names}
    given |= {"board": row.given, "stage": stage, "run_id": run_id}
    if backend is not None:
        given["backend"] = backend
    if stage is not Stage.INGEST:
        given["boards"] = list(row.boards)
    with orchestrator(config, database) as prefect:
        if prefect.has_workers:
            started = _deployed(given)
            console().print(
                f"The workers of `penstock up` do it: {prefect.ui_url}/runs/flow-run/{started}", markup=False
            )
            return
        report = run_pipeline(config, given)
    raise typer.Exit(exit_code(report))


def _deployed(given: dict[str, Any]) -> str:
    import asyncio

    from prefect.client.orchestration import get_client

    from deployments.runs import PIPELINE, start_run

    async def start() -> str:
        async with get_client() as client:
            parameters = {name: value for name, value in given.items() if value is not None}
            parameters |= {name: str(parameters[name]) for name in ("stage", "run_id") if name in parameters}
            return await start_run(client, PIPELINE, parameters)

    return asyncio.run(start())


def _sure(question: str) -> bool:
    from models.errors import InputError

    try:
        return typer.confirm(question)
    except typer.Abort:
        raise InputError(f"{question} Nobody answered, nothing was changed: give --yes.") from None


def _ask(database: Database, ask: Any) -> Any:
    import asyncio

    async def inside() -> Any:
        connection = await database.aconnect(autocommit=True)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(inside())
