"""Review: record a person's decision, then see that what it released goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.opening import opened
from flows.remember import remember_accepted
from models.enums import Decision
from tasks.decompose import look_again
from tasks.review import decide

__all__ = ["review"]


def _name() -> str:
    parameters = flow_run.parameters or {}
    return f"{parameters.get('decision', 'decide')} review {parameters.get('review_id', '')}"


@flow(name="review", flow_run_name=_name)
async def review(
    review_id: int,
    decision: Decision,
    text: str | None = None,
    note: str | None = None,
    by: str = "prefect",
) -> dict[str, Any]:
    """Decide one review. Items that it released are drained by `execute/<backend>`, which the HTTP door starts."""
    async with opened() as (config, db):
        connection = await db.aconnect(autocommit=True)
        try:
            decided = await decide(connection, review_id, decision, text=text, note=note, by=by)
        finally:
            await connection.close()
        if decision is Decision.REJECT:
            await asyncio.to_thread(look_again, db, config)  # another may do the work that this one does not
    await remember_accepted()
    get_run_logger().info(
        "%s: %s by %s; %d items released.", decided.title, decided.decision, by, decided.released
    )
    return {"review": decided.review_id, "decision": str(decided.decision), "released": decided.released}
