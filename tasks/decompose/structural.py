"""How large the board's new items are, and the split of those whose own text is a list. Before anything is ordered.

An item is looked at once: when it is new, or when its words changed. One whose kind has a recipe of its own (a check, a
consultation ...) is never split, nor is a step or a next step: these are one thing by what they are called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from psycopg.rows import TupleRow

from models.recipe import Recipe
from sql.statements import statement
from tasks.decompose.complexity import ONE_LINE, complexity
from tasks.decompose.plan import plan_text
from tasks.decompose.prd import document_split
from tasks.decompose.split import outline_split, run, split_item
from tasks.decompose.structure import read_outline
from tasks.decompose.wishes import Wishes
from tasks.recipes import REST, Recipes

NEVER = frozenset({"step", "next_step"})
DOCUMENT = "document"
GATE = "Its own text is a list of parts. Nothing of this plan has run; it does when the plan is accepted."


@dataclass(slots=True)
class Splits:
    """What became of a board's new items before they are ordered."""

    items: int = 0  # were split by their own structure
    parts: int = 0  # into so many
    plans: int = 0  # wait for approval
    recipes: dict[int, str] = field(default_factory=dict)  # of items that are not done as their kind says


def split_new_items(
    connection: psycopg.Connection[TupleRow], board_id: int, recipes: Recipes, wishes: Wishes
) -> Splits:
    """Score the board's new open leaves, split those above `wishes.split_above` that have a structure, and say which of
    the others a model is to split. Within decompose's transaction; the frontier is advanced by whoever called."""
    done = Splits()
    splitting = recipes.splitting()
    large = [kind for kind in recipes.kinds() if recipes.for_kind(kind).header.splits]
    rows = connection.execute(
        statement("decompose.split_candidates"),
        {"board": board_id, "kinds": large, "all": 0 < wishes.split_above < ONE_LINE},
    ).fetchall()
    scores: dict[int, int] = {}
    held: dict[int, dict[str, Any]] = {}
    for item_id, kind, title, body, labels, origin in rows:
        recipe = recipes.for_kind(kind)
        if recipes.may_be_named(labels.get("recipe", "").strip().lower()):
            continue  # what is to be done with it is said
        if not recipe.header.splits and (kind in NEVER or recipe is not recipes.for_kind(REST)):
            continue
        outline = read_outline(body)
        size = complexity(title, body, labels, large=recipe.header.splits, outline=outline)
        if size.score is not None:
            scores[item_id] = size.score
        if not wishes.split_above or size.score is None or size.score <= wishes.split_above:
            if recipe.header.splits:
                done.recipes[item_id] = _whole(recipe, recipes).name
            continue
        data = document_split(body) if origin == DOCUMENT else outline_split(outline)
        if data is None:
            if splitting is not None:
                done.recipes[item_id] = recipe.name if recipe.header.splits else splitting.name
        elif wishes.approve or (splitting is not None and splitting.header.approve):
            held[item_id] = data
        else:
            done.items += 1
            done.parts += run(connection, split_item(item_id, data, keep=True))
    if scores:
        connection.execute(
            statement("decompose.keep_complexity"), {"ids": list(scores), "scores": list(scores.values())}
        )
    if held:
        done.plans = len(held)
        connection.execute(
            statement("decompose.hold_plans"),
            {
                "ids": list(held),
                "proposals": [plan_text(data).replace("\0", "") for data in held.values()],
                "data": [orjson.dumps(data).decode() for data in held.values()],
                "recipe": (splitting or recipes.for_kind(REST)).name,
                "reason": GATE,
            },
        )
    return done


def _whole(recipe: Recipe, recipes: Recipes) -> Recipe:
    """The recipe that does an item which is not split after all."""
    while recipe.header.splits:
        recipe = recipes[recipe.header.fallback] if recipe.header.fallback else recipes.for_kind(REST)
    return recipe
