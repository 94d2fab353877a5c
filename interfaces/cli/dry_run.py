"""`penstock run --dry-run`: what a run would do. Everything happens in a transaction that is rolled back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

import sources
from interfaces.cli.opening import opened
from interfaces.cli.render import board_tree, console
from sql.statements import statement
from tasks.decompose import decompose_board
from tasks.ingest import ingest_board
from tasks.recipes import load_recipes

if TYPE_CHECKING:
    from models.settings import Settings


def dry_run(config: Settings, paths: list[str], dialect: str | None) -> None:
    """Print the item tree, the findings and the batches that would run now. Calls no model, keeps nothing."""
    recipes = load_recipes(config)
    with opened(config) as (_, database), database.connect() as connection:
        with connection.transaction(force_rollback=True):
            boards = []
            for origin in sources.expand(paths):
                board = sources.parse(sources.read(origin, config.max_source_bytes), origin.name, dialect)
                console().print(board_tree(board))
                source = str(Path(origin.path).resolve()) if origin.path else f"stdin:{board.sha256[:12]}"
                boards.append(ingest_board(connection, board, source=source).board_id)
            for board_id in boards:
                decompose_board(connection, board_id, recipes)
            ready = connection.execute(statement("report.ready_groups"), {"boards": boards}).fetchall()
            later = connection.execute(statement("report.progress"), {"boards": boards}).fetchall()
    size = max(1, config.batch_size // 2)
    table = Table(title="Planned batches (first wave)", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("Recipe", "Priority", "Items", "Batches"):
        table.add_column(name, justify="left" if name == "Recipe" else "right")
    for recipe, priority, count in ready:
        table.add_row(recipe, str(priority), str(count), str(-(-count // size)))
    console().print(table)
    counts: Counter[int] = Counter(dict(later))
    console().print(
        f"{counts[1]} items are ready now, {counts[0]} wait for others. Nothing was stored, no model was called."
    )
