"""`penstock budgets`: what each account has used of what it may."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from models.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tasks.execute.accounts import AccountUse


def budgets(json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False) -> None:
    """Show what each account with a budget has used today, and which accounts their provider has told to wait."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console
    from tasks.execute.accounts import account_uses

    with opened() as (settings, database), database.connect() as connection:
        found = account_uses(connection, settings)
    if json:
        every = [use.as_json() for use in found]
        sys.stdout.write(orjson.dumps(every, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    out = console()
    if any(use.limits for use in found):
        out.print(_table(found))
    elif not found:
        out.print(
            "No account has a budget or has to wait. Budgets are declared as [[budgets]].", markup=False
        )
    for use in found:
        if use.unpriced:
            requests = counted(use.unpriced, "request")
            out.print(
                f"{clean(use.account)}: the cost of {requests} is not known; it is in no sum.", markup=False
            )
        if use.cooldown > 0:
            why = f": {clean(use.reason)}" if use.reason else ""
            out.print(f"{clean(use.account)} is left alone for {_span(use.cooldown)}{why}", markup=False)


def _table(found: Sequence[AccountUse]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import clean
    from tasks.execute.limits import WARN_AT

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("Account", overflow="fold")
    table.add_column("Limit", overflow="fold")
    for name in ("Used", "%", "Reserved"):
        table.add_column(name, justify="right")
    for use in found:
        for one in use.limits:
            full = one.settled >= one.limit
            colour = "red" if full else "yellow" if one.settled >= WARN_AT * one.limit else ""
            table.add_row(
                Text(clean(use.account)),
                f"{one.words(one.limit)} a {one.period}",
                one.amount(one.settled),
                Text(str(one.percent), colour),
                one.amount(one.flying) if one.flying else "",
            )
    return table


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
