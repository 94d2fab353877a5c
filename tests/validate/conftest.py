from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.calls import ModelAnswer, Passage
from models.recipe import Recipe
from models.settings import Settings
from models.verdict import AnswerRow
from tasks.recipes import Recipes, load_recipes
from tasks.validate import close

MakeRow = Callable[..., AnswerRow]
MakeRecipe = Callable[..., Recipe]

PASSAGE = Passage("docs/ops.md:12-18", "The door listens on port 4270.\nIt starts with  `penstock up`.")


@pytest.fixture(scope="session", autouse=True)
def engine_ends() -> Iterator[None]:
    yield
    close()


@pytest.fixture
def recipes(tmp_path: Path) -> Recipes:
    return load_recipes(Settings(home=tmp_path))


@pytest.fixture
def make_recipe(tmp_path: Path) -> MakeRecipe:
    """A free-text recipe with checks, written as a file and loaded as one."""

    def make(checks: str = "", header: str = "grounding: none") -> Recipe:
        folder = tmp_path / "recipes"
        folder.mkdir(exist_ok=True)
        body = f"checks:\n{checks}" if checks else ""
        (folder / "mine.md").write_text(
            f"---\nname: mine\nabout: A test.\n{header}\n{body}---\n# System\nx\n# Prompt\nx\n",
            encoding="utf-8",
        )
        return load_recipes(Settings(home=tmp_path))["mine"]

    return make


@pytest.fixture
def make_row() -> MakeRow:
    """An answer that the recipe `task` accepts, where nothing else is said."""

    def make(
        item_id: int = 1,
        answer: str | None = "The port is 4270.",
        *,
        text: str | None = None,
        quote: str = "listens on port 4270",
        cite: str = "docs/ops.md:12-18",
        confidence: Any = 0.9,
        question: str = "Which port does the door listen on?",
        finish_reason: str = "stop",
        passages: tuple[Passage, ...] = (PASSAGE,),
        prompt_tokens: int | None = 100,
    ) -> AnswerRow:
        if text is None:
            text = json.dumps(
                {
                    "answer": answer,
                    "citations": [{"cite": cite, "quote": quote}],
                    "confidence": confidence,
                }
            )
        return AnswerRow(
            item_id, question, ModelAnswer(text, "m", finish_reason, prompt_tokens, 20, 0.5), passages
        )

    return make
