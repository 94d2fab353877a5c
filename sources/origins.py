"""From a command line's PATH... to files and their bytes: the one module of `sources` that touches a disk."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from models.errors import SourceError
from sources.reading import DEFAULT_MAX_BYTES, too_large

SUFFIXES = frozenset({".md", ".markdown", ".txt"})
"""What a folder is searched for. A file that is named itself may have any suffix."""
SKIPPED_FOLDERS = frozenset({"node_modules", ".venv", "venv", "__pycache__"})
REPORT_MARK = "<!-- penstock report -->"
"""First line of Penstock's own reports. A folder's search leaves them out: a report is no evidence for the next."""
_PIPES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # `penstock parse <(command)` gives such a path


@dataclass(frozen=True, slots=True)
class Origin:
    """One thing to read. `name` is what the user sees; `path` is None for standard input (name "-")."""

    name: str
    path: Path | None


STDIN = Origin("-", None)


def expand(paths: Sequence[str]) -> list[Origin]:
    """The files that PATH... means, in the order given (inside a folder: sorted), each once.

    A path is a file, a folder (its *.md, *.markdown and *.txt, recursively; hidden folders, node_modules,
    virtual environments, symbolic links and what .gitignore names are left out), a glob, or "-" for standard
    input.
    Raises SourceError for what is not there or holds nothing to read.
    """
    if not paths:
        raise SourceError("no path given. Name a file, a folder, a glob, or - for standard input.")
    found: dict[object, Origin] = {}
    for given in paths:
        if given == "-":
            found.setdefault(None, STDIN)
            continue
        try:
            for path in _expand_one(given):
                found.setdefault(os.path.realpath(path), Origin(str(path), path))
        except (OSError, ValueError) as error:
            raise SourceError(
                f"{_shown(given)}: {_reason(error)}. Check the path and its permissions."
            ) from error
    return list(found.values())


def read(origin: Origin, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The bytes of one origin; never holds more than `max_bytes` + 1 of them. Raises SourceError."""
    try:
        if origin.path is None:
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            size = origin.path.stat().st_size
            if size > max_bytes:
                raise too_large(origin.name, size, max_bytes)
            with origin.path.open("rb") as stream:
                data = stream.read(max_bytes + 1)
    except OSError as error:
        raise SourceError(f"{origin.name}: {_reason(error)}. Check the path and its permissions.") from error
    if len(data) > max_bytes:
        raise too_large(origin.name, len(data), max_bytes)
    return data


def _shown(given: str) -> str:
    return given if given.isprintable() else repr(given)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _expand_one(given: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        files = list(_walk(path))
        if not files:
            raise SourceError(
                f"{_shown(given)}: the folder has no {', '.join(sorted(SUFFIXES))} file to read."
            )
        return files
    if path.exists():
        if not stat.S_ISREG(path.stat().st_mode) and not str(path).startswith(_PIPES):
            raise SourceError(
                f"{_shown(given)}: not a regular file. Give a file, a folder, a glob, or - for standard input."
            )
        return [path]
    if glob.has_magic(given):
        named = "." in os.path.basename(given)
        matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))
        files = [
            match for match in matches if match.is_file() and (named or match.suffix.lower() in SUFFIXES)
        ]
        if not files:
            raise SourceError(f"{_shown(given)}: no file matches. Check the pattern; ** goes into folders.")
        return files
    raise SourceError(
        f"{_shown(given)}: no such file or folder. Check the path; quote a glob to have it expanded here."
    )


def _walk(root: Path) -> Iterator[Path]:
    """Depth first in sorted order. Links are not followed: they loop, or lead out of the named folder."""
    pending: list[tuple[Path, tuple[tuple[Path, GitIgnoreSpec], ...]]] = [(root, _ignored_above(root))]
    while pending:
        folder, rules = pending.pop()
        rules = _with_rules(folder, rules)
        folders: list[Path] = []
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = folder / entry.name
            if entry.is_symlink() or entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED_FOLDERS and not _ignored(path, rules, folder=True):
                    folders.append(path)
            elif _is_source(entry, path) and not _ignored(path, rules) and not _is_report(path):
                yield path
        pending.extend((path, rules) for path in reversed(folders))


def _is_source(entry: os.DirEntry[str], path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and entry.is_file()


def _is_report(path: Path) -> bool:
    mark = REPORT_MARK.encode()
    try:
        with path.open("rb") as stream:
            return stream.read(len(mark)) == mark
    except OSError:
        return False  # reading it later says why it can't be read


def _ignored_above(root: Path) -> tuple[tuple[Path, GitIgnoreSpec], ...]:
    """The .gitignore files between the repository's top and `root`, if `root` is in a repository."""
    absolute = root.absolute()
    chain = [absolute, *absolute.parents]
    top = next((i for i, folder in enumerate(chain) if (folder / ".git").exists()), None)
    rules: tuple[tuple[Path, GitIgnoreSpec], ...] = ()
    if top is not None:
        for folder in reversed(chain[1 : top + 1]):
            rules = _with_rules(folder, rules)
    return rules


def _with_rules(
    folder: Path, rules: tuple[tuple[Path, GitIgnoreSpec], ...]
) -> tuple[tuple[Path, GitIgnoreSpec], ...]:
    file = folder / ".gitignore"
    if not file.is_file():
        return rules
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return (*rules, (folder.absolute(), GitIgnoreSpec.from_lines(lines)))


def _ignored(path: Path, rules: tuple[tuple[Path, GitIgnoreSpec], ...], *, folder: bool = False) -> bool:
    absolute = path.absolute()
    for base, spec in reversed(rules):  # the nearest .gitignore has the last word
        relative = absolute.relative_to(base).as_posix() + ("/" if folder else "")
        verdict = spec.check_file(relative).include
        if verdict is not None:
            return verdict
    return False
