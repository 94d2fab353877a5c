"""`penstock write-back`: the marks of boards' files are brought in step with what became of their items."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from models.settings import Settings


def write_back(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes as a diff; write nothing.")
    ] = False,
    note: Annotated[
        bool | None,
        typer.Option(
            "--note/--no-note", help="Put a comment with the item's number behind each changed mark."
        ),
    ] = None,
) -> None:
    """Write the state of settled items back to their marks: done, or skipped where a person rejected it.

    Only marks change, every other byte stays. A file that was changed since it was last run is left alone.
    Exit codes: 0 written or nothing to write, 2 a file could not be written.
    """
    from models.settings import settings

    config = settings()
    if not show(config, paths, dry_run=dry_run, note=config.write_back_note if note is None else note):
        raise typer.Exit(2)


def show(config: Settings, paths: list[str], *, dry_run: bool, note: bool) -> bool:
    """Write back, or with `dry_run` only print how; False when a file could not be."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from rich.syntax import Syntax

    import sources
    from interfaces.cli.app import complain
    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console
    from models.errors import SourceError
    from tasks.write_back import NotIngested, write_back

    whole = True
    total = 0
    piped = (
        dry_run and not sys.stdout.isatty()
    )  # `git apply` reads standard output: the diff and nothing else
    with opened(config) as (config, database), database.connect(autocommit=True) as connection:
        for origin in sources.expand(paths):
            if origin.path is None:
                complain(f"{origin.name}: only files can be written back.")
                whole = False
                continue
            try:
                made = write_back(
                    connection,
                    origin.path,
                    today=datetime.now(ZoneInfo(config.timezone)).date(),
                    max_bytes=config.max_source_bytes,
                    note=note,
                    dry_run=dry_run,
                    zone=config.timezone,
                )
            except NotIngested as error:
                if (
                    origin.name in paths
                ):  # of a folder, files that were never run are none of this command's business
                    complain(str(error))
                    whole = False
                continue
            except SourceError as error:
                complain(str(error))
                whole = False
                continue
            total += made.marks
            if made.diff and piped:
                sys.stdout.write(made.diff)
            elif made.diff and dry_run:
                shown = "\n".join(map(clean, made.diff.splitlines()))
                console().print(Syntax(shown, "diff", background_color="default"))
            elif made.marks:
                console().print(
                    f"{origin.name}: {made.marks} mark{'s' if made.marks != 1 else ''} written", markup=False
                )
            for sentence in made.not_written:
                typer.secho(f"{origin.name}, {sentence}", fg=typer.colors.YELLOW, err=piped)
    if not total and whole:
        typer.echo("Nothing to write: the boards say what is known of their items.", err=piped)
    elif dry_run:
        typer.echo(f"{total} mark{'s' if total != 1 else ''} would be written; nothing was.", err=piped)
    return whole
