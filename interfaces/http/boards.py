"""Boards that come in: the signed webhook and uploads. Each accepted one starts one run of the pipeline."""

from __future__ import annotations

import asyncio
import logging
import uuid
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from deployments.runs import start_delivery
from interfaces.http import inbox
from interfaces.http.door import Authorised, Door, TheDoor, json
from interfaces.http.errors import Refusal, read_as
from interfaces.http.signatures import verified
from models.errors import OrchestratorError
from tasks.upkeep import Delivery, known_delivery, record_delivery

router = APIRouter()
logger = logging.getLogger("penstock.http")

WEBHOOK_BYTES = 1024 * 1024


class BoardDelivery(BaseModel):
    """The webhook's body. Further fields are the sender's own affair."""

    model_config = ConfigDict(extra="ignore")
    board: str = Field(min_length=1, max_length=4096)
    text: str | None = Field(default=None, min_length=1)


@router.post("/webhooks/board")
async def webhook(request: Request, door: TheDoor) -> Response:
    """A signed delivery. `board` is a path inside the allowed folders, or, with `text`, the name of a new board."""
    body = await inbox.read_body(request, WEBHOOK_BYTES)
    form, delivery_id = verified(request.headers, body, door.secret, door.clock())
    key = f"{form}:{delivery_id}"
    if (known := await _known(door, key)) is not None:
        return await _answer(door, known, form)
    given = read_as(BoardDelivery, body)
    path: Path
    if given.text is not None:
        path = inbox.board_path(door.settings.home / "inbox", given.board)
        await asyncio.to_thread(inbox.store, path, given.text.encode("utf-8", "replace"))
    else:
        roots = door.settings.sources or [Path.cwd()]
        path = await asyncio.to_thread(inbox.allowed_path, given.board, roots, door.settings.home)
    return await _answer(door, Delivery(key, {"board": str(path)}), form)


@router.post("/boards", dependencies=[Authorised])
async def upload(request: Request, door: TheDoor) -> Response:
    """A board's content. With an `Idempotency-Key`, the same key starts one run."""
    key = request.headers.get("idempotency-key") or uuid.uuid4().hex
    if len(key) > 200 or not key.isascii() or not key.isprintable():
        raise Refusal(400, "bad_delivery_id", "Idempotency-Key must be 1 to 200 printable ASCII characters.")
    if (known := await _known(door, f"upload:{key}")) is not None:
        return await _answer(door, known, "upload")
    path = await inbox.store_upload(request, door.settings.home / "inbox", door.settings.max_source_bytes)
    return await _answer(door, Delivery(f"upload:{key}", {"board": str(path)}), "upload")


async def _known(door: Door, key: str) -> Delivery | None:
    connection = await door.database.aconnect(autocommit=True)
    try:
        return await known_delivery(connection, key)
    finally:
        await connection.close()


async def _answer(door: Door, delivery: Delivery, source: str) -> Response:
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
