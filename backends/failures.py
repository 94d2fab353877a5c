"""What a server's refusal means: from status, headers and body to a ModelCallError.

Servers agree on little (docs/protocols.md has the tables): an error body may be `{"error": {"message"}}`,
`{"error": "text"}`, `{"error": "<JSON text>"}`, `{"detail": ...}`, `{"message": ...}`, plain text or nothing. What a
protocol says in a word of its own (`overloaded_error`, `RESOURCE_EXHAUSTED`) is in its module, as `WORDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from models.calls import ModelCallError
from models.enums import ErrorType

SNIPPET = 300
"""Characters of a foreign body that an error message may carry."""

Words = Mapping[str, ErrorType]
"""What the words of one protocol's errors mean, in lower case."""

STATUS_ERRORS: dict[int, ErrorType] = {
    400: ErrorType.MALFORMED,
    401: ErrorType.AUTH,
    402: ErrorType.AUTH,
    403: ErrorType.AUTH,
    404: ErrorType.MODEL_MISSING,
    408: ErrorType.TIMEOUT,
    413: ErrorType.CONTEXT_TOO_LONG,
    422: ErrorType.MALFORMED,
    429: ErrorType.RATE_LIMITED,
    499: ErrorType.CONNECTION,
    500: ErrorType.SERVER_ERROR,
    502: ErrorType.SERVER_ERROR,
    503: ErrorType.OVERLOADED,
    504: ErrorType.TIMEOUT,
    529: ErrorType.OVERLOADED,
}
"""By status alone; other 4xx are MALFORMED, other 5xx SERVER_ERROR, and 1xx and 3xx UNAVAILABLE. The error's
text or its word may say it more exactly (`classify`)."""

_CONTEXT = re.compile(
    r"exceed_context_size|context_length_exceeded|contextwindowexceeded|maximum context length"
    r"|exceeds? the (?:available |maximum )?context|context (?:length|window|size) (?:exceeded|of)"
    r"|prompt is too long|too large to process|input token count .{0,40}exceeds",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model[^.]{0,80}not found|model_not_found|does not support chat|does not exist|invalid model name"
    r"|pinned to|unknown model|no such model",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out of memory|outofmemory|cuda_error_out_of_memory|failed to allocate|insufficient memory"
    r"|more system memory",
    re.IGNORECASE,
)
_KEY = re.compile(r"api[ _]key (?:not valid|not found|expired)|invalid api[ _]key", re.IGNORECASE)
_LOADING = re.compile(r"loading|starting|warming|not ready", re.IGNORECASE)


def error_text(body: bytes) -> str:
    """The sentence inside an error body, at most SNIPPET characters on one line; "" for an empty body."""
    text = body[:65536].decode("utf-8", "replace").strip()
    for _ in range(3):  # Ollama wraps llama-server's JSON error as a string inside its own
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            break
        inner = _sentence(value)
        if inner is None:
            break
        text = inner
    return one_line(text)


def one_line(text: str) -> str:
    """Foreign text as a part of a message: printable, short, on one line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:SNIPPET]


def _sentence(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _sentence(value[0]) if value else None
    if not isinstance(value, dict):
        return None
    for key in ("error", "detail", "message", "msg"):
        if (inner := value.get(key)) and (found := _sentence(inner)):
            kind = value.get("type")
            named = isinstance(kind, str) and key == "message" and kind not in found
            return f"{found} ({kind})" if named else found
    return None


def _error_object(page: Any) -> dict[str, Any]:
    if isinstance(page, list) and page:  # Gemini wraps its error in a list now and then
        page = page[0]
    if not isinstance(page, dict):
        return {}
    inner = page.get("error")
    return inner if isinstance(inner, dict) else page


def _words_of(error: Mapping[str, Any]) -> Iterator[str]:
    """The exact one first: OpenAI's `code` says more than its `type`."""
    for key in ("code", "status", "type"):
        if isinstance(word := error.get(key), str):
            yield word.lower()


def classify(status: int, text: str, page: Any = None, words: Words | None = None) -> ErrorType:
    """What an HTTP status, the error's own sentence and its word say together. `text` comes from `error_text`.

    A sentence is trusted only where servers were seen to use it: a 4xx may quote the prompt back, so
    memory is looked for in 5xx alone.
    """
    if status < 400:
        return ErrorType.UNAVAILABLE
    if status in (400, 413, 500) and _CONTEXT.search(text):
        return ErrorType.CONTEXT_TOO_LONG
    if status >= 500 and _MEMORY.search(text):
        return ErrorType.OUT_OF_MEMORY
    if status in (400, 422) and _MODEL.search(text):
        return ErrorType.MODEL_MISSING
    if status == 400 and _KEY.search(text):
        return ErrorType.AUTH
    if status == 503 and _LOADING.search(text):
        return ErrorType.UNAVAILABLE
    if words:
        for word in _words_of(_error_object(page)):
            if word in words:
                return words[word]
    default = ErrorType.SERVER_ERROR if status >= 500 else ErrorType.MALFORMED
    return STATUS_ERRORS.get(status, default)


# --- how long to wait ---------------------------------------------------------------------------------------


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait from a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3); None if
    unusable.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, IndexError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return _usable(seconds)


def _usable(seconds: float) -> float | None:
    if not -1e9 < seconds < 1e9:  # also false for nan
        return None
    return max(0.0, seconds)


def retry_delay(page: Any) -> float | None:
    """Seconds from the `google.rpc.RetryInfo` of an error body: `"retryDelay": "2.5s"`; None if there is none."""
    details = _error_object(page).get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", delay):
            return float(delay[:-1])
    return None


def wait_asked_for(headers: Mapping[str, str], page: Any = None) -> float | None:
    """The seconds that a server wants to be left alone, in whichever way it says it."""
    milliseconds = retry_after(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    for name in ("retry-after", "llm_provider-retry-after"):  # the latter is LiteLLM's
        if (seconds := retry_after(headers.get(name))) is not None:
            return seconds
    return retry_delay(page)


# --- errors -------------------------------------------------------------------------------------------------


def failure(
    url: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    asked: str,
    *,
    words: Words | None = None,
) -> ModelCallError:
    """The error for a reply whose status is not 200. `asked` names the model."""
    text, page = error_text(body), _json(body)
    kind = classify(status, text, page, words)
    said = f"{url} answered {status}" + (f": {text}" if text else " with an empty body")
    if 300 <= status < 400:
        said = f"{url} answered {status}, a redirect, which is not followed. Write the URL it leads to"
    advice = {
        ErrorType.AUTH: " Check the endpoint's api_key.",
        ErrorType.MODEL_MISSING: f" Asked was {asked!r}: does the server have it, and is the URL right?",
    }.get(kind, "")
    number = one_line(headers.get("request-id") or headers.get("x-request-id") or "")[:80]
    told = f" Its request id is {number}." if number else ""
    return ModelCallError(
        kind, said.rstrip(".") + "." + advice + told, retry_after=wait_asked_for(headers, page)
    )


def failure_inside(url: str, page: dict[str, Any], *, words: Words | None = None) -> ModelCallError:
    """The error for a page that says that it is one, though the status was 200: in a stream it can't be another."""
    text = error_text(orjson.dumps(page))
    code = _error_object(page).get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    kind = classify(status, text, page, words)
    return ModelCallError(
        kind, f"{url} answered 200 with an error: {text.rstrip('.')}.", retry_after=retry_delay(page)
    )


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
