"""What is exchanged with a model server: one request, one answer, one error. Protocol-neutral values.

A backend module (backends/<name>.py) turns a `ModelRequest` into its protocol's HTTP and the reply into a
`ModelAnswer`, or raises `ModelCallError`. It never retries by itself, never stores, never validates content
beyond what the protocol says of its own success: a finish reason was seen, the model name returned is the one
asked for, and the prompt was not cut (servers report all three, and lie in different ways: docs/protocols.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from models.enums import ErrorType, TimeoutKind
from models.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Passage:
    """A quotable piece of a source that was given to the model as context."""

    cite: str  # how an answer refers to it, for example "docs/ops.md:12-18"; unique within a request
    text: str
    score: float = 0.0  # the search's rank score; higher is better, comparable within one request only
    file: str = ""  # the path, where the text is that whole file


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a question or in an answer."""

    media_type: str  # image/png, image/jpeg, image/webp
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model, fully rendered. Immutable: a retry is a new request."""

    item_id: int
    model: str
    system: str
    prompt: str  # the whole user turn, foreign text already fenced
    question: str = (
        ""  # the item's title and body alone: what `extractive` answers and what an echo would repeat
    )
    passages: tuple[Passage, ...] = ()
    rolls_up: bool = (
        False  # the passages are results of the item's parts, each of which belongs into the answer
    )
    schema: dict[str, Any] | None = None  # JSON Schema of the answer, None for free text
    max_tokens: int = 1024
    temperature: float = 0.0
    context_tokens: int = 8192  # pinned per model: another value makes Ollama reload the model
    images: tuple[Image, ...] = ()  # shown before the prompt, in this order
    wants_image: bool = False  # the answer is to be a picture
    too_long: str = (
        ""  # why it must not be sent: it does not fit into the context. No backend is given such a one
    )


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    text: str
    model: str  # the name the server returned
    finish_reason: str  # the protocol's own word: stop, length, end_turn ...
    prompt_tokens: int | None = None  # None where the server did not say
    completion_tokens: int | None = None
    seconds: float = 0.0  # from sending to the last byte
    load_seconds: float | None = None
    simulated: bool = (
        False  # True when the server said that it is Penstock's simulator; shown wherever it shows
    )
    headers: dict[str, str] = field(default_factory=dict)  # request ids and rate limits, never credentials
    cached_tokens: int | None = None  # of prompt_tokens, those that the server had read before
    first_seconds: float | None = None  # from sending to the first token; None where nothing was streamed
    images: tuple[Image, ...] = ()


class ModelCallError(PenstockError):
    """One request failed. `error_type` decides what follows (models.enums.RULES, tasks/execute)."""

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        *,
        retry_after: float | None = None,
        partial: ModelAnswer | None = None,
        timeout: TimeoutKind | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.retry_after = retry_after  # seconds, as the server asked
        self.partial = partial  # what had arrived (a truncated answer is kept for the history)
        self.timeout = timeout  # of a TIMEOUT: which wait was too long, None where the server itself said so


@dataclass(frozen=True, slots=True)
class ModelInfo:
    name: str
    digest: str | None = None  # content hash where the server tells (Ollama), else None
    context_tokens: int | None = None
    loaded: bool | None = None  # None: the server does not say
    embedding: bool = False  # True where the server says it can't chat


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server said when asked how it is. Unknown is None, never a guess."""

    reachable: bool
    detail: str  # one clause a person understands, for example "answers, 3 models, qwen3:8b loaded"
    models: tuple[ModelInfo, ...] = ()
    slots: int | None = None
    simulated: bool = False
    loading: bool = False  # it said that it will answer once its model is loaded
    error: ErrorType | None = (
        None  # of one that is not reachable: how the question to it failed, if it was that
    )

    @classmethod
    def failed(cls, error: ModelCallError) -> Probe:
        """Of a server that could not be asked, or refused."""
        return cls(reachable=False, detail=str(error).rstrip("."), error=error.error_type)


@runtime_checkable
class Backend(Protocol):
    """How one endpoint of one kind of model server is spoken to.

    Made with an endpoint's settings; owns its HTTP client; used from one event loop; `close` releases it.
    `backends/testing.py` is the contract: checks that every implementation passes, those of plug-ins too.
    """

    name: str
    url: str

    async def probe(self, deadline: float) -> Probe:
        """Is a server of this kind here and what has it? Never raises for an absent or odd server.

        `deadline` is on the event loop's clock (`asyncio.get_running_loop().time()`), here and below.
        """
        ...

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        """Ask once. Raises ModelCallError; ErrorType.TIMEOUT when `deadline` passed. Cancelling it disconnects."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Loads(Protocol):
    """A backend that can be told to load a model and to let it go."""

    async def can_load(self, deadline: float) -> bool:
        """Does this server offer it? Not where it could not be asked."""
        ...

    async def load(self, model: str, deadline: float) -> float:
        """Load it, with the context length that calls will have; gives the seconds that the server took."""
        ...

    async def unload(self, model: str, deadline: float) -> None:
        """Free its memory. What is being answered by it is answered first."""
        ...


@runtime_checkable
class Identifies(Protocol):
    """A backend whose server tells which model a name stands for now."""

    async def identify(self, model: str, deadline: float) -> str | None:
        """The digest of the model; None where it has none, or could not be asked. Never raises for that."""
        ...


class BatchStatus(StrEnum):
    """How a provider's batch is. All but the first are final."""

    RUNNING = "running"
    ENDED = "ended"  # each request has its end, good or bad
    FAILED = "failed"  # as a whole, or it is not there any more: nothing of it was answered
    EXPIRED = "expired"  # time was up; what was answered until then is there
    CANCELLED = "cancelled"  # likewise


@dataclass(frozen=True, slots=True)
class BatchState:
    status: BatchStatus
    total: int = 0
    done: int = 0  # of them, those that have an end, as far as the provider tells
    detail: str = ""  # why it failed
    check_in: float | None = None  # seconds, where the provider says when to ask again


BatchReply = ModelAnswer | ModelCallError
"""What became of one request."""


@runtime_checkable
class Batches(Protocol):
    """A provider's batch API: many requests at once, answered within a day, at half the price.

    All methods raise ModelCallError; deadlines are on the event loop's clock. A `label` is ours, new for each batch:
    the provider keeps it, and each answer carries it, so that no other batch of the account is taken for it.
    """

    most_requests: int
    most_bytes: int

    def weigh(self, request: ModelRequest) -> int:
        """Bytes that it takes of a batch. Raises CONTEXT_TOO_LONG for a request that can't be sent at all."""
        ...

    async def rehearse(self, request: ModelRequest, deadline: float) -> None:
        """Ask a question of a few words as this request is asked, outside a batch, once for each model and schema.

        What the provider does not take (a parameter, a key, a model) is known then, and not after a day.
        """
        ...

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        """Send a batch of one model; gives its id.

        After TIMEOUT, CONNECTION and SERVER_ERROR it may be there all the same.
        """
        ...

    async def poll(self, id: str, deadline: float) -> BatchState: ...

    async def results(
        self, id: str, requests: Sequence[ModelRequest], deadline: float, *, label: str
    ) -> list[tuple[int, BatchReply]]:
        """What became of each request, by item id; those without an answer have an error.

        Raises where the results can't be read. The requests are those that were submitted: an answer is judged by what
        was asked.
        """
        ...

    async def cancel(self, id: str, deadline: float) -> None: ...

    async def find(
        self, label: str, deadline: float, *, size: int, since: datetime, known: Collection[str] = ()
    ) -> str | None:
        """The batch of `size` requests that was submitted with this label after `since`, if there is one.

        Where the provider keeps no label that can be read before the end, it is the first of that size that is none of
        `known`: what its answers carry shows whether it was the right one.
        """
        ...


@runtime_checkable
class HasBatches(Protocol):
    """A backend whose provider has a batch API."""

    batches: Batches
