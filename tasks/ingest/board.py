"""Store a parsed board: one transaction, a handful of statements however large it is."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from psycopg.rows import TupleRow

from models.board import Finding, ParsedBoard
from models.enums import Declared, Lane, Severity, Status
from models.errors import ServiceError
from sql.deadlocks import again_after_deadlock
from sql.statements import statement
from tasks.ingest.identity import Stored, identify, out_of_order
from tasks.ingest.rows import BOARD, Row, Rows, board_rows
from tasks.redaction import secret_findings
from tasks.validate import TableVerdict, check_items

STAGES = ["parse", "ingest"]
CHECK_CRASHED = "check_crashed"
COUNTS = ("added", "changed", "moved", "removed", "status_changed", "unchanged")

Connection = psycopg.Connection[TupleRow]


@dataclass(slots=True)
class Delta:
    """What one ingest changed, in items of the board. An item can be counted as changed and as moved."""

    board_id: int
    source: str
    added: int = 0  # new, or back after a removal
    changed: int = 0  # title, body or kind: its work begins anew
    moved: int = 0  # other parent or other place among its siblings
    removed: int = 0
    status_changed: int = 0  # only what the board declares of it
    unchanged: int = 0
    findings: list[Finding] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def as_json(self) -> dict[str, Any]:
        findings = [finding.as_json() for finding in self.findings]
        return {"board_id": self.board_id, "source": self.source, **self.counts(), "findings": findings}


@again_after_deadlock
def ingest_board(
    connection: Connection, board: ParsedBoard, *, source: str, lane: Lane | None = None, zone: str = "UTC"
) -> Delta:
    """Store a board under `source`, its identity: the absolute path, or "stdin:<hash>" and the like.

    `lane`: of a board that is new; None is the normal one. A board that is known keeps its own (tasks/lanes.py changes
    it). `zone`: where the day of a deadline ends.

    The same bytes again change nothing and give the same findings. After an edit only what was edited changes:
    an item whose content is another starts anew, also one that runs (its report is then ignored); one that was
    ticked is skipped, unless Penstock settled it; one that is gone is cancelled and kept, unless it is done; what
    a person rejected stays so until its content changes. A row that fails the checks is a finding and left out.
    Safe to call from several processes at once. Raises ServiceError when the checks can't run, psycopg.Error; then
    nothing was changed.
    """
    with connection.transaction():
        if (same := _same(connection, board, source)) is not None:
            return same
    with _no_collector():
        return _changed(connection, board, source, Lane.NORMAL if lane is None else lane, zone)


@contextmanager
def _no_collector() -> Iterator[None]:
    """100,000 rows are half a million objects without a cycle; looking for some takes a third of an ingest."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _changed(connection: Connection, board: ParsedBoard, source: str, lane: Lane, zone: str) -> Delta:
    verdict = _checked(board, source)  # seconds on the first call: before the lock
    rows = board_rows(board, verdict.bad_rows, zone)
    rows.findings += [
        Finding(bad.code, Severity.ERROR, bad.line, f"{bad.message} The row was left out.")
        for bad in verdict.findings
    ]
    rows.findings += secret_findings(board.text)
    with connection.transaction():
        connection.execute(statement("ingest.lock"), {"source": source})
        if (same := _same(connection, board, source)) is not None:
            return same
        return _store(connection, board, source, rows, verdict.validation, lane)


def _checked(board: ParsedBoard, source: str) -> TableVerdict:
    verdict = check_items(
        [
            {
                "title": item.title,
                "line": item.line,
                "ordinal": item.ordinal,
                "status": str(item.status),
                "priority": item.priority,
                "depth": item.depth,
            }
            for item in board.items
        ]
    )
    # Leaving all rows out would take the whole board for removed.
    if crash := next((bad for bad in verdict.findings if bad.code == CHECK_CRASHED), None):
        raise ServiceError(
            f"{source}: its items can't be checked: {crash.message} Nothing was changed; run this again."
        )
    return verdict


def _same(connection: Connection, board: ParsedBoard, source: str) -> Delta | None:
    known = connection.execute(statement("ingest.board"), {"source": source}).fetchone()
    if known is None or (known[1], known[2]) != (board.sha256, board.dialect):
        return None
    scope = {"board": known[0], "stages": STAGES}
    findings = connection.execute(statement("ingest.findings"), scope)
    delta = Delta(
        known[0],
        source,
        findings=[Finding(code, Severity(level), line, text) for code, level, line, text in findings],
    )
    count = connection.execute(statement("ingest.count_items"), scope).fetchone()
    delta.unchanged = count[0] if count else 0
    return delta


def _store(
    connection: Connection,
    board: ParsedBoard,
    source: str,
    rows: Rows,
    validation: dict[str, Any],
    lane: Lane,
) -> Delta:
    before = connection.execute(statement("ingest.board"), {"source": source}).fetchone()
    if before is not None and before[2] != board.dialect:
        message = (
            f"the board is read as {board.dialect}, it was {before[2]} before: what is an item may be another. If that "
            "is not meant, name the dialect (--dialect)."
        )
        rows.findings.insert(0, Finding("dialect_changed", Severity.INFO, 0, message))
    kept = connection.execute(
        statement("ingest.keep_board"),
        {
            "source": source,
            "dialect": board.dialect,
            "encoding": board.encoding,
            "title": board.title.replace("\0", ""),
            "sha256": board.sha256,
            "validation": orjson.dumps(validation).decode(),
            "lane": int(lane),
        },
    ).fetchone()
    assert kept is not None
    board_id = int(kept[0])
    stored = [Stored(*row) for row in connection.execute(statement("ingest.stored"), {"board": board_id})]
    partners = identify(rows.rows, stored)
    delta = Delta(board_id, source, findings=[*board.findings, *rows.findings])
    actions = _compare(delta, rows.rows, stored, partners)

    new = [row for row in rows.rows if row.item_id is None]
    said = [row for row in rows.rows if row.item_id is not None and _says_other(row, partners[row.item_id])]
    _number(connection, new)
    placed = [
        row for row in rows.rows if row.item_id in partners and _stands_elsewhere(row, partners[row.item_id])
    ]
    # All items in the order of their ids; their reviews after them, as a person's decision locks the two.
    touched = {*actions, *(row.item_id for row in placed)}
    connection.execute(statement("ingest.lock_items"), {"board": board_id, "touched": list(touched)})
    _write_transitions(connection, actions)
    if new:
        _add(connection, board_id, new, lane=int(kept[1]))
    if said:
        connection.execute(statement("ingest.keep_sources"), _source_columns(said))
    if placed:
        connection.execute(statement("ingest.place_items"), _places(placed))
    if stored:
        connection.execute(statement("ingest.move_splits"), {"board": board_id})
    replace_findings(connection, board_id, {"parse": board.findings, "ingest": rows.findings})
    counts = orjson.dumps(delta.counts()).decode()
    connection.execute(statement("ingest.keep_delta"), {"board": board_id, "delta": counts})
    connection.execute(statement("ingest.advance_board"), {"board": board_id})
    return delta


def _compare(
    delta: Delta, rows: Sequence[Row], stored: Sequence[Stored], partners: dict[int, Stored]
) -> dict[int, tuple[str, int]]:
    """Count what happened to each item, and say what follows: item id to action and fresh status
    (sql/ingest.sql, transition)."""
    actions: dict[int, tuple[str, int]] = {}
    moved = out_of_order(rows, {key: item for key, item in partners.items() if not item.removed})
    parents = {item.parent_id for item in stored if not item.removed}
    for row in rows:
        counted = int(row.origin == BOARD)
        item = partners.get(row.item_id) if row.item_id is not None else None
        if item is None:
            delta.added += counted
            continue
        content = item.content_hash != row.content_hash
        ticked = item.declared != row.declared
        action = _action(row, item, content=content, reshaped=row.container != (item.id in parents))
        if action:
            actions[item.id] = (action, int(_fresh(row)))
        if item.removed:
            delta.added += counted
            continue
        same_parent = item.parent_id == row.parent.item_id if row.parent else item.parent_id is None
        other_place = not same_parent or item.id in moved
        delta.changed += counted * content
        delta.moved += counted * other_place
        delta.status_changed += counted * (ticked and not content)
        delta.unchanged += counted * (not content and not other_place and not ticked)
    for item in stored:
        if not item.removed and item.id not in partners:
            delta.removed += int(item.origin == BOARD)
            actions[item.id] = ("remove", int(Status.CANCELLED))
    return actions


def _action(row: Row, item: Stored, *, content: bool, reshaped: bool) -> str | None:
    if content:
        return "redo"
    if item.removed:
        return "restore"
    if reshaped:
        return "reshape"
    if row.container:
        return None  # its status is rolled up from its children, whatever the board says of it
    was_open = Declared(item.declared).is_open
    if was_open and not row.declared.is_open:
        return "close"
    if not was_open and row.declared.is_open:
        return "reopen"
    return None


def _fresh(row: Row) -> Status:
    return Status.PENDING if row.container or row.declared.is_open else Status.SKIPPED


def _number(connection: Connection, new: Sequence[Row]) -> None:
    """Ids in the board's order, given here so that one statement can insert parents and children."""
    if not new:
        return
    ids = connection.execute(statement("ingest.new_ids"), {"count": len(new)}).fetchall()
    # An implied phase has the position of its first item and stands before it.
    in_order = sorted(new, key=lambda row: (row.position, row.origin == BOARD))
    for row, (item_id,) in zip(in_order, ids, strict=True):
        row.item_id = item_id


def _write_transitions(connection: Connection, actions: dict[int, tuple[str, int]]) -> None:
    if not actions:
        return
    names, fresh = zip(*actions.values(), strict=True)
    rows = connection.execute(
        statement("ingest.transition"), {"ids": list(actions), "actions": list(names), "fresh": list(fresh)}
    )
    status: dict[int, int] = dict(rows.fetchall())
    moved = list(status)
    parts = connection.execute(statement("ingest.drop_splits"), {"ids": moved}).fetchall()
    connection.execute(statement("ingest.close_reviews"), {"ids": [*moved, *(part[0] for part in parts)]})

    def those(*wanted: str) -> dict[str, list[int]]:
        return {"ids": [item_id for item_id in moved if actions[item_id][0] in wanted]}

    connection.execute(statement("ingest.supersede_results"), those("redo", "reshape", "reopen"))
    connection.execute(statement("ingest.forget_rejections"), those("redo"))
    others = those("redo", "reshape", "close")["ids"]
    gone = [(item_id, status[item_id]) for item_id in those("remove")["ids"]]
    others += [item_id for item_id, now in [*gone, *parts] if now != Status.DONE]
    if others:
        connection.execute(statement("ingest.release_work"), {"ids": others})
    connection.execute(statement("ingest.mark_removed"), those("remove"))


def _add(connection: Connection, board_id: int, new: Sequence[Row], *, lane: int) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(statement("ingest.copy_items")) as copy:
            for row in new:
                parent = row.parent.item_id if row.parent else None
                copy.write_row(
                    (
                        row.item_id,
                        board_id,
                        parent,
                        row.key,
                        row.position,
                        int(_fresh(row)),
                        row.priority,
                        lane,
                        row.length,
                        row.deadline,
                        row.model,
                        row.model,
                        row.backend,
                    )
                )
        with cursor.copy(statement("ingest.copy_sources")) as copy:
            for row in new:
                copy.write_row(
                    (
                        row.item_id,
                        row.ext_id,
                        row.kind,
                        row.title,
                        row.body,
                        row.line,
                        row.depth,
                        row.declared.value,
                        orjson.dumps(row.labels).decode() if row.labels else "{}",
                        row.needs or "{}",
                        row.content_hash,
                        row.origin,
                    )
                )


def _says_other(row: Row, item: Stored) -> bool:
    """Does the board say of the item anything else than what is stored (sql/ingest.sql, keep_sources)?"""
    return item.removed or (
        row.line != item.line
        or row.content_hash != item.content_hash
        or row.title != item.title
        or row.body != item.body
        or row.kind != item.kind
        or row.declared != item.declared
        or row.ext_id != item.ext_id
        or row.depth != item.depth
        or row.labels != (item.labels or {})
        or row.needs != item.needs
    )


def _stands_elsewhere(row: Row, item: Stored) -> bool:
    parent = row.parent.item_id if row.parent else None
    here = (parent, row.position, row.priority, row.length, row.deadline, row.model, row.backend)
    there = (
        item.parent_id,
        item.position,
        item.priority,
        item.length,
        item.deadline,
        item.model,
        item.backend,
    )
    return here != there


def _places(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {
        "ids": [row.item_id for row in rows],
        "parents": [row.parent.item_id if row.parent else None for row in rows],
        "positions": [row.position for row in rows],
        "priorities": [row.priority for row in rows],
        "lengths": [row.length for row in rows],
        "deadlines": [row.deadline for row in rows],
        "models": [row.model for row in rows],
        "backends": [row.backend for row in rows],
    }


def _source_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    return {
        "ids": [row.item_id for row in rows],
        "ext_ids": [row.ext_id for row in rows],
        "kinds": [row.kind for row in rows],
        "titles": [row.title for row in rows],
        "bodies": [row.body for row in rows],
        "lines": [row.line for row in rows],
        "depths": [row.depth for row in rows],
        "declared": [str(row.declared) for row in rows],
        "labels": [orjson.dumps(row.labels).decode() for row in rows],
        "needs": [orjson.dumps(row.needs).decode() for row in rows],
        "hashes": [row.content_hash for row in rows],
    }


def replace_findings(connection: Connection, board_id: int, by_stage: dict[str, Sequence[Finding]]) -> None:
    """Put the findings of these stages in the place of what they found before."""
    flat = [(stage, finding) for stage, findings in by_stage.items() for finding in findings]
    connection.execute(statement("ingest.drop_findings"), {"board": board_id, "stages": list(by_stage)})
    if flat:
        connection.execute(
            statement("ingest.add_findings"),
            {
                "board": board_id,
                "stages": [stage for stage, _ in flat],
                "codes": [finding.code for _, finding in flat],
                "severities": [str(finding.severity) for _, finding in flat],
                "lines": [finding.line for _, finding in flat],
                "messages": [finding.message.replace("\0", "") for _, finding in flat],
            },
        )
