"""Plain task lists as GitHub renders them: `- [ ] text`, any bullet or number, nested by indent."""

from __future__ import annotations

import re

from models.board import ParsedItem
from sources.document import Document
from sources.masking import BULLETS, NUMBER
from sources.outline import Outline
from sources.structure import settle
from sources.walk import Grammar, walk

NAME = "gfm"

_HASHES = frozenset(f"#{digit}" for digit in "0123456789") | {"[#"}
_KEYED = re.compile(
    r"\[?(?P<id>[A-ZА-Я][A-ZА-Я0-9]{1,9}-\d{1,6})\]?(?:\([^()\s]{1,300}\))?\s*(?:[:：—–-]\s+|\s)(?P<title>\S.*)",
    re.DOTALL,
)
CHECKBOX = re.compile(
    rf"^[^\S\n]*(?:(?:[{re.escape(BULLETS)}]|{NUMBER})\s*)?(?:\[[^\[\]\n]?\]\s+\S|[［【][^\[\]［］【】\n]?[］】][^\S\n]*\S)",
    re.MULTILINE,
)
_NUMBERED = re.compile(
    r"\[?(?P<id>#\d{1,7})\]?(?:\([^()\s]{1,300}\))?(?:\s*[:：—–-]\s+|\s+)(?P<title>\S.*)", re.DOTALL
)


def score(document: Document) -> float:
    return 0.5 if CHECKBOX.search(document.text) else 0.0


def parse(document: Document) -> Outline:
    outline = walk(document, _TaskList())
    for item in outline.items:
        if item.title.startswith("**") and item.title.endswith("**") and item.title.count("**") == 2:
            item.title = item.title[2:-2].strip() or item.title
    _take_numbers(outline.items)
    settle(outline)
    return outline


def _take_numbers(items: list[ParsedItem]) -> None:
    """ "#12 text" is the item of issue 12 where one item begins so; several are parts of the same issue, and it is
    nobody's id."""
    numbered: dict[str, list[tuple[ParsedItem, str]]] = {}
    for item in items:
        if item.ext_id is None and item.title[:2] in _HASHES and (match := _NUMBERED.match(item.title)):
            numbered.setdefault(match["id"], []).append((item, match["title"].strip()))
    for ext_id, found in numbered.items():
        if len(found) == 1:
            found[0][0].ext_id, found[0][0].title = ext_id, found[0][1]


class _TaskList(Grammar):
    def item(self, item: ParsedItem, outline: Outline) -> None:
        take_key(item)


def take_key(item: ParsedItem) -> None:
    """ "PROJ-12: text" and "[PROJ-12](url) text" carry the id of a tracker."""
    title = item.title.replace("**", "", 2) if item.title.startswith("**") else item.title
    if item.ext_id is None and (match := _KEYED.match(title)):
        item.ext_id, item.title = match["id"], match["title"].strip()
