"""What other packages add: backends and dialects, by entry points.

A package that has in its pyproject.toml

    [project.entry-points."penstock.backends"]
    mine = "my_package.backend:MyBackend"

adds a backend named `mine`: something that is called with a models.settings.Endpoint and gives a models.calls.Backend.
An entry point of the group "penstock.sources" is a dialect module, with NAME, score and parse (docs/plugins.md).
Only names are read here; nothing is imported before it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from models.enums import BackendName
from models.errors import SettingsError

BACKENDS = "penstock.backends"
SOURCES = "penstock.sources"


def plugins(group: str) -> Mapping[str, EntryPoint]:
    """The installed entry points of a group by name. Raises SettingsError where two have one name."""
    return _found(group, tuple(sys.path))


@lru_cache(maxsize=8)
def _found(group: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise SettingsError(
                f"{origin(point)} and {origin(other)} both offer {point.name!r} in {group}. Uninstall one of them."
            )
        if group == BACKENDS and point.name in list(BackendName):
            raise SettingsError(
                f"{origin(point)} offers a backend named {point.name!r}, which Penstock has itself. Uninstall it, or "
                "rename its entry point."
            )
    return found


def origin(point: EntryPoint) -> str:
    """The package that an entry point comes from, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def load(point: EntryPoint) -> Any:
    """Import what an entry point names. Raises SettingsError that says whose it is and what went wrong."""
    try:
        return point.load()
    except Exception as error:  # noqa: BLE001  foreign code may raise anything at import
        raise SettingsError(
            f"{origin(point)} offers {point.name!r} as {point.value!r}, which can't be imported "
            f"({type(error).__name__}: {error}). Install a version of it that works, or uninstall it."
        ) from None


def is_backend(name: str) -> bool:
    """Known names first: reading the installed packages takes some 20 ms."""
    return name in list(BackendName) or name in plugins(BACKENDS)


def backend_names() -> tuple[str, ...]:
    """Those that Penstock has, then those of plug-ins."""
    return (*(str(name) for name in BackendName), *sorted(plugins(BACKENDS)))
