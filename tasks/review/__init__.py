"""Human review: a table with its own life cycle. Waiting holds no lease, no slot, no process, no connection.

    waiting --accept--> done (the proposal becomes the result)      --reject--> cancelled (dependents go on)
            --edit----> done (the person's text is the result)      --retry---> ready (fresh attempts)

A review of the kind `plan` asks how an item is to be split: accept and edit make its parts, and the item is then what
they come to (pending); an edit is checked as a model's split is, and refused with the reason. Retry asks a model.

A review of the kind `strike` has no item: a recipe on a model, or a model, was stopped (tasks/execute/strikes.py).
Retry resumes it, reject leaves it stopped.

This module is the only owner of those transitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg

from models.enums import Decision
from models.errors import InputError
from models.review import Decided, OpenReview, ReviewCase, Try
from sql.statements import statement
from tasks.council.records import approve, ask_missing_again
from tasks.decompose import WHOLE, apply_plan, parse_plan
from tasks.decompose.split import PART_RECIPE
from tasks.foreign import storable
from tasks.pause import PauseKind, confirm, resume

PLAN = "plan"
STRIKE = "strike"

__all__ = ["decide", "open_reviews", "review_case"]


async def open_reviews(
    connection: psycopg.AsyncConnection,
    *,
    boards: Sequence[int] | None = None,
    error_type: str | None = None,
    kind: str | None = None,
) -> list[OpenReview]:
    """The queue, oldest first."""
    cursor = await connection.execute(
        statement("review.open_reviews"),
        {"boards": None if boards is None else list(boards), "error_type": error_type, "kind": kind},
    )
    return [OpenReview(*row) for row in await cursor.fetchall()]


async def review_case(connection: psycopg.AsyncConnection, review_id: int) -> ReviewCase:
    """One review with its history. Raises InputError when there is none of that number."""
    cursor = await connection.execute(statement("review.one_review"), {"review": review_id})
    row = await cursor.fetchone()
    if row is None:
        raise InputError(f"There is no review {review_id}. `penstock review list` shows the open ones.")
    review = OpenReview(*row[:15])
    details, decision, text, note, decided_by, decided_at, body = row[15:]
    history: list[Try] = []
    if review.item_id is not None:
        tries = await connection.execute(statement("review.history"), {"item": review.item_id})
        history = [Try(*entry) for entry in await tries.fetchall()]
    return ReviewCase(review, details, body, decision, text, note, decided_by, decided_at, history)


async def decide(
    connection: psycopg.AsyncConnection,
    review_id: int,
    decision: Decision,
    *,
    text: str | None = None,
    note: str | None = None,
    by: str,
) -> Decided:
    """Record a decision and let the item go on, in one transaction.

    Raises InputError when the review does not exist or was decided before, when EDIT comes without text, when
    ACCEPT finds no proposal to accept, when the item is no longer waiting (its board changed meanwhile), and when
    a strike is accepted or edited.
    """
    if decision is Decision.EDIT and not (text or "").strip():
        raise InputError("An edit needs the text that becomes the result. Give it with --text or --file.")
    text, note, by = text and storable(text), note and storable(note), storable(by)
    async with connection.transaction():
        parameters = {"review": review_id, "decision": str(decision), "text": text, "note": note, "by": by}
        await connection.execute(statement("review.hold_item"), parameters)
        await connection.execute(statement("review.hold_strike"), parameters)
        cursor = await connection.execute(statement("review.decide"), parameters)
        row = await cursor.fetchone()
        if row is None:
            case = await review_case(connection, review_id)
            raise InputError(
                f"Review {review_id} was decided before: {case.decision} by {case.decided_by}. Nothing was changed."
            )
        item_id, kind, proposal, details, title = row
        released = 0
        if kind == STRIKE:
            released = await _decide_strike(connection, review_id, decision, details, by)
        elif item_id is not None and kind == PLAN and decision in (Decision.ACCEPT, Decision.EDIT):
            released = await _decide_plan(connection, review_id, int(item_id), decision, text, details)
        elif item_id is not None:
            final = text if decision is Decision.EDIT else proposal
            released = await _move(connection, review_id, int(item_id), decision, final, details, by)
    return Decided(review_id, decision, item_id, title, released)


async def _decide_strike(
    connection: psycopg.AsyncConnection, review_id: int, decision: Decision, details: dict[str, Any], by: str
) -> int:
    """Resume what was stopped, and count the items that wait for it; or say that it stays stopped."""
    if decision in (Decision.ACCEPT, Decision.EDIT):
        raise InputError(
            f"Review {review_id} is of what was stopped, and has no answer. Retry lets it go on: "
            f"`penstock review retry {review_id}`; reject leaves it stopped."
        )
    recipe, model = details.get("recipe"), str(details["model"])
    kind, name = (PauseKind.RECIPE, f"{recipe} {model}") if recipe else (PauseKind.MODEL, model)
    if decision is Decision.REJECT:
        await confirm(connection, kind, name, by=by)
        return 0
    await resume(connection, kind, name, by=by)
    cursor = await connection.execute(statement("review.ready_again"), {"recipe": recipe, "model": model})
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _decide_plan(
    connection: psycopg.AsyncConnection,
    review_id: int,
    item_id: int,
    decision: Decision,
    text: str | None,
    details: dict[str, Any],
) -> int:
    """The plan's parts become items, or with the text `whole` the item is done without a split."""
    if decision is Decision.EDIT and (text or "").strip().lower() == WHOLE:
        moved = await connection.execute(
            statement("review.do_whole"), {"item": item_id, "recipe": PART_RECIPE}
        )
        row = await moved.fetchone()
        if row is None:
            raise InputError(
                f"The item of review {review_id} is no longer waiting: its board changed since. Nothing was changed."
            )
        released = await connection.execute(statement("review.release"), {"board": row[0]})
        row = await released.fetchone()
        return int(row[0]) if row else 0
    plan = parse_plan(text or "") if decision is Decision.EDIT else details.get("data") or {}
    if not plan.get("subtasks"):
        raise InputError(
            f"Review {review_id} has no plan that could be accepted. Write one: `penstock review edit {review_id}`, or "
            f"write {WHOLE!r} to have the item done without a split, or retry or reject it."
        )
    return await apply_plan(connection, item_id, plan)


async def _move(
    connection: psycopg.AsyncConnection,
    review_id: int,
    item_id: int,
    decision: Decision,
    text: str | None,
    details: dict[str, Any],
    by: str,
) -> int:
    if decision in (Decision.ACCEPT, Decision.EDIT):
        if not (text or "").strip():
            raise InputError(
                f"Review {review_id} has no proposed answer to accept. Write one: "
                f"`penstock review edit {review_id} --text ...`, or retry or reject it."
            )
        accepted = decision is Decision.ACCEPT
        statement_name, parameters = (
            "review.accept_item",
            {
                "item": item_id,
                "text": text,
                "data": orjson.dumps(details.get("data")).decode() if accepted else None,
                "citations": orjson.dumps((details.get("citations") or []) if accepted else []).decode(),
                "simulated": bool(details.get("simulated")) and accepted,
            },
        )
    else:
        statement_name = "review.retry_item" if decision is Decision.RETRY else "review.reject_item"
        parameters = {"item": item_id}
    moved = await connection.execute(statement(statement_name), parameters)
    row = await moved.fetchone()
    if row is None:
        raise InputError(
            f"The item of review {review_id} is no longer waiting: its board changed since. Nothing was changed."
        )
    if decision is Decision.RETRY:
        await ask_missing_again(connection, item_id)
        released = await connection.execute(statement("review.release"), {"board": row[0]})
        row = await released.fetchone()
        return int(row[0]) if row else 0
    if decision is Decision.REJECT:
        await connection.execute(statement("review.release_work"), {"item": item_id})
    else:
        await approve(connection, review_id, item_id, text or "", by=by, edited=decision is Decision.EDIT)
    advanced = await connection.execute(statement("execute.advance"), {"items": [item_id]})
    row = await advanced.fetchone()
    # A synthesis: its parts may have changed while the person decided.
    again = await connection.execute(statement("review.recheck_rollup"), {"item": item_id})
    more = await again.fetchone()
    return int((row and row[0]) or 0) + int((more and more[0]) or 0)
