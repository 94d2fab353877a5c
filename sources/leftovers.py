"""What looks like a checkbox and became no item, in the dialects that the walk does not read: accounted for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.board import NotItem
from sources.checkbox import is_checkbox
from sources.document import Document
from sources.outline import Outline
from sources.signs import GLYPHS

_BOX = re.compile(r"[\[［][ xX\u3000][\]］](?=\s*\w)")
_ALONE = re.compile(r"\S{0,11}\s{0,8}[\[［【][^\[\]［］【】]{0,24}[\]］】]\s*$")
_SIGNS = frozenset(GLYPHS) | frozenset("[［【")


def account(document: Document, outline: Outline, reasons: Mapping[int, str], otherwise: str) -> None:
    """Give each line that looks like a checkbox, or has one in its text, and is no item its reason: that of
    `reasons` (by line), else `otherwise` for a checkbox and "text" for a box in a sentence."""
    known = {item.line for item in outline.items}
    known.update(line for line, _ in outline.not_items)
    for number, raw in enumerate(document.raw, 1):
        if number in known or _SIGNS.isdisjoint(raw):
            continue
        text = raw.strip().lstrip("> \t")
        if is_checkbox(text):
            reason = "empty" if _ALONE.fullmatch(text) else otherwise
        elif _BOX.search(raw):
            reason = "text"
        else:
            continue
        outline.not_items.append(NotItem(number, reasons.get(number, reason)))
