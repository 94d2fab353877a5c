from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from tasks.validate import check_items
from tasks.validate.engine import ENGINE


def item(line: Any, **more: Any) -> dict[str, Any]:
    return {"title": "Write it", "line": line, "status": "todo", "priority": 2, "depth": 0, **more}


def test_good_items_pass() -> None:
    verdict = check_items(
        [item(1), item(2, depth=3, priority=4), item(2, ordinal=1, status="done", title="Ж")]
    )
    assert verdict.findings == ()
    assert verdict.validation["success"] is True
    assert orjson.dumps(verdict.validation)


def test_no_items_pass() -> None:
    assert check_items([]).findings == ()


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (item(5, title=" "), "bad_title"),
        (item(5, title="x" * 2001), "bad_title"),
        (item(5, title=None), "bad_title"),
        (item(5, title=7), "bad_title"),
        (item(0), "bad_line"),
        (item(None), "bad_line"),
        (item("5"), "bad_line"),
        (item(5, ordinal=-1), "bad_ordinal"),
        (item(5, status="almost"), "bad_status"),
        (item(5, priority=5), "bad_priority"),
        (item(5, priority=-1), "bad_priority"),
        (item(5, priority=True), "bad_priority"),
        (item(5, depth=-1), "bad_depth"),
        (item(5, depth=float("nan")), "bad_depth"),
    ],
)
def test_a_bad_row_is_found_and_the_rest_goes_on(bad: dict[str, Any], code: str) -> None:
    verdict = check_items([item(1), bad, item(9)])
    assert [(finding.row, finding.code) for finding in verdict.findings] == [(1, code)]
    assert verdict.findings[0].line == (bad["line"] if isinstance(bad["line"], int) else 0)
    assert verdict.bad_rows == {1}


def test_messages_show_the_value() -> None:
    [finding] = check_items([item(4, status="almost")]).findings
    assert finding.message == (
        'A status is one of todo, in_progress, blocked, done, skipped, partial; status is "almost".'
    )


def test_two_items_in_one_place_are_both_named() -> None:
    verdict = check_items([item(3), item(4), item(3)])
    assert [(finding.row, finding.code) for finding in verdict.findings] == [
        (0, "duplicate_place"),
        (2, "duplicate_place"),
    ]


def test_checks_that_take_too_long_are_no_pass() -> None:
    release = threading.Event()
    holding = ENGINE.submit(release.wait, 30)
    try:
        verdict = check_items([item(1), item(2)], deadline_seconds=0.01)
    finally:
        release.set()
        holding.result(30)
    assert [finding.code for finding in verdict.findings] == ["check_crashed"] * 2
    assert verdict.validation["success"] is False
