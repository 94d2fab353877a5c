"""`penstock run`: what it leaves, what a second one does, and where boards may come from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((folder / "penstock-report" / "report.json").read_bytes())
    return found


def board(folder: Path, name: str = "plan.md") -> dict[str, Any]:
    (one,) = (each for each in report(folder)["boards"] if each["source"].endswith(name))
    return dict(one)


def test_a_run_answers_defers_and_reports(penstock: Any, plan: str) -> None:
    outcome = penstock("run", plan)

    assert outcome.code == 3, outcome.out + outcome.err
    assert "1 item waits for a person: penstock review list" in outcome.out
    one = board(penstock.folder)
    assert one["source"] == "work/plan.md", "shown relative to the working directory"
    assert one["counts"] == {
        "items": 3,
        "steps": 0,
        "ticked": 1,
        "to_do": 2,
        "done": 1,
        "waiting": 1,
        "blocked": 0,
        "queued": 0,
        "failed": 0,
        "rejected": 0,
    }
    by_title = {item["title"]: item for item in one["items"]}
    answered = next(item for title, item in by_title.items() if title.startswith("State the level"))
    assert "212 metres" in answered["text"]
    assert [citation["place"] for citation in answered["citations"]] == ["work/levels.md:1-3"]
    deferred = by_title["Choose the colour of the gate"]
    assert deferred["error_type"] == "no_evidence"
    assert deferred["reason"]
    assert isinstance(deferred["review"], int)
    markdown = (penstock.folder / "penstock-report" / "report.md").read_text()
    assert "| work/plan.md | 3 | 0 | 1 | 2 | 1 | 1 | 0 | 0 |" in markdown
    assert f"review {deferred['review']}: Choose the colour of the gate (line 5)" in markdown
    assert "(`work/levels.md:" in markdown


def test_a_second_run_has_nothing_to_do_and_an_edit_runs_only_what_changed(penstock: Any) -> None:
    penstock.write("levels.md", "# Levels\n\nBasin 8 is 31 metres deep.\n\nBasin 9 is 44 metres deep.\n")
    plan = penstock.write("plan.md", "# Basins\n\n- [ ] How deep is basin 8\n- [ ] How deep is basin 9\n")
    first = penstock("run", "plan.md", "levels.md")
    assert first.code == 0, first.out + first.err
    tries = penstock.count("select count(*) from attempt")

    second = penstock("run", "plan.md", "levels.md")

    assert second.code == 0
    assert "Nothing was left to do." in second.out
    assert penstock.count("select count(*) from attempt") == tries

    plan.write_text("# Basins\n\n- [ ] How deep is basin 8\n- [ ] How deep is basin 9 in metres\n")
    third = penstock("run", "plan.md", "levels.md")

    assert third.code == 0, third.out + third.err
    assert penstock.count("select count(*) from attempt") == tries + 1
    assert "Nothing was left to do." not in third.out


def test_standard_input_and_a_glob_are_sources(penstock: Any) -> None:
    penstock.write("plans/a.md", "- [x] one\n")
    penstock.write("plans/b.md", "- [x] two\n")
    penstock.write("plans/c.rst", "- [x] three\n")

    outcome = penstock("run", "-", "plans/*.md", stdin=b"# From a pipe\n\n- [x] done long ago\n")

    assert outcome.code == 0, outcome.out + outcome.err
    piped, *globbed = [each["source"] for each in report(penstock.folder)["boards"]]
    assert piped.startswith("stdin:")
    assert globbed == ["plans/a.md", "plans/b.md"]


def test_a_dry_run_shows_the_plan_and_keeps_nothing(penstock: Any, plan: str) -> None:
    tables = ("board", "item", "finding", "node", "run", "attempt", "batch", "review")
    before = [penstock.count(f"select count(*) from {table}") for table in tables]

    outcome = penstock("run", plan, "--dry-run")

    assert outcome.code == 0, outcome.err
    assert "State the level of basin" in outcome.out
    assert "First wave" in outcome.out
    assert "2 items would be asked first" in outcome.out
    assert "By extractive" in outcome.out
    assert "Nothing was stored" in outcome.out
    assert [penstock.count(f"select count(*) from {table}") for table in tables] == before
    assert not (penstock.folder / "penstock-report").exists()


def test_a_dry_run_counts_the_calls_of_a_council(penstock: Any) -> None:
    penstock.write("ask.md", "- [ ] Which rack takes the door? [recipe:: council]\n- [ ] Paint the door.\n")
    outcome = penstock("run", "ask.md", "--dry-run")
    assert outcome.code == 0, outcome.err
    rows = [re.findall(r"\w+", line) for line in outcome.out.splitlines()]
    assert ["Recipe", "Priority", "Items", "Calls"] in rows
    assert ["council", "2", "1", "4"] in rows
    assert ["task", "2", "1", "1"] in rows
    assert "3 of these calls ask members of councils" in outcome.out
    penstock.write("plain.md", "- [ ] Paint the gate.\n")
    assert "Calls" not in penstock("run", "plain.md", "--dry-run").out


def test_blocked_items_say_what_they_wait_for(penstock: Any) -> None:
    penstock.write(
        "phases.md",
        "# Plan\n\n## Phase 1: Dig\n\n- [TODO] Choose the shovel\n\n## Phase 2: Fill\n\n- [TODO] Open the valve\n",
    )
    outcome = penstock("run", "phases.md")

    assert outcome.code == 3
    assert "1 item is blocked by others" in outcome.out
    blocked = next(
        item for item in board(penstock.folder, "phases.md")["items"] if item["title"] == "Open the valve"
    )
    (wait,) = blocked["waits_for"]
    assert "waits for a person (review " in wait["why"]
    markdown = (penstock.folder / "penstock-report" / "report.md").read_text()
    assert "### Blocked" in markdown
    assert "- Open the valve (line 9)" in markdown


def test_parse_prints_one_object_per_file_and_needs_no_database(penstock: Any, plan: str) -> None:
    outcome = penstock(
        "parse", plan, "--json", env={"PENSTOCK_DATABASE_URL": "postgresql://u@127.0.0.1:1/none"}
    )

    assert outcome.code == 0
    files = [orjson.loads(line) for line in outcome.out.splitlines()]
    assert [each["source"] for each in files] == ["work/levels.md", "work/plan.md"]
    for each in files:
        assert set(each) == {"source", "dialect", "encoding", "items", "counts", "findings", "not_items"}
        assert set(each["counts"]) == {
            *("total", "open", "done", "in_progress", "blocked", "skipped", "partial", "steps"),
        }
        for item in each["items"]:
            assert set(item) == {"line", "depth", "id", "kind", "title", "status", "parent_line"}
    assert files[1]["counts"] | {"total": 3, "open": 2, "done": 1} == files[1]["counts"]


def test_memory_and_the_report_can_be_asked_afterwards(penstock: Any, plan: str) -> None:
    penstock("run", plan)

    found = penstock("memory", "search", "level of basin", "--json")
    assert found.code == 0
    assert any("212 metres" in orjson.loads(line)["text"] for line in found.out.splitlines())
    nothing = penstock("memory", "search", '"zyzzyva of the quagga"')
    assert "Nothing in memory is like that." in nothing.out

    again = penstock("report", "--out", "again")
    assert again.code == 0
    assert (
        (penstock.folder / "again" / "report.md")
        .read_text()
        .startswith("<!-- penstock report -->\n# Penstock report")
    )
    wrong = penstock("report", "--run", "0f0f0f0f-0")
    assert (wrong.code, len(wrong.complaints)) == (2, 1)
    assert "no run '0f0f0f0f-0'" in wrong.err


def test_help_and_version(penstock: Any) -> None:
    assert penstock("--version").out.startswith("penstock ")
    for command in ("run", "demo", "report", "parse", "up", "down", "status", "backends"):
        assert penstock(command, "--help").code == 0
    unknown = penstock("frobnicate")
    assert unknown.code == 2
    assert "No such command" in unknown.err
