"""OpenAI's batches: a file of requests, `POST {url}/batches` with our label in its metadata, files of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson

from backends.addressing import encoded
from backends.batching import (
    CLOCKS_APART,
    MOST_PAGES,
    ServedBatches,
    cancelled,
    custom_id,
    expired,
    hint,
    part,
    whole,
)
from backends.failures import failure, one_line
from backends.served import dict_or_nothing, dicts, text_or_nothing
from models.calls import BatchReply, BatchState, BatchStatus, ModelCallError, ModelRequest
from models.enums import ErrorType

ENDPOINT = "/v1/chat/completions"
LABEL = "penstock"
"""The key of our label in a batch's metadata."""

_STATUSES = {
    "completed": BatchStatus.ENDED,
    "failed": BatchStatus.FAILED,
    "expired": BatchStatus.EXPIRED,
    "cancelled": BatchStatus.CANCELLED,
}


class OpenAIBatches(ServedBatches):
    most_requests = 50_000
    most_bytes = 200 * 1000 * 1000

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        lines = [
            encoded(
                {
                    "custom_id": custom_id(label, each.item_id),
                    "method": "POST",
                    "url": ENDPOINT,
                    "body": self._backend.question(each),
                }
            )
            for each in requests
        ]
        form = httpx.Request(
            "POST",
            self._http.url,
            data={"purpose": "batch"},
            files={"file": (f"{label}.jsonl", b"\n".join(lines) + b"\n", "application/jsonl")},
        )
        sent = await self._http.send(
            "POST",
            f"{self._http.url}/files",
            form.read(),
            deadline,
            content_type=form.headers["content-type"],
        )
        file = self._id(self._page(sent, "files"), "id")
        batch = {
            "input_file_id": file,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {LABEL: label},
        }
        return self._id(await self._post("/batches", batch, deadline, requests[0].model), "id")

    async def poll(self, id: str, deadline: float) -> BatchState:
        reply, page = await self._state_page(f"/batches/{part(id)}", deadline)
        if page is None:
            return self._gone(id)
        counts = dict_or_nothing(page.get("request_counts"))
        status = _STATUSES.get(text_or_nothing(page.get("status")), BatchStatus.RUNNING)
        errors = dicts(dict_or_nothing(page.get("errors")).get("data"))
        said = "; ".join(text_or_nothing(each.get("message")) for each in errors[:3])
        return BatchState(
            status,
            whole(counts.get("total")),
            whole(counts.get("completed")) + whole(counts.get("failed")),
            one_line(said),
            hint(reply),
        )

    async def _members(
        self, id: str, deadline: float, sent: Mapping[str, ModelRequest]
    ) -> AsyncIterator[tuple[str, BatchReply]]:
        page = await self._get(f"/batches/{part(id)}", deadline, id)
        for name in ("output_file_id", "error_file_id"):
            if not (file := text_or_nothing(page.get(name))):
                continue
            lines, simulated = await self._download(f"/files/{part(file)}/content", deadline)
            for line in lines:
                key = text_or_nothing(line.get("custom_id"))
                if key in sent:
                    yield key, await self._reply(sent[key], line, deadline, simulated)

    async def _reply(
        self, request: ModelRequest, line: dict[str, Any], deadline: float, simulated: bool
    ) -> BatchReply:
        answered = dict_or_nothing(line.get("response"))
        status, body = answered.get("status_code"), answered.get("body")
        if status == 200:
            return await self._judged(request, body, deadline, simulated=simulated)
        if isinstance(status, int):
            said = orjson.dumps(body)
            return failure(self._http.url, status, {}, said, request.model, words=self._backend.WORDS)
        error = dict_or_nothing(line.get("error"))
        match error.get("code"):
            case "batch_expired":
                return expired()
            case "batch_cancelled":
                return cancelled()
        if not error:
            return ModelCallError(
                ErrorType.SERVER_ERROR, f"{self._http.url} gave neither an answer nor an error."
            )
        return self._error({"error": error})

    async def cancel(self, id: str, deadline: float) -> None:
        await self._post(f"/batches/{part(id)}/cancel", {}, deadline, id)

    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None:
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._get(f"/batches?limit=100{after}", deadline, "batches")
            entries = dicts(page.get("data"))
            for entry in entries:
                if dict_or_nothing(entry.get("metadata")).get(LABEL) == label:
                    return self._id(entry, "id")
                made = entry.get("created_at")
                if isinstance(made, int) and datetime.fromtimestamp(made, UTC) < since - CLOCKS_APART:
                    return None
            last = text_or_nothing(entries[-1].get("id")) if entries else ""
            if page.get("has_more") is not True or not last:
                return None
            after = f"&after={part(last)}"
        return None
