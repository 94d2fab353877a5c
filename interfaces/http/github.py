"""Issues of GitHub repositories: its webhooks, and the issues that were there before the first one came.

The board `github:<owner>/<name>` is all issues that are known of a repository, each in its latest state.
"""

from __future__ import annotations

import asyncio
import urllib.parse
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

import sources
from interfaces.http import inbox
from interfaces.http.deliveries import accept, known
from interfaces.http.door import Authorised, Door, TheDoor, json
from interfaces.http.errors import Refusal
from interfaces.http.signatures import verified
from sources.github import FULL_NAME, Issue, changes_of, issue_of, objects
from tasks.ingest.origins import keep_issues
from tasks.upkeep import Delivery

router = APIRouter()

PAYLOAD_BYTES = 4 * 1024 * 1024
"""A body of an issue has 65,536 characters, and an edit has it twice; the rest of a payload is 20 kB."""


@router.post("/webhooks/github")
async def webhook(request: Request, door: TheDoor) -> Response:
    """A signed delivery of GitHub. Events other than `issues` and `sub_issues` change nothing, and are no error."""
    body = await inbox.read_body(request, PAYLOAD_BYTES)
    form, delivery_id = verified(request.headers, body, door.secret, door.clock())
    if form != "github":
        raise Refusal(401, "not_signed", "GitHub signs with X-Hub-Signature-256; send that here.")
    event = request.headers.get("x-github-event", "")
    key = f"github issue:{delivery_id}"
    if (earlier := await known(door, key)) is not None:
        return await accept(door, earlier, "github")
    try:
        repository, changes = changes_of(event, _payload(request.headers.get("content-type", ""), body))
    except ValueError as error:
        raise Refusal(422, "invalid_request", f"The payload can't be read: {error}.") from None
    if not changes:
        words = "pong" if event == "ping" else "the event is not about issues, nothing was changed"
        return json({"state": "ignored", "message": words})
    if not await _keep(door, repository, changes):
        return json(
            {"state": "ignored", "message": "a later state of the issue is known, nothing was changed"}
        )
    return await accept(door, Delivery(key, {"board": f"github:{repository}"}), "github")


@router.post("/boards/github/{owner}/{name}", dependencies=[Authorised])
async def issues(owner: str, name: str, request: Request, door: TheDoor) -> Response:
    """Issues as `gh issue list --json ...` or the REST API write them, into the board that webhooks keep."""
    repository = f"{owner}/{name}"
    if not FULL_NAME.fullmatch(repository):
        raise Refusal(400, "bad_name", f"{repository[:80]!r} is no repository: write owner/name.")
    cap = door.settings.max_source_bytes
    body = await inbox.read_body(request, cap)
    changes = [(issue, False) for issue in await asyncio.to_thread(_listed, body, repository, cap)]
    if not await _keep(door, repository, changes):
        return json(
            {"state": "ignored", "message": "a later state of each issue is known, nothing was changed"}
        )
    return await accept(
        door, Delivery(f"upload:{uuid.uuid4().hex}", {"board": f"github:{repository}"}), "upload"
    )


def _listed(body: bytes, repository: str, cap: int) -> list[Issue]:
    found = [data for _, data in objects(sources.decode(body, repository, cap).text.split("\n"))]
    read = [issue_of(data) for data in found if data is not None and not data.get("pull_request")]
    issues = [issue for issue in read if issue is not None and issue.time is not None]
    if not issues or None in found or len(issues) < len(read):
        raise Refusal(
            422,
            "invalid_request",
            "Send a JSON list of issues, each with number, title, state and updatedAt (or updated_at).",
        )
    return issues


async def _keep(door: Door, repository: str, changes: Sequence[tuple[Issue, bool]]) -> int:
    connection = await door.database.aconnect(autocommit=True)
    try:
        return await keep_issues(connection, repository, changes)
    finally:
        await connection.close()


def _payload(kind: str, body: bytes) -> dict[str, Any]:
    """A webhook's payload: JSON, or a form's field `payload`, which is GitHub's default. Raises ValueError."""
    if kind.startswith("application/x-www-form-urlencoded"):
        fields = urllib.parse.parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=8)
        body = fields.get("payload", [""])[0].encode()
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found
