"""A batch of answers through all layers: transport, shape, grounding, rules. One verdict per row, never fewer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from models.enums import ErrorType
from models.recipe import Recipe
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.foreign import cut, storable
from tasks.validate.engine import ENGINE, Engine
from tasks.validate.grounding import check_grounding
from tasks.validate.rules import Read, check_rules
from tasks.validate.shape import THOUGHTS, check_shape
from tasks.validate.transport import check_echo, check_transport

DEADLINE_SECONDS = 120.0
"""For a batch; the first one includes the import of Great Expectations: 3 s of CPU, 40 s on a busy machine."""


async def validate_batch(
    recipe: Recipe, rows: Sequence[AnswerRow], *, deadline_seconds: float = DEADLINE_SECONDS
) -> BatchVerdict:
    """Check the answers of one recipe's batch, in the engine's thread: the event loop goes on.

    Never raises for content. What could not be checked, or not in time, is not a pass: CHECK_CRASHED.
    """
    if not rows:
        return BatchVerdict(
            {}, {"suite": recipe.name, "recipe_hash": recipe.hash, "rows": 0, "success": True}
        )
    work = asyncio.wrap_future(ENGINE.submit(check_rows, recipe, list(rows), ENGINE))
    try:
        return await asyncio.wait_for(work, deadline_seconds)
    except TimeoutError:
        ENGINE.relieve(deadline_seconds)
        message = f"The checks did not end within {deadline_seconds:g} seconds."
    except Exception as error:  # noqa: BLE001 - an import that fails must not let an answer through
        message = f"The checks could not run: {cut(str(error), 200)}."
    return _crashed(recipe, rows, message)


def check_rows(recipe: Recipe, rows: Sequence[AnswerRow], engine: Engine) -> BatchVerdict:
    """The same, synchronous; only within the engine's thread."""
    reads = [_read(recipe, row) for row in rows]
    ruled = check_rules(recipe, reads, engine)
    verdicts: dict[int, Verdict] = {}
    for read, failures in zip(reads, ruled.failures, strict=True):
        verdict = _verdict(read, failures)
        twin = verdicts.get(read.row.item_id)
        if twin is not None:
            # Two answers under one id: nobody knows which one it is, so both failed and what is kept says so.
            verdict = Verdict(
                verdict.item_id,
                (*twin.failures, *verdict.failures),
                verdict.text,
                verdict.data,
                verdict.citations,
            )
        verdicts[read.row.item_id] = verdict
    return BatchVerdict(verdicts, ruled.validation)


def _read(recipe: Recipe, row: AnswerRow) -> Read:
    try:
        text, failure = check_transport(row.answer)
        if failure is not None:
            return Read(row, storable(text), None, (), (failure,))
        shaped = check_shape(recipe, text)
        repairs = shaped.repairs if text == row.answer.text.strip() else (THOUGHTS, *shaped.repairs)
        failures: tuple[Failure, ...] = shaped.failures
        if failures:
            return Read(row, shaped.text, shaped.data, (), failures, repairs)
        value: Any = shaped.text if shaped.data is None else shaped.data.get(recipe.header.text_field)
        if isinstance(value, str) and (echo := check_echo(value, row.question)) is not None:
            failures = (echo,)
        grounded = check_grounding(recipe.header.grounding, shaped.data, row.passages)
        failures = (*failures, *grounded.failures)
        return Read(row, shaped.text, shaped.data, grounded.citations, failures, repairs)
    except Exception as error:  # noqa: BLE001 - one odd answer must not take the batch with it, nor pass
        message = f"The answer could not be checked: {type(error).__name__}: {cut(str(error), 200)}."
        crash = Failure("shape", "row", ErrorType.CHECK_CRASHED, message)
        return Read(row, storable(row.answer.text), None, (), (crash,))


def _verdict(read: Read, ruled: Sequence[Failure]) -> Verdict:
    failures = (*read.failures, *ruled)
    return Verdict(read.row.item_id, failures, read.text, read.data, read.citations, read.repairs)


def _crashed(recipe: Recipe, rows: Sequence[AnswerRow], message: str) -> BatchVerdict:
    failure = Failure("rules", "suite", ErrorType.CHECK_CRASHED, message)
    validation = {
        "suite": recipe.name,
        "recipe_hash": recipe.hash,
        "rows": len(rows),
        "success": False,
        "crash": message,
    }
    return BatchVerdict(
        {row.item_id: Verdict(row.item_id, (failure,), storable(row.answer.text)) for row in rows}, validation
    )
