"""`penstock cache`: what was saved by not asking the very same twice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from models.words import counted

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.execute.savings import Savings


def cache(
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How far back to count.")] = 30,
    clear: Annotated[
        bool, typer.Option("--clear", help="Forget the kept answers: all is asked again. Results stay.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how many items needed no call, because the very same request had an accepted answer or was under way."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.execute.savings import clear as forget
    from tasks.execute.savings import savings

    forgotten = None
    with opened() as (settings, database), database.connect() as connection:
        if clear:
            forgotten = forget(connection)
        found = savings(connection, days)
        kept_for = settings.cache_days
    if json:
        shown = found.as_json() | ({} if forgotten is None else {"forgotten": forgotten})
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    out = console()
    if forgotten is not None:
        out.print(f"{counted(forgotten, 'kept answer')} forgotten. Results and attempts stay.", markup=False)
        return
    since = f" since {found.oldest.astimezone():%Y-%m-%d %H:%M}" if found.oldest else ""
    if kept_for:
        out.print(
            f"{counted(found.kept, 'accepted answer')} can be found again{since}; each is kept for "
            f"{counted(kept_for, 'day')}.",
            markup=False,
        )
    else:
        out.print("Nothing is used again: cache_days is 0.", markup=False)
    if not found.answers:
        out.print(f"No item got an answer in the last {counted(days, 'day')}.", markup=False)
        return
    out.print(
        f"Of {counted(found.answers, 'answer')} in the last {counted(days, 'day')}, {found.unasked} "
        f"({found.unasked / found.answers:.0%}) needed no call.",
        markup=False,
    )
    out.print(_table(found))


def _table(found: Savings) -> Table:
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import clean

    table = Table(show_edge=False, pad_edge=False)
    for name in ("Recipe", "Model"):
        table.add_column(name, overflow="fold")
    for name in ("Answers", "From the cache", "Asked together", "No call", "Tokens saved"):
        table.add_column(name, justify="right")
    for one in found.saved:
        table.add_row(
            Text(clean(one.recipe)),
            Text(clean(f"{one.model} (simulated)" if one.simulated else one.model)),
            str(one.answers),
            str(one.cached),
            str(one.shared),
            f"{one.share:.0%}",
            f"{one.tokens:,}",
        )
    return table
