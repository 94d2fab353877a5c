"""`penstock pause`, `penstock resume`: what is to be left alone for a while, at run time."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from models.errors import InputError
from models.pause import PauseKind

if TYPE_CHECKING:
    import psycopg
    from rich.table import Table

    from models.pause import Pause
    from sql.connection import Database

T = TypeVar("T")

KINDS = ", ".join(PauseKind)
GOES_ON = "The next `penstock run`, or a running `penstock up`, goes on with it."


def pause(
    kind: Annotated[
        PauseKind | None, typer.Argument(help=f"What it is: {KINDS}.", show_default=False)
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Boards by path, folder or a part of it; an endpoint by its URL; a recipe, or 'RECIPE MODEL'.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        str | None,
        typer.Option("--for", help="For how long: 2h, 1h30m, 1d. Without it, until it is resumed."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; shown wherever the pause is.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Leave a board, model, endpoint, backend, device or recipe alone. Without arguments, list what is paused.

    `packing` of a recipe: its items are asked, but never several in one request.

    Nothing new of it is begun, within a second; calls that run end. Pausing again changes the time and the reason.
    """
    from interfaces.cli.opening import opened
    from tasks.pausable import to_pause
    from tasks.pause import duration, listed
    from tasks.pause import pause as stop

    seconds = duration(length) if length is not None else None
    if kind is None:
        if length is not None or reason is not None:
            raise InputError(
                "Name what is to be paused, for example `penstock pause model qwen3:8b --for 2h`."
            )
        with opened() as (_, database):
            _show(_asked(database, listed), json, "Nothing is paused.")
            if not json:
                _show_runs(database)
        return
    if not names:
        raise InputError(f"Name the {kind}, for example `penstock pause {kind} {EXAMPLES[kind]}`.")
    with opened() as (config, database):
        with database.connect() as connection:
            meant = to_pause(connection, config, kind, names)

        async def all_of_them(connection: psycopg.AsyncConnection[Any]) -> list[Pause]:
            async with connection.transaction():
                return [
                    await stop(
                        connection, kind, name, seconds=seconds, reason=reason or "", by=getpass.getuser()
                    )
                    for name in sorted(meant)
                ]

        _show(_asked(database, all_of_them), json, "")


def resume(
    kind: Annotated[PauseKind, typer.Argument(help=f"What it is: {KINDS}.", show_default=False)],
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="As it was paused, or as `penstock pause` shows it."),
    ],
) -> None:
    """Let go on what is paused. What Penstock struck counts its failures anew, and the review of it is settled."""
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from tasks.pausable import to_resume
    from tasks.pause import listed
    from tasks.pause import resume as let_go_on

    with opened() as (_, database):
        pauses = _asked(database, listed)
        with database.connect() as connection:
            meant = to_resume(connection, pauses, kind, names)

        async def all_of_them(connection: psycopg.AsyncConnection[Any]) -> list[str]:
            by = getpass.getuser()
            return [name for name in sorted(meant) if await let_go_on(connection, kind, name, by=by)]

        for name in _asked(database, all_of_them):
            console().print(f"The {kind} {_shown(kind, name)} is no longer paused.", markup=False)
        console().print(GOES_ON, style="bright_black")


EXAMPLES = {
    PauseKind.BOARD: "plan.md",
    PauseKind.MODEL: "qwen3:8b",
    PauseKind.ENDPOINT: "http://gpu-1:11434",
    PauseKind.BACKEND: "ollama",
    PauseKind.DEVICE: "gpu-1",
    PauseKind.RECIPE: "split",
    PauseKind.PACKING: "task",
}


def pause_table(pauses: Sequence[Pause]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from interfaces.cli.render import clean

    table = Table(show_edge=False, pad_edge=False)
    for name in ("Paused", "Name", "Until", "By", "Why"):
        table.add_column(name, overflow="fold")
    for each in pauses:
        until = f"{each.until.astimezone():%Y-%m-%d %H:%M}" if each.until else "resumed"
        table.add_row(
            each.kind,
            Text(_shown(each.kind, each.name)),
            until,
            Text(clean(each.by)),
            Text(clean(each.reason)),
        )
    return table


def pause_lines(pauses: Iterable[Pause]) -> list[str]:
    """Each as a sentence, for other commands."""
    from interfaces.cli.render import clean
    from tasks.pause import sentence

    return [
        clean(sentence(each.kind, _shown(each.kind, each.name), each.until, each.reason, each.by))
        for each in pauses
    ]


def _show_runs(database: Database) -> None:
    """Boards rest because of a run, too."""
    from interfaces.cli.render import clean, console
    from models.words import counted
    from tasks.places import shown
    from tasks.runs import held_runs

    with database.connect() as connection:
        found = held_runs(connection)
    for run, state, by, sources in found:
        boards = clean(shown(sources[0])) if len(sources) == 1 else counted(len(sources), "board")
        words = (
            f"{boards} of run {str(run)[:8]}, {state} by {by}: `penstock runs resume {str(run)[:8]}` goes on."
        )
        console().print(words, markup=False)


def _shown(kind: PauseKind, name: str) -> str:
    from interfaces.cli.render import clean
    from tasks.places import shown

    return clean(shown(name) if kind is PauseKind.BOARD else name)


def _show(pauses: list[Pause], json: bool, nothing: str) -> None:
    import orjson

    from interfaces.cli.render import console

    if json:
        text = orjson.dumps([each.as_json() for each in pauses], option=orjson.OPT_INDENT_2)
        sys.stdout.write(text.decode() + "\n")
    elif pauses:
        console().print(pause_table(pauses))
    else:
        console().print(nothing)


def _asked(database: Database, ask: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    import asyncio

    async def inside() -> T:
        connection = await database.aconnect(autocommit=True)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(inside())
