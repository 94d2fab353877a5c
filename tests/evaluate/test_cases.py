"""Golden sets as files: what is read, and what is wrong with one that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from tasks.evaluate import read_sets
from tasks.evaluate.cases import Case, Expect

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
cases:
- {id: a, title: Name the port, passages: {"x.md:1": It is 7070.}, expect: {contains: ["7070"]}}
"""


def test_the_set_of_the_repository(tmp_path: Path) -> None:
    [golden] = read_sets([ROOT / "evals"])
    assert (golden.name, golden.recipe) == ("task", "task")
    assert len(golden.cases) >= 9
    assert any(case.expect.error for case in golden.cases)


def test_the_page_shows_a_set_that_is_read_and_names_all_that_may_be_in_it(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (tmp_path / "shown.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    [golden] = read_sets([tmp_path])
    assert [case.id for case in golden.cases] == ["backups", "colour"]
    first_cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    assert named == {*Case.model_fields, *Expect.model_fields}


def test_lines_of_json_and_the_recipe_of_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "check.jsonl").write_text(
        '{"id": "1", "title": "It runs\u2028on"}\n\n{"id": "2", "title": "It stops"}\n', encoding="utf-8"
    )
    (tmp_path / "mine.yaml").write_text("recipe: task\n" + GOOD)
    (tmp_path / "notes.txt").write_text("none")
    check, mine = read_sets([tmp_path])
    assert (check.recipe, [case.id for case in check.cases]) == ("check", ["1", "2"])
    assert (mine.name, mine.recipe) == ("mine", "task")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "cases: [", r"a\.yaml:\d+: no YAML"),
        ("a.yaml", "- 1", "a golden set is `cases:`"),
        ("a.yaml", "cases: []", "`cases`: List should have at least 1 item"),
        ("a.yaml", "cases: [{id: a}]", r"`cases\.0\.title`: Field required"),
        ("a.yaml", "cases: [{id: a, title: b, expects: {}}]", r"`cases\.0\.expects`: Extra"),
        ("a.yaml", GOOD + GOOD.partition("\n")[2], "'a' is there twice"),
        ("a.yaml", "cases: [{id: a, title: b, expect: {matches: ['(']}}]", "is no regular expression"),
        ("a.yaml", "cases: [{id: a, title: b, expect: {error: rule, contains: [x]}}]", "stands alone"),
        ("a.yaml", "cases: [{id: a, title: b, expect: {error: timeout}}]", "the server's failure"),
        ("a.jsonl", "{", r"a\.jsonl:1: no JSON"),
        ("a.toml", "", "is no golden set"),
    ],
)
def test_a_wrong_file_is_named_with_its_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_sets([tmp_path / name])
    assert str(tmp_path) in str(caught.value)


def test_what_is_not_there_and_what_is_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_sets([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="has no golden set"):
        read_sets([tmp_path])
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_sets([tmp_path])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "task.yaml").write_text(GOOD)
    with pytest.raises(InputError, match="the same name"):
        read_sets([tmp_path / "a", tmp_path / "b"])


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        read_sets([path])


def test_another_text_is_another_case() -> None:
    case = Case.model_validate(yaml.safe_load(GOOD)["cases"][0])
    assert case.hash == case.model_copy().hash
    assert case.hash != case.model_copy(update={"body": "now"}).hash
