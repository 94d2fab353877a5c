"""`penstock up`, `down`, `status`, `backends`: what runs, and what model servers are there."""

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


def backends(json: Json = False) -> None:
    """List the model servers that answer, and which one `auto` takes."""
    import asyncio
    import dataclasses

    import orjson
    from rich.table import Table
    from rich.text import Text

    from backends.registry import choose, find
    from interfaces.cli.render import clean, console
    from models.calls import Probe
    from models.settings import settings

    config = settings()

    async def look() -> tuple[list[tuple[str, str, Probe]], str]:
        found = await find(config)
        chosen, _ = await choose(config, "auto")
        return [(str(one.backend), one.url, probe) for one, probe in found], f"{chosen.backend} {chosen.url}"

    rows, chosen = asyncio.run(look())
    if json:
        data = {
            "endpoints": [
                {"backend": name, "url": url, "probe": dataclasses.asdict(probe)} for name, url, probe in rows
            ],
            "auto": chosen,
        }
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in ("Backend", "URL", "What it says"):
        table.add_column(name, overflow="fold")
    for name, url, probe in rows:
        table.add_row(name, Text(clean(url)), Text(clean(probe.detail)))
    console().print(table)
    console().print(f"`auto` takes {chosen}", markup=False)
