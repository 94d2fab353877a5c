"""`penstock review` and `penstock docs`: a person decides, and what was released goes on without anyone restarting."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PHASES = """# Plan

## Phase 1: Dig

- [TODO] Elect a {name} warden
- [TODO] Appoint {name} divers

## Phase 2: Fill

- [TODO] State the {name} level
"""


def queue(penstock: Any, name: str) -> dict[str, int]:
    listed = penstock("review", "list", "--json")
    assert listed.code == 0
    rows = [orjson.loads(line) for line in listed.out.splitlines()]
    return {row["title"]: row["id"] for row in rows if name in row["title"]}


def status(penstock: Any, title: str) -> int:
    return int(
        penstock.count(
            "select i.status from item i join item_source s on s.item_id = i.id where s.title = %s", title
        )
    )


def test_decisions_release_what_waited(penstock: Any) -> None:
    penstock.write("plan.md", PHASES.format(name="copper"))
    penstock.write("levels.md", "# Levels\n\nThe copper level is 9 metres.\n")
    assert penstock("run", "plan.md", "levels.md").code == 3
    open_reviews = queue(penstock, "copper")
    assert set(open_reviews) == {"Elect a copper warden", "Appoint copper divers"}
    shovel, foreman = open_reviews["Elect a copper warden"], open_reviews["Appoint copper divers"]

    table = penstock("review", "list")
    assert "plan.md:5" in table.out
    shown = penstock("review", "show", str(shovel))
    assert shown.code == 0
    assert "no_evidence" in shown.out
    assert f"penstock review accept|edit|retry|reject {shovel}" in shown.out

    empty = penstock("review", "accept", str(shovel))
    assert (empty.code, len(empty.complaints)) == (2, 1)
    assert "has no proposed answer to accept" in empty.err
    blank = penstock("review", "edit", str(shovel), "--text", "  ")
    assert (blank.code, len(blank.complaints)) == (2, 1)
    missing = penstock("review", "edit", str(shovel), "--file", "nowhere.txt")
    assert (missing.code, len(missing.complaints)) == (2, 1)
    for command in ("accept", "retry", "reject", "show"):
        wrong = penstock("review", command, "987654321")
        assert (wrong.code, len(wrong.complaints)) == (2, 1)
        assert "There is no review 987654321" in wrong.err
    assert queue(penstock, "copper") == open_reviews, "what can't be done changes nothing"

    edited = penstock("review", "edit", str(shovel), "--text", "The round one.", "--note", "as always")
    assert edited.code == 0, edited.err
    assert status(penstock, "Elect a copper warden") == 4
    assert "Decided: edit by" in penstock("review", "show", str(shovel)).out
    twice = penstock("review", "reject", str(shovel))
    assert (twice.code, len(twice.complaints)) == (2, 1)
    assert "was decided before: edit" in twice.err

    rejected = penstock("review", "reject", str(foreman))
    assert rejected.code == 0, rejected.err
    assert status(penstock, "Appoint copper divers") == 6
    # Phase 1 is settled by it, and phase 2 was done at once.
    assert status(penstock, "State the copper level") == 4
    assert "1 accepted" in rejected.out


def test_retry_gives_fresh_attempts_and_goes_on_at_once(penstock: Any) -> None:
    penstock.write("plan.md", "- [ ] State the weight of the tin bell\n")
    assert penstock("run", "plan.md").code == 3
    (number,) = queue(penstock, "tin bell").values()
    penstock.write("bells.md", "# Bells\n\nThe weight of the tin bell is 31 kilograms.\n")
    assert penstock("run", "plan.md", "bells.md").code == 3
    assert status(penstock, "State the weight of the tin bell") == 3, (
        "a deferred item is never retried by itself"
    )

    kept = penstock("review", "retry", str(number), "--no-go-on")
    assert kept.code == 0
    assert "1 item is ready" in kept.out
    assert status(penstock, "State the weight of the tin bell") == 1

    again = penstock("run", "plan.md")
    assert again.code == 0, again.out
    assert status(penstock, "State the weight of the tin bell") == 4
    assert "31 kilograms" in (penstock.folder / "penstock-report" / "report.md").read_text()


def test_the_list_is_of_boards_and_kinds_and_says_what_else_waits(penstock: Any) -> None:
    penstock.write("brass.md", "- [ ] Elect a brass warden\n- [ ] Appoint brass divers\n")
    penstock.write("lead.md", "- [ ] Elect a leaden warden\n")
    assert penstock("run", "brass.md", "lead.md").code == 3
    brass = penstock("review", "list", "brass.md", "--json")
    assert {orjson.loads(line)["title"] for line in brass.out.splitlines()} == {
        "Elect a brass warden",
        "Appoint brass divers",
    }
    waiting = penstock.count("select count(*) from review where decided_at is null")
    for words in (("--kind", "document"), ("lead.md", "--error", "crash")):
        said = penstock("review", "list", *words)
        assert (said.code, said.out.strip()) == (0, f"No review is like that; {waiting} others wait.")
    unknown = penstock("review", "list", "copperplate.md")
    assert (unknown.code, len(unknown.complaints)) == (2, 1)


def test_one_that_was_decided_does_not_keep_the_others(penstock: Any) -> None:
    penstock.write(
        "zinc.md", "".join(f"- [ ] {what} the zinc roof\n" for what in ("Elect", "Appoint", "State"))
    )
    assert penstock("run", "zinc.md").code == 3
    first, second, third = sorted(queue(penstock, "zinc").values())
    assert penstock("review", "reject", str(second)).code == 0
    said = penstock("review", "reject", str(first), str(second), str(third), str(third))
    assert (said.code, len(said.complaints)) == (2, 1)
    assert "2 of 3 were decided." in said.err
    assert f"Review {second} was decided before: reject" in said.err
    assert queue(penstock, "zinc") == {}


def git(repo: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=repo, check=True, capture_output=True)


def test_a_dry_doc_sync_shows_proposals_and_stores_nothing(penstock: Any) -> None:
    repo = penstock.folder / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    (repo / "pump.py").write_text("def open_valve(level):\n    return level\n")
    (repo / "README.md").write_text("# Pump\n\nCall `open_valve` to begin.\n")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "one")
    (repo / "pump.py").write_text("def open_gate(level):\n    return level\n")
    git(repo, "commit", "-qam", "two")
    before = penstock.count("select count(*) from doc_sync")

    outcome = penstock("docs", "sync", "--repo", str(repo), "--dry-run", "--since", "HEAD~1")

    assert outcome.code == 0, outcome.err
    assert "README.md" in outcome.out
    assert penstock.count("select count(*) from doc_sync") == before
    nowhere = penstock("docs", "sync", "--repo", "nowhere")
    assert (nowhere.code, len(nowhere.complaints)) == (2, 1)
