"""Members of a batch: each once, each its own; what is missing and what nobody asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calls import ModelAnswer, Passage
from models.enums import ErrorType
from models.recipe import Evidence, Recipe
from models.verdict import AnswerRow
from tasks.recipes import Recipes
from tasks.validate import validate_batch
from tasks.validate.acceptance import as_check, check_acceptance, criteria_of
from tasks.validate.code import fenced_blocks
from tasks.validate.echo import check_echo
from tasks.validate.evidence import check_evidence
from tasks.validate.language import check_language
from tasks.validate.members import check_members
from tasks.validate.transport import is_refusal

MakeRow = Callable[..., AnswerRow]
MakeRecipe = Callable[..., Recipe]

ASKED = [
    "Name the colour of the turbine hall",
    "Measure the height of the penstock valve",
    "List the people of the night shift",
    "Count the steps of the north stairs",
]
ANSWERS = [
    "The turbine hall is painted grey.",
    "The height of the penstock valve is 3 m.",
    "Four people are on the night shift.",
    "The north stairs have 88 steps.",
]


def rows(questions: list[str]) -> list[AnswerRow]:
    return [AnswerRow(number, text, ModelAnswer("", "m", "stop")) for number, text in enumerate(questions)]


@given(st.permutations(range(4)))
def test_of_any_order_of_a_packs_answers_those_astray_are_known(order: list[int]) -> None:
    texts = [ANSWERS[number] for number in order]
    failures = check_members(rows(ASKED), texts, [frozenset()] * 4)
    assert set(failures) == {position for position, number in enumerate(order) if position != number}


def test_short_answers_that_take_no_word_of_their_question_are_nobodys_business() -> None:
    texts = ["Grey.", "3 m", "Four, and one more on Fridays.", "88"]
    assert check_members(rows(ASKED), texts, [frozenset()] * 4) == {}


def test_an_answer_may_speak_of_another_item() -> None:
    questions = ["Describe the parser", "Describe the lexer"]
    texts = ["It reads tokens from the lexer.", "It splits the text."]
    assert check_members(rows(questions), texts, [frozenset()] * 2) == {}


async def test_what_is_missing_and_what_nobody_asked_for(recipes: Recipes, make_row: MakeRow) -> None:
    batch = await validate_batch(recipes["task"], [make_row(1), make_row(9)], asked=[1, 2])
    assert batch.verdicts[1].passed
    assert [failure.check for failure in batch.verdicts[2].failures] == ["row_count"]
    assert [failure.check for failure in batch.verdicts[9].failures] == ["asked(item_id)"]
    assert batch.validation["missing"] == [2]
    assert batch.validation["success"] is False
    nothing = await validate_batch(recipes["task"], [], asked=[4])
    assert [failure.error_type for failure in nothing.verdicts[4].failures] == [ErrorType.EMPTY]
    assert nothing.validation["success"] is False


async def test_one_answer_that_cannot_be_looked_at_takes_no_other_with_it(
    make_recipe: MakeRecipe, make_row: MakeRow
) -> None:
    recipe = make_recipe("", "grounding: none\nverify: [files]")
    batch = await validate_batch(recipe, [make_row(1, text="so " * 100_000), make_row(2, text="On 4270.")])
    assert batch.verdicts[2].passed
    (failure,) = batch.verdicts[1].failures
    assert (failure.layer, failure.error_type) == ("grounding", ErrorType.CHECK_CRASHED)


async def test_criteria_that_no_machine_can_check_are_named(
    make_recipe: MakeRecipe, make_row: MakeRow
) -> None:
    row = make_row(
        text="On 4270.", question="Which port?\nAcceptance criteria:\n- it is polite\n- at most 5 words"
    )
    recipe = make_recipe()
    assert (await validate_batch(recipe, [row])).verdicts[1].unchecked == ("it is polite",)


@pytest.mark.parametrize(
    "stated",
    [
        "The page loads in a second",
        "The README has at most 200 words",
        "At most 200 words changed",
        "At least 3 items",
        "Contains `requirements.txt`",
        "mentions `a` in its first sentence",
        "All tests pass",
        "Names the owner",
        "The table has a primary key",
        "Has a number",
    ],
)
def test_a_criterion_about_work_is_no_check_of_the_answer(stated: str) -> None:
    assert as_check(stated) is None


@given(st.text(max_size=200), st.text(max_size=80))
def test_nothing_that_anybody_writes_makes_a_layer_raise(text: str, question: str) -> None:
    row = AnswerRow(1, question, ModelAnswer(text, "m", "stop"), (Passage("a.md:1", question),))
    check_echo(text, question)
    check_language(text, question, row.passages)
    check_acceptance(text, f"{question}\nAcceptance criteria:\n- {text}")
    check_evidence(list(Evidence), text, row)
    fenced_blocks(text)
    is_refusal(text)


MARKS = ["`", "```", "«", "„", "\"", ">", "[[", "a/", "a.b/", "http://", "#1", "A-1", "- ", "1.", ": ", "| ", "<think>",
         "<!--", "the ", "и ", "@@", "\n", "，", "問", "@", "+", "--- a\n"]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_long_run_of_anything_takes_no_long_time(mark: str) -> None:
    """A check that takes for ever would send its whole batch to a person."""
    text = mark * (100_000 // len(mark))
    row = AnswerRow(1, text[:5000], ModelAnswer(text, "m", "stop"), (Passage("a.md:1", text[:5000]),))
    began = time.process_time()
    check_echo(text, row.question)
    check_language(text, row.question, row.passages)
    check_acceptance(text, f"x\nAcceptance criteria:\n- {text[:5000]}")
    check_evidence(list(Evidence), text, row)
    criteria_of(text)
    is_refusal(text)
    assert time.process_time() - began < 5


def test_criteria_are_found_below_their_label_and_behind_it() -> None:
    assert criteria_of("T\nbody\n\n## Acceptance criteria\n- [ ] a b\n- c\n\nNotes:\n- d") == ["a b", "c"]
    assert criteria_of("T\nDone when: it is there") == ["it is there"]
    assert criteria_of("T\nКритерии приёмки:\n1. не более 5 слов") == ["не более 5 слов"]
    assert criteria_of(json.dumps({"acceptance": ["a"]})) == []
