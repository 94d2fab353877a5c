"""Where things are, as a person reads it."""

from __future__ import annotations

from pathlib import Path


def shown(source: str, base: Path | None = None) -> str:
    """A stored source as a short path: relative to `base` (the working directory) where it is below it."""
    path = Path(source)
    if not path.is_absolute():
        return source
    try:
        return str(path.relative_to(base or Path.cwd()))
    except (ValueError, FileNotFoundError):  # elsewhere; or the working directory is gone
        return source
