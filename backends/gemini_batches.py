"""Gemini's batches: `POST {url}/models/MODEL:batchGenerateContent` with the requests inside, then an operation.

Our label is the batch's `displayName`; a request's is the `key` of its metadata, which comes back with its answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from backends.batching import (
    DOWNLOAD_LIMIT,
    MOST_PAGES,
    ServedBatches,
    custom_id,
    hint,
    part,
    whole,
)
from backends.failures import one_line
from backends.served import dict_or_nothing, dicts, text_or_nothing
from models.calls import BatchReply, BatchState, BatchStatus, ModelCallError, ModelRequest
from models.enums import ErrorType

_STATES = {
    "SUCCEEDED": BatchStatus.ENDED,
    "FAILED": BatchStatus.FAILED,
    "CANCELLED": BatchStatus.CANCELLED,
    "EXPIRED": BatchStatus.EXPIRED,
}

_CODES = {
    1: "CANCELLED",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}
"""google.rpc.Code: a member's error may have the number alone."""


class GeminiBatches(ServedBatches):
    most_requests = 10_000
    most_bytes = 20 * 1000 * 1000 - 64 * 1024  # with all requests inside; more would need the Files API

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        model = requests[0].model if "/" in requests[0].model else f"models/{requests[0].model}"
        members = [
            {"request": self._backend.question(each), "metadata": {"key": custom_id(label, each.item_id)}}
            for each in requests
        ]
        batch = {"displayName": label, "inputConfig": {"requests": {"requests": members}}}
        path = f"/{quote(model, safe='/:@')}:batchGenerateContent"
        page = await self._post(path, {"batch": batch}, deadline, requests[0].model)
        return self._id(page, "name").removeprefix("batches/")

    async def _operation(self, id: str, deadline: float) -> tuple[BatchState, dict[str, Any], bool]:
        """How it is; of one that has ended, what it came to; and whether the simulator said it."""
        reply, page = await self._state_page(f"/batches/{part(id)}", deadline, DOWNLOAD_LIMIT)
        if page is None:
            return self._gone(id), {}, reply.simulated
        about = dict_or_nothing(page.get("metadata")) or page
        counts = dict_or_nothing(about.get("batchStats"))
        word = text_or_nothing(about.get("state")).removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
        status = _STATES.get(word, BatchStatus.RUNNING)
        error = dict_or_nothing(page.get("error"))
        if status is BatchStatus.RUNNING and page.get("done") is True:
            status = BatchStatus.FAILED if error else BatchStatus.ENDED
        state = BatchState(
            status,
            whole(counts.get("requestCount")),
            whole(counts.get("successfulRequestCount")) + whole(counts.get("failedRequestCount")),
            one_line(text_or_nothing(error.get("message"))),
            hint(reply),
        )
        output = dict_or_nothing(page.get("response")) or dict_or_nothing(about.get("output"))
        return state, output, reply.simulated

    async def poll(self, id: str, deadline: float) -> BatchState:
        return (await self._operation(id, deadline))[0]

    async def _members(
        self, id: str, deadline: float, sent: Mapping[str, ModelRequest]
    ) -> AsyncIterator[tuple[str, BatchReply]]:
        _, output, simulated = await self._operation(id, deadline)
        inside = output.get("inlinedResponses")
        if isinstance(inside, dict):
            inside = inside.get("inlinedResponses")
        for member in dicts(inside):
            key = text_or_nothing(dict_or_nothing(member.get("metadata")).get("key"))
            if key not in sent:
                continue
            if error := dict_or_nothing(member.get("error")):
                yield key, self._error({"error": _named(error)})
            elif "response" in member:
                yield key, await self._judged(sent[key], member["response"], deadline, simulated=simulated)
            else:
                yield (
                    key,
                    ModelCallError(
                        ErrorType.SERVER_ERROR, f"{self._http.url} gave neither an answer nor an error."
                    ),
                )

    async def cancel(self, id: str, deadline: float) -> None:
        await self._post(f"/batches/{part(id)}:cancel", {}, deadline, id)

    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None:
        after = ""
        for _ in range(MOST_PAGES):  # in no order that is promised, so all of them
            reply = await self._http.get(f"/batches?pageSize=100{after}", deadline, limit=DOWNLOAD_LIMIT)
            page = self._page(reply, "batches")
            for entry in dicts(page.get("operations")):
                about = dict_or_nothing(entry.get("metadata")) or entry
                if about.get("displayName") == label:
                    return self._id(entry, "name").removeprefix("batches/")
            if not (token := text_or_nothing(page.get("nextPageToken"))):
                return None
            after = f"&pageToken={part(token)}"
        return None


def _named(error: dict[str, Any]) -> dict[str, Any]:
    """An error with the word for its number, where it has none."""
    code = error.get("code")
    if isinstance(code, int) and code in _CODES and "status" not in error:
        return {**error, "status": _CODES[code]}
    return error
