"""Read a report out of the database."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg

from models.enums import Status
from sql.statements import statement
from tasks.report.models import BoardReport, ItemReport, Report


def progress(connection: psycopg.Connection[Any], boards: Sequence[int]) -> dict[Status, int]:
    """How many items (containers left out) are in each status."""
    rows = connection.execute(statement("report.progress"), {"boards": list(boards)}).fetchall()
    return {Status(status): count for status, count in rows}


def build(
    connection: psycopg.Connection[Any], boards: Sequence[int], *, run_id: uuid.UUID | None = None
) -> Report:
    """The report over `boards`; with `run_id` also that run's backend, times and usage."""
    scope = {"boards": list(boards)}
    run = _run(connection, run_id)
    findings: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for board_id, code, severity, line, message in connection.execute(statement("report.findings"), scope):
        findings[board_id].append({"code": code, "severity": severity, "line": line, "message": message})
    waits = _waits(connection, scope)
    items: dict[int, list[ItemReport]] = defaultdict(list)
    for row in connection.execute(statement("report.items"), scope):
        items[row[1]].append(_item(row, waits))
    reports = [
        BoardReport(
            board_id=board_id,
            source=source,
            dialect=dialect,
            title=title,
            declared=dict(Counter(item.declared for item in items[board_id] if item.line)),
            statuses=dict(Counter(item.status for item in items[board_id] if item.line)),
            items=[item for item in items[board_id] if item.line],
            findings=findings[board_id],
        )
        for board_id, source, dialect, title in connection.execute(
            statement("report.boards"), scope
        ).fetchall()
    ]
    calls, _, prompt_tokens, completion_tokens, _ = _usage(connection, scope, run)
    return Report(
        run_id=str(run_id) if run_id else None,
        state=run.get("state", "running"),
        started_at=run.get("started_at"),
        finished_at=run.get("finished_at"),
        backend=run.get("backend"),
        endpoint=run.get("endpoint"),
        model=run.get("model"),
        error=run.get("error"),
        simulated=any(item.simulated for board in reports for item in board.items),
        calls=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        boards=reports,
    )


def _run(connection: psycopg.Connection[Any], run_id: uuid.UUID | None) -> dict[str, Any]:
    if run_id is None:
        return {}
    cursor = connection.execute(statement("report.one_run"), {"id": run_id})
    row = cursor.fetchone()
    if row is None or cursor.description is None:
        return {}
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def _usage(
    connection: psycopg.Connection[Any], scope: dict[str, Any], run: dict[str, Any]
) -> tuple[Any, ...]:
    since = run.get("started_at", "-infinity")
    row = connection.execute(statement("report.usage"), scope | {"since": since}).fetchone()
    assert row is not None
    return tuple(row)


def _waits(connection: psycopg.Connection[Any], scope: dict[str, Any]) -> dict[int, list[str]]:
    waits: dict[int, list[str]] = defaultdict(list)
    for item_id, _, ext_id, title, status in connection.execute(statement("report.blocked_by"), scope):
        waits[item_id].append(f"{ext_id or title} ({Status(status).label})")
    return waits


def _item(row: Sequence[Any], waits: dict[int, list[str]]) -> ItemReport:
    (item_id, _, _, status, _, _, ext_id, kind, title, line, _, declared) = row[:12]
    text, citations, accepted_by, simulated, model, review_id, reason, error_type = row[12:]
    return ItemReport(
        item_id=item_id,
        line=line,
        id=ext_id,
        kind=kind,
        title=title,
        declared=declared,
        status=Status(status).label,
        text=text,
        citations=citations or [],
        accepted_by=accepted_by,
        model=model,
        simulated=simulated,
        review=review_id,
        reason=reason,
        error_type=error_type,
        waits_for=waits.get(item_id, []),
    )
