"""`penstock memory`: what is remembered."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="What is remembered: documents of runs and accepted answers.")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Words to look for; quotes and - as in a web search.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 10,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per hit, one per line.")
    ] = False,
) -> None:
    """Search memory by words and by likeness, best first, each with its place."""
    import dataclasses

    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console, hits
    from tasks.remember import search as find

    with opened() as (_, database), database.connect() as connection:
        found = find(connection, query, limit)
    if json:
        for hit in found:
            sys.stdout.write(orjson.dumps(dataclasses.asdict(hit)).decode() + "\n")
        return
    console().print(hits(found) if found else "Nothing in memory is like that.")
