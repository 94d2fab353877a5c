"""`penstock graph`: the items of boards, what they are part of and what they wait for, drawn."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interfaces.cli.items import Boards

if TYPE_CHECKING:
    from tasks.graph import Drawing


class Format(StrEnum):
    MERMAID = "mermaid"
    SVG = "svg"
    JSON = "json"


ENDINGS = {
    ".svg": Format.SVG,
    ".json": Format.JSON,
    ".mmd": Format.MERMAID,
    ".mermaid": Format.MERMAID,
    ".md": Format.MERMAID,
    ".markdown": Format.MERMAID,
}


def graph(
    boards: Boards = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Without it, as --out ends (.svg, .json, .mmd, .md); without --out mermaid."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; without it, standard output.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Without what is settled.")] = False,
    around: Annotated[
        str | None,
        typer.Option(help="Only what is near this item: its number, `board.md:12`, or its id on the board."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=20, help="With --around: so many needs away.")] = 1,
    collapse: Annotated[
        bool, typer.Option("--collapse", help="Only items that have parts; the parts are counted.")
    ] = False,
    most: Annotated[
        int | None,
        typer.Option(
            min=10,
            help="Draw no more items than this: 150 in Mermaid, 500 in SVG. More are folded into parents.",
        ),
    ] = None,
) -> None:
    """Draw boards as a graph: items in what they are part of, arrows from what is needed to what waits for it.

    JSON has all items, however many. A drawing of more than it can show has only the items with parts, and says so.
    """
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.errors import InputError
    from tasks.graph import MOST_MERMAID, MOST_SVG, Scope, read
    from tasks.items import item_id, matching

    chosen = form or _by_ending(out)
    limit = {Format.MERMAID: MOST_MERMAID, Format.SVG: MOST_SVG, Format.JSON: None}[chosen]
    if around is not None and boards:
        raise InputError("An item is on one board: give boards or --around, not both.")
    with opened() as (_, database), database.connect() as connection:
        scope = Scope(
            boards=matching(connection, boards or []),
            open=open_only,
            around=item_id(connection, around) if around is not None else None,
            depth=depth,
            collapse=collapse,
            most=most or limit,
        )
        drawing = read(connection, scope)
    if not len(drawing) and not drawing.counts():
        typer.echo(
            "There is nothing to draw. `penstock run PATH` reads boards, `penstock boards` lists them.",
            err=True,
        )
        return
    text = _drawn(drawing, chosen, out)
    for note in drawing.notes:
        typer.echo(note, err=True)
    if out is None:
        sys.stdout.write(text)
        return
    from tasks.report.write import replace

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, text)
    except OSError as error:
        raise InputError(
            f"{out} can't be written: {error.strerror}. Name another file with --out."
        ) from error
    items = "1 item" if len(drawing) == 1 else f"{len(drawing)} items"
    needs = "1 need" if len(drawing.arrows) == 1 else f"{len(drawing.arrows)} needs"
    console().print(f"{out}: {items}, {needs}", markup=False)


def _by_ending(out: Path | None) -> Format:
    from models.errors import InputError

    if out is None:
        return Format.MERMAID
    if (form := ENDINGS.get(out.suffix.lower())) is None:
        ending = f"the ending {out.suffix}" if out.suffix else "no ending"
        raise InputError(
            f"{out} has {ending}, which says no form that can be drawn. End it in {', '.join(ENDINGS)}, or say "
            "--format mermaid, svg or json."
        )
    return form


def _drawn(drawing: Drawing, form: Format, out: Path | None) -> str:
    import orjson

    from tasks.graph import mermaid, svg

    match form:
        case Format.SVG:
            return svg(drawing)
        case Format.JSON:
            return orjson.dumps(drawing.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n"
        case Format.MERMAID:
            text = mermaid(drawing)
            return f"```mermaid\n{text}```\n" if out and out.suffix.lower() in (".md", ".markdown") else text
