"""`penstock parse`: what Penstock reads in a board. Needs no database."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def parse(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs, FOLDER@REV:PATH in git, or - for standard input."),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file, one per line.")
    ] = False,
    dialect: Annotated[
        str | None, typer.Option(help="Read as this dialect instead of the best match.")
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="For task lists of any size: one JSON object per item, one per line, as they are read.",
        ),
    ] = False,
) -> None:
    """Show the items and findings of boards. Calls no model, needs no database."""
    import orjson

    from interfaces.cli.reading import boards_of
    from interfaces.cli.render import board_tree, console
    from models.settings import settings

    if stream:
        _stream(paths)
        return
    config = settings()
    for _, board in boards_of(paths, config.max_source_bytes, dialect):
        if json:
            sys.stdout.write(orjson.dumps(board.as_json()).decode() + "\n")
        else:
            console().print(board_tree(board))


def _stream(paths: list[str]) -> None:
    """Plain lists only, and without what needs the whole board: findings, ids, gates."""
    import orjson

    import sources
    from models.errors import SourceError

    for origin in sources.expand(paths):
        if origin is not sources.STDIN and origin.path is None:
            raise SourceError(
                f"{origin.name}: only files and standard input can be streamed. Leave out --stream."
            )
        for item in sources.stream_file(origin.path):
            sys.stdout.write(orjson.dumps({"source": origin.name} | item.as_json()).decode() + "\n")
