"""`penstock boards`: the boards that were read, what changed, what their checks said, and how one is forgotten."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from interfaces.cli.default import Listing
from interfaces.cli.items import Boards
from models.enums import LaneName

LANES = ", ".join(LaneName)

app = typer.Typer(
    cls=Listing,
    help="The boards that were read: what is in them, what changed, findings and checks. "
    "`penstock boards` alone lists.",
)


@app.command("list")
def list_boards(
    boards: Boards = None,
    everything: Annotated[bool, typer.Option("--all", help="Also documents that have no items.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List boards: items, findings, what the latest version changed, and whether its table passed the checks."""
    import orjson

    from interfaces.cli.board_views import board_table
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.items import board_rows, matching

    with opened() as (_, database), database.connect() as connection:
        found = board_rows(connection, matching(connection, boards or []))
    documents = 0 if everything else sum(not row.items for row in found)
    rows = [row for row in found if row.items or everything]
    if json:
        shown = orjson.dumps([row.as_json() for row in rows], option=orjson.OPT_INDENT_2)
        sys.stdout.write(shown.decode() + "\n")
        return
    if rows:
        console().print(board_table(rows, console().width))
    else:
        console().print("No board was read yet. `penstock run PATH` reads boards.")
    if documents:
        are = "file without items is" if documents == 1 else "files without items are"
        console().print(f"{documents} {are} knowledge; --all lists them too.", style="bright_black")


@app.command()
def show(
    board: Annotated[str, typer.Argument(help="A board that was read: its path, or a part of it.")],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one board: its items by status, its latest change, all findings, and each check of its table."""
    import orjson

    from interfaces.cli.board_views import board_view
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.items import board_case

    with opened() as (_, database), database.connect() as connection:
        case = board_case(connection, board)
    if json:
        sys.stdout.write(orjson.dumps(case.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(board_view(case))


@app.command("set")
def set_board(
    boards: Annotated[
        list[str], typer.Argument(help="Boards that were read: a path, a folder, or a part of a path.")
    ],
    lane: Annotated[
        LaneName | None,
        typer.Option(help=f"{LANES}: who waits for the answers is a person now, somebody, nobody."),
    ] = None,
    wip: Annotated[
        int | None,
        typer.Option(min=0, max=2_000_000_000, help="How many items may run at once; 0: any number."),
    ] = None,
) -> None:
    """Set the lane of boards, with all their open items, and how many items of each may run at once.

    What runs is not interrupted. Both stay until they are set again, over new versions of the board, too.
    """
    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console
    from models.enums import Lane
    from models.errors import InputError
    from models.words import counted
    from tasks.items import board_rows, matching
    from tasks.lanes import set_boards
    from tasks.places import shown

    if lane is None and wip is None:
        raise InputError("Say what is to be set: --lane, --wip or both.")
    with opened() as (_, database), database.connect() as connection:
        meant = matching(connection, boards) or []
        moved = set_boards(connection, meant, lane=None if lane is None else lane.lane, wip=wip)
        rows = board_rows(connection, meant)
    for row in rows:
        most = f"at most {counted(row.wip, 'item')} at once" if row.wip is not None else "no limit of its own"
        console().print(f"{clean(shown(row.source))}: lane {Lane(row.lane).label}, {most}.", markup=False)
    if moved:
        console().print(f"{counted(moved, 'open item')} changed lanes.", style="bright_black")


@app.command()
def forget(
    board: Annotated[str, typer.Argument(help="A board that was read: its path, or a part of it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Take a board with all its items off the lists; its open reviews are closed and its text leaves memory.

    The file is not touched; `penstock run` reads it again. What was refused as the same work as an item of it gets its
    turn. History stays in the database.
    """
    from interfaces.cli.opening import opened
    from interfaces.cli.render import clean, console
    from models.errors import InputError
    from models.settings import settings
    from tasks.decompose import look_again
    from tasks.ingest.gone import empty_board
    from tasks.items import board_case
    from tasks.places import shown

    with opened() as (_, database):
        with database.connect() as connection:
            row = board_case(connection, board).row
        name = clean(shown(row.source))
        if not yes:
            question = f"Forget {name} with its {row.items} {'item' if row.items == 1 else 'items'}?"
            try:
                sure = typer.confirm(question)
            except typer.Abort:
                raise InputError(f"{question} Nobody answered, nothing was changed: give --yes.") from None
            if not sure:
                console().print("Nothing was changed.")
                return
        with database.connect() as connection:
            emptied = empty_board(connection, row.id)
        look_again(database, settings())
    console().print(f"{name} is forgotten: {emptied.what}.", markup=False)
