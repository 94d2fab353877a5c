"""A recipe's checks, over all answers of a batch as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.enums import ErrorType
from models.recipe import Check, Recipe
from models.verdict import AnswerRow, Failure
from tasks.foreign import cut, excerpt
from tasks.validate.columns import PROPERTY
from tasks.validate.engine import ROW, Engine, Outcome

if TYPE_CHECKING:
    import pandas as pd

LAYER = "rules"


@dataclass(frozen=True, slots=True)
class Read:
    """One answer as the layers before the rules left it."""

    row: AnswerRow
    text: str
    data: dict[str, Any] | None
    citations: tuple[dict[str, str], ...]
    failures: tuple[Failure, ...]
    repairs: tuple[str, ...] = ()
    spoken: str | None = None  # the answer's own words, where it has the shape that was asked for
    unchecked: tuple[str, ...] = ()  # acceptance criteria that nothing here can check

    def ok(self, *layers: str) -> bool:
        return not any(failure.layer in layers for failure in self.failures)


_VALUES: dict[str, Callable[[Read], Any]] = {
    "item_id": lambda read: read.row.item_id,
    "text": lambda read: read.text,
    "length": lambda read: len(read.text),
    "words": lambda read: len(read.text.split()),
    "finish_reason": lambda read: read.row.answer.finish_reason,
    "model": lambda read: read.row.answer.model,
    "prompt_tokens": lambda read: read.row.answer.prompt_tokens,
    "completion_tokens": lambda read: read.row.answer.completion_tokens,
    "seconds": lambda read: read.row.answer.seconds,
    "simulated": lambda read: read.row.answer.simulated,
    "answered": lambda read: read.ok("transport"),
    "schema_ok": lambda read: read.ok("transport", "shape"),
    "grounded": lambda read: read.ok("grounding"),
    "citations": lambda read: _members(read, "citations"),
    "passages": lambda read: len(read.row.passages),
    "confidence": lambda read: _number((read.data or {}).get("confidence")),
}


def _members(read: Read, name: str) -> int:
    value = (read.data or {}).get(name)
    return len(value) if isinstance(value, list) else 0


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _property(name: str) -> Callable[[Read], Any]:
    def value(read: Read) -> Any:
        found = (read.data or {}).get(name)
        if isinstance(found, bool | str):
            return found
        return len(found) if isinstance(found, list | dict) else _number(found)

    return value


IN_ORDER = Check(
    expect="expect_column_values_to_be_in_set",
    says="The answer is one, is there, has the shape that was asked for, and its citations are real.",
    **{"with": {"column": "in_order", "value_set": [True]}},
)
"""What is expected of every batch beside the recipe's own checks: the layers before, and that ids are unique.

One expectation over all of them, because each costs some milliseconds a batch, however few its rows are.
"""


@dataclass(frozen=True, slots=True)
class Ruled:
    failures: list[list[Failure]]  # per row, in the rows' order
    validation: dict[str, Any]  # JSON-ready


def check_rules(
    recipe: Recipe, reads: Sequence[Read], engine: Engine, asked: Collection[int] | None = None
) -> Ruled:
    """Run in the engine's thread. A check that can't run fails every row: an unchecked answer is not a pass."""
    ids = {read.row.item_id for read in reads}
    expected = ids if asked is None else set(asked)
    lost = expected - ids
    checks = [IN_ORDER, *recipe.header.checks]
    failures = _twins(reads)
    for read, row_failures in zip(reads, failures, strict=True):
        if read.row.item_id not in expected:
            row_failures.append(_foreign(read.row.item_id))
    if not reads:
        return Ruled([], _summary(recipe, reads, [], failed=bool(lost), lost=lost))
    try:
        frame = table(checks, reads, failures)
        outcomes = engine.run(recipe.hash, checks, frame)
        if [outcome.check for outcome in outcomes] != checks:
            raise RuntimeError(f"{len(checks)} checks have {len(outcomes)} outcomes")
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise, no row was checked
        message = f"The checks could not run: {cut(str(error), 200)}."
        for row_failures in failures:
            row_failures.append(Failure(LAYER, "suite", ErrorType.CHECK_CRASHED, message))
        return Ruled(failures, _summary(recipe, reads, [], crash=message))
    for outcome in outcomes:
        if outcome.crash:
            _fail_all(failures, outcome)
        elif outcome.check is not IN_ORDER:  # of that one, its layers have said all in better words
            _fail(failures, outcome, frame)
            _fail_missing(failures, outcome, frame)
    for read, row_failures in zip(reads, failures, strict=True):
        if not read.ok("transport", "shape"):
            # What is no answer has nothing that a rule could speak of; its rules would repeat that in odd words.
            row_failures[:] = [
                found
                for found in row_failures
                if found.error_type is ErrorType.CHECK_CRASHED or found.check == FOREIGN
            ]
    failed = any(failures) or bool(lost)
    return Ruled(failures, _summary(recipe, reads, outcomes, failed=failed, lost=lost))


FOREIGN = "asked(item_id)"
MISSING = "row_count"


def missing(item_id: int) -> Failure:
    return Failure(LAYER, MISSING, ErrorType.EMPTY, f"The batch has no answer for item {item_id}.")


def _foreign(item_id: int) -> Failure:
    return Failure(
        LAYER,
        FOREIGN,
        ErrorType.MALFORMED,
        f"The batch has an answer for item {item_id}, which was not asked.",
    )


def _twins(reads: Sequence[Read]) -> list[list[Failure]]:
    """Per row the failure that its item has more than one answer: nobody knows which of them is meant."""
    counts = Counter(read.row.item_id for read in reads)
    return [
        [
            Failure(
                LAYER,
                "unique(item_id)",
                ErrorType.CHECK_CRASHED,
                f"The batch has {counts[read.row.item_id]} answers for item {read.row.item_id}; it must have one.",
            )
        ]
        if counts[read.row.item_id] > 1
        else []
        for read in reads
    ]


def table(
    checks: Sequence[Check], reads: Sequence[Read], failures: Sequence[Sequence[Failure]]
) -> pd.DataFrame:
    """One row per answer, in order, with the columns that the checks look at and ROW. `failures` are those so far."""
    import pandas as pd

    columns: dict[str, Any] = {
        ROW: range(len(reads)),
        "in_order": [not read.failures and not found for read, found in zip(reads, failures, strict=True)],
    }
    for name in columns_of(checks):
        if name in columns:
            continue
        value = _property(name[len(PROPERTY) :]) if name.startswith(PROPERTY) else _VALUES[name]
        columns[name] = [value(read) for read in reads]
    return pd.DataFrame(columns)


def columns_of(checks: Sequence[Check]) -> list[str]:
    found: dict[str, None] = {}
    for check in checks:
        for key in ("column", "column_A", "column_B", "column_list", "column_set"):
            named = check.with_.get(key, [])
            found.update(dict.fromkeys([named] if isinstance(named, str) else named))
    return list(found)


def _fail(failures: list[list[Failure]], outcome: Outcome, frame: pd.DataFrame) -> None:
    if outcome.success:
        return
    if outcome.rows is None:
        _fail_all(failures, outcome)
        return
    for row in outcome.rows:
        failures[row].append(_failure(outcome.check, _seen(outcome.check, frame, row)))


def _fail_missing(failures: list[list[Failure]], outcome: Outcome, frame: pd.DataFrame) -> None:
    """Great Expectations passes rows that have no value; here a check that saw nothing is not a pass."""
    check = outcome.check
    if check.optional or check.expect.endswith("_be_null"):
        return
    for column in columns_of([check]):
        missing = frame[column].isna()
        if missing.any():
            failed = set(outcome.rows or ())
            for row in frame.index[missing]:
                if row not in failed:
                    failures[int(row)].append(_failure(check, f"{column}: no value"))


def _fail_all(failures: list[list[Failure]], outcome: Outcome) -> None:
    if outcome.crash:
        message = f'The check "{outcome.check.says}" could not run: {outcome.crash}'
        failure = Failure(LAYER, _name(outcome.check), ErrorType.CHECK_CRASHED, message)
    else:
        failure = _failure(outcome.check, "the batch as a whole")
    for row_failures in failures:
        row_failures.append(failure)


def _failure(check: Check, seen: str) -> Failure:
    return Failure(LAYER, _name(check), ErrorType.RULE, f"{check.says} (seen: {seen})")


def _seen(check: Check, frame: pd.DataFrame, row: int) -> str:
    values: Mapping[str, Any] = {column: frame[column].iloc[row] for column in columns_of([check])}
    return ", ".join(f"{column} {excerpt(value)}" for column, value in values.items())


def _name(check: Check) -> str:
    return f"{check.expect}({', '.join(columns_of([check]))})"


def _summary(
    recipe: Recipe,
    reads: Sequence[Read],
    outcomes: Sequence[Outcome],
    *,
    crash: str = "",
    failed: bool = False,
    lost: Collection[int] = (),
) -> dict[str, Any]:
    before = Counter(layer for read in reads for layer in {failure.layer for failure in read.failures})
    summary: dict[str, Any] = {
        "suite": recipe.name,
        "recipe_hash": recipe.hash,
        "rows": len(reads),
        "failed_before": dict(before),  # rows by the layer that failed them before the rules
        "success": not crash and not failed and all(outcome.success for outcome in outcomes),
        "expectations": [outcome.as_json() for outcome in outcomes],
    }
    if crash:
        summary["crash"] = crash
    if lost:
        summary["missing"] = sorted(lost)
    return summary
