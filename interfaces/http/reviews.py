"""The review queue and a person's decisions."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from interfaces.http import inbox
from interfaces.http.door import Authorised, TheDoor, json
from interfaces.http.errors import read_as
from models.enums import Decision
from tasks.decompose import look_again
from tasks.review import decide, open_reviews

router = APIRouter(dependencies=[Authorised])

DECISION_BYTES = 8 * 1024 * 1024  # a million characters, escaped as JSON may escape them


class Given(BaseModel):
    """A decision; `text` is the result where it is `edit`."""

    model_config = ConfigDict(extra="forbid")
    decision: Decision
    text: str | None = Field(default=None, max_length=1_000_000)
    note: str | None = Field(default=None, max_length=10_000)
    by: str = Field(default="http", min_length=1, max_length=200)


@router.get("/reviews")
async def queue(door: TheDoor) -> Response:
    connection = await door.database.aconnect(autocommit=True)
    try:
        found = await open_reviews(connection)
    finally:
        await connection.close()
    return json({"reviews": [asdict(each) | {"place": each.place} for each in found]})


@router.post("/reviews/{review_id}")
async def decision(review_id: int, request: Request, door: TheDoor) -> Response:
    # Not as a parameter: FastAPI reads a body of any size, for any time, before it asks who sent it.
    given = read_as(Given, await inbox.read_body(request, DECISION_BYTES))
    connection = await door.database.aconnect(autocommit=True)
    try:
        done = await decide(
            connection, review_id, given.decision, text=given.text, note=given.note, by=given.by
        )
    finally:
        await connection.close()
    if given.decision is Decision.REJECT:
        await asyncio.to_thread(
            look_again, door.database, door.settings
        )  # another may do what this one does not
    return json(asdict(done))
