"""The items of a board as a table, checked before they are stored. Built-in suite: a bad row is a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from models.enums import Declared
from models.recipe import Check
from tasks.foreign import cut, excerpt
from tasks.validate.engine import ENGINE, ROW, Outcome
from tasks.validate.rules import columns_of

MAX_TITLE = 2000
DEADLINE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class RowFinding:
    """What is wrong with one row. `row` is its position in the table, 0-based; `line` the board's, 0 if unknown."""

    row: int
    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TableVerdict:
    findings: tuple[RowFinding, ...]
    validation: dict[str, Any]  # JSON-ready

    @property
    def bad_rows(self) -> frozenset[int]:
        return frozenset(finding.row for finding in self.findings)


@dataclass(frozen=True, slots=True)
class CodedCheck:
    code: str
    check: Check


def _coded(code: str, expect: str, says: str, **values: Any) -> CodedCheck:
    return CodedCheck(code, Check(expect=f"expect_{expect}", says=says, **{"with": values}))


ITEM_CHECKS = (
    _coded(
        "bad_title",
        "column_value_lengths_to_be_between",
        f"A title has 1 to {MAX_TITLE} characters",
        column="title",
        min_value=1,
        max_value=MAX_TITLE,
    ),
    _coded("bad_line", "column_values_to_be_between", "A line is 1 or more", column="line", min_value=1),
    _coded("bad_ordinal", "column_values_to_be_between", "An ordinal is 0 or more", column="ordinal", min_value=0),
    _coded(
        "duplicate_place",
        "column_values_to_be_unique",
        "Line and ordinal together belong to one item",
        column="place",
    ),
    _coded(
        "bad_status",
        "column_values_to_be_in_set",
        f"A status is one of {', '.join(Declared)}",
        column="status",
        value_set=[str(status) for status in Declared],
    ),
    _coded(
        "bad_priority",
        "column_values_to_be_between",
        "A priority is 0 (highest) to 4",
        column="priority",
        min_value=0,
        max_value=4,
    ),
    _coded("bad_depth", "column_values_to_be_between", "A depth is 0 or more", column="depth", min_value=0),
)  # fmt: skip
"""Over the columns title, line, ordinal, place, status, priority, depth. A missing or mistyped value fails too."""


def check_items(
    board_items: Sequence[Mapping[str, Any]], *, deadline_seconds: float = DEADLINE_SECONDS
) -> TableVerdict:
    """Check a board's items: keys title, line, ordinal (0 where absent), status, priority, depth.

    Blocks until done: call it from a worker thread where there is an event loop. An empty board passes.
    Never raises for content: checks that can't run make every row a finding `check_crashed`.
    """
    values: dict[str, list[Any]] = {
        "title": [_text(item.get("title")) for item in board_items],
        "line": [_integer(item.get("line")) for item in board_items],
        "ordinal": [_integer(item.get("ordinal", 0)) for item in board_items],
        "status": [_text(item.get("status")) for item in board_items],
        "priority": [_integer(item.get("priority")) for item in board_items],
        "depth": [_integer(item.get("depth")) for item in board_items],
    }
    values["place"] = [
        f"{line}.{ordinal}" for line, ordinal in zip(values["line"], values["ordinal"], strict=True)
    ]
    return check_table("items", ITEM_CHECKS, values, deadline_seconds=deadline_seconds)


def check_table(
    suite_name: str,
    checks: Sequence[CodedCheck],
    values: Mapping[str, Sequence[Any]],
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> TableVerdict:
    """Check columns of equal length, of which `line` is shown with findings. Blocks; see `check_items`."""
    lines = [line if isinstance(line, int) else 0 for line in values["line"]]
    if not lines:
        return TableVerdict((), {"suite": suite_name, "rows": 0, "success": True, "expectations": []})
    work = ENGINE.submit(_run, f"table:{suite_name}", [coded.check for coded in checks], values)
    try:
        outcomes = work.result(deadline_seconds)
    except FutureTimeout:
        ENGINE.relieve(deadline_seconds)
        work.cancel()
        return _crashed(suite_name, lines, f"The checks did not end within {deadline_seconds:g} seconds.")
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise, no row was checked
        return _crashed(suite_name, lines, f"The checks could not run: {cut(str(error), 200)}.")
    findings = [
        finding
        for coded, outcome in zip(checks, outcomes, strict=True)
        for finding in _findings(coded, outcome, values, lines)
    ]
    findings.sort(key=lambda finding: finding.row)
    validation = {
        "suite": suite_name,
        "rows": len(lines),
        "success": not findings,
        "expectations": [outcome.as_json() for outcome in outcomes],
    }
    return TableVerdict(tuple(findings), validation)


def _run(key: str, checks: Sequence[Check], values: Mapping[str, Sequence[Any]]) -> list[Outcome]:
    import pandas as pd

    length = len(values["line"])
    return ENGINE.run(key, checks, pd.DataFrame({ROW: range(length), **values}))


def _findings(
    coded: CodedCheck, outcome: Outcome, values: Mapping[str, Sequence[Any]], lines: Sequence[int]
) -> list[RowFinding]:
    if outcome.crash:
        message = f'The check "{coded.check.says}" could not run: {outcome.crash}'
        return [RowFinding(row, line, "check_crashed", message) for row, line in enumerate(lines)]
    [column] = columns_of([coded.check])
    bad = set() if outcome.success else set(outcome.rows if outcome.rows is not None else range(len(lines)))
    # Great Expectations passes rows that have no value.
    bad.update(row for row, value in enumerate(values[column]) if value is None)
    return [
        RowFinding(
            row, lines[row], coded.code, f"{coded.check.says}; {column} is {excerpt(values[column][row])}."
        )
        for row in sorted(bad)
    ]


def _crashed(suite_name: str, lines: Sequence[int], message: str) -> TableVerdict:
    findings = tuple(RowFinding(row, line, "check_crashed", message) for row, line in enumerate(lines))
    return TableVerdict(
        findings, {"suite": suite_name, "rows": len(lines), "success": False, "crash": message}
    )


def _text(value: Any) -> str | None:
    return str(value).strip() if isinstance(value, str) else None


_INTEGERS = 2**53  # beyond this a column with gaps, which is of doubles, would round


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= _INTEGERS else None
