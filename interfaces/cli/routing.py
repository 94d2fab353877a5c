"""`penstock routing`: how the models of each recipe have done, and who gets its items."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from interfaces.cli.backends import Json

if TYPE_CHECKING:
    from rich.console import Group

    from models.settings import Settings
    from tasks.routing import ModelRecord


def routing(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of recipes. Without it, all that were asked or have `models`.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show how the models of each recipe have done, and which of them gets its items.

    Counted are the latest first tries of the recipe's version as it is now. A recipe with `models` asks the best of
    them, and others for a small share of its items.
    """
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.recipes import load_recipes
    from tasks.routing import records

    with opened() as (config, database), database.connect() as connection:
        known = load_recipes(config)
        chosen = [known[name] for name in recipes or known]
        found = records(connection, config, chosen)
    if json:
        text = orjson.dumps([each.as_json() for each in found], option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write(text + "\n")
        return
    console().print(routing_view(found, config))


def routing_view(found: list[ModelRecord], config: Settings) -> Group:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import clean

    if not found:
        return Group(Text("No model was asked yet, and no recipe has `models` to choose among."))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Recipe", no_wrap=True)
    table.add_column("Model", overflow="fold")
    for name in ("Tries", "Accepted", "95 %", "Time", "USD", "Score", "Gets"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for each in found:
        best = each.routed and each.best
        model = Text(clean(each.model) + (" *" if best else ""), "bold" if best else "")
        if each.simulated:
            model.append(" (simulated)", "yellow")
        table.add_row(
            "" if each.recipe == last else clean(each.recipe),
            model,
            f"{each.tries:,}",
            percent(each.accepted),
            span(each.interval),
            "?" if each.seconds is None else f"{each.seconds:.1f} s",
            "?" if each.cost is None else f"{each.cost:.4f}",
            "?" if each.score is None else f"{each.score:.2f}",
            percent(each.share),
        )
        last = each.recipe
    lines = [
        "Tries: an item's first. Score: accepted, less for time and cost. Gets: of the recipe's latest items."
    ]
    if any(each.routed for each in found):
        lines.append(
            f"* The best of a recipe's models; others get {config.routing_explore:.0%} of its items at most."
        )
    return Group(table, Text(), *(Text(line, "bright_black") for line in lines))


def percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.0%}"


def span(interval: tuple[float, float] | None) -> str:
    return "?" if interval is None else f"{interval[0]:.0%}-{interval[1]:.0%}"
