"""Recipes with a council: its members' recipes, and what is refused when the files are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import RecipeError
from models.settings import Settings
from tasks.recipes import BUILT_IN, Recipes, load_recipes

COUNCIL = (BUILT_IN / "council.md").read_text(encoding="utf-8")
OPINION = (BUILT_IN / "opinion.md").read_text(encoding="utf-8")


def load(home: Path, **files: str) -> Recipes:
    (home / "recipes").mkdir(exist_ok=True)
    for name, text in files.items():
        (home / "recipes" / f"{name}.md").write_text(text, encoding="utf-8")
    return load_recipes(Settings(home=home))


def test_each_member_has_a_recipe_with_its_persona_before_that_of_opinions(tmp_path: Path) -> None:
    recipes = load(
        tmp_path,
        council=COUNCIL.replace("    - name: sceptic\n", "    - name: sceptic\n      model: large\n"),
    )
    sceptic, builder = recipes["council_sceptic"], recipes["council_builder"]
    assert sceptic.system.startswith("You are the sceptic.")
    assert sceptic.system.endswith(recipes["opinion"].system)
    assert sceptic.prompt == recipes["opinion"].prompt
    assert (sceptic.header.model, builder.header.model) == ("large", None)
    assert (sceptic.member_of, recipes["opinion"].member_of) == ("council", None)
    assert len({sceptic.hash, builder.hash, recipes["opinion"].hash, recipes["council"].hash}) == 4
    assert not recipes.may_be_named("council_sceptic")
    assert recipes.may_be_named("council")


def test_another_persona_or_model_is_another_hash(tmp_path: Path) -> None:
    first = load(tmp_path)["council_sceptic"].hash
    assert (
        load(tmp_path, council=COUNCIL.replace("You are the sceptic", "You doubt"))["council_sceptic"].hash
        != first
    )
    model = COUNCIL.replace("    - name: sceptic\n", "    - name: sceptic\n      model: large\n")
    assert load(tmp_path, council=model)["council_sceptic"].hash != first


def test_a_kind_may_be_given_to_the_council(tmp_path: Path) -> None:
    recipes = load(
        tmp_path, council=COUNCIL.replace("name: council\n", "name: council\nkinds: [consult]\n", 1)
    )
    assert recipes.for_kind("consult").name == "council"
    assert load_recipes(Settings(home=tmp_path / "none")).for_kind("consult").name == "consult"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  quorum: 2\n", "  quorum: 4\n", r"council\.md:\d+: a quorum of 4 can't be reached by 3 members"),
        (
            "    - name: steward\n",
            "    - name: sceptic\n",
            r"council\.md:\d+: there are two members 'sceptic'",
        ),
        ("You are the sceptic.", "You {{ item }}.", r"the persona of 'sceptic' has '\{\{'; it is plain text"),
        (
            "  quorum: 2\n",
            "  quorom: 2\n",
            r"`council\.quorom`: is no key of a recipe; did you mean `quorum`",
        ),
        ("    - name: sceptic\n", "    - nam: sceptic\n", r"is no key of a recipe; did you mean `name`"),
        ("  quorum: 2\n", "  asks: opinons\n", r"`council\.asks` is 'opinons', which is no recipe"),
        ("  quorum: 2\n", "  asks: consult\n", r"with the recipe 'consult': it always asks a person"),
        ("  quorum: 2\n", "  asks: split\n", r"with the recipe 'split': it splits"),
        ("    positions:\n", "    placed:\n", r"its schema needs `positions`"),
        ("grounding: required\n", "grounding: optional\n", r"a council's decision must cite its members"),
    ],
)
def test_what_can_not_be_asked_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in COUNCIL
    text = COUNCIL.replace(old, new, 1)
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, council=text)


def test_a_member_can_not_fall_back_to_an_answer_without_its_persona(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has a `fallback`, which would answer without the persona"):
        load(
            tmp_path,
            opinion=OPINION.replace("grounding: required\n", "grounding: required\nfallback: task\n", 1),
        )


def test_a_members_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    mine = OPINION.replace("name: opinion\n", "name: council_sceptic\n", 1).replace("kinds: [opinion]\n", "")
    with pytest.raises(RecipeError, match="'council_sceptic', and there is one of that name"):
        load(tmp_path, council_sceptic=mine)
