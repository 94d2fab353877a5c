"""`penstock up`, `down`, `status`, `upkeep`: what runs."""

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


def upkeep(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do and change nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Find runs whose process died and slots that nobody holds in the Prefect server, and put them right.

    `penstock up` does it by itself every minute. What lives is left alone.
    """
    import asyncio

    import orjson

    from deployments.server import orchestrator
    from interfaces.cli.opening import opened
    from interfaces.cli.quiet import quiet_prefect
    from interfaces.cli.render import console

    with opened() as (config, database), orchestrator(config, database):
        quiet_prefect(config.home)
        from prefect.client.orchestration import get_client

        from deployments.reconcile import Tidied, reconcile

        async def look() -> Tidied:
            async with get_client() as client:
                return await reconcile(client, database, config, dry_run=dry_run)

        found = asyncio.run(look())
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for line in found.lines:
        console().print(line, markup=False)
    console().print(found.summary, markup=False)
