"""Which dialect a board is written in, and reading it so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType

from models.board import Finding, ParsedBoard
from models.enums import Severity
from models.errors import SourceError
from sources import (
    backlog_md,
    checklist,
    gfm,
    github_issues,
    handoff,
    kanban,
    lanes,
    obsidian_tasks,
    org,
    phase_plan,
    prd,
    priority_todo,
    spec_kit,
    task_master,
    taskpaper,
    todo_txt,
)
from sources.asked import take_asked
from sources.document import Document, read_document
from sources.outline import Outline, drop_lost
from sources.plugged import plugged
from sources.reading import DEFAULT_MAX_BYTES, decode

DOCUMENT = "document"
"""A text without items. It is knowledge, not work."""
_SAY_WHY = (task_master.NAME, prd.NAME)
"""Dialects that stay what they are without items, and say themselves why there is none."""


@dataclass(frozen=True, slots=True)
class Dialect:
    name: str
    score: Callable[[Document], float]  # 0.0 (not this one) to 1.0
    parse: Callable[[Document], Outline]


def _dialect(module: ModuleType) -> Dialect:
    return Dialect(module.NAME, module.score, module.parse)


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in map(
        _dialect,
        (
            kanban,
            phase_plan,
            priority_todo,
            handoff,
            lanes,
            obsidian_tasks,
            spec_kit,
            backlog_md,
            task_master,
            todo_txt,
            taskpaper,
            org,
            prd,
            checklist,
            gfm,
            github_issues,
        ),
    )
}


def dialects() -> Mapping[str, Dialect]:
    """Those that Penstock has, then those of plug-ins. Raises SettingsError for a plug-in that can't be used."""
    others = plugged(DIALECTS)
    return DIALECTS if not others else DIALECTS | {each[0]: Dialect(*each) for each in others}


def parse(
    data: bytes, source: str, dialect: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> ParsedBoard:
    """Read one board: its items, and everything odd about it as findings in line order.

    The dialect with the highest score reads it, unless `dialect` names one. Never fails on content; raises
    SourceError for binary data, for more than `max_bytes` bytes and for an unknown dialect.
    """
    known = dialects()
    if dialect is not None and dialect not in known and dialect != DOCUMENT:
        raise SourceError(f"unknown dialect {dialect!r}. Use one of {', '.join((*known, DOCUMENT))}.")
    decoded = decode(data, source, max_bytes)
    board = ParsedBoard(
        source=source,
        dialect=dialect or DOCUMENT,
        encoding=decoded.encoding,
        sha256=hashlib.sha256(data).hexdigest(),
        findings=decoded.findings,
        text=decoded.text,
    )
    if not decoded.text.strip():
        message = "the board is empty: there is nothing to do and nothing to remember. Is it the right file?"
        board.findings.insert(0, Finding("empty_board", Severity.WARNING, 0, message))
        return board
    document = read_document(decoded.text, PurePath(source).name)
    if dialect != DOCUMENT:
        chosen = known[dialect] if dialect else _best(document, known)
        outline = chosen.parse(document)
        if "???" in decoded.text or "\ufffd\ufffd" in decoded.text:
            drop_lost(outline)
        take_asked(outline)
        board.items = outline.items
        board.findings += outline.findings
        board.not_items = sorted(set(outline.not_items))
        if outline.items or dialect or chosen.name in _SAY_WHY:
            board.dialect = chosen.name
    board.title = document.title
    board.findings += document.findings
    if not board.items and board.dialect not in _SAY_WHY:
        message = "no checkbox, [STATE] line or status table was found: the text is knowledge, not work."
        board.findings.append(Finding("no_items", Severity.INFO, 0, message))
    board.findings.sort(key=lambda finding: finding.line)
    return board


def _best(document: Document, known: Mapping[str, Dialect]) -> Dialect:
    """The dialect with the highest score; plain task lists where none knows the text."""
    scores = {name: dialect.score(document) for name, dialect in known.items()}
    name = max(scores, key=lambda name: scores[name])
    return known[name if scores[name] > 0 else gfm.NAME]
