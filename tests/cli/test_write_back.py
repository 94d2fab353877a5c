"""`penstock run --write-back` and `penstock write-back`, as a person uses them."""

from __future__ import annotations

from typing import Any

import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BOARD = "# Basins\r\n\r\n- [ ] How deep is {name}\r\n- [ ] Choose the colour of {name}"
"""Each test has a name of its own: the same work on two boards is done once."""


def test_a_run_writes_marks_only_when_asked(penstock: Any) -> None:
    penstock.write("levels.md", "# Levels\n\nBasin Alder is 31 metres deep.\n")
    board = BOARD.format(name="basin Alder")
    plan = penstock.write("plan.md", board)

    assert penstock("run", "plan.md", "levels.md").code == 3
    assert plan.read_bytes() == board.encode(), "nothing is written unasked"

    shown = penstock("write-back", "plan.md", "--dry-run")
    assert shown.code == 0
    assert "+- [x] How deep is basin Alder" in shown.out
    assert "1 mark would be written; nothing was." in shown.err
    assert shown.out.startswith("--- a/plan.md"), "standard output is the diff alone"
    assert plan.read_bytes() == board.encode()

    again = penstock("run", "plan.md", "levels.md", "--write-back")
    assert "Written back: plan.md: 1 mark" in again.out
    assert plan.read_bytes() == board.replace("[ ] How", "[x] How").encode()


def test_after_a_decision_the_marks_follow(penstock: Any) -> None:
    plan = penstock.write("plan.md", BOARD.format(name="basin Birch"))
    penstock("run", "plan.md")
    first = penstock.count("select min(id) from review where title = 'How deep is basin Birch'")
    penstock("review", "reject", str(first), "--note", "not needed", env={"PENSTOCK_BACKEND": "extractive"})

    written = penstock("write-back", "plan.md", "--note")
    assert written.code == 0, written.out + written.err
    assert "plan.md: 1 mark written" in written.out
    assert b"- [-] How deep is basin Birch <!-- penstock: item " in plan.read_bytes()
    assert f"rejected in review {first} -->\r\n".encode() in plan.read_bytes()
    assert "Nothing to write" in penstock("write-back", "plan.md").out


def test_an_edited_board_is_left_alone(penstock: Any) -> None:
    penstock.write("levels.md", "# Levels\n\nBasin Cedar is 31 metres deep.\n")
    plan = penstock.write("plan.md", BOARD.format(name="basin Cedar"))
    penstock("run", "plan.md", "levels.md")
    plan.write_text("- [ ] something else\n")
    refused = penstock("write-back", "plan.md")
    assert refused.code == 2
    assert "it was changed since it was ingested; nothing was written" in refused.err
    assert plan.read_text() == "- [ ] something else\n"
