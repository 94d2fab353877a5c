"""Read a report out of the database."""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import psycopg

from models.enums import SETTLED, Declared, Status
from models.recipe import ROLLUP
from sql.statements import statement
from tasks.council.convene import KIND as OPINION
from tasks.council.records import records
from tasks.places import shown
from tasks.report.blocked import explain
from tasks.report.models import BoardReport, Counts, ItemReport, Report

ITEM = re.compile(r"item:(\d{1,18})")  # how tasks/remember cites an accepted answer


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
    items: dict[int, list[ItemReport]] = defaultdict(list)
    for row in connection.execute(statement("report.items"), scope):
        items[row[1]].append(_item(row))
    _name_places(connection, [item for some in items.values() for item in some])
    _decisions(connection, boards, [item for some in items.values() for item in some])
    needs = _needs(connection, scope)
    for some in items.values():
        explain(some, needs)
        some[:] = [item for item in some if item.line]  # gates between phases stand on no line
    deltas = (run.get("params") or {}).get("deltas", {})
    reports = [
        BoardReport(
            board_id=board_id,
            source=shown(source),
            path=source,
            dialect=dialect,
            title=title,
            revision=revision,
            counts=_counts(items[board_id]),
            parts=sum(item.origin == "split" and not item.member for item in items[board_id]),
            syntheses=sum(item.synthesis and item.text is not None for item in items[board_id]),
            declared=dict(
                Counter(
                    item.declared
                    for item in items[board_id]
                    if item.origin == "board" and item.kind != "step"
                )
            ),
            statuses=dict(Counter(item.status for item in items[board_id])),
            items=items[board_id],
            findings=findings[board_id],
            delta=deltas.get(str(board_id)),
        )
        for board_id, source, dialect, title, revision in connection.execute(
            statement("report.boards"), scope
        ).fetchall()
    ]
    calls, _, prompt_tokens, completion_tokens, _, uncalled = _usage(connection, scope, run)
    return Report(
        run_id=str(run_id) if run_id else None,
        state=run.get("state", "running"),
        started_at=run.get("started_at"),
        finished_at=run.get("finished_at"),
        backend=run.get("backend"),
        endpoint=run.get("endpoint"),
        model=run.get("model"),
        error=run.get("error"),
        spilled=(run.get("params") or {}).get("spilled"),
        unreadable=(run.get("params") or {}).get("unreadable", []),
        gone=(run.get("params") or {}).get("gone", []),
        written=(run.get("params") or {}).get("written", []),
        simulated=any(item.simulated for board in reports for item in board.items),
        calls=calls,
        uncalled=uncalled,
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


def _name_places(connection: psycopg.Connection[Any], items: Sequence[ItemReport]) -> None:
    """Give each citation its `place`: of a document its cite, of an earlier answer the line of its item."""
    citations = [citation for item in items for citation in item.citations]
    numbers = {str(each.get("cite", "")): ITEM.fullmatch(str(each.get("cite", ""))) for each in citations}
    asked = [int(found[1]) for found in numbers.values() if found]
    rows = connection.execute(statement("report.places"), {"items": asked}) if asked else ()
    places = {f"item:{item_id}": f"the answer to {shown(source)}:{line}" for item_id, source, line in rows}
    for citation in citations:
        cite = str(citation.get("cite", ""))
        citation["place"] = places.get(cite, cite)


def _decisions(
    connection: psycopg.Connection[Any], boards: Sequence[int], items: Sequence[ItemReport]
) -> None:
    """Give the items of councils what these decided. Nothing is asked where there are none."""
    if not any(item.member for item in items):
        return
    found = records(connection, boards=boards, standing=True, limit=len(items))
    decided = {record.item_id: record.as_json() for record in reversed(found)}
    for item in items:
        item.decision = decided.get(item.item_id)


def _needs(connection: psycopg.Connection[Any], scope: dict[str, Any]) -> dict[int, list[int]]:
    needs: dict[int, list[int]] = defaultdict(list)
    for item_id, needs_id in connection.execute(statement("report.blocked_by"), scope):
        needs[item_id].append(needs_id)
    return needs


def _counts(items: Sequence[ItemReport]) -> Counts:
    work = Counter(item.status for item in items if item.work)
    own = [item for item in items if item.origin == "board" and item.kind != "step"]
    return Counts(
        items=len(own),
        steps=sum(item.origin == "board" for item in items) - len(own),
        ticked=sum(not Declared(item.declared).is_open for item in own),
        to_do=work.total(),
        done=work["done"],
        waiting=work["waiting"],
        blocked=work["pending"],
        queued=work["ready"] + work["running"],
        failed=work["failed"],
        rejected=work["cancelled"],
    )


def _item(row: Sequence[Any]) -> ItemReport:
    (item_id, _, parent, status, recipe, _, ext_id, kind, title, line, _, declared) = row[:12]
    text, citations, accepted_by, simulated, model, review_id, reason, error_type, origin, complexity = row[
        12:22
    ]
    refused, original, attempts = row[22:]
    synthesis = recipe == ROLLUP
    member = kind == OPINION and origin == "split"
    return ItemReport(
        item_id=item_id,
        parent=parent,
        line=line,
        id=ext_id,
        kind=kind,
        title=title,
        declared=declared,
        status=Status(status).label,
        work=recipe is not None
        and status != Status.SKIPPED
        and not ((synthesis or member) and status in SETTLED)
        and not (member and status == Status.FAILED),
        origin=origin,
        synthesis=synthesis,
        member=member,
        complexity=complexity,
        text=text,
        citations=citations or [],
        accepted_by=accepted_by,
        model=model,
        simulated=simulated,
        review=review_id,
        reason=reason,
        error_type=error_type,
        attempts=attempts or [],
        elsewhere=Status(original or Status.PENDING).label if refused else None,
    )
