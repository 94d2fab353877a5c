"""Text that others wrote (boards, sources, answers), made fit to be shown to a model, compared and stored."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def visible(text: str) -> str:
    """The text as a person sees it: without HTML comments, zero-width, direction and control characters.

    What a person can't see must not steer a model. A comment that is never closed stays, its opening mark
    broken, because the rest of the text may be no comment at all.
    """
    if not text:
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    # Hidden characters first: they could hide the mark of a comment.
    text = _CONTROL.sub("", text) if text.isascii() else _HIDDEN.sub("", text)
    return _without_comments(text) if "<!--" in text else text


def _without_comments(text: str) -> str:
    """Linear in the text's length, which a lazy regular expression over unclosed comments is not."""
    kept = []
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        kept.append(text[at:start])
        at = end + 3
    kept.append(text[at:])
    # Again, because what is left on both sides of a removed comment may make a new mark.
    return "".join(kept).replace("<!--", "<! --")


def storable(text: str) -> str:
    """The text with what Postgres can't store (NUL, lone surrogates) replaced by U+FFFD."""
    return _NOT_STORABLE.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    return _NOT_STORABLE.search(text) is None


def one_line(text: str) -> str:
    """Visible text with every run of white space as one space: for names, cites and comparisons."""
    return " ".join(visible(text).split())


def excerpt(value: object, limit: int = 80) -> str:
    """A value shown within a message: a text in quotation marks, on one line, cut."""
    return f'"{cut(value, limit)}"' if isinstance(value, str) else cut(str(value), limit)


def cut(text: str, limit: int) -> str:
    """The text on one line, with an ellipsis where it is longer than `limit` characters."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."
