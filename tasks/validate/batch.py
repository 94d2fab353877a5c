"""A batch of answers through all layers: transport, shape, grounding, acceptance, rules, judge.

One verdict per row, never fewer. The names of all checks: tasks/validate/names.py.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from models.enums import ErrorType
from models.recipe import AnswerLanguage, Recipe
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.foreign import cut, storable
from tasks.validate.acceptance import check_acceptance
from tasks.validate.echo import check_echo, check_prompt_echo
from tasks.validate.engine import ENGINE, Engine
from tasks.validate.evidence import check_evidence
from tasks.validate.grounding import check_grounding
from tasks.validate.judge import DEADLINE_SECONDS as JUDGE_SECONDS
from tasks.validate.judge import Ask, check_judge
from tasks.validate.language import check_language
from tasks.validate.members import check_members
from tasks.validate.rules import Read, check_rules, missing
from tasks.validate.shape import THOUGHTS, check_shape
from tasks.validate.transport import check_transport, check_words, is_refusal, refused

DEADLINE_SECONDS = 120.0
"""For a batch, without its judge; the first one includes the import of Great Expectations: 3 s of CPU, 40 s on a busy
machine."""


async def validate_batch(
    recipe: Recipe,
    rows: Sequence[AnswerRow],
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    asked: Collection[int] | None = None,
    judge: Ask | None = None,
    judge_seconds: float = JUDGE_SECONDS,
) -> BatchVerdict:
    """Check the answers of one recipe's batch, in the engine's thread: the event loop goes on.

    `asked`: the ids that were asked, where these may be others than those of `rows`: what is missing fails, and what
    nobody asked for, too. `judge` asks the recipe's judge, if it has one, of what passed all else; it has
    `judge_seconds` for it. Never raises for content. What could not be checked, or not in time, is not a pass:
    CHECK_CRASHED.
    """
    if not rows and not asked:
        return BatchVerdict(
            {}, {"suite": recipe.name, "recipe_hash": recipe.hash, "rows": 0, "success": True}
        )
    expected = dict.fromkeys(asked if asked is not None else (row.item_id for row in rows))
    try:
        async with asyncio.timeout(deadline_seconds):
            work = asyncio.wrap_future(ENGINE.submit(check_rows, recipe, list(rows), ENGINE, list(expected)))
            checked = await work
    except TimeoutError:
        ENGINE.relieve(deadline_seconds)
        message = f"The checks did not end within {deadline_seconds:g} seconds."
    except Exception as error:  # noqa: BLE001 - an import that fails must not let an answer through
        message = f"The checks could not run: {cut(str(error), 200)}."
    else:
        return await check_judge(recipe, rows, checked, judge, deadline_seconds=judge_seconds)
    return _crashed(recipe, rows, expected, message)


def check_rows(
    recipe: Recipe, rows: Sequence[AnswerRow], engine: Engine, asked: Collection[int] | None = None
) -> BatchVerdict:
    """The same without the judge, synchronous; only within the engine's thread."""
    reads = _of_their_own([_read(recipe, row) for row in rows])
    ruled = check_rules(recipe, reads, engine, asked)
    verdicts: dict[int, Verdict] = {}
    for read, failures in zip(reads, ruled.failures, strict=True):
        verdict = _verdict(read, failures)
        twin = verdicts.get(read.row.item_id)
        if twin is not None:
            # Two answers under one id: nobody knows which one it is, so both failed and what is kept says so.
            verdict = replace(verdict, failures=(*twin.failures, *verdict.failures))
        verdicts[read.row.item_id] = verdict
    for item_id in asked or ():
        if item_id not in verdicts:
            verdicts[item_id] = Verdict(item_id, (missing(item_id),), "")
    return BatchVerdict(verdicts, ruled.validation)


def _read(recipe: Recipe, row: AnswerRow) -> Read:
    layer = "transport"
    header = recipe.header
    try:
        text, failure = check_transport(row.answer)
        failure = failure or check_prompt_echo(text, row.fence)
        if failure is not None:
            return Read(row, storable(text), None, (), (failure,))
        layer = "shape"
        shaped = check_shape(recipe, text)
        repairs = shaped.repairs if text == row.answer.text.strip() else (THOUGHTS, *shaped.repairs)
        if shaped.failures:
            return Read(row, shaped.text, shaped.data, (), shaped.failures, repairs)
        value: Any = shaped.text if shaped.data is None else shaped.data.get(header.text_field)
        if not isinstance(value, str):
            grounded = check_grounding(header.grounding, shaped.data, row.passages)
            return Read(row, shaped.text, shaped.data, grounded.citations, grounded.failures, repairs)
        layer = "transport"
        failures = _spoken(recipe, value, row)
        layer = "grounding"
        grounded = check_grounding(header.grounding, shaped.data, row.passages)
        failures += [*grounded.failures, *check_evidence(header.verify, value, row)]
        unchecked: tuple[str, ...] = row.criteria
        if header.acceptance:
            layer = "acceptance"
            missed, unchecked = check_acceptance(value, row.question, row.criteria)
            failures += missed
        return Read(
            row, shaped.text, shaped.data, grounded.citations, tuple(failures), repairs, value, unchecked
        )
    except Exception as error:  # noqa: BLE001 - one odd answer must not take the batch with it, nor pass
        message = f"The answer could not be checked: {type(error).__name__}: {cut(str(error), 200)}."
        crash = Failure(layer, "row", ErrorType.CHECK_CRASHED, message)
        return Read(row, storable(row.answer.text), None, (), (crash,))


def _spoken(recipe: Recipe, value: str, row: AnswerRow) -> list[Failure]:
    """What is wrong with the answer's own words as such: the first thing, because the others would follow from it."""
    found = check_words(value) or (refused(value) if is_refusal(value) else None)
    found = found or check_echo(value, row.question)
    if found is None and recipe.header.language is AnswerLanguage.ITEM:
        found = check_language(value, row.question, row.passages)
    return [found] if found is not None else []


def _of_their_own(reads: list[Read]) -> list[Read]:
    """Each pack by itself: only what was asked together can be mixed up. What was asked alone, among one another."""
    packs: dict[int | None, list[int]] = defaultdict(list)
    for place, read in enumerate(reads):
        packs[read.row.pack].append(place)
    checked = list(reads)
    for places in packs.values():
        for place, read in zip(places, _checked_members([reads[place] for place in places]), strict=True):
            checked[place] = read
    return checked


def _checked_members(reads: list[Read]) -> list[Read]:
    """An answer that is plainly another member's fails, too."""
    try:
        found = check_members(
            [read.row for read in reads],
            [read.spoken for read in reads],
            [frozenset(citation["cite"] for citation in read.citations) for read in reads],
        )
    except Exception as error:  # noqa: BLE001 - what could not be compared is no pass
        message = f"The answers could not be compared: {type(error).__name__}: {cut(str(error), 200)}."
        found = dict.fromkeys(
            range(len(reads)), Failure("grounding", "own_item", ErrorType.CHECK_CRASHED, message)
        )
    return [
        replace(read, failures=(*read.failures, found[position])) if position in found else read
        for position, read in enumerate(reads)
    ]


def _verdict(read: Read, ruled: Sequence[Failure]) -> Verdict:
    failures = (*read.failures, *ruled)
    return Verdict(
        read.row.item_id, failures, read.text, read.data, read.citations, read.repairs, read.unchecked
    )


def _crashed(recipe: Recipe, rows: Sequence[AnswerRow], asked: Collection[int], message: str) -> BatchVerdict:
    failure = Failure("rules", "suite", ErrorType.CHECK_CRASHED, message)
    validation = {
        "suite": recipe.name,
        "recipe_hash": recipe.hash,
        "rows": len(rows),
        "success": False,
        "crash": message,
    }
    texts = dict.fromkeys(asked, "") | {row.item_id: storable(row.answer.text) for row in rows}
    return BatchVerdict(
        {item_id: Verdict(item_id, (failure,), text) for item_id, text in texts.items()}, validation
    )
