"""From a command line's PATH... to what is read and its bytes. Files, folders and pipes are read here, repositories
through sources.repository."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import SourceError
from sources import repository
from sources.folder import SUFFIXES, is_source, search
from sources.github import FULL_NAME
from sources.reading import DEFAULT_MAX_BYTES, too_large

_PIPES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # `penstock parse <(command)` gives such a path
_GITHUB = "github:"
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class Origin:
    """One thing to read. `name` is what the user sees; standard input is "-" and has nothing else.

    `problem` says why this can't be read: reading it raises that, so that one bad part does not end the rest.
    """

    name: str
    path: Path | None = None  # a file
    blob: repository.Blob | None = None  # a file of a git repository at a revision
    github: str = ""  # "owner/name": the issues that came by webhook. They are in the database
    problem: str = ""

    def source(self, sha256: str) -> str:
        """The board's identity, the same for all its versions: a file's absolute path, "git:<repository>:<path>" at
        whatever revision, "github:<owner>/<name>". What comes on standard input is a board of its own each time."""
        if self.path is not None:
            return printable(str(self.path.resolve()))
        if self.blob is not None:
            return printable(f"git:{self.blob.repository}:{self.blob.path}")
        return self.name if self.github else f"stdin:{sha256[:12]}"

    @property
    def revision(self) -> str | None:
        """The commit that it is read at, for a file of a repository."""
        return self.blob.commit if self.blob is not None else None


STDIN = Origin("-")


def expand(paths: Sequence[str]) -> list[Origin]:
    """What PATH... means, in the order given (inside a folder: sorted), each once.

    A path is a file; a folder, searched for what sources.folder names (hidden folders, node_modules, virtual
    environments, symbolic links and what git ignores are left out); a glob; FOLDER@REV or FOLDER@REV:PATH, a git
    repository at a revision; github:OWNER/NAME, the issues that came by webhook; or "-" for standard input.
    Raises SourceError for what is not there or holds nothing to read.
    """
    if not paths:
        raise SourceError("no path given. Name a file, a folder, a glob, or - for standard input.")
    found: dict[object, Origin] = {}
    folders: dict[Path, str] = {}
    for given in paths:
        if given == "-":
            found.setdefault(None, STDIN)
            continue
        try:
            for origin in _expand_one(given):
                found.setdefault(origin if origin.path is None else _real(origin.path, folders), origin)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"{printable(given)}: {_reason(error)}. Check the path and its permissions."
            ) from error
    return list(found.values())


def read(origin: Origin, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The bytes of one origin; never holds more than `max_bytes` + 1 of them. Raises SourceError."""
    if origin.problem:
        raise SourceError(origin.problem)
    if origin.github:
        raise SourceError(
            f"{origin.name}: these issues are in the database, where webhooks put them. `penstock run {origin.name}` "
            "reads them; here give a file that `gh issue list --json ...` wrote."
        )
    try:
        data = _bytes(origin, max_bytes)
    except OSError as error:
        raise SourceError(f"{origin.name}: {_reason(error)}. Check the path and its permissions.") from error
    if len(data) > max_bytes:
        raise too_large(origin.name, len(data), max_bytes)
    if data.startswith(_LFS) and len(data) < 1024:
        raise SourceError(
            f"{origin.name}: a pointer of Git LFS, its text is kept elsewhere. Fetch it with `git lfs pull`, and give "
            "the file of the checkout."
        )
    return data


def printable(text: str) -> str:
    """A path as text that can be printed and stored: bytes that are no UTF-8 become \\xNN."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)


def _real(path: Path, folders: dict[Path, str]) -> str:
    """The file's real path. `folders` has those of folders: of 50,000 files, most are in one that was seen."""
    if path.is_symlink():
        return os.path.realpath(path)
    if path.parent not in folders:
        folders[path.parent] = os.path.realpath(path.parent)
    return os.path.join(folders[path.parent], path.name)


def _bytes(origin: Origin, max_bytes: int) -> bytes:
    if origin.blob is not None:
        if origin.blob.size > max_bytes:
            raise too_large(origin.name, origin.blob.size, max_bytes)
        return repository.read(origin.blob)
    if origin.path is None:
        return sys.stdin.buffer.read(max_bytes + 1)
    size = origin.path.stat().st_size
    if size > max_bytes:
        raise too_large(origin.name, size, max_bytes)
    with origin.path.open("rb") as stream:
        return stream.read(max_bytes + 1)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _expand_one(given: str) -> Iterator[Origin]:
    path = Path(os.path.expanduser(given))
    if path.is_dir():
        yield from _folder(given, path)
    elif path.exists():
        if not stat.S_ISREG(path.stat().st_mode) and not str(path).startswith(_PIPES):
            raise SourceError(
                f"{printable(given)}: not a regular file. Give a file, a folder, a glob, or - for standard input."
            )
        yield _file(path)
    elif given.startswith(_GITHUB) and FULL_NAME.fullmatch(given.removeprefix(_GITHUB)):
        yield Origin(given, github=given.removeprefix(_GITHUB))
    elif (place := repository.place_of(given)) is not None:
        for blob in repository.files(given, place):
            yield Origin(printable(blob.shown), blob=blob, problem=blob.problem)
    elif glob.has_magic(given):
        yield from _glob(given, path)
    else:
        raise SourceError(
            f"{printable(given)}: no such file or folder. Check the path; quote a glob to have it expanded here."
        )


def _file(path: Path) -> Origin:
    return Origin(printable(str(path)), path)


def _folder(given: str, path: Path) -> Iterator[Origin]:
    read_any = False
    problems: list[Origin] = []
    for found in search(path):
        if isinstance(found, OSError):
            sentence = f"{printable(str(found.filename))}: {_reason(found)}. Check the folder's permissions."
            problems.append(Origin(printable(str(found.filename)), problem=sentence))
        else:
            read_any = True
            yield _file(found)
    if not read_any and problems:
        raise SourceError(" ".join(origin.problem for origin in problems))
    if not read_any:
        hint = f" It is a bare git repository: write {given}@main." if repository.is_bare(path) else ""
        raise SourceError(
            f"{printable(given)}: the folder has no {', '.join(sorted(SUFFIXES))} file to read.{hint}"
        )
    yield from problems


def _glob(given: str, path: Path) -> Iterator[Origin]:
    named = "." in os.path.basename(given)
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    files = [match for match in matches if match.is_file() and (named or is_source(match.name))]
    if not files:
        raise SourceError(f"{printable(given)}: no file matches. Check the pattern; ** goes into folders.")
    yield from map(_file, files)
