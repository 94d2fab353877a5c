"""`penstock review`: what waits for a person, and the decisions."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from interfaces.cli.default import Listing
from interfaces.cli.items import Boards

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

    from models.enums import Decision
    from models.review import Decided

app = typer.Typer(
    cls=Listing,
    help="What waits for a person: list, show, accept, edit, retry, reject. `penstock review` alone lists.",
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
    boards: Boards = None,
    error: Annotated[str | None, typer.Option(help="Only this error type, for example no_evidence.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only item, plan, document or strike.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per review, one per line.")
    ] = False,
) -> None:
    """Show the review queue, oldest first."""
    import dataclasses

    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console, review_table
    from tasks.items import matching
    from tasks.review import open_reviews

    chosen = None
    if boards:
        with opened() as (_, database), database.connect() as connection:
            chosen = matching(connection, boards)
    found = _ask(lambda connection: open_reviews(connection, boards=chosen, error_type=error, kind=kind))
    if json:
        for review in found:
            sys.stdout.write(orjson.dumps(dataclasses.asdict(review)).decode() + "\n")
        return
    if found:
        console().print(review_table(found))
        return
    others = len(_ask(open_reviews))
    wait = "1 other waits" if others == 1 else f"{others} others wait"
    console().print(f"No review is like that; {wait}." if others else "Nothing waits for a person.")


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
    """Let machines try again, with fresh attempts; what was stopped goes on."""
    from models.enums import Decision

    _decide(numbers, Decision.RETRY, None, note, go_on)


@app.command()
def reject(numbers: Numbers, note: Note = None, go_on: GoOn = True) -> None:
    """Say that it will not be done; what waited for it goes on without it. What was stopped stays so."""
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
    """One decision per number; each stands by itself. Those that can't be taken are told at the end."""
    from interfaces.cli.continuing import carry_on
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.enums import Decision
    from models.errors import InputError
    from tasks.decompose import look_again
    from tasks.review import decide

    released = 0
    refused: list[InputError] = []
    wanted = list(dict.fromkeys(numbers))
    for number in wanted:

        def one(connection: psycopg.AsyncConnection[Any], number: int = number) -> Awaitable[Decided]:
            return decide(connection, number, decision, text=text, note=note, by=getpass.getuser())

        try:
            decided = _ask(one)
        except InputError as error:
            refused.append(error)
            continue
        released += decided.released
        console().print(f"[bold]{number}[/] {decision}: ", end="")
        console().print(decided.title, markup=False, overflow="ellipsis", no_wrap=True)
    if len(refused) == len(wanted) == 1:
        raise refused[0]
    if decision is Decision.REJECT and len(refused) < len(wanted):
        with opened() as (config, database):  # another may do the work that this one does not
            released += look_again(database, config)
    if released and go_on:
        carry_on(released)
    elif released:
        are = "item is" if released == 1 else "items are"
        console().print(
            f"{released} {are} ready; the next `penstock run` or a running `penstock up` does them."
        )
    if refused:
        taken = len(wanted) - len(refused)
        raise InputError(f"{taken} of {len(wanted)} were decided. {' '.join(map(str, refused))}")
