"""What a file itself says its signs mean: a list, a table or a line that explains them ("🟠 = blocked")."""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.enums import Declared
from sources.document import Document, heading_of
from sources.naming import (
    LEGEND,
    LEGEND_ALONE,
    MEANING_COLUMN,
    SIGN_COLUMN,
    STATUS_COLUMN,
    heading_words,
)
from sources.signs import SIGNS, pictures
from sources.vocabulary import state_of, status_of

_PICTURE = "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3007\U0001f100-\U0001faff×√]\ufe0f?"
_PAIR = re.compile(
    rf"(?P<sign>{_PICTURE}|`?\[[^\[\]\s`]\]`?)[\s`*]*(?P<is>[-=＝:：–—→|]?)[\s>]*\**"
    rf"(?P<words>[^\W\d_](?:(?!{_PICTURE})[^|,;·•=＝\n。；、，/`]){{0,60}})"
)
_LABEL = re.compile(r"\W*(?P<name>[^:：]{2,40})\s*[:：]")
_MOST_LINES = 20_000


def signs_of(document: Document) -> dict[str, Declared]:
    """The signs that the file explains, and `[o]` as `o`; without those that it explains in two ways."""
    found: dict[str, Declared | None] = {}
    for sign, status in _explained(document):
        if found.setdefault(sign, status) is not status:
            found[sign] = None
    return {sign: status for sign, status in found.items() if status is not None}


def _explained(document: Document) -> Iterator[tuple[str, Declared]]:
    legend = table = rows = False
    quotes = (number for number, reason in document.masked.items() if reason == "quote")
    live = document.live[:_MOST_LINES]
    for number in quotes:
        if number <= len(live):
            live[number - 1] = document.raw[number - 1].lstrip(" >")  # a legend may stand in a quote
    for line in live:
        text = line.strip()
        if not text or len(text) > 1000:
            continue
        if text[0] == "#" and (heading := heading_of(line)):
            legend = LEGEND.within(heading_words(heading[1]))
            continue
        if text[0] == "|":
            table = table or (not rows and _is_key(text))
            rows = True
        else:
            table = rows = False
            legend = legend or _is_label(text)
        if rows and not table and not legend:
            continue
        if text.isascii() and "[" not in text and ":" not in text:
            continue
        shown = pictures(text)
        pairs = list(_PAIR.finditer(shown))
        if pairs and (legend or table or _explains(shown, pairs)):
            for pair in pairs:
                sign = pair["sign"].strip("`[]\ufe0f")
                words = pair["words"].strip(" *_")
                status = status_of(words) if legend else state_of(words, weak=True)
                if status is not None and not any(mark in pair["words"] for mark in SIGNS):
                    yield sign, status


def _is_label(text: str) -> bool:
    """ "Legend:" and what follows, "**Key**", or the word alone on its line."""
    match = _LABEL.match(text) if len(text) < 400 else None
    return LEGEND_ALONE.whole(match["name"] if match else text[:60])


def _is_key(header: str) -> bool:
    """ "Sign | Meaning", "Status | Icon": a table of little else."""
    cells = [cell for cell in header.strip(" |").split("|") if cell.strip()]
    named = sum(
        SIGN_COLUMN.whole(cell) or MEANING_COLUMN.whole(cell) or STATUS_COLUMN.whole(cell) for cell in cells
    )
    return 1 < len(cells) < 4 and named > 1 and not all(map(STATUS_COLUMN.whole, cells))


def _explains(text: str, pairs: list[re.Match[str]]) -> bool:
    """A line that gives each sign its meaning with an equals sign."""
    return all(pair["is"] in ("=", "＝") for pair in pairs) and not text.startswith("|")
