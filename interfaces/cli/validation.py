"""`penstock validation`: what the checks said, why an answer failed, and stored results checked again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interfaces.cli.items import Boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.settings import Settings
    from sql.connection import Database
    from tasks.validate.rerun import Recheck, Superseded

app = typer.Typer(
    no_args_is_help=True,
    help="What the checks said: a page, one item explained, figures, and stored results checked again.",
)

RecipeOption = Annotated[str | None, typer.Option("--recipe", help="Only this recipe.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def docs(
    boards: Boards = None,
    out: Annotated[
        Path, typer.Option(help="The folder for validation.html, by default that of the report.")
    ] = Path("penstock-report"),
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the checks' results as one page: suites, batches, the rows that failed, figures.

    The page is one file. It needs no network and no script; the run's report links to it.
    """
    import webbrowser

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.errors import InputError
    from tasks.items import matching
    from tasks.recipes import load_recipes
    from tasks.report.write import replace
    from tasks.validate import pages

    with opened() as (config, database), database.connect() as connection:
        chosen = matching(connection, boards or [])
        text = pages.page(connection, load_recipes(config), boards=chosen, zone=config.timezone)
    path = out / pages.NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace(path, text)
    except OSError as error:
        raise InputError(
            f"The page can't be written to {out}: {error.strerror}. Name another folder with --out."
        ) from error
    console().print(f"Validation: [bold]{path}[/]")
    if show and not webbrowser.open(path.resolve().as_uri()):
        raise InputError(f"No browser could be opened. The page is {path.resolve()}; open it yourself.")


@app.command()
def explain(
    item: Annotated[
        str, typer.Argument(help="Its number, its place as `board.md:12`, or its id on the board.")
    ],
    json: Json = False,
) -> None:
    """Show every try at an item: what failed, in which layer and why, the answer's beginning, and what followed."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from interfaces.cli.validation_views import explanation_view
    from tasks.items import item_case, item_id
    from tasks.validate.explain import explain as read

    with opened() as (_, database), database.connect() as connection:
        case = item_case(connection, item_id(connection, item))
        found = read(connection, case.row.id)
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(explanation_view(case.row, found))


@app.command()
def rerun(
    boards: Boards = None,
    recipe: RecipeOption = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Send what does not pass to a person; its result no longer stands."),
    ] = False,
    json: Json = False,
) -> None:
    """Check stored results again under the recipes as they are now. Calls no model.

    Without --apply it only shows what would change. With it, results that do not pass are superseded, memory forgets
    them, and each item waits for a person with the reason. What a person accepted is left alone, and so is what can't
    be checked again.

    Ends with 0 when all pass, with 3 when something would not or waits for a person now, with 1 when something could
    not be checked.
    """
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from interfaces.cli.validation_views import recheck_view
    from tasks.items import matching

    with opened() as (config, database):
        with database.connect() as connection:
            chosen = matching(connection, boards or [])
        found, moved = _rerun(config, database, chosen, recipe, apply)
    if json:
        said: dict[str, Any] = found.as_json()
        if moved is not None:
            said |= {"superseded": len(moved.items), "left": moved.left}
        sys.stdout.write(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        console().print(recheck_view(found, moved))
    if found.unchecked:
        raise typer.Exit(1)
    if found.failing:
        raise typer.Exit(3)


@app.command()
def stats(
    boards: Boards = None,
    recipe: RecipeOption = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Of the last so many days.")] = 90,
    json: Json = False,
) -> None:
    """Show how often which rule failed, per recipe and model, of the answers that were checked."""
    import orjson

    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from interfaces.cli.validation_views import statistics_view
    from tasks.items import matching
    from tasks.validate.statistics import statistics

    with opened() as (config, database), database.connect() as connection:
        chosen = matching(connection, boards or [])
        found = statistics(connection, boards=chosen, recipe=recipe, days=days, zone=config.timezone)
    if json:
        sys.stdout.write(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    console().print(statistics_view(found, days))


@app.command()
def examples(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(help="Names of recipes. Without it, all that have examples.", show_default=False),
    ] = None,
) -> None:
    """Hold the checks of recipes to the recipes' own examples. Calls no model.

    Ends with 1 when a check is of another opinion than an example says.
    """
    import asyncio

    from interfaces.cli.render import clean, console
    from models.settings import settings
    from models.words import counted
    from tasks.recipes import load_recipes
    from tasks.validate import close
    from tasks.validate.examples import check_examples

    known = load_recipes(settings())
    wrong = False
    try:
        for recipe in [known[name] for name in recipes] if recipes else known.values():
            number = len(recipe.header.examples)
            if not number:
                if recipes:
                    console().print(
                        f"{recipe.name}: it has no examples. Write some under `examples:`.", markup=False
                    )
                continue
            problems = asyncio.run(check_examples(recipe))
            wrong |= bool(problems)
            told = f"{len(problems)} judged otherwise than they say" if problems else "all judged as they say"
            console().print(f"{recipe.name}: {counted(number, 'example')}, {told}", markup=False)
            for problem in problems:
                console().print(f"  {clean(problem)}", markup=False, style="red")
    finally:
        close()
    if wrong:
        raise typer.Exit(1)


@app.command()
def context(
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to put gx/ into; without it, PENSTOCK_HOME.", show_default=False),
    ] = None,
) -> None:
    """Write the recipes' suites and checkpoints as a Great Expectations project, for those who use it themselves.

    Penstock does not read it: recipes are what counts, and this command writes it anew from them.
    """
    from interfaces.cli.render import console
    from models.settings import settings
    from tasks.recipes import load_recipes
    from tasks.validate.pages_context import write_context

    config = settings()
    recipes = load_recipes(config)
    place = write_context(recipes, out or config.home)
    console().print(f"{place}: {len(recipes)} suites, each with a checkpoint of its name", markup=False)


def _rerun(
    config: Settings, database: Database, boards: Sequence[int] | None, recipe: str | None, apply: bool
) -> tuple[Recheck, Superseded | None]:
    import asyncio

    from tasks.recipes import load_recipes
    from tasks.remember import remember_results
    from tasks.validate.rerun import recheck, supersede

    recipes = load_recipes(config)
    if recipe is not None:
        recipes[recipe]  # raises for one that does not exist

    async def work() -> tuple[Recheck, Superseded | None]:
        connection = await database.aconnect(autocommit=True)
        try:
            found = await recheck(connection, recipes, boards=boards, recipe=recipe)
            return found, await supersede(connection, found) if apply else None
        finally:
            await connection.close()

    found, moved = asyncio.run(work())
    if moved is not None and moved.items:
        with database.connect(autocommit=True) as connection:
            remember_results(connection)  # memory forgets what no longer stands
    return found, moved
