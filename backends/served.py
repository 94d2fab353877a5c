"""What all backends over HTTP share: ask once, hear what comes, and judge whether it is an answer.

A protocol's module says how a question is written, what a page of the reply adds to what was heard (the same for a
whole reply and for one event of a stream), and which of its words mean that it ended well.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from backends import replies
from backends.failures import Words, error_text
from backends.transport import Reply, Transport
from models.calls import Image, ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Endpoint
from models.enums import ErrorType

DONE = b"[DONE]"


@dataclass(slots=True)
class Heard:
    """What a reply has said so far."""

    text: list[str] = field(default_factory=list)
    thought: bool = False  # there was reasoning, which is no answer
    finish: str = ""
    refusal: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    load_seconds: float | None = None
    images: list[Image] = field(default_factory=list)
    understood: bool = False  # at least one page was one of this protocol
    done: bool = False  # nothing that matters can follow
    simulated: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, reply: Reply | None, seconds: float = 0.0) -> ModelAnswer:
        """What was heard as an answer; without a reply, as much as there is of one that broke off after `seconds`."""
        return ModelAnswer(
            text=replies.visible("".join(self.text)),
            model=self.model,
            finish_reason=self.finish,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=reply.seconds if reply else seconds,
            load_seconds=self.load_seconds,
            simulated=self.simulated,
            headers=self.headers,
            cached_tokens=self.cached_tokens,
            first_seconds=reply.first_seconds if reply else None,
            images=tuple(self.images),
        )


class _Reading:
    """The events of one reply, to the protocol's `_page`."""

    __slots__ = ("_backend", "_heard")

    def __init__(self, backend: Served, heard: Heard) -> None:
        self._backend = backend
        self._heard = heard

    @property
    def done(self) -> bool:
        return self._heard.done

    def begin(self, simulated: bool, headers: dict[str, str]) -> None:
        self._heard.simulated, self._heard.headers = simulated, headers

    def feed(self, event: bytes) -> bool:
        if event == DONE:
            self._heard.done = True
            return False
        try:
            page = orjson.loads(event)
        except orjson.JSONDecodeError:
            page = None
        if not isinstance(page, dict):
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self._backend.url} sent an event that is no JSON object."
            )
        return self._backend.hear(page, self._heard)


class Served(ABC):
    """A model server over HTTP."""

    KEY_HEADER: ClassVar[str] = "authorization"
    HEADERS: ClassVar[Mapping[str, str]] = {}
    WORDS: ClassVar[Words] = {}
    FINISHED: ClassVar[frozenset[str]]
    CUT: ClassVar[frozenset[str]]
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """What some servers of this protocol don't know and can do without, as their errors name it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = str(endpoint.backend)
        self.url = endpoint.url.rstrip("/")
        self.endpoint = endpoint
        self._without: set[str] = set()  # of OPTIONAL, what this server was found not to know
        self._http = Transport(endpoint, key_header=self.KEY_HEADER, headers=self.HEADERS, words=self.WORDS)

    async def close(self) -> None:
        await self._http.close()

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        """As models.calls.Backend says."""
        least = replies.check_fits(request, self.url)
        heard = Heard()
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            reply = await self._ask(request, deadline, heard)
            if not heard.understood:
                raise ModelCallError(
                    ErrorType.SERVER_ERROR, f"{self.url} answered 200 without anything of an answer."
                )
        except ModelCallError as error:
            if error.partial is None and heard.text:
                error.partial = heard.answer(None, clock() - started)
            raise
        return await self._judged(request, heard, heard.answer(reply), least, deadline)

    def question(self, request: ModelRequest) -> dict[str, Any]:
        """What is asked, without what is said of the stream: as a batch has it."""
        payload = self._payload(request)
        for name in ("stream", "stream_options"):
            payload.pop(name, None)
        return payload

    async def judged(
        self, request: ModelRequest, page: dict[str, Any], deadline: float, *, simulated: bool
    ) -> ModelAnswer:
        """A whole reply that did not come over a call (of a batch, that is), judged like any other. Raises likewise."""
        heard = Heard(simulated=simulated)
        self.hear(page, heard)
        if not heard.understood:
            raise ModelCallError(ErrorType.SERVER_ERROR, f"{self.url} has nothing of an answer in its batch.")
        least = replies.least_tokens(request.system) + replies.least_tokens(request.prompt)
        return await self._judged(request, heard, heard.answer(None), least, deadline)

    async def _judged(
        self, request: ModelRequest, heard: Heard, answer: ModelAnswer, least: int, deadline: float
    ) -> ModelAnswer:
        self._check_heard(request, heard, answer)
        if heard.refusal:
            raise ModelCallError(
                ErrorType.REFUSED,
                f"{request.model} refused: {heard.refusal[: replies.SNIPPET]}",
                partial=answer,
            )
        written = "".join(heard.text) or ("thought" if heard.thought else "")
        replies.check_finished(answer, written, request, self.url, finished=self.FINISHED, cut=self.CUT)
        if request.wants_image and not answer.images:
            raise ModelCallError(ErrorType.EMPTY, f"{request.model} drew no picture.", partial=answer)
        await self._check_model(request, answer, deadline)
        if replies.was_cut(least, answer.prompt_tokens):
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"{self.url} read {answer.prompt_tokens} tokens of a prompt that has at least {least}: it "
                f"cut the prompt in silence. Raise the server's context length, or lower the endpoint's "
                f"context_tokens.",
                partial=answer,
            )
        return answer

    def _check_heard(self, request: ModelRequest, heard: Heard, answer: ModelAnswer) -> None:
        """What a protocol alone knows of an answer. Raises ModelCallError."""
        return

    async def _ask(self, request: ModelRequest, deadline: float, heard: Heard) -> Reply:
        """Ask and hear the whole reply. Raises ModelCallError.

        A 400 that names something which can be left out is no answer yet: without it, then and from then on.
        """
        while True:
            reply = await self._exchange(self._path(request), self._payload(request), deadline, heard)
            if reply.status == 200:
                return reply
            error = self._http.failure(reply, request.model)
            if error.error_type is not ErrorType.MALFORMED:
                raise error
            said = error_text(reply.body).lower().replace("_", "")
            named = [word for word in self.OPTIONAL if word in said and word not in self._without]
            if not named:
                raise error
            self._without.add(named[0])

    async def _exchange(self, path: str, payload: dict[str, Any], deadline: float, heard: Heard) -> Reply:
        """One exchange; a 200 that was not streamed is heard as one page."""
        reply = await self._http.ask(path, payload, deadline, _Reading(self, heard))
        if reply.status == 200 and not reply.streamed:
            heard.simulated, heard.headers = reply.simulated, reply.kept_headers()
            self.hear(replies.json_object(reply.body, self.url), heard)
        return reply

    def hear(self, page: dict[str, Any], heard: Heard) -> bool:
        """Add a page. Was there a token in it? Raises ModelCallError for one that is an error."""
        if (error := replies.error_of(page, self.url, self.WORDS)) is not None:
            raise error
        return self._page(page, heard)

    @abstractmethod
    def _path(self, request: ModelRequest) -> str: ...

    @abstractmethod
    def _payload(self, request: ModelRequest) -> dict[str, Any]: ...

    @abstractmethod
    def _page(self, page: dict[str, Any], heard: Heard) -> bool: ...

    async def _check_model(self, request: ModelRequest, answer: ModelAnswer, deadline: float) -> None:
        """Raises MODEL_MISSING for an answer of another model than was asked for."""
        if not self._same(request.model, answer.model):
            raise ModelCallError(
                ErrorType.MODEL_MISSING,
                f"{self.url} was asked for {request.model!r} and answered with {answer.model!r}.",
                partial=answer,
            )

    def _same(self, asked: str, returned: str) -> bool:
        return replies.same_model(asked, returned)


def text_or_nothing(value: Any) -> str:
    return value if isinstance(value, str) else ""


def dict_or_nothing(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; anything else has none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
