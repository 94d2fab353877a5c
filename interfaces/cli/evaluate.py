"""`penstock eval`: golden sets asked of one or several variants, compared, and held to a baseline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.recipe import Recipe
    from models.settings import Settings
    from sql.connection import Database
    from tasks.evaluate import Comparison, Evaluation, GoldenSet

UNKNOWN_SEEN = 3
REGRESSED = 4
"""Exit codes. What can't be used at all is 2, as everywhere (models.errors)."""


def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Golden sets, or folders of them. Without it, evals.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Ask this model. Several are compared.", show_default=False),
    ] = None,
    recipe_file: Annotated[
        list[Path] | None,
        typer.Option("--recipe-file", help="Compare with this version of a recipe, too.", show_default=False),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="auto, or a backend's name; without it, the setting.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Compare with what --save wrote; a regression ends with 4.", show_default=False),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the mean score may be below the baseline's.")
    ] = 0.05,
    save: Annotated[
        Path | None, typer.Option(help="Write the results to this file, as a baseline.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask golden sets and score the answers, for one model or recipe or to compare several.

    A variant is a model with a version of the recipes; the first is what the others are compared with. It asks through
    the endpoint's lease and limits, like a run, and waits while one works on it. Nothing of it becomes an item or is
    remembered.

    Ends with 0, with 1 when it failed, 2 for bad input, 3 when the score of a case is not known, and 4 when the mean
    score is further below the baseline's than --threshold.
    """
    import orjson

    from interfaces.cli.evaluate_views import evaluation_view
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console
    from models.settings import settings
    from tasks.evaluate import against, compare, read_saved, read_sets
    from tasks.recipes import load_recipes, read_recipe

    config = settings()
    sets = read_sets(paths or [Path("evals")])
    recipes = load_recipes(config)
    versions = [{each.recipe: recipes[each.recipe] for each in sets}]
    for path in recipe_file or []:
        versions.append(_with(versions[0], read_recipe(path, named=False)))
    before = read_saved(baseline) if baseline is not None else None
    with opened(config) as (config, database):
        found = _asked(config, database, backend or config.backend, sets, model or [], versions, quiet=json)
    if save is not None:
        found.save(save)
    compared = [compare(found.variants[0], each) for each in found.variants[1:]]
    held = against(before, found.variants) if before is not None else []
    if json:
        text = orjson.dumps(_as_json(found, compared, held, threshold), option=orjson.OPT_INDENT_2)
        sys.stdout.write(text.decode() + "\n")
    else:
        console().print(evaluation_view(found, compared, held, threshold))
        if save is not None:
            console().print(f"Saved: {save}", markup=False)
    if any(each.regressed(threshold) for each in held):
        raise typer.Exit(REGRESSED)
    if any(each.unknown for each in found.variants) or any(each.difference is None for each in held):
        raise typer.Exit(UNKNOWN_SEEN)


def _with(recipes: Mapping[str, Recipe], version: Recipe) -> dict[str, Recipe]:
    from models.errors import InputError

    if version.name not in recipes:
        raise InputError(
            f"{version.path} is a version of the recipe {version.name!r}, which no golden set here is for; they are "
            f"for {', '.join(sorted(recipes))}."
        )
    return {**recipes, version.name: version}


def _asked(
    config: Settings,
    database: Database,
    backend: str,
    sets: Sequence[GoldenSet],
    models: Sequence[str],
    versions: Sequence[Mapping[str, Recipe]],
    *,
    quiet: bool,
) -> Evaluation:
    import asyncio

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from backends.registry import choose, make
    from interfaces.cli.app import complain
    from interfaces.cli.render import console
    from tasks.evaluate import Evaluation, Seat, Variant
    from tasks.evaluate import evaluate as ask
    from tasks.validate import close, warm_up

    async def work(on_case: Callable[[], None], tell: Callable[[int], None]) -> Evaluation:
        warm_up()
        endpoint, probe = await choose(config, backend)
        names = list(dict.fromkeys(models)) or [endpoint.model or ""]
        variants = [
            Variant(_name(name, number, versions), name, recipes)
            for name in names
            for number, recipes in enumerate(versions)
        ]
        tell(len(variants) * sum(len(each.cases) for each in sets))
        server = make(endpoint)
        try:
            found = await ask(
                database,
                config,
                Seat(server, endpoint, probe),
                sets,
                variants,
                on_wait=complain,
                on_case=on_case,
            )
        finally:
            await server.close()
        return Evaluation(backend=endpoint.backend, endpoint=endpoint.url, variants=tuple(found))

    columns = (TextColumn("Asked"), BarColumn(), MofNCompleteColumn())
    hidden = quiet or not console().is_terminal
    try:
        with Progress(*columns, console=console(), transient=True, disable=hidden) as progress:
            bar = progress.add_task("cases", total=None)
            return asyncio.run(
                work(lambda: progress.advance(bar), lambda total: progress.update(bar, total=total))
            )
    finally:
        close()


def _name(model: str, number: int, versions: Sequence[Mapping[str, Recipe]]) -> str:
    """The model; with the recipe's file where it is another version."""
    if not number:
        return model
    [version] = [recipe for name, recipe in versions[number].items() if recipe is not versions[0][name]]
    return f"{model}, {Path(version.path).name}"


def _as_json(
    found: Evaluation, compared: Sequence[Comparison], held: Sequence[Comparison], threshold: float
) -> dict[str, Any]:
    said = found.model_dump(mode="json")
    for variant, shown in zip(found.variants, said["variants"], strict=True):
        shown["figures"] = variant.figures()
    return said | {
        "compared": [each.as_json() for each in compared],
        "baseline": [each.as_json() | {"regressed": each.regressed(threshold)} for each in held],
        "threshold": threshold,
    }
