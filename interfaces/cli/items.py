"""`penstock items`: what is stored, filtered; and one item with all about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from interfaces.cli.default import Listing
from models.enums import Declared, Status

if TYPE_CHECKING:
    import psycopg

    from models.items import ItemFilter, ItemRow

app = typer.Typer(
    cls=Listing,
    help="What is stored: items by state, board and kind, and one item with all about it. "
    "`penstock items` alone lists; its filters are in `penstock items list --help`.",
)

Choice = TypeVar("Choice", bound=Enum)

Boards = Annotated[
    list[str] | None,
    typer.Argument(
        help="Boards that were read: a path, a folder, or a part of a path. Without it, all.",
        show_default=False,
    ),
]
STATUSES = ", ".join(status.label for status in Status)
DECLARED = ", ".join(Declared)


@app.command("list")
def list_items(
    boards: Boards = None,
    status: Annotated[
        list[str] | None, typer.Option(help=f"Only with this status; several with commas: {STATUSES}.")
    ] = None,
    declared: Annotated[
        list[str] | None, typer.Option(help=f"Only what the board says is so: {DECLARED}.")
    ] = None,
    board: Annotated[list[str] | None, typer.Option(help="The same as naming the board.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only of this kind: task, story, consult, phase ...")
    ] = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only what can run now, in the order in which it will.")
    ] = False,
    blocked: Annotated[
        bool, typer.Option("--blocked", help="Only what waits for other items, with what it waits for.")
    ] = False,
    text: Annotated[
        str | None, typer.Option(help="Only with these words, in the title, the text or the id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    after: Annotated[int | None, typer.Option(help="Go on after the item with this number.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List items in the order of their boards.

    The first column is the number that `penstock items show` takes.
    """
    from interfaces.cli.item_views import ItemTables, more, nothing
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.items import ItemFilter
    from tasks.items import count, find, matching, stream, totals

    with opened() as (_, database), database.connect() as connection:
        wanted = ItemFilter(
            boards=_ids(matching(connection, [*(boards or []), *(board or [])])),
            statuses=_statuses(status),
            declared=_choices(declared, Declared, DECLARED),
            kinds=_split(kind),
            words=tuple((text or "").split()),
            ready=ready,
            blocked=blocked,
        )
        if json:
            _print_json(connection, wanted, None if everything else limit, after)
            return
        found: Iterable[ItemRow] = (
            stream(connection, wanted, after=after)
            if everything
            else find(connection, wanted, limit, after=after)
        )
        tables = ItemTables(wanted, console().width)
        for table in tables.of(found):
            console().print(table)
        if tables.last is None:
            console().print(nothing(wanted, totals(connection, wanted.boards), after))
        elif not everything and find(connection, wanted, 1, after=tables.last):
            first = after is None
            console().print(more(count(connection, wanted), tables.last, first_page=first, shown=limit))


@app.command()
def show(
    item: Annotated[
        str, typer.Argument(help="Its number, its place as `board.md:12`, or its id on the board.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show one item: text, place in the tree, what it waits for, findings, attempts, result, reviews."""
    import orjson

    from interfaces.cli.item_views import item_view
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.items import item_case, item_id

    with opened() as (_, database), database.connect() as connection:
        case = item_case(connection, item_id(connection, item))
    if json:
        sys.stdout.write(orjson.dumps(case.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(item_view(case))


def _print_json(
    connection: psycopg.Connection[tuple[object, ...]],
    wanted: ItemFilter,
    limit: int | None,
    after: int | None,
) -> None:
    """One array, written as it comes: a million items are no reason to hold them."""
    import orjson

    from tasks.items import find, stream

    items: Iterable[ItemRow] = (
        stream(connection, wanted, after=after)
        if limit is None
        else find(connection, wanted, limit, after=after)
    )
    begin = "["
    for item in items:
        sys.stdout.write(begin + "\n" + orjson.dumps(item.as_json()).decode())
        begin = ","
    sys.stdout.write("[]\n" if begin == "[" else "\n]\n")


def _ids(boards: list[int] | None) -> tuple[int, ...] | None:
    return None if boards is None else tuple(boards)


def _split(values: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(word.strip() for value in values or () for word in value.split(",") if word.strip())


def _statuses(values: Sequence[str] | None) -> tuple[Status, ...]:
    from models.errors import InputError

    known = {status.label: status for status in Status}
    for word in _split(values):
        if word == "blocked":
            raise InputError("What waits for other items has the status pending; --blocked lists it.")
        if word not in known:
            raise InputError(f"{word!r} is no status; use one of {STATUSES}.")
    return tuple(known[word] for word in _split(values))


def _choices(values: Sequence[str] | None, kind: type[Choice], words: str) -> tuple[Choice, ...]:
    from models.errors import InputError

    try:
        return tuple(kind(word) for word in _split(values))
    except ValueError as error:
        wrong = next(word for word in _split(values) if word not in {each.value for each in kind})
        raise InputError(f"{wrong!r} is nothing that a board says; use one of {words}.") from error
