"""Where things are, as a person reads it."""

from __future__ import annotations

import os
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


def absolute(given: str, base: Path | None = None) -> str:
    """What was given as a board, so that it means the same from another working directory: a file, folder, glob or
    FOLDER@REV:PATH. Standard input and the issues of a repository have no place."""
    if given == "-" or given.startswith("github:"):
        return given
    return os.path.normpath(os.path.join(base or Path.cwd(), os.path.expanduser(given)))


def repository_of(folder: Path) -> Path | None:
    """The nearest folder upward that has a .git: the top of a checkout. None outside of any."""
    folder = Path(os.path.abspath(folder))
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
