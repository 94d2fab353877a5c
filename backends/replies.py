"""What a model server's answer is worth: pure functions over what it said, whatever its protocol."""

from __future__ import annotations

import re
from typing import Any

import orjson

from backends.failures import SNIPPET, Words, error_text, failure_inside
from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.enums import ErrorType

__all__ = [
    "MOST",
    "SHORT",
    "SNIPPET",
    "check_finished",
    "check_fits",
    "count",
    "error_of",
    "json_object",
    "least_tokens",
    "same_model",
    "visible",
    "was_cut",
]


def json_object(body: bytes, url: str) -> dict[str, Any]:
    """The JSON object that a 200 carries. Raises ModelCallError(SERVER_ERROR) for anything else: no model said that."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = error_text(body)
        what = f"what is no JSON: {said}" if said else "nothing"
        raise ModelCallError(ErrorType.SERVER_ERROR, f"{url} answered 200 with {what}.") from None
    if isinstance(data, list) and len(data) == 1:  # Gemini wraps now and then
        data = data[0]
    if not isinstance(data, dict):
        raise ModelCallError(ErrorType.SERVER_ERROR, f"{url} answered 200 with JSON that is no object.")
    return data


def error_of(page: dict[str, Any], url: str, words: Words) -> ModelCallError | None:
    """The error that a page of a 200 is, if it is one."""
    if (page.get("error") and not (page.get("choices") or page.get("message"))) or page.get(
        "object"
    ) == "error":
        return failure_inside(url, page, words=words)
    return None


MOST = 2**31 - 1
"""What an integer of the database can hold; no server counts that far."""


def count(value: Any) -> int | None:
    """A count as servers should send it; anything else is None."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if fits else None


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
    words = sum(word.isalnum() or any(map(str.isalnum, word)) for word in text.split())
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
    """Are these names of one model? One may add a tag `:latest`, a revision `@main` or the date of a snapshot; and
    who asks for `NAME-latest` gets one that begins with NAME.
    """
    if asked == returned or _SNAPSHOT.sub("", returned) == asked or _SNAPSHOT.sub("", asked) == returned:
        return True
    return asked.endswith("-latest") and returned.startswith(asked.removesuffix("latest"))


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
    if not answer.text and not answer.images:
        why = "only thought and gave no answer" if raw.strip() else "gave an empty answer"
        raise ModelCallError(ErrorType.EMPTY, f"{request.model} {why}.", partial=answer)
