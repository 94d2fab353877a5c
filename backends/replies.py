"""What a model server's reply means: pure functions from status, body and text to an ErrorType.

Servers agree on little (docs/backends.md has the table): an error body may be `{"error": {"message"}}`,
`{"error": "text"}`, `{"error": "<JSON text>"}`, `{"detail": ...}`, `{"message": ...}`, plain text or nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.enums import ErrorType

SNIPPET = 300
"""Characters of a foreign body that an error message may carry."""

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
text may say it more exactly (`classify`)."""

_CONTEXT = re.compile(
    r"exceed_context_size|context_length_exceeded|contextwindowexceeded|maximum context length"
    r"|exceeds? the (?:available |maximum )?context|context (?:length|window|size) (?:exceeded|of)"
    r"|prompt is too long|too large to process",
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


def json_object(body: bytes, url: str) -> dict[str, Any]:
    """The body of a 200.

    Raises ModelCallError: SERVER_ERROR for what is no JSON object (no model said that), or as `classify` for an
    error.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = error_text(body)
        what = f"what is no JSON: {said}" if said else "nothing"
        raise ModelCallError(ErrorType.SERVER_ERROR, f"{url} answered 200 with {what}.") from None
    if not isinstance(data, dict):
        raise ModelCallError(ErrorType.SERVER_ERROR, f"{url} answered 200 with JSON that is no object.")
    if data.get("error") and not (data.get("choices") or data.get("message")):
        said = error_text(body)
        raise ModelCallError(classify(500, said), f"{url} answered 200 with an error: {said}.")
    return data


MOST = 2**31 - 1
"""What an integer of the database can hold; no server counts that far."""


def count(value: Any) -> int | None:
    """A count as servers should send it; anything else is None."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if fits else None


def classify(status: int, text: str) -> ErrorType:
    """What an HTTP status and the error's own sentence say together. `text` comes from `error_text`.

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
    if status == 503 and _LOADING.search(text):
        return ErrorType.UNAVAILABLE
    default = ErrorType.SERVER_ERROR if status >= 500 else ErrorType.MALFORMED
    return STATUS_ERRORS.get(status, default)


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
    if not -1e9 < seconds < 1e9:  # also false for nan
        return None
    return max(0.0, seconds)


def visible(text: str) -> str:
    """The answer without a leading reasoning block, which servers without a reasoning parser leave in the
    text.

    An unclosed block means that there is no answer: "". A `</think>` without its opening counts too (some
    chat templates put the opening into the prompt), unless the text plainly begins as an answer (JSON or a
    fence).
    """
    stripped = text.strip()
    if stripped.startswith("<think>"):
        return stripped.partition("</think>")[2].strip()
    if stripped[:1] not in ("{", "[", "`") and "</think>" in stripped:
        return stripped.partition("</think>")[2].strip()
    return stripped


_HAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def least_tokens(text: str) -> int:
    """A lower bound of the tokens in a text, for any usual tokenizer.

    Tokenizers split at white space first, so each word that has a letter or digit is one token at least;
    scripts written without spaces are counted as one token per 6 characters.
    """
    spaceless = len(_HAN.findall(text))
    words = sum(1 for word in text.split() if any(c.isalnum() for c in word))
    return words + spaceless // 6


SURE_CUT = 0.7
"""A server that counts fewer prompt tokens than this share of `least_tokens` did not read the whole prompt."""


SHORT = 128
"""Prompts with fewer tokens than this are not judged by `was_cut`: no server's context is that small."""


def check_fits(request: ModelRequest, url: str) -> int:
    """Raises CONTEXT_TOO_LONG when no tokenizer could fit the request into its context; returns
    `least_tokens`.

    Some servers cut a long prompt in silence and others have no limit and exhaust memory, so it is not sent.
    """
    if len(request.system) + len(request.prompt) < 2 * SHORT:
        return 0  # too short to be judged, whatever it says; SHORT is below any context
    least = least_tokens(request.system) + least_tokens(request.prompt)
    if least > request.context_tokens:
        raise ModelCallError(
            ErrorType.CONTEXT_TOO_LONG,
            f"The prompt has at least {least} tokens and {url} is declared with context_tokens = "
            f"{request.context_tokens}. Split the item, or raise context_tokens if the model can take it.",
        )
    return least


def was_cut(least: int, reported: int | None) -> bool:
    """Did the server read far less than was sent? Conservative: False for short prompts and odd counts."""
    return least >= SHORT and reported is not None and 0 < reported < SURE_CUT * least


_SNAPSHOT = re.compile(r"(?::latest|@[\w.]+|-\d{4}-?\d{2}-?\d{2})$")


def same_model(asked: str, returned: str) -> bool:
    """Are these names of one model? One may add a tag `:latest`, a revision `@main` or the date of a snapshot."""
    return asked == returned or _SNAPSHOT.sub("", returned) == asked or _SNAPSHOT.sub("", asked) == returned


def check_finished(
    answer: ModelAnswer,
    raw: str,
    request: ModelRequest,
    url: str,
    *,
    finished: frozenset[str],
    cut: frozenset[str],
) -> None:
    """Raises unless the server said that the answer is finished and there is something in it.

    TRUNCATED when the token limit ended it, SERVER_ERROR when nothing says that it ended, EMPTY without text.
    `raw` is the text before a reasoning block was taken off.
    """
    said = answer.finish_reason
    if said in cut:
        raise ModelCallError(
            ErrorType.TRUNCATED,
            f"{request.model} was cut off after max_tokens = {request.max_tokens}. Raise the recipe's "
            f"max_tokens "
            "or split the item.",
            partial=answer,
        )
    if said not in finished:
        how = f"the finish reason {said!r}" if said else "no finish reason"
        raise ModelCallError(
            ErrorType.SERVER_ERROR, f"{url} sent an answer with {how}: it did not finish.", partial=answer
        )
    if not answer.text:
        why = "only thought and gave no answer" if raw.strip() else "gave an empty answer"
        raise ModelCallError(ErrorType.EMPTY, f"{request.model} {why}.", partial=answer)
