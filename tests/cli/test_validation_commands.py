"""`penstock validation`: the page, one item explained, figures, and stored results under a changed recipe."""

from __future__ import annotations

import itertools
import re
import webbrowser
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.settings import Settings
from tasks.recipes import load_recipes

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_numbers = itertools.count(1)

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "task.md"
STRICT = """  - expect: expect_column_values_to_match_regex
    with: {column: text, regex: "^Therefore "}
    says: An answer begins with the word Therefore.
"""


@pytest.fixture
def basin(penstock: Any) -> int:
    """A basin that no other test speaks of, with its board run: one item answered, one for a person."""
    number = 9000 + next(_numbers)
    penstock.write(
        "work/plan.md", f"- [ ] State the level of basin {number}\n- [ ] Name the colour of hatch {number}\n"
    )
    penstock.write(
        "work/levels.md", f"# Levels\n\nThe level of basin {number} is 212 metres above the sea.\n"
    )
    assert penstock("run", "work").code == 3
    return number


@pytest.fixture
def strict(penstock: Any) -> Any:
    """The recipe `task` with one check more, in this home; taken away after."""
    path = penstock.home / "recipes" / "task.md"
    path.parent.mkdir(exist_ok=True)

    def make() -> None:
        text = RECIPE.read_text(encoding="utf-8")
        assert "checks:\n" in text
        path.write_text(text.replace("checks:\n", f"checks:\n{STRICT}", 1), encoding="utf-8")

    yield make
    path.unlink(missing_ok=True)


def test_the_page_lies_beside_the_report_which_links_it(penstock: Any, basin: int) -> None:
    folder = penstock.folder / "penstock-report"
    assert "](validation.html)" in (folder / "report.md").read_text(encoding="utf-8")
    assert orjson.loads((folder / "report.json").read_bytes())["validation"] == "validation.html"
    page = (folder / "validation.html").read_text(encoding="utf-8")
    assert f"hatch {basin}" in page
    (folder / "validation.html").unlink()
    made = penstock("validation", "docs", "work")
    assert (made.code, made.out) == (0, "Validation: penstock-report/validation.html\n")
    again = (folder / "validation.html").read_text(encoding="utf-8")
    assert f"hatch {basin}" in again
    (folder / "validation.html").unlink()
    assert penstock("report").code == 0
    assert (folder / "validation.html").exists()


def test_a_page_that_cannot_be_written_is_one_sentence(penstock: Any, basin: int) -> None:
    penstock.write("a-file", "x")
    refused = penstock("validation", "docs", "--out", "a-file")
    assert (refused.code, len(refused.complaints)) == (2, 1)
    assert "Name another folder with --out" in refused.err
    unknown = penstock("validation", "docs", "no-such-board")
    assert (unknown.code, len(unknown.complaints)) == (2, 1)


def test_the_page_is_opened(penstock: Any, basin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # it looks for browsers once in a process
    opener = penstock.write("bin/browser", '#!/bin/sh\necho "$1" > opened\n')
    opener.chmod(0o755)
    assert penstock("validation", "docs", "--open", env={"BROWSER": f"{opener} %s"}).code == 0
    opened = (penstock.folder / "opened").read_text(encoding="utf-8").strip()
    assert opened == (penstock.folder / "penstock-report" / "validation.html").as_uri()


def test_explain_takes_an_item_as_other_commands_do(penstock: Any, basin: int) -> None:
    by_place = penstock("validation", "explain", "work/plan.md:2")
    assert by_place.code == 0
    assert "no_evidence" in by_place.out
    assert "A person was asked (review " in by_place.out
    found = orjson.loads(penstock("validation", "explain", "work/plan.md:2", "--json").out)
    assert [each["error_type"] for each in found["tries"]] == ["no_evidence"]
    assert penstock("validation", "explain", str(found["item"])).out == by_place.out
    good = penstock("validation", "explain", "work/plan.md:1")
    assert "Passed every check." in good.out
    assert "212 metres" in good.out
    missing = penstock("validation", "explain", "work/plan.md:77")
    assert (missing.code, len(missing.complaints)) == (2, 1)


def test_stats_count_the_board(penstock: Any, basin: int) -> None:
    found = orjson.loads(penstock("validation", "stats", "work", "--json").out)
    assert (found["checked"], found["failed"]) == (2, 1)
    assert [(each["layer"], each["check"]) for each in found["rules"]] == [("call", "no_evidence")]
    table = penstock("validation", "stats", "work")
    assert "no_evidence" in table.out
    assert "50.0%" in table.out
    assert "No answer was checked" in penstock("validation", "stats", "work", "--recipe", "consult").out


def test_a_changed_recipe_shows_first_and_changes_when_asked(penstock: Any, basin: int, strict: Any) -> None:
    before = penstock("validation", "rerun", "work")
    assert (before.code, "0 would not pass today" in before.out) == (0, True)
    attempts = penstock.count("select count(*) from attempt")
    strict()
    title = f"State the level of basin {basin}"
    state = "select i.status from item i join item_source s on s.item_id = i.id where s.title = %s"
    shown = penstock("validation", "rerun", "work", "--recipe", "task")
    assert shown.code == 3
    assert "1 stored result checked again: 1 would not pass today." in shown.out
    assert "An answer begins with the word Therefore." in " ".join(shown.out.split())
    assert "Nothing was changed." in shown.out
    assert penstock.count(state, title) == 4
    found = orjson.loads(penstock("validation", "rerun", "work", "--json").out)
    assert [each["error_type"] for each in found["failing"]] == ["rule"]
    assert "superseded" not in found

    applied = penstock("validation", "rerun", "work", "--apply")
    assert applied.code == 3
    assert "the items wait for a person" in applied.out
    assert penstock.count(state, title) == 3
    assert penstock.count("select count(*) from attempt") == attempts, "no model was asked"
    reviews = [orjson.loads(line) for line in penstock("review", "list", "work", "--json").out.splitlines()]
    [review] = [each for each in reviews if each["title"] == title]
    assert "no longer passes the recipe task" in review["reason"]
    told = penstock("validation", "explain", "work/plan.md:1")
    assert "It was checked again and did not pass" in told.out
    assert penstock("review", "accept", str(review["id"])).code == 0
    assert penstock.count(state, title) == 4
    assert penstock("validation", "rerun", "work", "--apply").code == 0, "what a person accepted stands"


def test_the_recipe_of_the_documents_works_as_they_say(penstock: Any) -> None:
    page = (ROOT / "docs/validation.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```markdown\n(.*?)```", page, re.DOTALL)
    said = re.search(r"^\$ penstock validation examples risk\n(.+)$", page, re.MULTILINE)
    assert said is not None
    board = re.search(r"work/plan.md <<'END'\n(.*?)END\n", page, re.DOTALL)
    log = re.search(r"printf '(.*?)' > work/log.md", page)
    assert board is not None
    assert log is not None
    path = penstock.home / "recipes" / "risk.md"
    path.parent.mkdir(exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
        judged = penstock("validation", "examples", "risk")
        assert (judged.code, judged.out) == (0, said[1] + "\n")
        penstock.write("work/plan.md", board[1])
        penstock.write("work/log.md", log[1].replace("\\n", "\n"))
        planned = penstock("run", "work", "--dry-run")
        assert re.search(r"^risk\b.* 2 ", planned.out, re.MULTILINE), planned.out
        assert penstock("run", "work").code == 0
        assert "Passed every check." in penstock("validation", "explain", "work/plan.md:3").out

        assert text.count("min_value: 5") == 1
        path.write_text(text.replace("min_value: 5", "min_value: 15"), encoding="utf-8")
        otherwise = penstock("validation", "examples", "risk")
        assert otherwise.code == 1
        assert "risk: 3 examples, 2 judged otherwise than they say" in otherwise.out
        shown = penstock("validation", "rerun", "work", "--recipe", "risk")
        assert (shown.code, "2 would not pass today" in shown.out) == (3, True)
        applied = penstock("validation", "rerun", "work", "--recipe", "risk", "--apply")
        assert "2 results no longer stand" in applied.out
        path.write_text(text, encoding="utf-8")
        back = penstock("validation", "rerun", "work", "--recipe", "risk")
        assert back.code == 0
        [numbers] = re.findall(r"penstock review accept (.+)", back.out)
        assert penstock("review", "accept", *numbers.split()).code == 0
    finally:
        path.unlink()


def test_the_shipped_recipes_judge_their_examples_as_they_say(penstock: Any) -> None:
    judged = penstock("validation", "examples")
    assert judged.code == 0, judged.out
    assert judged.out.count("all judged as they say") >= 5


def test_the_project_has_a_suite_for_each_recipe(penstock: Any) -> None:
    made = penstock("validation", "context", "--out", "project")
    assert made.code == 0, made.err
    suites = penstock.folder / "project" / "gx" / "expectations"
    assert {path.stem for path in suites.glob("*.json")} == set(load_recipes(Settings(home=penstock.home)))
    refused = penstock("validation", "context", "--out", str(suites / "task.json"))
    assert (refused.code, len(refused.complaints)) == (2, 1)


def test_a_recipe_that_does_not_exist_is_named(penstock: Any) -> None:
    refused = penstock("validation", "rerun", "--recipe", "nope")
    assert (refused.code, len(refused.complaints)) == (2, 1)
    assert "There is no recipe 'nope'" in refused.err
