"""`penstock export`: what came of boards so far, one row for each of their rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.export import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.export import ExportRow

STDOUT = Path("-")
SUFFIXES = {
    ".md": Format.MD,
    ".markdown": Format.MD,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
}


def export(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BOARD|RUN]...",
            help="Boards that were read, or the boards of a run: its id's beginning, or last. Without it, all.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file; - for standard output.")] = STDOUT,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Without it, by the file's name; jsonl for standard output."),
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also rows for the parts that Penstock made of large items.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write what came of boards so far, at any time: one row for each item of a board, in the board's order.

    Every item has its row, with or without an answer, so it can be laid beside the board. All of it is as of one
    moment, also while a run is under way. Parquet needs `pip install 'penstock[parquet]'`.
    """
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.errors import InputError
    from models.words import counted
    from tasks.export import chunks, named, rows, written

    chosen = form or SUFFIXES.get(out.suffix.lower()) or (Format.JSONL if out == STDOUT else None)
    if chosen is None:
        raise InputError(f"What is {out} to be written as? Give --format: {', '.join(Format)}.")
    with opened() as (_, database):
        with database.connect() as connection:
            boards = named(connection, names or [])
        count = 0

        def counting() -> Iterator[ExportRow]:
            nonlocal count
            for row in rows(database, boards, parts=parts):
                count += 1
                yield row

        encoded = chunks(counting(), chosen)
        if out == STDOUT:
            for part in encoded:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
            return
        written(out, encoded, force=force)
    said = f"{out}: {counted(count, 'row')} of {counted(len(boards), 'board')}."
    console().print(said, markup=False)
