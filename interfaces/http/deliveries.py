"""One delivery, one run: what was accepted is recorded first, and started once however often it is sent."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import Response

from deployments.runs import start_delivery
from interfaces.http.door import Door, json
from models.errors import OrchestratorError
from tasks.upkeep import Delivery, known_delivery, record_delivery

__all__ = ["accept", "known"]

logger = logging.getLogger("penstock.http")


async def known(door: Door, key: str) -> Delivery | None:
    """The delivery of that key, if it was accepted before."""
    connection = await door.database.aconnect(autocommit=True)
    try:
        return await known_delivery(connection, key)
    finally:
        await connection.close()


async def accept(door: Door, delivery: Delivery, source: str) -> Response:
    """Record, then start, then answer 202: the run may be asked for twice, it is there once."""
    connection = await door.database.aconnect(autocommit=True)
    try:
        stored = await record_delivery(connection, delivery, source)
    finally:
        await connection.close()
    found: dict[str, Any] = {"delivery": stored.id, "board": stored.parameters.get("board")}
    try:
        run = await start_delivery(door.prefect, door.database, stored)
    except OrchestratorError as error:
        # It is on disk: upkeep starts it as soon as the Prefect server answers.
        logger.warning("%s waits: %s", stored.id, error)
        return json(found | {"flow_run_id": None, "state": "accepted"}, 202)
    return json(found | {"flow_run_id": run, "state": "scheduled"}, 202)
