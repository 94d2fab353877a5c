"""What is stored, as it is looked at: items in lists, one item with all about it, boards."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.board import Finding
from models.council import DecisionRecord
from models.enums import Declared, Lane, Status
from models.review import Try


class State(StrEnum):
    """A status as people read it: what waits for another item is told apart from what only has open parts, and what the
    board ticked from what another item does, and both from what else is not done."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    BLOCKED = "blocked"
    PENDING = "pending"
    FAILED = "failed"
    DONE = "done"
    TICKED = "ticked"
    ELSEWHERE = "elsewhere"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, status: int, blocked: bool, declared: str = "", refused: bool = False) -> State:
        """`refused`: another item does the same work."""
        if status == Status.SKIPPED:
            if refused:
                return cls.ELSEWHERE
            return cls.TICKED if declared == Declared.DONE else cls.SKIPPED
        return cls.BLOCKED if blocked and status == Status.PENDING else cls(Status(status).label)

    @property
    def settled(self) -> bool:
        return self is State.DONE or self.untouched

    @property
    def untouched(self) -> bool:
        """Is there nothing to be done for it here, and was nothing done?"""
        return self in (State.TICKED, State.ELSEWHERE, State.SKIPPED, State.CANCELLED)

    @property
    def told(self) -> State:
        """As JSON has it: one word for all that is skipped."""
        return State.SKIPPED if self in (State.TICKED, State.ELSEWHERE) else self


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items; empty: all. `boards`: ids; None: of every board."""

    boards: tuple[int, ...] | None = None
    statuses: tuple[Status, ...] = ()
    declared: tuple[Declared, ...] = ()
    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # all of them, in the title, the text or the id
    ready: bool = False  # only what can run now, in the order in which it will
    blocked: bool = False

    @property
    def narrows(self) -> bool:
        """Does it leave items of its boards out?"""
        return bool(self.statuses or self.declared or self.kinds or self.words or self.ready or self.blocked)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item that another waits for, and is not settled."""

    item_id: int
    source: str
    line: int  # 0: a gate between phases, it has no line
    ext_id: str | None
    title: str
    status: str

    @property
    def name(self) -> str:
        return named(self.ext_id, self.title)


@dataclass(slots=True)
class ItemRow:
    """One item of a list."""

    id: int
    board_id: int
    source: str
    parent_id: int | None
    status: int
    priority: int
    recipe: str | None
    run_after: datetime
    ext_id: str | None
    kind: str
    title: str
    line: int
    depth: int
    declared: str
    labels: dict[str, Any]
    review: int | None  # the open one
    blocked: bool
    refused: bool  # another item does the same work
    waits_for: list[Wanted] = field(default_factory=list)  # the first of them
    waits_for_count: int = 0

    @property
    def state(self) -> State:
        return State.of(self.status, self.blocked, self.declared, self.refused)

    @property
    def name(self) -> str:
        return named(self.ext_id, self.title)

    def as_json(self) -> dict[str, Any]:
        return {
            "item_id": self.id,
            "board": self.source,
            "line": self.line,
            "id": self.ext_id,
            "kind": self.kind,
            "title": self.title,
            "declared": self.declared,
            "status": Status(self.status).label,
            "blocked": self.blocked,
            "priority": self.priority,
            "recipe": self.recipe,
            "run_after": self.run_after,
            "parent": self.parent_id,
            "depth": self.depth,
            "labels": self.labels,
            "review": self.review,
            "waits_for": [
                {
                    "item_id": wanted.item_id,
                    "board": wanted.source,
                    "line": wanted.line,
                    "id": wanted.ext_id,
                    "title": wanted.title,
                    "status": wanted.status,
                }
                for wanted in self.waits_for
            ],
            "waits_for_count": self.waits_for_count,
        }


@dataclass(frozen=True, slots=True)
class Accepted:
    """An item's current result."""

    text: str
    citations: list[dict[str, Any]]
    accepted_by: str
    simulated: bool
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class ReviewLine:
    """One review of an item, open or decided."""

    id: int
    error_type: str
    reason: str
    opened_at: datetime
    decision: str | None
    note: str | None
    decided_by: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class ItemCase:
    """One item with all that is known of it. Long lists are cut; their whole length stands beside."""

    row: ItemRow
    body: str
    written_needs: list[str]  # as on the board
    origin: str
    removed_at: datetime | None
    attempts: int
    above: list[ItemRow]  # from the top down
    parts: list[ItemRow]
    parts_by_state: dict[State, int]  # all of them; what waits for another item is pending here
    needs: list[ItemRow]
    needs_count: int
    needed_by: list[ItemRow]
    needed_by_count: int
    findings: list[Finding]
    tries: list[Try]
    result: Accepted | None
    reviews: list[ReviewLine]
    decisions: list[DecisionRecord] = field(default_factory=list)  # of its councils, the latest first

    @property
    def parts_by_status(self) -> dict[str, int]:
        """As JSON has them."""
        found: Counter[str] = Counter()
        for state, number in self.parts_by_state.items():
            found[state.told] += number
        return dict(found)

    def as_json(self) -> dict[str, Any]:
        return {
            **self.row.as_json(),
            "body": self.body,
            "written_needs": self.written_needs,
            "origin": self.origin,
            "removed_at": self.removed_at,
            "attempts": self.attempts,
            "above": [item.as_json() for item in self.above],
            "parts": [item.as_json() for item in self.parts],
            "parts_by_status": self.parts_by_status,
            "needs": [item.as_json() for item in self.needs],
            "needs_count": self.needs_count,
            "needed_by": [item.as_json() for item in self.needed_by],
            "needed_by_count": self.needed_by_count,
            "findings": [finding.as_json() for finding in self.findings],
            "tries": [asdict(one) for one in self.tries],
            "result": asdict(self.result) if self.result else None,
            "reviews": [asdict(one) for one in self.reviews],
            "decisions": [one.as_json() for one in self.decisions],
        }


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One board of the list."""

    id: int
    source: str
    dialect: str
    encoding: str
    title: str
    sha256: str
    ingested_at: datetime
    delta: dict[str, int] | None  # what its latest version changed
    passed: bool | None  # the checks of its table; None: never checked
    rows: int | None  # that were checked
    items: int
    steps: int
    settled: int
    waiting: int
    errors: int
    warnings: int
    infos: int
    lane: int  # models.enums.Lane
    wip: int | None  # items of it that may run at once; None: any number

    @property
    def findings(self) -> int:
        return self.errors + self.warnings + self.infos

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        values["lane"] = Lane(self.lane).label
        values["finding_counts"] = {name: values.pop(f"{name}s") for name in ("error", "warning", "info")}
        return values


@dataclass(frozen=True, slots=True)
class BoardCase:
    """One board with its findings and what the checks of its table said."""

    row: BoardRow
    validation: dict[str, Any] | None
    statuses: dict[str, int]
    findings: list[Finding]

    def as_json(self) -> dict[str, Any]:
        return {
            **self.row.as_json(),
            "statuses": self.statuses,
            "validation": self.validation,
            "findings": [finding.as_json() for finding in self.findings],
        }


def named(ext_id: str | None, title: str) -> str:
    """An item's name: its id on the board and its title, the id once."""
    return f"{ext_id} {title}" if ext_id and ext_id not in title else title


def delta_words(delta: dict[str, int]) -> str:
    """`3 changed, 1 moved, 174 unchanged`."""
    parts = [
        f"{delta[name]} {words}"
        for name, words in (
            ("added", "new"),
            ("changed", "changed"),
            ("status_changed", "with another mark"),
            ("moved", "moved"),
            ("removed", "removed"),
            ("unchanged", "unchanged"),
        )
        if delta.get(name)
    ]
    return ", ".join(parts) or "no items"
