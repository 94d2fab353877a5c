"""Plain task lists as GitHub renders them: `- [ ] text`, any bullet or number, nested by indent."""

from __future__ import annotations

import re

from sources.document import Document
from sources.structure import settle
from sources.walk import Grammar, Outline, walk

NAME = "gfm"

CHECKBOX = re.compile(r"^[^\S\n]*(?:(?:[-*+•]|\d{1,9}[.)])\s+)?\[[^\[\]\n]?\]\s+\S", re.MULTILINE)


def score(document: Document) -> float:
    return 0.5 if CHECKBOX.search(document.text) else 0.0


def parse(document: Document) -> Outline:
    outline = walk(document, Grammar())
    for item in outline.items:
        if item.title.startswith("**") and item.title.endswith("**") and item.title.count("**") == 2:
            item.title = item.title[2:-2].strip() or item.title
    settle(outline)
    return outline
