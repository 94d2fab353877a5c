"""Texts made shorter at a place where something ends."""

from __future__ import annotations

import re

_END = re.compile(r"(?:[.!?…]|\n)(?=\s|$)|\s")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")

LEAST = 200
"""Characters: what is left of a text is at least as long, or nothing is left."""


def cut_at_an_end(text: str, limit: int) -> str:
    """At most `limit` characters, ended after a sentence where one ends in the second half, else after a word."""
    if len(text) <= limit:
        return text
    sentence = word = 0
    for end in _END.finditer(text, limit // 2, limit):
        if end[0].isspace() and end[0] != "\n":
            word = end.start()
        else:
            sentence = end.end()
    return text[: sentence or word or limit].rstrip()


def shortened(text: str, limit: int) -> str:
    """At most about `limit` characters of it, up to the end of a paragraph, with a mark that says how much is missing.

    A paragraph that is longer than half of that is ended after a sentence.
    """
    if len(text) <= limit:
        return text
    kept = ""
    if limit >= LEAST:
        ends = [end.start() for end in _PARAGRAPH.finditer(text, limit // 2, limit)]
        kept = text[: ends[-1]] if ends else cut_at_an_end(text, limit)
    mark = f"[cut: {len(text) - len(kept):,} characters]"
    return f"{kept}\n\n{mark}" if kept else mark
