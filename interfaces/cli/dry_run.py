"""`penstock run --dry-run`: what a run would do. Everything happens in a transaction that is rolled back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from interfaces.cli.opening import opened
from interfaces.cli.reading import boards_of
from interfaces.cli.render import board_tree, clean, console
from models.enums import Status
from models.errors import BackendUnavailable
from models.words import counted
from sql.statements import statement
from tasks.decompose import Wishes, decompose_board
from tasks.ingest import ingest_board
from tasks.ingest.origins import contents
from tasks.recipes import load_recipes
from tasks.spill import take

if TYPE_CHECKING:
    from models.recipe import Recipe
    from models.settings import Settings


def _members(recipe: Recipe | None) -> int:
    """Whom it asks about each item before it is done."""
    return len(recipe.header.council.members) if recipe is not None and recipe.header.council else 0


def dry_run(config: Settings, paths: list[str], dialect: str | None) -> None:
    """Print the item tree, the findings and the batches that would run now. Calls no model, keeps nothing.

    Raises BackendUnavailable, after all that could be shown, when a run would find no server.
    """
    recipes = load_recipes(config)
    with (
        opened(config) as (_, database),
        database.connect() as connection,
        connection.transaction(force_rollback=True),
    ):
        boards: list[int] = []
        for origin, board in boards_of(
            paths, config.max_source_bytes, dialect, partial(contents, connection)
        ):
            console().print(board_tree(board))
            source = origin.source(board.sha256)
            boards.append(ingest_board(connection, board, source=source, zone=config.timezone).board_id)
        split = parts = plans = 0
        for board_id in boards:
            decomposed = decompose_board(connection, board_id, recipes, Wishes.of(config))
            split, parts, plans = split + decomposed.split, parts + decomposed.parts, plans + decomposed.plans
            for finding in decomposed.findings:
                console().print(
                    Text(f"{finding.line or ''} {finding.code}: {clean(finding.message)}", "yellow")
                )
        ready = connection.execute(statement("report.ready_groups"), {"boards": boards}).fetchall()
        counts: dict[int, int] = dict(
            connection.execute(statement("report.progress"), {"boards": boards}).fetchall()
        )
    console().print()
    if ready:
        table = Table(title="First wave", title_justify="left", show_edge=False, pad_edge=False)
        asked = [_members(recipes.get(recipe)) * fresh for recipe, _, _, fresh in ready]
        for name in ("Recipe", "Priority", "Items", *(["Calls"] if any(asked) else [])):
            table.add_column(name, justify="left" if name == "Recipe" else "right")
        for (recipe, priority, count, _), more in zip(ready, asked, strict=True):
            table.add_row(recipe, str(priority), str(count), *([str(count + more)] if any(asked) else []))
        console().print(table)
        if any(asked):
            console().print(
                f"{sum(asked)} of these calls ask members of councils; each of their questions takes one more, which "
                "puts together what they said."
            )
    if split or plans:
        console().print(
            f"Split by their own lists: {counted(split, 'item')} into {counted(parts, 'part')}; "
            f"{plans} more would wait for approval."
        )
    first, blocked = counts.get(Status.READY, 0), counts.get(Status.PENDING, 0)
    console().print(
        f"{counted(first, 'item')} would be asked first; "
        f"{counted(blocked, 'waits for others and follows', 'wait for others and follow')}."
    )
    kept = "Nothing was stored, no model was called."
    try:
        taken = asyncio.run(take(config, config.backend))
    except BackendUnavailable:
        console().print(kept)
        raise
    endpoint, probe = taken.endpoints[0]
    if taken.sentence:
        console().print(taken.sentence, markup=False)
    console().print(
        f"By {endpoint.backend} at {endpoint.url}, model {endpoint.model}: {probe.detail}.", markup=False
    )
    console().print(kept)
