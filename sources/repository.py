"""Boards in a git repository at a revision: `FOLDER@REV:PATH` is FOLDER/PATH as it was in REV.

    .@v1.2                      the folder . as it was at the tag v1.2
    .@HEAD~3:docs/plan.md       one file
    ~/mirror/pumps.git@main     a bare repository
    repo@main:docs/*.md         a glob; ** goes into folders

With `git:` before it, it is never taken for anything else, and the revision may be left out: `git:repo:docs` is HEAD.
Only repositories of this machine are read, and only their objects: no checkout, no hook, no filter, no network.
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from models.errors import SourceError
from sources.folder import SUFFIXES, is_report, is_searched, is_source, is_taken
from sources.git import Entry, Git

SECONDS = 60.0
"""For all calls of git that one look at a repository needs."""
SCHEME = "git:"
REPORT = "report.md"
SUBMODULE = "160000"
NAMED = 3
"""Names that a sentence gives of what was left out."""

_PATH = re.compile(r":(?![^{]*\})")  # the first colon outside of braces: HEAD@{10:30}:docs


@dataclass(frozen=True, slots=True)
class Place:
    """What somebody wrote, in its parts. `path` is relative to `folder`; None is all of it."""

    folder: Path
    revision: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a repository at a commit. Paths hold bytes that are no UTF-8 as surrogates."""

    repository: str  # its folder, the same for all of its checkouts
    path: str  # inside the repository
    shown: str  # as somebody would write it: FOLDER@REV:PATH
    commit: str
    id: str
    size: int
    problem: str = ""  # why it can't be read


def place_of(given: str) -> Place | None:
    """The parts of FOLDER@REV:PATH, None for a text that is none. Raises SourceError for `git:` with no such folder.

    A folder's name may have an @ or a colon of its own: the longest beginning that is a folder is the folder.
    """
    explicit = given.startswith(SCHEME)
    text = given.removeprefix(SCHEME)
    if "://" in text and explicit:
        raise SourceError(
            f"{given}: only repositories of this machine are read. Clone it, and give the clone."
        )
    ends = [match.start() for match in re.finditer("[@:]" if explicit else "@", text)]
    for end in reversed([*ends, len(text)] if explicit else ends):
        folder = Path(os.path.expanduser(text[:end] or "."))
        if "\0" in text[:end] or not folder.is_dir():
            continue
        rest = text[end:]
        if not rest.startswith("@"):
            return Place(folder, "HEAD", rest[1:] or None)
        colon = _PATH.search(rest)
        revision, path = (rest[1 : colon.start()], rest[colon.end() :]) if colon else (rest[1:], "")
        return Place(folder, revision, path or None)
    if explicit:
        raise SourceError(f"{given}: there is no such folder. Write git:FOLDER@REV:PATH.")
    return None


def is_bare(folder: Path) -> bool:
    return (folder / "HEAD").is_file() and all((folder / name).is_dir() for name in ("objects", "refs"))


def files(given: str, place: Place) -> list[Blob]:
    """The files that it means, in the order of their paths. Raises SourceError for what is not there.

    Symbolic links and submodules are left out; a last entry says so as its `problem`.
    """
    git = Git(place.folder, SECONDS)
    try:
        repository, prefix = git.place()
    except SourceError as error:
        raise SourceError(
            f"{given}: there is no such file, and as a revision it can't be read: {error}"
        ) from None
    commit = git.commit(place.revision)
    if commit is None:
        raise SourceError(
            f"{given}: the repository {repository} has no commit {place.revision!r}. Give a branch, a tag or a commit; "
            f"`git -C {place.folder} log --all --oneline` lists them."
        )
    wanted = posixpath.normpath(prefix + (place.path or "."))
    if place.path is not None and (place.path.startswith("/") or wanted == ".." or wanted.startswith("../")):
        raise SourceError(
            f"{given}: {place.path!r} is no path inside the repository. Give one relative to it."
        )
    chosen = _chosen(given, git.tree(commit), "" if wanted == "." else wanted)
    found = [entry for entry in chosen if entry.is_file]
    sizes = git.sizes(entry.blob for entry in found)
    if [entry.path for entry in found] != [wanted] and not glob.has_magic(wanted):
        reports = _reports(git, found)
        found = [entry for entry in found if entry.blob not in reports]
    shown = f"{place.folder}@{place.revision}"
    blobs = []
    for entry in found:
        name = f"{shown}:{entry.path.removeprefix(prefix)}"
        missing = f"{name}: its contents are not in this partial clone. Give a full clone."
        size = sizes.get(entry.blob, 0)
        problem = "" if entry.blob in sizes else missing
        blobs.append(Blob(str(repository), entry.path, name, commit, entry.blob, size, problem))
    if left_out := [entry for entry in chosen if not entry.is_file]:
        sentence = f"{shown}: {_left_out(left_out)}"
        if not blobs:
            raise SourceError(sentence)
        blobs.append(Blob(str(repository), "", shown, commit, "", 0, sentence))
    return blobs


def read(blob: Blob) -> bytes:
    """The contents as they are stored in the repository. Raises SourceError, ServiceError."""
    return Git(Path(blob.repository), SECONDS).run("cat-file", "blob", blob.id)


def _chosen(given: str, entries: Iterable[Entry], wanted: str) -> list[Entry]:
    """Files, and the links and submodules in their places, of the path `wanted` ("": the whole tree)."""
    entries = list(entries)
    if exact := [entry for entry in entries if entry.path == wanted]:
        return exact
    inside = f"{wanted}/" if wanted else ""
    below = [entry for entry in entries if entry.path.startswith(inside)]
    if not below and glob.has_magic(wanted):
        pattern = wanted.split("/")
        named = "." in pattern[-1]
        found = [entry for entry in entries if (named or is_source(entry.path.rpartition("/")[2]))]
        if found := [entry for entry in found if _matches(entry.path.split("/"), pattern)]:
            return found
        raise SourceError(
            f"{given}: no file of that revision matches. Check the pattern; ** goes into folders."
        )
    if not below and wanted:
        raise SourceError(f"{given}: that revision has no {wanted!r}. Check the path and the revision.")
    found = [entry for entry in below if _taken(entry, entry.path[len(inside) :])]
    if not found:
        raise SourceError(
            f"{given}: the folder has no {', '.join(sorted(SUFFIXES))} file in that revision. Check the path."
        )
    return found


def _taken(entry: Entry, path: str) -> bool:
    return all(map(is_searched, path.split("/"))) if entry.mode == SUBMODULE else is_taken(path)


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """As glob: * and ? stay inside a name and do not begin a hidden one, ** is any number of folders."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    hidden = parts[0].startswith(".") and not pattern[0].startswith(".")
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or (not hidden and _matches(parts[1:], pattern))
    return not hidden and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _reports(git: Git, entries: Iterable[Entry]) -> set[str]:
    """Which blobs are reports that Penstock wrote."""
    candidates = [entry.blob for entry in entries if entry.path.rpartition("/")[2] == REPORT]
    return {blob for blob, content in git.blobs(candidates) if is_report(content)}


def _left_out(entries: list[Entry]) -> str:
    submodules = sum(entry.mode == SUBMODULE for entry in entries)
    counts = ((len(entries) - submodules, "symbolic link(s)"), (submodules, "submodule(s)"))
    words = " and ".join(f"{count} {what}" for count, what in counts if count)
    names = ", ".join(entry.path for entry in entries[:NAMED]) + (", ..." if len(entries) > NAMED else "")
    return f"{words} left out ({names}). Give what they point to, where it is wanted."
