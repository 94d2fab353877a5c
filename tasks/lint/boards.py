"""Read boards and collect what is odd about each, and about all of them together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sources
from models.board import Finding, ParsedBoard
from models.enums import Severity
from models.errors import SourceError
from models.lint import LintedFile, LintFinding, LintReport
from sources import backlog_md, prd
from tasks.lint.needs import among_all
from tasks.lint.paths import Places
from tasks.redaction import secret_findings

NOT_SAID_OF_SEVERAL = frozenset({"no_items"})
"""What is news only of one file that somebody named: among those of a folder, or that a hook gives, most text is
documentation."""


@dataclass(slots=True)
class _Board:
    file: LintedFile
    parsed: ParsedBoard


def lint(
    paths: Sequence[str],
    *,
    max_bytes: int = sources.DEFAULT_MAX_BYTES,
    dialect: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> LintReport:
    """The findings of all boards that `paths` means (see sources.expand); `progress` is told after each.

    A file that can't be read is a finding. Raises SourceError for a path that is not there, an unknown dialect, and
    when nothing can be read.
    """
    sources.parse(b"", "", dialect)
    origins = sources.expand(paths)
    given = [Path(path).expanduser() for path in paths]
    alone = origins[0] if len(paths) == len(origins) == 1 and _is_named(origins[0], paths[0]) else None
    places = Places([path for path in given if path.is_dir()])
    files: list[LintedFile] = []
    waiting: list[_Board] = []  # what can be judged only when all are read
    known: set[str] = set()
    for number, origin in enumerate(origins, 1):
        inside = origin.blob.path if origin.blob is not None else None
        file = LintedFile(origin.name, origin.path, inside)
        files.append(file)
        try:
            data = sources.read(origin, max_bytes)
            board = sources.parse(data, origin.name, dialect, max_bytes)
        except SourceError as error:
            message = str(error).removeprefix(f"{origin.name}: ")
            add(file, "", [Finding("unreadable_file", Severity.ERROR, 0, message)])
            continue
        finally:
            progress(number, len(origins))
        counts = board.counts()
        file.dialect, file.items = board.dialect, counts["total"]
        file.open, file.done = counts["open"], counts["done"]
        board.findings += [*places.broken(origin, board), *_left_out(board), *secret_findings(board.text)]
        if origin is not alone:
            board.findings = [each for each in board.findings if each.code not in NOT_SAID_OF_SEVERAL]
        known.update(_ids(board))
        if any(item.needs for item in board.items):
            waiting.append(_Board(file, board))
        else:
            add(file, board.text, board.findings)
    if all(file.dialect is None for file in files):
        raise SourceError(
            " ".join(f"{file.name}: {each.finding.message}" for file in files for each in file.findings)
        )
    if waiting:
        known |= _neighbours(
            waiting, known, frozenset(file.path.absolute() for file in files if file.path), max_bytes
        )
        boards = [(each.file.name, each.parsed) for each in waiting]
        for each, findings in zip(waiting, among_all(boards, known), strict=True):
            add(each.file, each.parsed.text, findings)
    return LintReport(files)


def _neighbours(
    waiting: Sequence[_Board], known: set[str], read: Collection[Path], max_bytes: int
) -> set[str]:
    """Ids in files that were not given, beside those that keep one task each and need what is not known.

    A hook is given the files that were changed, not those that they need.
    """
    folders: set[Path] = set()
    for each in waiting:
        path, board = each.file.path, each.parsed
        path = path.absolute() if path is not None else None
        needs = {need.lower() for item in board.items for need in item.needs}
        if path is not None and board.dialect == backlog_md.NAME and not needs <= known:
            folders |= {path.parent, *path.parent.parent.glob("*/")}
    found: set[str] = set()
    for path in sorted(path for folder in folders for path in folder.glob("*.md") if path not in read):
        try:
            board = sources.parse(sources.read(sources.Origin(str(path), path), max_bytes), path.name)
        except SourceError:
            continue  # nobody asked for this file; its id stays unknown, which is said
        if board.dialect == backlog_md.NAME:
            found.update(_ids(board))
    return found


def _is_named(origin: sources.Origin, given: str) -> bool:
    """Do these words name this very file, not a folder or a glob in which it was found?"""
    if origin.blob is not None:
        inside = given.rpartition(":")[2]
        return inside != given and f"/{origin.blob.path}".endswith(f"/{inside}")
    return origin.path is None or origin.path == Path(given).expanduser()


def _left_out(board: ParsedBoard) -> Iterator[Finding]:
    if board.dialect == prd.NAME and not board.items:
        from tasks.decompose.prd import left_out_finding  # a second of imports, which others are spared

        if finding := left_out_finding(board.text):
            yield finding


def _ids(board: ParsedBoard) -> set[str]:
    return {item.ext_id.lower() for item in board.items if item.ext_id}


def add(file: LintedFile, text: str, findings: Iterable[Finding]) -> None:
    """The findings in the order of their lines, each with its fingerprint.

    That is made from the code and the words of the line, with a number where two would be the same. So it stays while
    lines are added elsewhere, and the code host knows the finding again.
    """
    lines = text.split("\n") if text else []
    seen: Counter[str] = Counter()
    for finding in sorted(findings, key=lambda each: (each.line, each.code)):
        words = lines[finding.line - 1].split() if 0 < finding.line <= len(lines) else []
        digest = hashlib.sha256("\0".join((finding.code, *words)).encode("utf-8", "replace")).hexdigest()[:16]
        seen[digest] += 1
        file.findings.append(LintFinding(finding, f"{digest}:{seen[digest]}"))
