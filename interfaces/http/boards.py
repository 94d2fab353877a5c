"""Boards that come in: the signed webhook and uploads. Each accepted one starts one run of the pipeline."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

import sources
from interfaces.http import inbox
from interfaces.http.deliveries import accept, known
from interfaces.http.door import Authorised, TheDoor
from interfaces.http.errors import Refusal, read_as
from interfaces.http.signatures import verified
from tasks.upkeep import Delivery

router = APIRouter()

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
    if (earlier := await known(door, key)) is not None:
        return await accept(door, earlier, form)
    given = read_as(BoardDelivery, body)
    path: Path
    if given.text is not None:
        path = inbox.board_path(door.settings.home / "inbox", given.board)
        content = given.text.encode("utf-8", "replace")
        await asyncio.to_thread(sources.decode, content, path.name)
        await asyncio.to_thread(inbox.store, path, content)
    else:
        roots = door.settings.sources or [Path.cwd()]
        path = await asyncio.to_thread(inbox.allowed_path, given.board, roots, door.settings.home)
    return await accept(door, Delivery(key, {"board": str(path)}), form)


@router.post("/boards", dependencies=[Authorised])
async def upload(request: Request, door: TheDoor) -> Response:
    """A board's content, in any dialect and encoding that a file may have. `?dialect=` names the dialect. With an
    `Idempotency-Key`, the same key starts one run."""
    key = request.headers.get("idempotency-key") or uuid.uuid4().hex
    if len(key) > 200 or not key.isascii() or not key.isprintable():
        raise Refusal(400, "bad_delivery_id", "Idempotency-Key must be 1 to 200 printable ASCII characters.")
    if (earlier := await known(door, f"upload:{key}")) is not None:
        return await accept(door, earlier, "upload")
    parameters = {}
    if dialect := request.query_params.get("dialect"):
        sources.parse(b"", "", dialect)  # raises SourceError for one that is not known
        parameters["dialect"] = dialect
    path = await inbox.store_upload(request, door.settings.home / "inbox", door.settings.max_source_bytes)
    return await accept(door, Delivery(f"upload:{key}", {"board": str(path), **parameters}), "upload")
