"""From a parsed board to the rows that are stored: parents resolved, phases made items, statuses inherited. Pure."""

from __future__ import annotations

import hashlib
import unicodedata
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models.board import Finding, ParsedBoard, ParsedItem
from models.enums import Declared, Severity
from models.plugins import is_backend
from models.words import quoted
from tasks.ingest.deadlines import deadline

MAX_DEPTH = 64
"""Deeper items are put under their ancestor of this depth: every level costs the roll-up one more pass."""

BOARD = "board"  # stands on the board
PHASE = "phase"  # a barrier that the board implies by its headings
DOCUMENT = "document"  # a text that is work as a whole: the decomposer splits it by its sections
PRD = "prd"
LONGEST_DOCUMENT = 400_000
"""Characters of it that are kept as the item's body; the whole text is in memory."""


@dataclass(slots=True, eq=False)
class Row:
    """One item as it will be stored. Rows are ordered by depth, so that parents come before their children."""

    position: int  # order on the board
    parent: Row | None
    depth: int
    ext_id: str | None
    kind: str
    title: str
    body: str
    line: int
    declared: Declared
    priority: int
    labels: dict[str, str]
    needs: list[str]
    origin: str = BOARD
    deadline: datetime | None = None
    model: str | None = None  # the one that is named for it
    backend: str | None = None
    length: int = 0  # as a power of two
    name: str = ""  # the title in one spelling, for comparing
    content_hash: str = ""
    container: bool = False
    item_id: int | None = None
    key: uuid.UUID | None = None

    def __post_init__(self) -> None:
        self.name = normalised(self.title)
        self.content_hash = content_hash(self.title, self.body, self.kind)
        self.length = length(self.title, self.body)


@dataclass(slots=True)
class Rows:
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def content_hash(title: str, body: str, kind: str) -> str:
    """What an item's work depends on. Its status, place, needs and labels are not in it."""
    return hashlib.sha256("\0".join((" ".join(title.split()), body.strip(), kind)).encode()).hexdigest()


def length(title: str, body: str) -> int:
    """Characters of an item's text as a power of two, rounded up: what is as long takes a model about as long."""
    return max(len(title) + len(body) - 1, 0).bit_length()


def normalised(title: str) -> str:
    if title.isascii():  # the same, several times faster
        return " ".join(title.lower().split())
    return " ".join(unicodedata.normalize("NFKC", title).casefold().split())


def board_rows(board: ParsedBoard, bad: Collection[int] = (), zone: str = "UTC") -> Rows:
    """The rows of a board without its items number `bad` (0-based), whose children go to the next ancestor.

    `zone`: where the day of a deadline ends.
    """
    result = Rows()
    left_out = {id(board.items[number]) for number in bad}
    items = sorted(board.items, key=lambda item: (item.line, item.ordinal))
    places = {(item.line, item.ordinal): item for item in items}
    kept = [item for item in items if id(item) not in left_out]
    rows: dict[int, Row] = {}  # by id() of the parsed item
    for depth, item, parent in _by_depth(kept, places, left_out, result.findings):
        rows[id(item)] = _row(item, depth, rows[id(parent)] if parent is not None else None, zone)
    for position, item in enumerate(kept, 1):
        rows[id(item)].position = position
    result.rows = _with_phases(list(rows.values()))
    if board.dialect == PRD and not board.items and board.text.strip():
        result.rows.append(_document(board))
    for row in result.rows:
        if row.parent is not None:
            row.parent.container = True
    return result


def _document(board: ParsedBoard) -> Row:
    """A requirements document has no items of its own. It is one, which is no item of the board's count."""
    name = board.source.replace("\\", "/").rsplit("/", 1)[-1]
    return Row(
        position=1,
        parent=None,
        depth=0,
        ext_id=None,
        kind=PRD,
        title=_plain(board.title or name),
        body=_plain(board.text[:LONGEST_DOCUMENT]),
        line=1,
        declared=Declared.TODO,
        priority=2,
        labels={},
        needs=[],
        origin=DOCUMENT,
    )


def _row(item: ParsedItem, depth: int, parent: Row | None, zone: str) -> Row:
    closed_above = parent is not None and not parent.declared.is_open
    inherited = (
        parent.declared if parent is not None and closed_above and not item.explicit_status else item.status
    )
    due = deadline(item.labels["due"], zone) if "due" in item.labels else None
    return Row(
        position=0,
        parent=parent,
        depth=depth,
        ext_id=_plain(item.ext_id) if item.ext_id else None,
        kind=item.kind,
        title=_plain(item.title),
        body=_plain(item.body),
        line=item.line,
        declared=inherited,
        priority=item.priority,
        labels={_plain(name): _plain(value) for name, value in item.labels.items()},
        needs=[_plain(need) for need in dict.fromkeys(item.needs)],
        deadline=due or (parent.deadline if parent is not None else None),
        model=item.model or (parent.model if parent is not None else None),
        backend=_backend(item, parent),
    )


def _backend(item: ParsedItem, parent: Row | None) -> str | None:
    """The one that the item names, else its parent's. A word that is none was said in a finding: any may do it."""
    if item.backend is None:
        return parent.backend if parent is not None else None
    return item.backend if is_backend(item.backend) else None


def _plain(text: str) -> str:
    return text.replace("\0", "")  # Postgres' text can't hold it


def _by_depth(
    kept: Sequence[ParsedItem],
    places: dict[tuple[int, int], ParsedItem],
    left_out: Collection[int],
    findings: list[Finding],
) -> list[tuple[int, ParsedItem, ParsedItem | None]]:
    """(depth, item, parent), parents first; an item whose parents form a ring is put at the top."""
    found: dict[int, tuple[int, ParsedItem | None]] = {}
    for item in kept:
        if id(item) in found:
            continue
        above = _parent(item, places, left_out)
        known = found.get(id(above)) if above is not None else (-1, None)
        if (
            known is not None and known[0] < MAX_DEPTH
        ):  # as nearly always: the parent stands above it on the board
            found[id(item)] = (known[0] + 1, above)
            continue
        path: list[tuple[ParsedItem, ParsedItem | None]] = []
        on_path: set[int] = set()
        at: ParsedItem | None = item
        while at is not None and id(at) not in found:
            on_path.add(id(at))
            above = _parent(at, places, left_out)
            if above is not None and id(above) in on_path:
                message = f"{quoted(at.title)} is its own ancestor; it was put at the top. Correct the board."
                findings.append(Finding("parent_ring", Severity.WARNING, at.line, message))
                above = None
            path.append((at, above))
            at = above
        for at, above in reversed(path):
            if above is not None and found[id(above)][0] >= MAX_DEPTH:
                message = (
                    f"{quoted(at.title)} is deeper than {MAX_DEPTH} levels; it was put under a higher one."
                )
                findings.append(Finding("too_deep", Severity.WARNING, at.line, message))
                above = found[id(above)][1]
            found[id(at)] = (found[id(above)][0] + 1 if above is not None else 0, above)
    return sorted(
        ((found[id(item)][0], item, found[id(item)][1]) for item in kept), key=lambda entry: entry[0]
    )


def _parent(
    item: ParsedItem, places: dict[tuple[int, int], ParsedItem], left_out: Collection[int]
) -> ParsedItem | None:
    seen: set[tuple[int, int]] = set()
    line, ordinal = item.parent_line, item.parent_ordinal
    while line is not None and (line, ordinal) not in seen:
        seen.add((line, ordinal))
        parent = places.get((line, ordinal))
        if parent is None or parent is item:
            return None
        if id(parent) not in left_out:
            return parent
        line, ordinal = parent.parent_line, parent.parent_ordinal
    return None


def _with_phases(rows: list[Row]) -> list[Row]:
    """Where the board knows phases only by its headings, each becomes an item of its own above what stands in it.

    So a barrier is one need on one item, however many items stand on its two sides. Its line is 0: it is no line
    of the board, and no count of the board's items has it.
    """
    phases: dict[tuple[int, str], Row] = {}
    for row in rows:
        order = row.labels.get("phase_order", "")
        if row.parent is None and row.kind != "phase" and row.labels.get("phase") and order.isdecimal():
            phase = phases.get((int(order), row.labels["phase"]))
            if phase is None:
                phase = Row(
                    position=0,
                    parent=None,
                    depth=0,
                    ext_id=None,
                    kind="phase",
                    title=row.labels["phase"],
                    body=row.labels.get("goal", ""),
                    line=0,
                    declared=Declared.TODO,
                    priority=2,
                    labels={"phase_order": order},
                    needs=[],
                    origin=PHASE,
                )
                phases[int(order), row.labels["phase"]] = phase
            row.parent = phase
            phase.position = min(phase.position or row.position, row.position)
    return [*phases.values(), *rows]
