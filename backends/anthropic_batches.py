"""Anthropic's message batches: `POST {url}/v1/messages/batches`, results as lines of JSON in any order.

A batch carries no label of ours; its results do, in the `custom_id` of each request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from backends.batching import (
    CLOCKS_APART,
    MOST_PAGES,
    ServedBatches,
    cancelled,
    custom_id,
    expired,
    hint,
    part,
    rfc3339,
    whole,
)
from backends.served import dict_or_nothing, dicts, text_or_nothing
from models.calls import BatchReply, BatchState, BatchStatus, ModelCallError, ModelRequest
from models.enums import ErrorType

PATH = "/v1/messages/batches"
_ENDS = ("succeeded", "errored", "canceled", "expired")


class AnthropicBatches(ServedBatches):
    most_requests = 100_000
    most_bytes = 256 * 1000 * 1000

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        members = [
            {"custom_id": custom_id(label, each.item_id), "params": self._backend.question(each)}
            for each in requests
        ]
        page = await self._post(PATH, {"requests": members}, deadline, requests[0].model)
        return self._id(page, "id")

    async def poll(self, id: str, deadline: float) -> BatchState:
        reply, page = await self._state_page(f"{PATH}/{part(id)}", deadline)
        if page is None:
            return self._gone(id)
        done, total = _counts(page)
        status = BatchStatus.RUNNING
        if page.get("processing_status") == "ended":
            status = BatchStatus.CANCELLED if page.get("cancel_initiated_at") else BatchStatus.ENDED
        return BatchState(status, total, done, check_in=hint(reply))

    async def _members(
        self, id: str, deadline: float, sent: Mapping[str, ModelRequest]
    ) -> AsyncIterator[tuple[str, BatchReply]]:
        # Not by results_url: it is the same place, and a key goes nowhere that a server names.
        lines, simulated = await self._download(f"{PATH}/{part(id)}/results", deadline)
        for line in lines:
            key = text_or_nothing(line.get("custom_id"))
            if key in sent:
                result = dict_or_nothing(line.get("result"))
                yield key, await self._reply(sent[key], result, deadline, simulated)

    async def _reply(
        self, request: ModelRequest, result: dict[str, Any], deadline: float, simulated: bool
    ) -> BatchReply:
        match result.get("type"):
            case "succeeded":
                return await self._judged(request, result.get("message"), deadline, simulated=simulated)
            case "errored":
                # An error response, which has the error inside; or the error itself.
                error = dict_or_nothing(result.get("error"))
                return self._error(error if "error" in error else {"error": error})
            case "expired":
                return expired()
            case "canceled":
                return cancelled()
            case other:
                return ModelCallError(
                    ErrorType.SERVER_ERROR, f"{self._http.url} ended a request of a batch as {other!r}."
                )

    async def cancel(self, id: str, deadline: float) -> None:
        await self._post(f"{PATH}/{part(id)}/cancel", {}, deadline, id)

    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None:
        running: list[str] = []  # which may be it, the newest first
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._get(f"{PATH}?limit=100{after}", deadline, "batches")
            for entry in dicts(page.get("data")):
                made = rfc3339(entry.get("created_at"))
                if made is not None and made < since - CLOCKS_APART:
                    return running[-1] if running else None
                id = text_or_nothing(entry.get("id"))
                if not id or id in known or _counts(entry)[1] != size:
                    continue
                if entry.get("processing_status") != "ended":
                    running.append(id)
                elif await self._is_labelled(id, label, deadline):
                    return id
            last = text_or_nothing(page.get("last_id"))
            if page.get("has_more") is not True or not last:
                break
            after = f"&after_id={part(last)}"
        return running[-1] if running else None

    async def _is_labelled(self, id: str, label: str, deadline: float) -> bool:
        lines, _ = await self._download(f"{PATH}/{part(id)}/results", deadline)
        first = next(lines, {})
        return text_or_nothing(first.get("custom_id")).startswith(f"{label}-")


def _counts(page: dict[str, Any]) -> tuple[int, int]:
    """Those that have an end, and all."""
    counts = dict_or_nothing(page.get("request_counts"))
    done = sum(whole(counts.get(name)) for name in _ENDS)
    return done, done + whole(counts.get("processing"))
