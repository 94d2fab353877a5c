"""`penstock decisions`: what councils came to, as a list, one by one, or as Markdown for a repository."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from interfaces.cli.default import Listing
from interfaces.cli.items import Boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from models.council import DecisionRecord

app = typer.Typer(
    cls=Listing,
    help="What councils decided: the decision, reasons, risks, how sure it is, and who dissented. "
    "`penstock decisions` alone lists.",
)

STATES = {"accepted": "green", "proposed": "yellow", "rejected": "red", "superseded": "bright_black"}


@app.command("list")
def list_decisions(
    boards: Boards = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was rejected or superseded.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the latest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List decisions, the latest first. The first column is the number that `penstock decisions show` takes."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.council.records import records
    from tasks.items import matching

    with opened() as (_, database), database.connect() as connection:
        chosen = matching(connection, boards) if boards else None
        found = records(connection, boards=chosen, standing=not everything, limit=limit)
    if json:
        every = [record.as_json() for record in found]
        sys.stdout.write(orjson.dumps(every, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif found:
        console().print(_table(found))
    else:
        console().print(
            "No council has decided anything. `\\[recipe:: council]` on an item asks one; docs/recipes.md says how."
        )


@app.command()
def show(
    number: Annotated[
        int, typer.Argument(help="Number of a decision, as `penstock decisions list` shows it.")
    ],
    markdown: Annotated[
        bool, typer.Option("--md", help="Print it as Markdown, as a decision record of its own.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one decision with its reasons, risks, positions and sources."""
    import orjson
    from rich.markdown import Markdown

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console, printable
    from models.errors import InputError
    from tasks.council.records import record
    from tasks.council.text import adr

    if markdown and json:
        raise InputError("Give --md or --json, not both.")
    with opened() as (_, database), database.connect() as connection:
        found = record(connection, number)
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif markdown:
        sys.stdout.write(adr(found))
    else:
        console().print(Markdown(printable(adr(found)), hyperlinks=False))


def _table(found: Sequence[DecisionRecord]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import shorten

    table = Table(show_edge=False, pad_edge=False, expand=True)
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Sure", justify="right", no_wrap=True)
    table.add_column("Risk", no_wrap=True)
    table.add_column("Against", justify="right", no_wrap=True)
    table.add_column("Question and decision", ratio=1)
    for record in found:
        decided = record.decided
        state = f"{record.status} (simulated)" if decided.simulated else record.status
        question = f"{record.ext_id} {record.question}" if record.ext_id else record.question
        table.add_row(
            str(record.id),
            Text(state, STATES[record.status]),
            "" if decided.confidence is None else f"{decided.confidence:.2f}",
            str(decided.risk),
            str(len(decided.dissent)),
            Text.assemble((f"{shorten(question, 200)}\n", "bold"), shorten(decided.decision, 300)),
        )
    return table
