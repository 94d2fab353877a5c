"""What a person wants of the decomposition: settings, and what one run was told."""

from __future__ import annotations

from dataclasses import dataclass

from models.settings import Settings


@dataclass(frozen=True, slots=True)
class Wishes:
    split_above: int = 5  # items of a higher complexity are split; 0: none
    split_parts: int = 8  # a model is asked for so many parts at most
    approve: bool = False  # a person approves each split before parts of it run
    rollup: str = "true"  # true, false, split: which items get a synthesis of their parts
    duplicate_days: int = 30  # how long a work is done by one item only; 0: never refused

    @classmethod
    def of(cls, settings: Settings, *, approve: bool | None = None) -> Wishes:
        """`approve` is what this run was told; None takes the setting."""
        return cls(
            settings.split_above,
            settings.split_parts,
            settings.approve_plans if approve is None else approve,
            str(settings.rollup).lower(),
            settings.duplicate_days,
        )
