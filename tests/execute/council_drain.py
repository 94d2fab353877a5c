"""A drain of boards with the built-in recipes, as a program: so that it can be killed.

Without Prefect and Great Expectations, whose imports take longer than all the rest; what councils check, it checks.

python -m tests.execute.council_drain CONNINFO URL BOARDS SETTINGS      BOARDS: ids with commas; SETTINGS: JSON
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict

from backends.registry import make
from models.calls import Passage
from models.enums import BackendName
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Verdict
from sql.connection import Database
from tasks.execute import ClaimedItem, Seat, Stages, drain_any
from tasks.prompts import render
from tasks.recipes import load_recipes

from .conftest import no_split


async def recall(connection: Any, items: Sequence[ClaimedItem], limit: int) -> list[list[Passage]]:
    return [[Passage("floods.md:1", "Every basin is drained before the first flood.")] for _ in items]


async def read(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
    verdicts = {}
    for row in rows:
        data = orjson.loads(row.answer.text)
        text = data[recipe.header.text_field]
        verdicts[row.item_id] = Verdict(row.item_id, (), text, data, tuple(data["citations"]))
    return BatchVerdict(verdicts)


async def main(conninfo: str, url: str, boards: str, text: str) -> None:
    database = Database({name: str(value) for name, value in conninfo_to_dict(conninfo).items()})
    settings = Settings.model_validate_json(text)
    recipes = load_recipes(settings)
    endpoint = Endpoint(backend=BackendName.OLLAMA, url=url, model="sim:small", slots=2)
    backend = make(endpoint)
    try:
        await drain_any(
            database,
            [Seat(backend, endpoint, "sim:small", Stages(recall, render, read, no_split))],
            recipes=recipes,
            settings=settings,
            trace_id=str(uuid.uuid4()),
            boards=[int(board) for board in boards.split(",")],
        )
    finally:
        await backend.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
