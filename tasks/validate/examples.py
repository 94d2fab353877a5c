"""A recipe's own examples: answers whose verdict its author knows. Are the checks of the same opinion?"""

from __future__ import annotations

import json

from models.calls import ModelAnswer, Passage
from models.recipe import Example, Recipe
from models.verdict import AnswerRow
from tasks.foreign import excerpt
from tasks.validate.batch import validate_batch


async def check_examples(recipe: Recipe) -> list[str]:
    """What is otherwise than the recipe's `examples` say, in words; empty where all agree. Asks no model.

    Each example is a batch of its own. A recipe's judge is not asked: an example that needs it can't be held to it.
    """
    without_judge = recipe.header.model_copy(update={"judge": None})
    plain = Recipe(without_judge, recipe.system, recipe.prompt, recipe.text, recipe.hash, recipe.path)
    problems = []
    for number, example in enumerate(recipe.header.examples, 1):
        verdict = (await validate_batch(plain, [_row(number, example)])).verdicts[number]
        failed = {failure.check for failure in verdict.failures}
        wanted = set(example.fails)
        if failed == wanted:
            continue
        why = "; ".join(failure.message for failure in verdict.failures) or "it passes"
        expected = f"fails {', '.join(sorted(wanted))}" if wanted else "passes"
        problems.append(
            f"{recipe.path}: example {number} ({excerpt(str(example.answer), 60)}) should be one that {expected}; "
            f"seen: {', '.join(sorted(failed)) or 'no failure'} ({why})"
        )
    return problems


def _row(number: int, example: Example) -> AnswerRow:
    answer = example.answer
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    passages = tuple(Passage(cite, given) for cite, given in example.passages.items())
    return AnswerRow(number, example.question, ModelAnswer(text, "example", "stop"), passages)
