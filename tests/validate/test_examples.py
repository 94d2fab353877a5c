"""Every built-in check has good and bad examples, and is of their opinion; so are recipes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.calls import ModelAnswer, Passage
from models.recipe import Recipe
from models.settings import Settings
from models.verdict import AnswerRow, Verdict
from tasks.recipes import load_recipes
from tasks.validate import validate_batch
from tasks.validate.examples import check_examples
from tasks.validate.names import CHECKS, LAYERS

EXAMPLES: dict[str, dict[str, list[Any]]] = yaml.safe_load(
    (Path(__file__).parent / "examples.yaml").read_text(encoding="utf-8")
)
LAYER_OF = {check: layer for layer, checks in CHECKS.items() for check in checks}
ELSEWHERE = {"suite", "votes"}  # no answer makes these fail: test_batches.py, test_judge.py


def examples(side: str) -> list[Any]:
    return list(_examples(side))


def _examples(side: str) -> Iterator[Any]:
    for check, sides in EXAMPLES.items():
        for number, example in enumerate(sides[side], 1):
            case = example if isinstance(example, dict) else {"answer": example}
            yield pytest.param(check, case, id=f"{check}-{number}")


def row(case: dict[str, Any]) -> AnswerRow:
    answer = ModelAnswer(case["answer"], "m", case.get("finish", "stop"))
    passages = tuple(Passage(cite, text) for cite, text in case.get("passages", {}).items())
    return AnswerRow(
        case.get("item", 1),
        case.get("question", "?"),
        answer,
        passages,
        files=case.get("files", {}),
        fence=case.get("fence", ""),
    )


async def verdict_of(make_recipe: Callable[..., Recipe], case: dict[str, Any]) -> Verdict:
    recipe = make_recipe("", yaml.safe_dump({"grounding": "optional"} | case.get("header", {})).strip())
    rows = [row(case), *(row(other) for other in case.get("batch", ()))]
    batch = await validate_batch(recipe, rows, asked=case.get("asked"))
    return batch.verdicts[case.get("look_at", case.get("item", 1))]


def test_every_check_has_examples_of_both_kinds() -> None:
    assert EXAMPLES.keys() == LAYER_OF.keys() - ELSEWHERE
    assert all(sides["good"] and sides["bad"] for sides in EXAMPLES.values())
    assert LAYERS.keys() == CHECKS.keys()


@pytest.mark.parametrize(("check", "case"), examples("good"))
async def test_good_examples_pass(
    make_recipe: Callable[..., Recipe], check: str, case: dict[str, Any]
) -> None:
    assert (await verdict_of(make_recipe, case)).failures == ()


@pytest.mark.parametrize(("check", "case"), examples("bad"))
async def test_of_bad_examples_this_check_fails_and_no_other(
    make_recipe: Callable[..., Recipe], check: str, case: dict[str, Any]
) -> None:
    failures = (await verdict_of(make_recipe, case)).failures
    assert {(failure.layer, failure.check) for failure in failures} == {(LAYER_OF[check], check)}


@pytest.mark.parametrize("name", ["task", "check", "consult", "reflect", "rollup", "split"])
async def test_built_in_recipes_are_of_the_opinion_of_their_examples(name: str, tmp_path: Path) -> None:
    recipe = load_recipes(Settings(home=tmp_path))[name]
    assert any(example.fails for example in recipe.header.examples)
    assert any(not example.fails for example in recipe.header.examples)
    assert await check_examples(recipe) == []


async def test_an_example_that_is_wrong_is_told(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(
        "",
        "examples:\n  - {answer: The port is 4270., fails: [no_echo]}\n  - {answer: '.'}\n  - {answer: ok}",
    )
    problems = await check_examples(recipe)
    assert len(problems) == 2
    assert "example 1" in problems[0]
    assert "should be one that fails no_echo; seen: no failure (it passes)" in problems[0]
    assert "should be one that passes; seen: has_words" in problems[1]
