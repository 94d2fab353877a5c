"""Boards: which ones a word means, what their latest version changed, what their checks said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.board import Finding
from models.enums import Declared, Severity
from models.errors import InputError
from models.items import delta_words
from tasks.items import board_case, board_rows, matching

from .conftest import item

if TYPE_CHECKING:
    from .conftest import Connection, Store


def test_words_for_boards(connection: Connection, store: Store) -> None:
    with pytest.raises(InputError, match="none was read yet"):
        matching(connection, ["dam"])
    dam, mill, old = (store(name, item("x")).board_id for name in ("dam.md", "mill.md", "old/dam.md"))
    assert matching(connection, []) is None
    assert matching(connection, ["mill"]) == [mill]
    assert matching(connection, ["MILL.MD"]) == [mill]
    assert matching(connection, ["/plans/dam.md"]) == [dam], (
        "a path is that board, not one that has it in its own"
    )
    assert matching(connection, ["dam.md"]) == [dam, old]
    assert matching(connection, ["/plans"]) == [dam, mill, old]
    assert matching(connection, ["/plans/old", "mill"]) == [mill, old]
    with pytest.raises(InputError, match=r"'lake'.*mill\.md"):
        matching(connection, ["mill", "lake"])
    with pytest.raises(InputError, match="2 boards"):
        board_case(connection, "dam.md")


def test_the_latest_change_is_kept_until_the_next(connection: Connection, store: Store) -> None:
    first = [item("Dig"), item("Fill"), item("Pump"), item("Test")]
    store("dam.md", *first)
    (row,) = board_rows(connection, None)
    assert row.delta
    assert delta_words(row.delta) == "4 new"
    second = [item("Fill"), item("Dig", body="deeper"), item("Pump", status=Declared.DONE), item("Paint")]
    store("dam.md", *second)
    expected = "1 new, 1 changed, 1 with another mark, 1 moved, 1 removed"
    for _ in range(2):  # the same bytes again are no change
        (row,) = board_rows(connection, None)
        assert row.delta
        assert delta_words(row.delta).startswith(expected)
        store("dam.md", *second)


def test_counts_findings_and_verdict(connection: Connection, store: Store) -> None:
    store(
        "dam.md",
        item("Dig"),
        item("x" * 2001),
        item("Paint", status=Declared.DONE),
        item("Step", kind="step", under="Dig"),
        findings=[Finding("odd", Severity.INFO, 9, "Odd."), Finding("bad", Severity.ERROR, 1, "Bad.")],
    )
    store("notes.md")
    dam, notes = board_rows(connection, None)
    assert (dam.items, dam.steps, dam.settled, dam.passed, dam.rows) == (2, 1, 1, False, 4)
    assert (dam.errors, dam.infos) == (2, 1), "the row that failed the checks is a finding"
    assert (notes.items, notes.passed) == (0, True)
    case = board_case(connection, "dam.md")
    assert [finding.severity for finding in case.findings][:2] == [Severity.ERROR, Severity.ERROR]
    assert case.validation
    failed = [check for check in case.validation["expectations"] if not check["success"]]
    assert [check["unexpected"] for check in failed] == [1]
    assert case.statuses == {"pending": 1, "ready": 1, "skipped": 1}
    assert case.as_json()["finding_counts"]["error"] == 2
