"""`penstock backends`: which kinds of model servers there are, and how each endpoint is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from models.words import counted

if TYPE_CHECKING:
    from rich.table import Table

    from deployments.overview import EndpointView, Overview

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MODELS = 3


def backends(json: Json = False) -> None:
    """List the kinds of model servers, the endpoints with their health and who works on them, and what `auto` takes."""
    import orjson

    from deployments.overview import overview
    from interfaces.cli.render import clean, console
    from models.settings import settings

    found = overview(settings())
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    out = console()
    out.print(_table(found))
    used = {each.backend for each in found.endpoints}
    without = [kind.name for kind in found.kinds if kind.name not in used and kind.name != "extractive"]
    if without:
        out.print(f"Without an endpoint, and so not used: {', '.join(without)}.", markup=False)
    for kind in found.kinds:
        if kind.origin != "penstock":
            out.print(f"{kind.name} is of {kind.origin}.", markup=False)
    if found.leases:
        out.print(f"Who works on them is not known: {clean(found.leases)}.", markup=False)
    out.print(f"`auto` takes {clean(found.auto)}", markup=False)


def _table(found: Overview) -> Table:
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import clean

    table = Table(show_edge=False, pad_edge=False)
    for name in ("Backend", "URL", "Model"):
        table.add_column(name, overflow="fold")
    table.add_column("Slots", justify="right")
    for name in ("What it says", "Drain"):
        table.add_column(name, overflow="fold")
    for each in found.endpoints:
        colour = "green" if each.probe.reachable else "yellow" if each.declared else "bright_black"
        table.add_row(
            each.backend,
            Text(clean(each.url)),
            Text(clean(_models(each))),
            str(each.slots) if each.declared else "",
            Text(clean(each.probe.detail.removeprefix(each.url).strip()), colour),
            _drain(each),
        )
    return table


def _models(each: EndpointView) -> str:
    if each.model is not None:
        return each.model
    names = [model.name for model in each.probe.models]
    return ", ".join(names[:MODELS]) + (f" and {len(names) - MODELS} more" if len(names) > MODELS else "")


def _drain(each: EndpointView) -> str:
    lease = each.lease
    if lease is None:
        return ""
    return f"{counted(lease.items, 'item')} since {lease.since.astimezone():%H:%M:%S}"
