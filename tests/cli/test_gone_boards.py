"""Boards whose file was renamed or deleted, boards that a person forgets, and work that is done elsewhere."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TITLES = ("Name the {} warden", "Choose the {} colour")


def plan(name: str) -> str:
    return "# Plan\n\n" + "".join(f"- [ ] {title.format(name)}\n" for title in TITLES)


def boards(penstock: Any, folder: str) -> dict[str, int]:
    """Boards below a folder: name to how many items wait for a person."""
    rows = orjson.loads(penstock("boards", folder, "--json").out)
    return {row["source"].rpartition("/")[2]: row["waiting"] for row in rows}


def test_a_renamed_board_keeps_its_reviews(penstock: Any) -> None:
    board = penstock.write("work/a.md", plan("rename"))
    env = {"PENSTOCK_DUPLICATE_DAYS": "30"}
    assert penstock("run", "work", env=env).code == 3
    before = penstock("review", "list").out
    board.rename(board.with_name("c.md"))
    outcome = penstock("run", "work", env=env)
    assert outcome.code == 3, outcome.out
    assert "work/a.md was renamed to work/c.md." in outcome.out
    assert "c.md: 2 unchanged: nothing runs anew" in outcome.out
    assert "- work/a.md was renamed to work/c.md." in (
        (penstock.folder / "penstock-report" / "report.md").read_text()
    )
    assert boards(penstock, "work") == {"c.md": 2}
    assert penstock("review", "list").out == before.replace("work/a.md:", "work/c.md:")


def test_a_deleted_board_is_taken_off_and_its_work_done_elsewhere(penstock: Any) -> None:
    board = penstock.write("work/a.md", plan("deleted"))
    env = {"PENSTOCK_DUPLICATE_DAYS": "30"}
    assert penstock("run", "work", env=env).code == 3
    board.unlink()
    penstock.write("work/c.md", plan("deleted") + "- [ ] Elect a deleted board\n")
    outcome = penstock("run", "work/c.md", env=env)
    assert outcome.code == 3, outcome.out
    assert "work/a.md is gone: its 2 items were taken off, 2 open reviews were closed." in outcome.out
    assert "3 items wait for a person" in outcome.out
    assert "duplicate_work" not in outcome.out
    assert boards(penstock, "work") == {"c.md": 3}
    assert "work/a.md:" not in penstock("review", "list").out


def test_a_board_is_forgotten(penstock: Any) -> None:
    board = penstock.write("work/forget.md", plan("forgotten"))
    other = penstock.write("work/other.md", plan("forgotten"))
    env = {"PENSTOCK_DUPLICATE_DAYS": "30"}
    penstock("run", str(board), str(other), env=env)
    assert boards(penstock, "work") == {"forget.md": 2, "other.md": 0}

    unasked = penstock("boards", "forget", "work/forget.md")
    assert unasked.code == 2
    assert "Forget work/forget.md with its 2 items?" in unasked.err
    assert "give --yes" in unasked.err
    assert "Nothing was changed." in penstock("boards", "forget", "work/forget.md", stdin=b"n\n").out
    assert boards(penstock, "work") == {"forget.md": 2, "other.md": 0}

    outcome = penstock("boards", "forget", "work/forget.md", "--yes", env=env)
    assert outcome.code == 0, outcome.err
    assert outcome.out == (
        "work/forget.md is forgotten: its 2 items were taken off, 2 open reviews were closed.\n"
    )
    assert boards(penstock, "work") == {"other.md": 0}
    assert "forget.md" not in penstock("items").out
    assert penstock("boards", "forget", "work/forget.md", "--yes").code == 2
    assert board.read_text() == plan("forgotten")
    assert {item["status"] for item in orjson.loads(penstock("items", "work", "--json").out)} == {"ready"}

    assert penstock("run", str(other), env=env).code == 3
    assert boards(penstock, "work") == {"other.md": 2}
    penstock("run", str(board))
    assert boards(penstock, "work")["forget.md"] == 2


def test_a_run_is_not_settled_while_the_same_work_waits_elsewhere(penstock: Any) -> None:
    env = {"PENSTOCK_DUPLICATE_DAYS": "30"}
    penstock.write("one/a.md", plan("twin"))
    penstock.write("two/b.md", plan("twin"))
    assert penstock("run", "one", env=env).code == 3
    outcome = penstock("run", "two", env=env)
    assert outcome.code == 3, outcome.out
    said = "2 items are the same work as items elsewhere, which wait for a person."
    assert said in outcome.out
    markdown = (penstock.folder / "penstock-report" / "report.md").read_text()
    assert said in markdown
    assert "Everything is settled" not in markdown
    (row,) = orjson.loads(penstock("boards", "two", "--json").out)
    assert (row["items"], row["settled"]) == (2, 0)

    for item in orjson.loads(penstock("items", "one", "--json").out):
        answered = penstock("review", "edit", str(item["review"]), "--text", "Anna does.", env=env)
        assert answered.code == 0, answered.err
    outcome = penstock("run", "two", env=env)
    assert outcome.code == 0, outcome.out
    (row,) = orjson.loads(penstock("boards", "two", "--json").out)
    assert (row["items"], row["settled"]) == (2, 2)
