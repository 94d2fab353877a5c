"""What is exchanged with a model server: one request, one answer, one error. Protocol-neutral values.

A backend module (backends/<name>.py) turns a `ModelRequest` into its protocol's HTTP and the reply into a
`ModelAnswer`, or raises `ModelCallError`. It never retries by itself, never stores, never validates content
beyond what the protocol says of its own success: a finish reason was seen, the model name returned is the one
asked for, and the prompt was not cut (servers report all three, and lie in different ways: docs/backends.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from models.enums import ErrorType
from models.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Passage:
    """A quotable piece of a source that was given to the model as context."""

    cite: str  # how an answer refers to it, for example "docs/ops.md:12-18"; unique within a request
    text: str
    score: float = 0.0  # the search's rank score; higher is better, comparable within one request only


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


class ModelCallError(PenstockError):
    """One request failed. `error_type` decides what follows (models.enums.ErrorType.charged, tasks/execute)."""

    def __init__(
        self,
        error_type: ErrorType,
        message: str,
        *,
        retry_after: float | None = None,
        partial: ModelAnswer | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.retry_after = retry_after  # seconds, as the server asked
        self.partial = partial  # what had arrived (a truncated answer is kept for the history)


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


@runtime_checkable
class Backend(Protocol):
    """How one endpoint of one kind of model server is spoken to.

    Made with an endpoint's settings; owns its HTTP client; used from one event loop; `close` releases it.
    `tests/backends/test_conformance.py` is the contract, run against every implementation.
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
