"""What is paused: by a person at run time, or by Penstock, which strikes what fails again and again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

STRIKER = "penstock"
"""Whose pauses are strikes that no person has decided yet."""


class PauseKind(StrEnum):
    """What can be paused. Stored."""

    BOARD = "board"  # by board.source
    MODEL = "model"
    ENDPOINT = "endpoint"  # by models.endpoint.Endpoint.resource
    BACKEND = "backend"
    DEVICE = "device"
    RECIPE = "recipe"  # everywhere, or as "<recipe> <model>" on one model
    PACKING = "packing"  # of a recipe's items, everywhere or on one model: they are asked, each alone


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force."""

    kind: PauseKind
    name: str
    until: datetime | None  # None: until it is resumed
    reason: str
    by: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Paused:
    """What a drain may not do now."""

    boards: frozenset[int] = frozenset()  # ids
    models: frozenset[str] = frozenset()
    recipes: frozenset[str] = frozenset()
    recipe_models: frozenset[tuple[str, str]] = frozenset()  # recipe and model
    packing: frozenset[str] = frozenset()  # names, of a recipe or of "<recipe> <model>"
    whole: str | None = None  # why nothing at all is asked of this endpoint, as a sentence
    until: datetime | None = None  # when `whole` ends, where that is known

    def stops(self, recipe: str, model: str) -> bool:
        """May a recipe not be asked of a model (the one that is really asked, never "")?"""
        return recipe in self.recipes or model in self.models or (recipe, model) in self.recipe_models

    def packs(self, recipe: str, model: str) -> bool:
        """May several items of a recipe be asked of a model in one request?"""
        return recipe not in self.packing and f"{recipe} {model}" not in self.packing
