from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import RecipeError
from models.settings import Settings
from tasks.recipes import Recipes, load_recipes

GOOD = """---
name: mine
about: A recipe of one's own.
kinds: [release]
checks:
  - expect: expect_column_values_to_be_between
    with: {column: length, min_value: 1}
    says: It says something.
---
# System
Answer.

# Prompt
<data {{ fence }}>
{{ item.title }}
</data {{ fence }}>
"""
SCHEMA = "answer_schema: {type: object, properties: {answer: {type: string}}}\n"


def load(home: Path, **files: str) -> Recipes:
    folder = home / "recipes"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return load_recipes(Settings(home=home))


def header(text: str) -> str:
    """GOOD with lines put at the end of its front matter: they begin at line 9."""
    return GOOD.replace("---\n# System", f"{text}---\n# System")


def test_every_kind_of_item_has_a_built_in_recipe(tmp_path: Path) -> None:
    recipes = load_recipes(Settings(home=tmp_path))
    chosen = {
        kind: recipes.for_kind(kind).name
        for kind in (
            "task",
            "step",
            "issue",
            "next_step",
            "check",
            "consult",
            "reflect",
            "epic",
            "plan",
            "else",
        )
    }
    assert chosen == {
        "task": "task",
        "step": "task",
        "issue": "task",
        "next_step": "task",
        "check": "check",
        "consult": "consult",
        "reflect": "reflect",
        "epic": "split",
        "plan": "split",
        "else": "task",
    }


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    first = load(tmp_path, mine=GOOD)["mine"].hash
    assert load(tmp_path, mine=GOOD + "\n")["mine"].hash != first
    assert load(tmp_path, mine=GOOD)["mine"].hash == first


def test_an_own_file_wins_by_name_and_by_kind(tmp_path: Path) -> None:
    own_task = GOOD.replace("name: mine", "name: task").replace("[release]", '["*"]')
    own_kind = GOOD.replace("[release]", "[epic]")
    recipes = load(tmp_path, task=own_task, mine=own_kind)
    assert recipes["task"].path.startswith(str(tmp_path))
    assert recipes.for_kind("anything").path.startswith(str(tmp_path))
    assert recipes.for_kind("epic").name == "mine"
    assert recipes.for_kind("story").name == "split"


def test_a_readme_and_other_files_are_no_recipes(tmp_path: Path) -> None:
    recipes = load(tmp_path, README="# Our recipes\n")
    (tmp_path / "recipes" / "notes.txt").write_text("x")
    assert "README" not in recipes


def test_an_unknown_name_is_a_sentence(tmp_path: Path) -> None:
    recipes = load_recipes(Settings(home=tmp_path))
    with pytest.raises(RecipeError, match=r"no recipe 'tusk'; there are check, consult"):
        recipes["tusk"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("no front matter", r"mine\.md:1: a recipe begins with", id="no-front-matter"),
        pytest.param("---\nname: mine\n", r":1: the front matter has no second", id="unended"),
        pytest.param("---\n- a\n---\n", r":2: the front matter must be", id="a-list"),
        pytest.param(GOOD.replace("about: A", "about: [A"), r":\d+: the front matter is no YAML", id="yaml"),
        pytest.param(GOOD.replace("kinds:", "kind:"), r":4: `kind`: is no key.*mean `kinds`", id="unknown-key"),
        pytest.param(GOOD.replace("    says", "    say"), r":8: `checks.0.say`: is no key.*`says`", id="check-key"),
        pytest.param(header("model: a\nmodels: [b]\n"), r":10: `models` and `model` can't both", id="two-ways"),
        pytest.param(header("models: [a, b, a]\n"), r":9: 'a' is there twice", id="a-model-twice"),
        pytest.param(header("models: ['']\n"), r":9: `models.0`: String should have", id="no-model"),
        pytest.param(header("max_tokens: many\n"), r":9: `max_tokens`: Input should be", id="wrong-type"),
        pytest.param(header("name: mine\n"), r":9: `name` is there twice", id="twice"),
        pytest.param(GOOD.replace("name: mine", "name: other"), r"name in it is 'other'", id="other-name"),
        pytest.param(
            GOOD.replace("values_to_be_between", "values_to_be_betwen"),
            r":6: 'expect_column_values_to_be_betwen' is no expectation.*mean `expect_column_values_to_be_between`",
            id="expectation",
        ),
        pytest.param(GOOD.replace("column: length", "column: lenght"), r":7: 'lenght' is no column.*`length`",
                     id="column"),
        pytest.param(GOOD.replace("column: length", "column: answer.x"), r"'answer.x' is no column", id="property"),
        pytest.param(GOOD.replace("min_value: 1", "min_value: 1, mostly: 0.9"),
                     r":7: `mostly` can't be used: rows would pass", id="mostly"),
        pytest.param(GOOD.replace("min_value: 1", "regex: '('"), r"'\(' is no regular expression", id="regex"),
        pytest.param(header("answer_schema: {type: objekt}\n"), r":9: the schema is wrong", id="schema"),
        pytest.param(header("answer_schema: {type: string}\n"), r"must be of `type: object`", id="schema-type"),
        pytest.param(header(SCHEMA + "text_field: anser\n"), r":10: .*mean `answer`", id="text-field"),
        pytest.param(header("grounding: required\n"), r":9: `grounding: required` needs a schema", id="grounding"),
        pytest.param(header("splits: true\n"), r":9: `splits: true` needs", id="splits"),
        pytest.param(header("pack: 1\n"), r":9: `pack`: Input should be greater", id="pack-of-one"),
        pytest.param(header("pack: 4\nmax_tokens: 5000\n"), r":10: `pack` needs shorter answers", id="long-pack"),
        pytest.param(
            header("pack: 4\nanswer_schema: {type: object, properties: {answer: {$ref: '#'}}}\n"),
            r":10: `pack` can't be used here: the schema refers to '#'",
            id="pack-of-itself",
        ),
        pytest.param(
            header(
                "pack: 4\nsplits: true\nanswer_schema: {type: object, properties: {answer: {}, subtasks: {}}}\n"
            ),
            r":9: a recipe with `splits` can't `pack`",
            id="packed-splits",
        ),
        pytest.param(header("backends: [olama]\n"), r":9: 'olama' is no backend.*`ollama`", id="backend"),
        pytest.param(header("fallback: nowhere\n"), r"`fallback` is 'nowhere', which is no recipe", id="fallback"),
        pytest.param(header("fallback: mine\n"), r"in a circle \(mine -> mine\)", id="circle"),
        pytest.param(GOOD.replace("# System", "# Sytem"), r":10: after the front matter", id="sections"),
        pytest.param(GOOD.replace("{{ item.title }}", "{{ item.title }"), r":15: the section Prompt", id="jinja"),
        pytest.param(GOOD.replace("item.title", "item.titel"), r"failed on sample text: .*titel", id="attribute"),
        pytest.param(GOOD.replace("item.title", "itm"), r":15: 'itm' is no variable.*`item`", id="variable"),
        pytest.param(GOOD.replace("Answer.", "{{ item.title }}"), r"'item' is no variable here", id="system-item"),
        pytest.param(GOOD.replace("{{ fence }}", "x"), r"without a fence", id="fence"),
        pytest.param(
            GOOD.replace("item.title", "item.__class__.__mro__"), r"failed on sample text: .*unsafe", id="sandbox"
        ),
        pytest.param(GOOD.replace("[release]", "[x]").replace("name: mine", "name: x"), r"must be that", id="stem"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load(tmp_path, mine=text)
    assert "mine.md" in str(caught.value)


def test_two_own_recipes_of_one_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the kind 'release' is also that of"):
        load(tmp_path, mine=GOOD, yours=GOOD.replace("name: mine", "name: yours"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.md").write_bytes(GOOD.encode() + b"\xff")
    with pytest.raises(RecipeError, match=r"not UTF-8 \(byte \d+ is 0xff\)"):
        load_recipes(Settings(home=tmp_path))


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.md").write_bytes(
        b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode("utf-8")
    )
    assert load_recipes(Settings(home=tmp_path))["mine"].system == "Answer."
