"""The application object, the entry point, and how errors reach a person."""

from __future__ import annotations

import os
import sys

import typer

from models.errors import PenstockError

app = typer.Typer(
    name="penstock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Bring a backlog to model servers at a pressure the GPUs can take.",
)


def main() -> None:
    """Run the command line. Exit codes: 0 settled, 1 failed, 2 bad input, 3 something waits for a person."""
    from interfaces.cli import commands

    commands.register(app)
    try:
        app()
    except PenstockError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("Stopped. What was accepted is kept; the same command goes on from there.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`penstock ... | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def complain(message: str) -> None:
    """One sentence on standard error."""
    typer.secho(f"penstock: {message}", err=True, fg=typer.colors.RED)
