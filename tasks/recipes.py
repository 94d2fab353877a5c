"""Recipes: the built-in files of recipes/ and a person's own in PENSTOCK_HOME/recipes, which win by name.

Loading checks all that can be known without a model or Great Expectations: the front matter, the schema, the
names and columns of checks, the templates (each is rendered once with sample text) and what recipes say of one
another. A wrong file is a RecipeError that names the file, the line where it is known, and what to do.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from models.errors import RecipeError
from models.recipe import ROLLUP, Recipe
from models.settings import Settings
from tasks.council.personas import with_members
from tasks.prompts import render
from tasks.recipe_file import parse_recipe

__all__ = ["Recipes", "load_recipes", "render"]

BUILT_IN = Path(__file__).resolve().parent.parent / "recipes"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
REST = "*"
SPLIT = "split"


class Recipes(dict[str, Recipe]):
    """Recipes by name. Not changed after loading."""

    def __init__(self, recipes: dict[str, Recipe], by_kind: dict[str, str]) -> None:
        super().__init__(recipes)
        self._by_kind = by_kind

    def __missing__(self, name: str) -> Recipe:
        raise RecipeError(
            f"There is no recipe {name!r}; there are {', '.join(sorted(self))}. "
            f"Correct the name, or write recipes/{name}.md in PENSTOCK_HOME."
        )

    def for_kind(self, kind: str) -> Recipe:
        """The recipe that does items of this kind: the one that names it, else the one for the rest ("*")."""
        return self[self._by_kind.get(kind) or self._by_kind[REST]]

    def may_be_named(self, name: str) -> bool:
        """May an item on a board ask for this recipe? Not for what splits, rolls up, or speaks for a council."""
        recipe = self.get(name)
        return recipe is not None and recipe.member_of is None and name != ROLLUP and not recipe.header.splits

    def kinds(self) -> list[str]:
        """The kinds that recipes name, without the one for the rest."""
        return [kind for kind in self._by_kind if kind != REST]

    def splitting(self) -> Recipe | None:
        """The recipe that splits an item whose kind does not say so: `split`, else the first by name that can."""
        able = sorted(name for name, recipe in self.items() if recipe.header.splits)
        return self[SPLIT if SPLIT in able else able[0]] if able else None


def load_recipes(settings: Settings) -> Recipes:
    """Read and check all recipes. Raises RecipeError for the first file that is wrong."""
    built_in = _load_folder(BUILT_IN)
    own = _load_folder(settings.home / "recipes")
    recipes = {**built_in, **own}
    by_kind = _kinds({name: recipe for name, recipe in built_in.items() if name not in own}) | _kinds(own)
    if REST not in by_kind:
        raise RecipeError('No recipe has the kind "*", so some items would have none. Give it to one recipe.')
    _check_fallbacks(recipes)
    return Recipes(with_members(recipes), by_kind)


def read_recipe(path: Path, *, named: bool = True) -> Recipe:
    """One file, checked on its own. `named`: it must be called as its recipe is. Raises RecipeError."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"{path}: can't be read: {error.strerror}. Make it readable or remove it."
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path}: is not UTF-8 (byte {error.start} is 0x{data[error.start]:02x}). Save it as UTF-8."
        ) from error
    recipe = _parsed(text, str(path), hashlib.sha256(data).hexdigest())
    if named and recipe.name != path.stem:
        raise RecipeError(
            f"{path}: the name in it is {recipe.name!r}; it must be that of the file, {path.stem!r}."
        )
    return recipe


@lru_cache(maxsize=256)
def _parsed(text: str, path: str, digest: str) -> Recipe:
    """The same file is read by each run of a process, and takes 3 ms to check."""
    header, system, prompt = parse_recipe(text, path)
    return Recipe(header, system, prompt, text, digest, path)


def _load_folder(folder: Path) -> dict[str, Recipe]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".md" and path.stem != "README")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RecipeError(
            f"{folder}: can't be read: {error.strerror}. It must be a readable folder of recipes."
        ) from error
    for path in paths:
        if not _NAME.fullmatch(path.stem):
            raise RecipeError(
                f"{path}: {path.stem!r} is no name for a recipe: small Latin letters, digits and _ only."
            )
    return {path.stem: read_recipe(path) for path in paths}


def _kinds(recipes: dict[str, Recipe]) -> dict[str, str]:
    owners: dict[str, str] = {}
    for recipe in recipes.values():
        for kind in recipe.header.kinds:
            if (other := owners.setdefault(kind, recipe.name)) != recipe.name:
                raise RecipeError(
                    f"{recipe.path}: the kind {kind!r} is also that of {recipes[other].path}. "
                    f"Take it out of one of them."
                )
    return owners


def _check_fallbacks(recipes: dict[str, Recipe]) -> None:
    for recipe in recipes.values():
        seen = [recipe.name]
        while (after := recipes[seen[-1]].header.fallback) is not None:
            if after not in recipes:
                raise RecipeError(
                    f"{recipes[seen[-1]].path}: `fallback` is {after!r}, which is no recipe; "
                    f"there are {', '.join(sorted(recipes))}."
                )
            seen.append(after)
            if after in seen[:-1]:
                raise RecipeError(
                    f"{recipe.path}: `fallback` goes in a circle ({' -> '.join(seen)}). Take one of them out."
                )
