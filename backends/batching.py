"""What the batch APIs of all providers share: names of requests, what a batch may weigh, and what an answer is worth.

A provider's module says how a batch is sent and asked for, and what a line of its results is. A request is written, and
an answer read and judged, by the backend that speaks the provider's protocol: there is one mapping of errors.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from backends import replies
from backends.addressing import encoded
from backends.failures import failure_inside, one_line, wait_asked_for
from backends.served import Served, text_or_nothing
from backends.transport import Reply, Transport
from models.calls import BatchReply, BatchState, BatchStatus, ModelCallError, ModelRequest
from models.enums import ErrorType

DOWNLOAD_LIMIT = 512 * 1024 * 1024
"""Bytes of the results of one batch."""

CLOCKS_APART = timedelta(minutes=10)
"""How much a provider's clock may differ from ours."""

MOST_PAGES = 50
"""Of a provider's list of batches, those that are looked through."""

_REHEARSAL = ModelRequest(item_id=0, model="", system="", prompt="Say OK.", max_tokens=16)
_ANSWERED = frozenset({ErrorType.TRUNCATED, ErrorType.EMPTY, ErrorType.REFUSED})


def custom_id(label: str, item_id: int) -> str:
    """How a request is called at the provider: letters, digits, - and _, at most 64 of them."""
    return f"{label}-{item_id}"


def expired() -> ModelCallError:
    return ModelCallError(ErrorType.TIMEOUT, "The provider did not come to it within the time of its batch.")


def cancelled() -> ModelCallError:
    return ModelCallError(ErrorType.UNAVAILABLE, "Its batch was cancelled before it was answered.")


class ServedBatches(ABC):
    """The batch API of one endpoint (models.calls.Batches)."""

    most_requests: int
    most_bytes: int
    OVERHEAD: ClassVar[int] = 256  # bytes around a request

    def __init__(self, backend: Served, http: Transport) -> None:
        self._backend = backend
        self._http = http
        self._rehearsed: set[tuple[str, bytes]] = set()

    # --- before it is sent ----------------------------------------------------------------------------------

    def weigh(self, request: ModelRequest) -> int:
        replies.check_fits(request, self._http.url)
        size = len(encoded(self._backend.question(request))) + self.OVERHEAD
        if size > self.most_bytes:
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"The request has {size >> 20} MiB; a batch of {self._http.url} takes {self.most_bytes >> 20}.",
            )
        return size

    async def rehearse(self, request: ModelRequest, deadline: float) -> None:
        known = (request.model, orjson.dumps(request.schema, option=orjson.OPT_SORT_KEYS))
        if known in self._rehearsed:
            return
        asked = ModelRequest(
            item_id=_REHEARSAL.item_id,
            model=request.model,
            system=_REHEARSAL.system,
            prompt=_REHEARSAL.prompt,
            schema=request.schema,
            max_tokens=_REHEARSAL.max_tokens,
            temperature=request.temperature,
            context_tokens=request.context_tokens,
        )
        try:
            await self._backend.answer(asked, deadline)
        except ModelCallError as error:
            if error.error_type not in _ANSWERED:
                raise
        self._rehearsed.add(known)

    # --- talking to the provider ----------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str: ...

    @abstractmethod
    async def poll(self, id: str, deadline: float) -> BatchState: ...

    @abstractmethod
    def _members(
        self, id: str, deadline: float, sent: Mapping[str, ModelRequest]
    ) -> AsyncIterator[tuple[str, BatchReply]]:
        """What is known of the requests in `sent`, by custom id, as the provider sends it. Others are left out."""
        ...

    @abstractmethod
    async def cancel(self, id: str, deadline: float) -> None: ...

    @abstractmethod
    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None: ...

    async def results(
        self, id: str, requests: Sequence[ModelRequest], deadline: float, *, label: str
    ) -> list[tuple[int, BatchReply]]:
        sent = {custom_id(label, request.item_id): request for request in requests}
        found: dict[str, BatchReply] = {}
        async for key, reply in self._members(id, deadline, sent):
            found.setdefault(key, reply)
        return [
            (request.item_id, found[key] if key in found else self._missing(id))
            for key, request in sent.items()
        ]

    def _missing(self, id: str) -> ModelCallError:
        return ModelCallError(
            ErrorType.SERVER_ERROR, f"The results of {one_line(id)} at {self._http.url} say nothing of it."
        )

    # --- for the providers' modules -------------------------------------------------------------------------

    async def _post(self, path: str, payload: Any, deadline: float, asked: str) -> dict[str, Any]:
        return self._page(await self._http.post(path, payload, deadline), asked)

    async def _get(self, path: str, deadline: float, asked: str) -> dict[str, Any]:
        return self._page(await self._http.get(path, deadline), asked)

    def _page(self, reply: Reply, asked: str) -> dict[str, Any]:
        if reply.status != 200:
            raise self._http.failure(reply, asked)
        return replies.json_object(reply.body, self._http.url)

    def _id(self, page: dict[str, Any], field: str) -> str:
        """The id in a reply that says that a thing was made; without it nobody could ask for it again."""
        if not (found := text_or_nothing(page.get(field))):
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self._http.url} made a batch and gave no id of it."
            )
        return found

    async def _state_page(
        self, path: str, deadline: float, limit: int | None = None
    ) -> tuple[Reply, dict[str, Any] | None]:
        """What is said of a batch; None if it is not there. Raises for any other trouble."""
        reply = await self._http.get(path, deadline, limit=limit)
        if reply.status in (404, 410):
            return reply, None
        return reply, self._page(reply, path)

    def _gone(self, id: str) -> BatchState:
        return BatchState(BatchStatus.FAILED, detail=f"{self._http.url} has no batch {one_line(id)} any more")

    async def _download(self, path: str, deadline: float) -> tuple[Iterator[dict[str, Any]], bool]:
        """Lines of JSON, and whether the simulator sent them. Raises for a body that broke off."""
        reply = await self._http.get(path, deadline, limit=DOWNLOAD_LIMIT)
        if reply.status != 200:
            raise self._http.failure(reply, path)
        return self._lines(reply.body), reply.simulated

    def _lines(self, body: bytes) -> Iterator[dict[str, Any]]:
        for line in body.split(b"\n"):
            if not line.strip():
                continue
            try:
                page = orjson.loads(line)
            except orjson.JSONDecodeError:
                page = None
            if not isinstance(page, dict):
                raise ModelCallError(
                    ErrorType.SERVER_ERROR,
                    f"The results of {self._http.url} have a line that is no JSON object: they were cut.",
                )
            yield page

    async def _judged(
        self, request: ModelRequest, page: Any, deadline: float, *, simulated: bool
    ) -> BatchReply:
        """A good answer, or the error that it is by the backend's rules."""
        if not isinstance(page, dict):
            return ModelCallError(
                ErrorType.SERVER_ERROR, f"{self._http.url} sent an answer that is no object."
            )
        asked = asyncio.get_running_loop().time()
        try:
            return await self._backend.judged(request, page, deadline, simulated=simulated)
        except ModelCallError as error:
            if (
                error.error_type is ErrorType.TIMEOUT
                and asked < deadline <= asyncio.get_running_loop().time()
            ):
                raise  # ours, while its model was looked up: the batch itself was fine
            return error

    def _error(self, page: dict[str, Any]) -> ModelCallError:
        return failure_inside(self._http.url, page, words=self._backend.WORDS)


def hint(reply: Reply) -> float | None:
    return wait_asked_for(reply.headers)


def part(text: str) -> str:
    """An id as a part of a path."""
    return quote(text, safe="")


def rfc3339(value: Any) -> datetime | None:
    """A provider's moment; None for what is none."""
    try:
        moment = datetime.fromisoformat(text_or_nothing(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def whole(value: Any) -> int:
    """A count, which Google writes as text."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return replies.count(value) or 0
