"""The recipe in docs/recipes.md is one that works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from models.calls import ModelAnswer, Passage
from models.errors import RecipeError
from models.recipe import RecipeHeader
from models.settings import Settings
from models.verdict import AnswerRow
from tasks.recipes import load_recipes
from tasks.validate import COLUMNS, validate_batch

DOCUMENT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
PASSAGES = (Passage("log.md:3", "The door was down for two hours."),)


def example(home: Path) -> Path:
    found = re.search(r"```markdown\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    path = home / "recipes" / "issue.md"
    path.parent.mkdir()
    path.write_text(found[1], encoding="utf-8")
    return path


async def test_it_loads_takes_its_kind_and_checks(tmp_path: Path) -> None:
    example(tmp_path)
    recipe = load_recipes(Settings(home=tmp_path)).for_kind("issue")
    assert recipe.name == "issue"

    def row(item_id: int, severity: str) -> AnswerRow:
        answer = {
            "answer": "Begin with the log of the door.",
            "severity": severity,
            "citations": [{"cite": "log.md:3", "quote": "down for two hours"}],
        }
        return AnswerRow(item_id, "The door was down", ModelAnswer(json.dumps(answer), "m", "stop"), PASSAGES)

    batch = await validate_batch(recipe, [row(1, "high"), row(2, "mid")])
    assert batch.verdicts[1].passed
    assert [failure.message for failure in batch.verdicts[2].failures] == [
        'A severity is low or high. (seen: answer.severity "mid")'
    ]


def test_the_error_is_the_one_that_is_shown(tmp_path: Path) -> None:
    path = example(tmp_path)
    path.write_text(path.read_text().replace("column: answer.severity", "column: answer.severty"))
    with pytest.raises(RecipeError) as caught:
        load_recipes(Settings(home=tmp_path))
    said = str(caught.value).replace(f"{path.parent}/", "")
    assert f"    {said}\n" in DOCUMENT


def test_every_key_of_the_front_matter_is_documented() -> None:
    table = DOCUMENT.partition("### Front matter")[2].partition("###")[0]
    keys = {
        key
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for key in re.findall(r"`(\w+)`", row)
    }
    assert keys == set(RecipeHeader.model_fields)


def test_it_can_name_a_model(tmp_path: Path) -> None:
    path = example(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("kinds: [issue]\n", "kinds: [issue]\nmodel: qwen3:32b\n"), encoding="utf-8")
    recipes = load_recipes(Settings(home=tmp_path))
    assert recipes.for_kind("issue").header.model == "qwen3:32b"
    assert recipes.for_kind("task").header.model is None
    path.write_text(text.replace("kinds: [issue]\n", "kinds: [issue]\nmodel: ''\n"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"issue\.md:5: `model`"):
        load_recipes(Settings(home=tmp_path))


def test_every_column_is_documented() -> None:
    for column in COLUMNS:
        assert f"`{column}`" in DOCUMENT
