"""The recipes that a council's members are asked with: one for each, made of that of opinions and the persona.

So a persona is trusted text of a recipe, in front of the system's part. What one member is asked with has a hash of its
own, and questions to the same member share the beginning of their prompts.
"""

from __future__ import annotations

import hashlib
import re

from models.errors import RecipeError
from models.recipe import CouncilMember, Recipe, ReviewPolicy

_TEMPLATE = re.compile(r"\{[{%#]|[%}]\}")


def member_recipe(council: str, member: str) -> str:
    """The name of the recipe that this member is asked with."""
    return f"{council}_{member}"


def with_members(recipes: dict[str, Recipe]) -> dict[str, Recipe]:
    """All recipes with those of the councils' members. Raises RecipeError for a council that can't be asked."""
    made: dict[str, Recipe] = {}
    for council in recipes.values():
        rule = council.header.council
        if rule is None:
            continue
        _check(council, recipes)
        for member in rule.members:
            recipe = _asked_with(council, recipes[rule.asks], member)
            if recipe.name in recipes or recipe.name in made:
                raise RecipeError(
                    f"{council.path}: its member {member.name!r} is asked with the recipe {recipe.name!r}, and there "
                    f"is one of that name. Give the member another name."
                )
            made[recipe.name] = recipe
    return recipes | made


def _check(council: Recipe, recipes: dict[str, Recipe]) -> None:
    rule = council.header.council
    assert rule is not None
    opinion = recipes.get(rule.asks)
    if opinion is None:
        raise RecipeError(
            f"{council.path}: `council.asks` is {rule.asks!r}, which is no recipe; there are "
            f"{', '.join(sorted(recipes))}."
        )
    header = opinion.header
    for wrong, why in (
        (header.council is not None, "asks a council itself"),
        (header.splits, "splits"),
        (header.review is ReviewPolicy.ALWAYS, "always asks a person, so that no opinion would ever come"),
        (header.fallback is not None, "has a `fallback`, which would answer without the persona"),
    ):
        if wrong:
            raise RecipeError(
                f"{council.path}: members can't be asked with the recipe {rule.asks!r}: it {why}. Name another in "
                f"`council.asks`."
            )


def _asked_with(council: Recipe, opinion: Recipe, member: CouncilMember) -> Recipe:
    persona = member.persona.strip()
    if found := _TEMPLATE.search(persona):
        raise RecipeError(
            f"{council.path}: the persona of {member.name!r} has {found[0]!r}; it is plain text and no template. "
            f"Take it out."
        )
    name = member_recipe(council.name, member.name)
    header = opinion.header.model_copy(
        update={
            "name": name,
            "kinds": [],
            "examples": [],
            "model": member.model or opinion.header.model,
            "models": [] if member.model else opinion.header.models,
            "ladder": [] if member.model else opinion.header.ladder,
            "backends": opinion.header.backends or council.header.backends,
        }
    )
    text = f"# {name}: a member of {council.name}\n{persona}\n\n{opinion.text}"
    digest = hashlib.sha256(f"{member.model or ''}\0{text}".encode()).hexdigest()
    return Recipe(
        header,
        f"{persona}\n\n{opinion.system}",
        opinion.prompt,
        text,
        digest,
        council.path,
        member_of=council.name,
    )
