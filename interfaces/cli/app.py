"""The application object, the entry point, and how errors reach a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, NoReturn

import typer
import typer.main

from models.errors import PenstockError

STOPPED = 130  # what typer exits with on Ctrl-C, as shells do: 128 + SIGINT

abandon_threads = False
"""Set when a server went away under a flow: Prefect's threads would hold the process up for more than a minute. All
that is ours is closed by then."""

app = typer.Typer(
    name="penstock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"penstock {version('penstock')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Bring a backlog to model servers at a pressure the GPUs can take."""


@cache
def _command() -> Callable[[], object]:
    """Made once: in a process that calls `main` again and again, commands would else be added anew each time."""
    from interfaces.cli import commands

    commands.register(app)
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line. Exit codes: 0 settled, 1 failed, 2 bad input, 3 something waits for a person."""
    # Prefect's client asks this when it is imported; without it, it tells its makers what it is used for.
    os.environ["DO_NOT_TRACK"] = "1"
    try:
        _command()()
    except PenstockError as error:
        complain(str(error))
        leave(error.exit_code)
    except SystemExit as end:
        if end.code == STOPPED:
            complain("Stopped. What was accepted is kept; the same command goes on from there.")
        raise
    except BrokenPipeError:
        # The reader of our output went away (`penstock ... | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  a person gets a sentence, the traceback goes to a file
        complain(unexpected(error))
        sys.exit(1)


def leave(code: int) -> NoReturn:
    """End the process, also while threads of Prefect's still try to reach a server that is gone."""
    if abandon_threads:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def complain(message: str) -> None:
    """One sentence on standard error."""
    typer.secho(f"penstock: {message}", err=True, fg=typer.colors.RED)


def unexpected(error: Exception) -> str:
    """An error outside the tree is a bug of ours: keep its traceback and say where."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="penstock-error-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    first = (str(error).strip().splitlines() or [""])[0]
    return (
        f"Something went wrong that should not: {type(error).__name__}: {first}. What was accepted is kept. "
        f"The details are in {file.name}; please report them."
    )
