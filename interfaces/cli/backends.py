"""`penstock backends`: which kinds of model servers there are, and how each endpoint is."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backends(json: Json = False) -> None:
    """List model servers: health, models, load, breaker, who works on them, what waits for them and how long.

    Below: what is known of their models, shared devices, accounts, pauses, and what `auto` takes.
    """
    import orjson

    from deployments.overview import overview
    from interfaces.cli.backend_views import overview_view
    from interfaces.cli.render import console
    from models.settings import settings

    found = overview(settings())
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(overview_view(found))
