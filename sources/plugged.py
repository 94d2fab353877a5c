"""Dialects that other packages add, by entry points of the group `penstock.sources` (docs/plugins.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint
from typing import TypeVar

from models.errors import SettingsError, SourceError
from models.plugins import SOURCES, load, origin, plugins
from sources.document import Document
from sources.outline import Outline

Result = TypeVar("Result")
Plugged = tuple[str, Callable[[Document], float], Callable[[Document], Outline]]


def plugged(taken: Iterable[str]) -> list[Plugged]:
    """Name, score and parse of each. Raises SettingsError for a module that is none, or has a name that is taken."""
    points = plugins(SOURCES)
    return [_loaded(point, frozenset(taken)) for point in points.values()] if points else []


@lru_cache(maxsize=64)
def _loaded(point: EntryPoint, taken: frozenset[str]) -> Plugged:
    module = load(point)
    name, score, parse = (getattr(module, part, None) for part in ("NAME", "score", "parse"))
    if not (isinstance(name, str) and name and callable(score) and callable(parse)):
        raise SettingsError(
            f"{origin(point)} offers the dialect {point.name!r} as {point.value!r}, which lacks one of NAME, score, "
            "parse. Install a version of it that fits this Penstock, or uninstall it."
        )
    if name in taken:
        raise SettingsError(
            f"{origin(point)} offers a dialect named {name!r}, which Penstock has itself. Uninstall it, or rename it."
        )
    whose = origin(point)
    return name, _guarded(score, whose), _guarded(parse, whose)


def _guarded(call: Callable[[Document], Result], whose: str) -> Callable[[Document], Result]:
    """Ours never raise on any text; of others that is not known, and one board must not end a run of a thousand."""

    def run(document: Document) -> Result:
        try:
            return call(document)
        except Exception as error:  # foreign code may raise anything
            raise SourceError(
                f"the dialect of {whose} failed on it ({type(error).__name__}: {error}). Uninstall that package, "
                "or tell its author."
            ) from error

    return run
