"""What a parser hands over: a board's items and findings, as read, before anything is stored.

Parsers are pure (bytes in, this out). They never raise on content: whatever is odd is a finding, and whatever
can't be read as an item is left as text. `penstock parse --json` prints `ParsedBoard.as_json()`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.enums import Declared, Severity

LONGEST_MODEL = 200
"""Characters of a model's name. Longer ones are no names, and an index could not hold them."""


@dataclass(slots=True)
class Finding:
    """Something wrong or odd that was seen at a place of a source."""

    code: str  # snake_case, stable: people filter on it
    severity: Severity
    line: int  # 1-based; 0 when it is about the whole file
    message: str  # what was seen, with the value, and what to do

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": str(self.severity),
            "line": self.line,
            "message": self.message,
        }


class Mark(NamedTuple):
    """Where a board says the status of an item: what a write-back replaces, and how it is written there.

    Columns count characters of the line as it stands in the file, without a byte order mark; `end` is exclusive
    and may be `start` (something is to be put in). `style` is a key of sources.marks.STYLES.
    """

    line: int  # 1-based; most often the item's own
    start: int
    end: int
    style: str


@dataclass(slots=True)
class ParsedItem:
    """One unit of work as the board states it.

    `line` is 1-based. One line may hold several items (a table row "A | #55–59" is a phase and its five issues):
    `line` and `ordinal` together are unique, the first item of a line has ordinal 0. `parent_line` is the line of
    the parent item, by id where ids say so and by indent otherwise; it means that line's ordinal 0 unless
    `parent_ordinal` says another (a whole tasks.json on one line), so the issues of a row have their own line as
    `parent_line`. `ext_id` is the id written on the board, None where there is none. `mark` is None where the
    board has no place for a status that could be changed without rewriting more than it.
    """

    line: int
    title: str
    # task, epic, feature, story, consult, reflect, step, phase, issue, next_step, check, plan
    kind: str = "task"
    status: Declared = Declared.TODO
    depth: int = 0
    ext_id: str | None = None
    parent_line: int | None = None
    body: str = ""  # detail lines, description, table cells: what a model needs beyond the title
    needs: list[str] = field(default_factory=list)  # ext_ids or "line:<n>" of items that must settle first
    # owner, estimate, section, phase, phase_order, commit, level, gate ...
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 2  # 0 highest .. 4 lowest
    # False: a step or note without a mark of its own inherits its parent's openness
    explicit_status: bool = True
    ordinal: int = 0
    parent_ordinal: int = 0
    mark: Mark | None = None

    @property
    def model(self) -> str | None:
        """The model that it is to be done by, where it names one."""
        if "model" not in self.labels:
            return None
        return " ".join(self.labels["model"].replace("\0", "").split())[:LONGEST_MODEL] or None

    @property
    def backend(self) -> str | None:
        """The backend that it names, which may be none that there is."""
        if "backend" not in self.labels:
            return None
        return self.labels["backend"].replace("\0", "").strip().lower() or None

    def as_json(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "depth": self.depth,
            "id": self.ext_id,
            "kind": self.kind,
            "title": self.title,
            "status": str(self.status),
            "parent_line": self.parent_line,
        }


class NotItem(NamedTuple):
    """A line that looks like a checkbox and is no item, and why."""

    line: int
    # code, comment, quote, front_matter, legend, template, placeholder, empty, link, criterion, lost, text
    reason: str


@dataclass(slots=True)
class ParsedBoard:
    """One parsed document of a source."""

    source: str  # the path or name as the user gave it
    dialect: str
    encoding: str  # utf-8, utf-8-sig, ...
    sha256: str
    title: str = ""
    items: list[ParsedItem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_items: list[NotItem] = field(default_factory=list)
    text: str = ""  # the decoded document, newlines as "\n": it becomes knowledge with its line numbers

    def counts(self) -> dict[str, int]:
        """`open` is todo + in_progress + blocked + partial; the shades are also counted on their own.

        Steps are in `items` but are no items of the board's own count: they have a count of their own.
        """
        by_status = Counter(item.status for item in self.items if item.kind != "step")
        total = sum(by_status.values())
        return {
            "total": total,
            "open": sum(n for status, n in by_status.items() if status.is_open),
            "done": by_status[Declared.DONE],
            "in_progress": by_status[Declared.IN_PROGRESS],
            "blocked": by_status[Declared.BLOCKED],
            "skipped": by_status[Declared.SKIPPED],
            "partial": by_status[Declared.PARTIAL],
            "steps": len(self.items) - total,
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "dialect": self.dialect,
            "encoding": self.encoding,
            "items": [item.as_json() for item in self.items],
            "counts": self.counts(),
            "findings": [finding.as_json() for finding in self.findings],
            "not_items": [{"line": line, "reason": reason} for line, reason in self.not_items],
        }
