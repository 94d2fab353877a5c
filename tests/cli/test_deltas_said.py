"""What an edit changed is said, a line per board, by `penstock run`, by the report and by `penstock boards`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from rich.console import Console

from interfaces.cli.render import MOST_CHANGED, run_summary
from tasks.report import BoardReport, Counts, Report

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_an_edit_is_told(penstock: Any) -> None:
    titles = [f"- [ ] Name delta keeper {number}\n" for number in range(6)]
    board = penstock.write("delta.md", "# Keepers\n\n" + "".join(titles))
    other = penstock.write("same.md", "- [x] Count the delta keepers\n")
    first = penstock("run", "delta.md", "same.md")
    assert "only the delta runs" not in first.out, "all of it is new: the table says how much"

    edited = [titles[5], *titles[:3], titles[3].replace("keeper", "keeper number"), "- [ ] Buy bread\n"]
    board.write_text("# Keepers\n\n" + "".join(edited))
    outcome = penstock("run", "delta.md", "same.md")
    said = "1 new, 1 changed, 1 moved, 1 removed, 3 unchanged"
    assert f"delta.md: {said}: only the delta runs" in outcome.out
    assert "same.md: 1 unchanged: nothing runs anew" in outcome.out
    report = penstock.folder / "penstock-report"
    by_name = {
        each["source"]: each["delta"]
        for each in orjson.loads((report / "report.json").read_bytes())["boards"]
    }
    assert (by_name["delta.md"]["moved"], by_name["same.md"]["unchanged"]) == (1, 1)
    assert f"Since it was read before: {said}." in (report / "report.md").read_text()
    assert "[graph.svg](graph.svg)" in (report / "report.md").read_text()
    assert "Name delta keeper number 3" in (report / "graph.svg").read_text()
    (row,) = orjson.loads(penstock("boards", str(board), "--json").out)
    assert row["delta"] == by_name["delta.md"]
    assert other.exists()

    again = penstock("run", "delta.md", "same.md")
    assert "delta.md: 6 unchanged: nothing runs anew" in again.out


def summary(deltas: list[dict[str, int]]) -> str:
    counts = Counts(
        items=1, steps=0, ticked=0, to_do=1, done=0, waiting=0, blocked=0, queued=0, failed=0, rejected=0
    )  # fmt: skip
    item = {
        "item_id": 1,
        "parent": None,
        "line": 1,
        "id": None,
        "kind": "task",
        "title": "t",
        "declared": "todo",
    }
    boards = [
        BoardReport.model_validate(
            {
                "board_id": number,
                "source": f"{number}.md",
                "path": f"/{number}.md",
                "dialect": "gfm",
                "title": "",
                "counts": counts,
                "declared": {},
                "statuses": {},
                "items": [item | {"status": "done", "work": True}],
                "findings": [],
                "delta": delta,
            }
        )
        for number, delta in enumerate(deltas)
    ]
    report = Report(
        run_id=None, state="settled", started_at=None, finished_at=None, backend=None, endpoint=None, model=None,
        simulated=False, error=None, calls=0, prompt_tokens=0, completion_tokens=0, boards=boards,
    )  # fmt: skip
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(run_summary(report))
        return console.export_text()


def test_many_boards_are_not_many_lines() -> None:
    changed = {"added": 0, "changed": 2, "moved": 0, "removed": 0, "status_changed": 0, "unchanged": 5}
    same = changed | {"changed": 0}
    moved = same | {"moved": 1}
    new = dict.fromkeys(changed, 0) | {"added": 3}
    text = summary([changed, moved, same, new])
    assert "0.md: 2 changed, 5 unchanged: only the delta runs" in text
    assert "1.md: 1 moved, 5 unchanged: nothing runs anew" in text
    assert "2.md: 5 unchanged" in text
    assert "3.md: " not in text
    text = summary([changed] * 20 + [same] * 20)
    assert text.count("only the delta runs") == MOST_CHANGED
    assert "8 more boards changed" in text
    assert "20 boards are unchanged" in text
