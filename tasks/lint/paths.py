"""Whether the files that a board names are there."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from models.board import Finding, ParsedBoard
from models.enums import Severity
from sources.git import Git
from sources.origins import Origin
from sources.paths import Mention, mentions
from tasks.places import repository_of

SECONDS = 30.0
MOST_NAMES = 2000
"""Entries of a folder among which a similar name is looked for."""
SHOWN = 10


class Places:
    """Where paths may lead to from. Remembers what it looked up."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = [os.path.abspath(root) for root in roots]
        self._tops: dict[str, str | None] = {}
        self._trees: dict[tuple[str, str], frozenset[str]] = {}
        self._there: dict[str, bool] = {}

    def broken(self, origin: Origin, board: ParsedBoard) -> list[Finding]:
        """The paths of a board that lead to nothing, each once, at the line that names it first.

        A board without a place (standard input) has no relative paths.
        """
        found = list(mentions(board)) if origin.path is not None or origin.blob is not None else []
        if not found:
            return []
        missing: dict[str, list[int]] = {}
        links: set[str] = set()
        for mention in found:
            if mention.path in missing or self._is_missing(origin, mention):
                missing.setdefault(mention.path, []).append(mention.line)
                if mention.link:
                    links.add(mention.path)
        return [self._finding(origin, path, lines, path in links) for path, lines in missing.items()]

    def _is_missing(self, origin: Origin, mention: Mention) -> bool:
        if origin.blob is not None:
            there = self._tree(origin.blob.repository, origin.blob.commit)
            folders = [posixpath.dirname(origin.blob.path), ""]
            path = mention.path.lstrip("/")
            return not any(posixpath.normpath(posixpath.join(each, path)) in there for each in folders)
        assert origin.path is not None
        folder, top = self._folders(origin.path)
        if mention.path.startswith("/"):  # from the root of a site, which may be the repository's
            return top is not None and not any(
                self._exists(base + mention.path) for base in (top, *self._roots)
            )
        bases = self._bases(folder, top)
        if any(self._exists(os.path.join(base, mention.path)) for base in bases):
            return False
        # Outside a repository, src/app.py may be of another project.
        first = mention.path.partition("/")[0]
        return (
            mention.link or top is not None or any(self._exists(os.path.join(base, first)) for base in bases)
        )

    def _finding(self, origin: Origin, path: str, lines: Sequence[int], link: bool) -> Finding:
        others = [str(line) for line in dict.fromkeys(lines) if line != lines[0]]
        also = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        what = "a link leads to" if link else "the item is done and names"
        message = (
            f"{what} {path}, but there is no such file{f' (also on line {also})' if also else ''}. "
            f"{self._similar(origin, path) or 'Correct the path, or restore the file.'}"
        )
        return Finding("broken_path", Severity.WARNING, lines[0], message)

    def _similar(self, origin: Origin, path: str) -> str:
        """A name that may have been meant, in the folder that the path leads to."""
        if origin.path is None:
            return ""
        folder, name = os.path.split(path)
        for base in self._bases(*self._folders(origin.path)):
            try:
                names = os.listdir(os.path.join(base, folder))
            except OSError:
                continue  # only a hint is lost
            if len(names) <= MOST_NAMES and (close := get_close_matches(name, names, 1, 0.75)):
                return f"Is it {os.path.join(folder, close[0])}?"
        return ""

    def _folders(self, path: Path) -> tuple[str, str | None]:
        folder = os.path.dirname(os.path.abspath(path))
        return folder, self._top(folder)

    def _bases(self, folder: str, top: str | None) -> list[str]:
        return list(dict.fromkeys([folder, *([top] if top is not None else []), *self._roots]))

    def _top(self, folder: str) -> str | None:
        if folder not in self._tops:
            top = repository_of(Path(folder))
            self._tops[folder] = str(top) if top is not None else None
        return self._tops[folder]

    def _exists(self, path: str) -> bool:
        if path not in self._there:
            self._there[path] = os.path.exists(path)
        return self._there[path]

    def _tree(self, repository: str, commit: str) -> frozenset[str]:
        key = repository, commit
        if key not in self._trees:
            self._trees[key] = frozenset(entry.path for entry in Git(Path(repository), SECONDS).tree(commit))
        return self._trees[key]
