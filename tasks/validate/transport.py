"""Is there an answer at all? Nothing, only thoughts, cut off, the question again."""

from __future__ import annotations

import re

from models.calls import ModelAnswer
from models.enums import ErrorType
from models.verdict import Failure
from tasks.foreign import excerpt, is_storable, visible

LAYER = "transport"

CUT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
"""Finish reasons (lower case) that say the answer was cut: OpenAI, Ollama, Anthropic, Gemini, Mistral."""

ECHO_WORDS = 4
ECHO_SHARE = 0.8
"""A part of the question is an echo from so many words and this share of it on; less may be the answer itself."""

_THINK = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_WORD = re.compile(r"\w+")


def without_thoughts(text: str) -> str | None:
    """The text after a leading block of thoughts; None where the thoughts never end. Tags elsewhere are content."""
    while opening := _THINK.match(text):
        closing = re.compile(rf"</{opening[1]}\s*>", re.IGNORECASE).search(text, opening.end())
        if closing is None:
            return None
        text = text[closing.end() :]
    return text.strip()


def check_transport(answer: ModelAnswer) -> tuple[str, Failure | None]:
    """The text to go on with (without thoughts), and what is wrong with it."""
    text = without_thoughts(answer.text)
    if answer.finish_reason.lower() in CUT:
        return text or "", Failure(
            LAYER,
            "finish_reason",
            ErrorType.TRUNCATED,
            f"The answer was cut off: the server stopped with {excerpt(answer.finish_reason)} "
            f"after {len(answer.text)} characters.",
        )
    if text is None:
        return "", Failure(
            LAYER, "not_empty", ErrorType.EMPTY, "There are only thoughts that never end, and no answer."
        )
    if not visible(text).strip():
        said = "nothing after its thoughts" if answer.text.strip() else "nothing"
        return "", Failure(LAYER, "not_empty", ErrorType.EMPTY, f"The model answered {said}.")
    if not is_storable(text):
        return text, Failure(
            LAYER,
            "storable",
            ErrorType.MALFORMED,
            "The answer has NUL characters or broken Unicode, which can't be stored.",
        )
    return text, None


def check_echo(text: str, question: str) -> Failure | None:
    """Does the answer only repeat the question (or its first line, the title)?"""
    said = _words(text)
    title = question.lstrip().partition("\n")[0]
    for asked in (_words(question), _words(title)):
        if asked and said and _repeats(said, asked):
            return Failure(
                LAYER,
                "no_echo",
                ErrorType.ECHO,
                f"The answer repeats the question and adds nothing: {excerpt(text)}.",
            )
    return None


def _words(text: str) -> list[str]:
    return _WORD.findall(visible(text).casefold())


def _repeats(said: list[str], asked: list[str]) -> bool:
    if said == asked:
        return True
    if len(said) <= len(asked):
        return len(said) >= max(ECHO_WORDS, ECHO_SHARE * len(asked)) and _within(said, asked)
    return set(said) <= set(asked) and _within(asked, said)


def _within(part: list[str], whole: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(whole)} "
