"""How good one answer is: the share of what was expected of it that holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.calls import ModelAnswer, ModelCallError
from models.enums import ErrorType
from models.verdict import Verdict
from tasks.evaluate.cases import Case
from tasks.foreign import cut

LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class Score:
    """`value` None: not known, since there was no answer, or it could not be checked; `missed` says why."""

    value: float | None
    missed: tuple[str, ...] = ()  # what does not hold, in words

    @property
    def passed(self) -> bool | None:
        return None if self.value is None else not self.missed


def score(case: Case, reply: ModelAnswer | ModelCallError | None, verdict: Verdict | None) -> Score:
    """The share of its parts that hold: that the recipe's checks pass, and each expected property."""
    if reply is None:
        return Score(None, ("It was not asked: its model is left alone after failures, or time was over.",))
    if isinstance(reply, ModelCallError):
        if not reply.error_type.charged:
            return Score(None, (f"{reply.error_type}: {reply}",))
        error: ErrorType | None = reply.error_type
        words = str(reply)
    elif verdict is None or any(f.error_type is ErrorType.CHECK_CRASHED for f in verdict.failures):
        said = verdict.failures[0].message if verdict is not None else "The checks said nothing of it."
        return Score(None, (f"It could not be checked: {cut(said, LONGEST_WORDS)}",))
    else:
        error = verdict.failures[0].error_type if verdict.failures else None
        words = "; ".join(failure.message for failure in verdict.failures)
    if (wanted := case.expect.error) is not None:
        if error is wanted:
            return Score(1.0)
        return Score(
            0.0, (f"It should fail with {wanted}, and {f'failed with {error}' if error else 'passed'}.",)
        )
    parts = [(error is None, f"{error}: {cut(words, LONGEST_WORDS)}"), *_properties(case, verdict)]
    missed = tuple(words for holds, words in parts if not holds)
    return Score(sum(holds for holds, _ in parts) / len(parts), missed)


def _properties(case: Case, verdict: Verdict | None) -> Iterator[tuple[bool, str]]:
    text, data = (verdict.text, verdict.data or {}) if verdict is not None else ("", {})
    cited = {citation.get("cite") for citation in verdict.citations} if verdict is not None else set()
    flat, expect = _flat(text), case.expect
    for word in expect.contains:
        yield _flat(word) in flat, f"It does not contain {word!r}."
    for word in expect.lacks:
        yield bool(text) and _flat(word) not in flat, f"It contains {word!r}." if text else "It has no text."
    for pattern in expect.matches:
        yield re.search(pattern, text) is not None, f"Nothing in it matches {pattern!r}."
    for cite in expect.cites:
        yield cite in cited, f"It does not cite {cite}."
    for path, value in expect.fields.items():
        found = _at(data, path)
        yield found == value, f"{path} is {cut(repr(found), 60)} and not {cut(repr(value), 60)}."


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for name in path.split("."):
        if isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict):
            value = value.get(name)
        else:
            return None
    return value
