"""`penstock items` and `penstock boards`: what is stored, in words, in columns and as JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from interfaces.cli.render import console

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLAN = """# Plan

## Phase 1: Dig

- [TODO] Elect a {name} warden with a name that is much longer than the narrow terminal has columns for
- [DONE] Paint the {name} fence

## Phase 2: Fill

- [TODO] State the {name} level\x1b[2J
"""


@pytest.fixture
def board(penstock: Any, request: pytest.FixtureRequest) -> str:
    """A board that was run, with one item that waits for a person and one that waits for that phase."""
    name = request.node.name.replace("[", "-").replace("]", "")
    penstock.write(f"{name}.md", PLAN.format(name=name))
    assert penstock("run", f"{name}.md").code == 3
    return f"{name}.md"


def listed(penstock: Any, *words: str) -> list[dict[str, Any]]:
    outcome = penstock("items", *words, "--json")
    assert outcome.code == 0, outcome.err
    found: list[dict[str, Any]] = orjson.loads(outcome.out)
    return found


def at_width(penstock: Any, columns: str, *words: str) -> Any:
    console.cache_clear()  # a console keeps the width that it began with
    try:
        return penstock(*words, env={"COLUMNS": columns})
    finally:
        console.cache_clear()


def complaint(outcome: Any, *words: str) -> None:
    assert outcome.code == 2
    assert len(outcome.complaints) == 1
    for word in words:
        assert word in outcome.err


def test_items_are_listed_filtered_and_shown(penstock: Any, board: str) -> None:
    everything = listed(penstock, board)
    assert [item["status"] for item in everything if item["line"]] == ["waiting", "skipped", "pending"]
    waiting, _, level = (item for item in everything if item["line"])
    assert listed(penstock, board, "--status", "waiting,skipped") == [
        item for item in everything if item["status"] in ("waiting", "skipped")
    ]
    assert [item["item_id"] for item in listed(penstock, board, "--blocked")] == [level["item_id"]]
    (phase,) = level["waits_for"]
    assert "Dig" in phase["title"] or phase["title"] == "Phase 1"
    assert listed(penstock, board, "--ready") == []
    assert [item["line"] for item in listed(penstock, "--board", board, "--text", "ELECT warden")] == [5]
    assert listed(penstock, board, "--all") == everything
    assert listed(penstock, board, "--after", str(waiting["item_id"])) == everything[-3:]

    words = penstock("items", board, "--blocked")
    assert f"after {phase['item_id']} " in words.out
    assert "\x1b" not in words.out, "a title moves nobody's cursor"

    for named in (str(waiting["item_id"]), f"{board}:5"):
        shown = penstock("items", "show", named)
        assert shown.code == 0, shown.err
        for part in ("Part of", "Attempts", "no_evidence", f"review show {waiting['review']}", f"{board}:5"):
            assert part in shown.out
    as_json = orjson.loads(penstock("items", "show", str(level["item_id"]), "--json").out)
    assert [need["item_id"] for need in as_json["needs"]] == [phase["item_id"]]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_list_keeps_to_the_terminal(penstock: Any, board: str, columns: str) -> None:
    outcome = at_width(penstock, columns, "items", board)
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert any("…" in line for line in lines), "a long title is cut"
    assert ("Board says" in lines[0]) == (columns == "120")


def test_a_page_says_what_follows(penstock: Any, board: str) -> None:
    first = penstock("items", board, "--limit", "2")
    assert "3 more of 5: --after " in first.out
    after = first.out.partition("--after ")[2].split()[0]
    rest = penstock("items", board, "--after", after)
    assert "level" in rest.out
    assert "--after" not in rest.out


def test_an_empty_list_says_why(penstock: Any, board: str) -> None:
    said = penstock("items", board, "--ready")
    assert said.code == 0
    assert "Nothing is ready: " in said.out
    assert "1 waiting" in said.out
    assert "No item is like that" in penstock("items", board, "--text", "zebra").out
    complaint(penstock("items", "no-such-board"), "'no-such-board'", "penstock run")
    complaint(penstock("items", "--status", "late"), "'late' is no status", "waiting")
    complaint(penstock("items", "--status", "blocked"), "--blocked")
    complaint(penstock("items", "--declared", "x"), "'x'", "in_progress")
    complaint(penstock("items", "show", "99999999"), "no item '99999999'")


def test_boards_tell_their_change_findings_and_checks(penstock: Any, board: str) -> None:
    rows = orjson.loads(penstock("boards", board, "--json").out)
    assert [(row["items"], row["delta"]["added"], row["passed"]) for row in rows] == [(3, 3, True)]
    penstock.write(board, PLAN.format(name=board.removesuffix(".md")).replace("State the", "Say the"))
    penstock("run", board)
    narrow = at_width(penstock, "80", "boards", board)
    assert max(map(len, narrow.out.splitlines())) <= 80
    assert "✓ pass" in narrow.out
    assert "1 changed" in narrow.out
    shown = penstock("boards", "show", board)
    assert shown.code == 0, shown.err
    for part in ("1 changed, 2 unchanged", "7 of 7 hold over 3 rows", "Line and ordinal together"):
        assert part in shown.out
    as_json = orjson.loads(penstock("boards", "show", board, "--json").out)
    assert all(check["success"] for check in as_json["validation"]["expectations"])
