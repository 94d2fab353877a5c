"""Write-back: the marks of a board's file are brought in step with what Penstock knows. Opt-in.

Only the mark of an item whose state changed is changed, and nothing else (sources.marks). The file must be the very
version that was ingested; it is replaced in one step, or not at all.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared, Status
from models.errors import SourceError
from models.words import quoted
from sources import Origin, decode, parse
from sources.marks import Edit, rewrite
from sql.statements import statement
from tasks.ingest import ingest_board

Connection = psycopg.Connection[TupleRow]

_SAYS = {Status.DONE: Declared.DONE, Status.CANCELLED: Declared.SKIPPED}


class NotIngested(SourceError):
    """The file is no board that was run."""


@dataclass(slots=True)
class WriteBack:
    """What was, or would be, written to one board."""

    source: str
    marks: int = 0
    not_written: list[str] = field(default_factory=list)  # sentences: which item and why
    diff: str = ""  # unified

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "marks": self.marks,
            "not_written": self.not_written,
            "diff": self.diff,
        }


@dataclass(frozen=True, slots=True)
class _Due:
    line: int
    ext_id: str | None
    title: str
    kind: str
    declared: str
    item_id: int
    status: int
    accepted_by: str | None
    review: int | None

    @property
    def note(self) -> str:
        if self.status == Status.CANCELLED:
            return f"penstock: item {self.item_id}, rejected in review {self.review}"
        by = {"person": "by a person", "checks": "by its checks"}.get(
            self.accepted_by or "", "its parts are settled"
        )
        return f"penstock: item {self.item_id}, accepted {by}" if self.accepted_by else f"penstock: {by}"


def write_back(
    connection: Connection,
    path: Path,
    *,
    today: date,
    max_bytes: int,
    note: bool = False,
    dry_run: bool = False,
    zone: str = "UTC",
) -> WriteBack:
    """Bring the marks of one board's file in step with its items' states, or with `dry_run` only say how.

    `zone`: where the day of a deadline ends, as the board was ingested.

    Done becomes done, what a person rejected becomes skipped; what a mark can't say is left and told. Raises
    SourceError when the file was changed since it was ingested (also between reading and replacing it), is no
    ingested board, or can't be written; then it is as it was. What was written is ingested: it changes no state, as
    the board now says what was known.
    """
    real = path.resolve()
    source = Origin(str(path), path).source("")
    known = connection.execute(statement("write_back.board"), {"source": source}).fetchone()
    if known is None:
        raise NotIngested(
            f"{path}: not ingested yet, so there is no state to write. `penstock run {path}` first."
        )
    board_id, sha256, dialect = known
    data, before = _read(real)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SourceError(
            f"{path}: it was changed since it was ingested; nothing was written. Run `penstock run {path}` again, then "
            "write back."
        )
    due = [_Due(*row) for row in connection.execute(statement("write_back.due"), {"board": board_id})]
    result = WriteBack(str(path))
    if not due:
        return result
    board = parse(data, str(path), dialect, max_bytes)
    edits = list(_edits(board.items, due, note, result))
    made = rewrite(data, str(path), [edit for edit, _ in edits], today, max_bytes)
    refused = set(made.refused)
    # Where the mark is a part of the text, another mark would be another item: its answer would be thrown away.
    if other := _read_otherwise(board, parse(made.data, str(path), dialect, max_bytes)):
        refused |= {edit for edit, item in edits if (item.line, item.ordinal) in other}
        made = rewrite(data, str(path), [edit for edit, _ in edits if edit not in refused], today, max_bytes)
        if still := _read_otherwise(board, parse(made.data, str(path), dialect, max_bytes)):
            raise SourceError(
                f"{path}: with its marks changed, line {min(still)[0]} would be read as another item; nothing was "
                "written. Change the marks of this board by hand."
            )
    for edit, item in edits:
        if edit in refused:
            result.not_written.append(
                f"line {item.line}: {quoted(item.title)} has no mark that could say {edit.status}"
            )
    result.marks = len(edits) - len(refused)
    result.diff = _diff(data, made.data, str(path))
    if made.data != data and not dry_run:
        _replace(real, made.data, data, before)
        # What was written is the version that is known: the next write-back, or run, starts from there.
        written = parse(made.data, str(path), dialect, max_bytes)
        ingest_board(connection, written, source=source, zone=zone)
    return result


def _edits(
    items: list[ParsedItem], due: list[_Due], note: bool, result: WriteBack
) -> list[tuple[Edit, ParsedItem]]:
    """The same bytes were ingested, so an item stands on the line it is stored with."""
    by_place = {(item.line, item.ext_id, " ".join(item.title.split())): item for item in items}
    edits: list[tuple[Edit, ParsedItem]] = []
    for one in due:
        item = by_place.get((one.line, one.ext_id, " ".join(one.title.split())))
        status = _SAYS[Status(one.status)]
        if item is None or item.mark is None:
            if one.kind != "step":
                result.not_written.append(
                    f"line {one.line}: {quoted(one.title)} has no mark of its own; it is {status}"
                )
            continue
        edits.append((Edit(item.mark, status, one.note if note else ""), item))
    return edits


def _read_otherwise(before: ParsedBoard, after: ParsedBoard) -> set[tuple[int, int]]:
    """Places of items that are read with other words or another parent than before."""

    def facts(board: ParsedBoard) -> dict[tuple[int, int], tuple[object, ...]]:
        return {
            (item.line, item.ordinal): (item.title, item.body, item.kind, item.ext_id, item.parent_line)
            for item in board.items
        }

    old, new = facts(before), facts(after)
    return {place for place in old.keys() | new.keys() if old.get(place) != new.get(place)}


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        with path.open("rb") as stream:
            return stream.read(), os.fstat(stream.fileno())
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}. Check the path and its permissions.") from error


def _replace(path: Path, data: bytes, expected: bytes, before: os.stat_result) -> None:
    """The whole file in one step, with its permissions; a crash leaves the old one or the new one."""
    if before.st_nlink > 1:
        raise SourceError(
            f"{path}: it has {before.st_nlink} names (hard links), and replacing it would leave the others behind. "
            "Nothing was written; make it one file, or change the marks by hand."
        )
    if not os.access(path, os.W_OK):
        raise SourceError(f"{path}: it is read-only. Nothing was written; allow writing to it first.")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".penstock")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, stat.S_IMODE(before.st_mode))
            with contextlib.suppress(PermissionError):  # only its owner and root may give a file away
                os.chown(temporary, before.st_uid, before.st_gid)
            current, now = _read(path)
            if current != expected or (now.st_ino, now.st_dev) != (before.st_ino, before.st_dev):
                raise SourceError(
                    f"{path}: somebody changed it while it was to be written; nothing was written. Run this again."
                )
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SourceError(f"{path}: it could not be written: {error.strerror}. It is as it was.") from error


def _diff(old: bytes, new: bytes, name: str) -> str:
    """As `git apply` takes it: line ends as they are, and said where the last line has none."""
    before, after = (_lines(data) for data in (old, new))
    made = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made
    )


def _lines(data: bytes) -> list[str]:
    text = data.decode(decode(data, "", len(data) + 1).encoding, errors="replace")
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]  # what stands behind the last line end
    return lines if lines[-1] else lines[:-1]
