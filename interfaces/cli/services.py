"""`penstock up`, `down`, `status`: what runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
) -> None:
    """Start all that Penstock is: Postgres, the Prefect server, pools, deployments, workers, the HTTP door.

    A second `up` changes nothing. Ctrl-C, or `penstock down` in another shell, stops all.
    """
    from deployments.up import up as start
    from models.settings import settings

    start(settings(), detach=detach)


def down() -> None:
    """Stop what `penstock up` started."""
    from deployments.up import down as stop
    from models.settings import settings

    stopped = stop(settings())
    typer.echo("Stopped." if stopped else "`penstock up` was not running.")


def status(json: Json = False) -> None:
    """Say what runs and what waits."""
    import orjson

    from deployments.status import status as look
    from interfaces.cli.render import console
    from interfaces.cli.status import status_view
    from models.settings import settings

    found = look(settings())
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(status_view(found))
