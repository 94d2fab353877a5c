"""`penstock review`: what waits for a person, and the decisions."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

    from models.enums import Decision
    from models.review import Decided

app = typer.Typer(
    no_args_is_help=True, help="What waits for a person: list, show, accept, edit, retry, reject."
)

Numbers = Annotated[
    list[int], typer.Argument(help="Numbers of reviews, as `penstock review list` shows them.")
]
Number = Annotated[int, typer.Argument(help="Number of a review, as `penstock review list` shows it.")]
Note = Annotated[str | None, typer.Option(help="Why; kept with the decision.")]
GoOn = Annotated[
    bool, typer.Option(help="Run what the decision released. With `penstock up` running, its workers do.")
]


@app.command("list")
def list_reviews(
    error: Annotated[str | None, typer.Option(help="Only this error type, for example no_evidence.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only item, plan or document.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per review, one per line.")
    ] = False,
) -> None:
    """Show the review queue, oldest first."""
    import dataclasses

    import orjson

    from interfaces.cli.render import console, review_table
    from tasks.review import open_reviews

    found = _ask(lambda connection: open_reviews(connection, error_type=error, kind=kind))
    if json:
        for review in found:
            sys.stdout.write(orjson.dumps(dataclasses.asdict(review)).decode() + "\n")
        return
    console().print(review_table(found) if found else "Nothing waits for a person.")


@app.command()
def show(number: Number) -> None:
    """Show one review: the item, the proposal, why machines gave up, and every attempt."""
    from interfaces.cli.render import console, review_case
    from tasks.review import review_case as read

    console().print(review_case(_ask(lambda connection: read(connection, number))))


@app.command()
def accept(numbers: Numbers, note: Note = None, go_on: GoOn = True) -> None:
    """Take the proposal as the result, of a plan as the parts; what waited for it goes on."""
    from models.enums import Decision

    _decide(numbers, Decision.ACCEPT, None, note, go_on)


@app.command()
def edit(
    number: Number,
    text: Annotated[str | None, typer.Option(help="The text that becomes the result, or the plan.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with that text, - for standard input.")] = None,
    note: Note = None,
    go_on: GoOn = True,
) -> None:
    """Give the result, or the plan, yourself. Without --text and --file, $EDITOR opens on the proposal.

    A plan is a numbered list with `- when it is done` below each part; the word `whole` alone: do it without a split.
    """
    from models.enums import Decision
    from models.errors import InputError
    from tasks.review import review_case as read

    if text is not None and file is not None:
        raise InputError("Give --text or --file, not both.")
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} can't be read as text: {error}. Name a UTF-8 file.") from error
    if text is None:
        case = _ask(lambda connection: read(connection, number))
        try:
            text = click.edit(case.review.proposal or "", extension=".md")
        except click.ClickException as error:
            raise InputError(f"{error.message}. Set EDITOR, or give --text or --file.") from error
        if text is None:
            raise InputError("The editor closed without saving; nothing was decided.")
    _decide([number], Decision.EDIT, text, note, go_on)


@app.command()
def retry(numbers: Numbers, note: Note = None, go_on: GoOn = True) -> None:
    """Let machines try again, with fresh attempts."""
    from models.enums import Decision

    _decide(numbers, Decision.RETRY, None, note, go_on)


@app.command()
def reject(numbers: Numbers, note: Note = None, go_on: GoOn = True) -> None:
    """Say that it will not be done; what waited for it goes on without it."""
    from models.enums import Decision

    _decide(numbers, Decision.REJECT, None, note, go_on)


def _ask(question: Callable[[psycopg.AsyncConnection[Any]], Awaitable[Any]]) -> Any:
    import asyncio

    from interfaces.cli.opening import opened

    with opened() as (_, database):

        async def ask() -> Any:
            connection = await database.aconnect(autocommit=True)
            try:
                return await question(connection)
            finally:
                await connection.close()

        return asyncio.run(ask())


def _decide(numbers: list[int], decision: Decision, text: str | None, note: str | None, go_on: bool) -> None:
    """One decision per number; each stands by itself, the first that can't be taken ends the command."""
    from interfaces.cli.continuing import carry_on
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.enums import Decision
    from tasks.decompose import look_again
    from tasks.review import decide

    released = 0
    for number in numbers:

        def one(connection: psycopg.AsyncConnection[Any], number: int = number) -> Awaitable[Decided]:
            return decide(connection, number, decision, text=text, note=note, by=getpass.getuser())

        decided = _ask(one)
        released += decided.released
        console().print(f"[bold]{number}[/] {decision}: ", end="")
        console().print(decided.title, markup=False, overflow="ellipsis", no_wrap=True)
    if decision is Decision.REJECT:
        with opened() as (config, database):  # another may do the work that this one does not
            released += look_again(database, config)
    if released and go_on:
        carry_on(released)
    elif released:
        are = "item is" if released == 1 else "items are"
        console().print(
            f"{released} {are} ready; the next `penstock run` or a running `penstock up` does them."
        )
