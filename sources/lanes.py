"""Boards whose headings are lanes: `## Todo`, `## Doing`, `## Done` (kanban.md, TODO.md), and Obsidian's Kanban.

A lane gives its state to the cards in it, with or without a checkbox; a checkbox other than `[ ]` says it for itself.
Bullets below a card are its text, checkboxes below it are items with their own mark. In a file of Obsidian's plugin
`**Complete**` makes its lane done, and what stands below `***` is the archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.document import Document, heading_of
from sources.gfm import take_key
from sources.masking import BULLETS, NUMBER
from sources.naming import NEXT_STEP_HEADING, NOTHING, heading_words, is_certain, is_plain, lane_of
from sources.obsidian_tasks import take_fields
from sources.outline import Outline
from sources.structure import name_of, settle
from sources.vocabulary import priority_of, status_of
from sources.walk import Grammar, walk

NAME = "lanes"

_PLUGIN = ("kanban-plugin", "kanban")  # the key of the front matter; the second in its first versions
_FILE_NAMES = re.compile(r"todo|kanban|board|backlog|roadmap", re.IGNORECASE)
_HEADING = re.compile(
    r"^(?: {0,3}(?P<marks>#{1,6})[^\S\n]+(?P<title>[^\n]{1,600})"
    r"|(?P<above>[^\s#>|*+\[-][^\n]{0,60})\n {0,3}(?P<rule>=+|-{2,})[^\S\n]*$)",
    re.MULTILINE,
)
_LABEL = re.compile(r"(?:\*\*|__)(?P<bold>[^*_]{1,60}?):?(?:\*\*|__):?|(?P<plain>[^:]{1,60}):")
_LABELS = re.compile(
    r"^(?P<title>(?:\*\*|__)[^*_\n]{1,60}(?:\*\*|__):?|[^\s:*_|#>\[-][^:\n]{0,59}:)[^\S\n]*$", re.MULTILINE
)
_CARD = re.compile(rf"^[^\S\n]*(?:(?:[{re.escape(BULLETS)}]|{NUMBER})[^\S\n]+|・)\S", re.MULTILINE)
_PROSE = re.compile(rf"[^\s#|>*_=~`{re.escape(BULLETS)}\d].*[^:]$")
_LABEL_LEVEL, _TITLE_LEVEL = 7, 99  # below any heading

_NO_CARD = re.compile(
    r"[*_]{1,2}\(.*\)[*_]{1,2}|[*_]{1,2}\(.*[*_]{1,2}\)|[—–…-]+|\.{3}|\[[^\]]?\](?:[(\[].*)?|"
    r"[^\W\d][\w ()]{0,40}:\s*\d+(?:[.,]\d+)?\s*(?:%|/\s*\d+)?",  # statistics: "Total: 12"
    re.IGNORECASE,
)


def score(document: Document) -> float:
    if is_plugin(document):
        return 0.97
    lanes: dict[int, list[tuple[str, Declared]]] = {}
    others: dict[int, int] = {}
    cards = within = 0  # `within`: the level of the lane that the heading stands in
    for level, title, filled in _headings(document.text):
        status = lane_of(title)
        if status is not None:
            lanes.setdefault(level, []).append((title, status))
            cards += filled
            within = level
        elif within and level > within:
            cards += filled  # a group of cards
        else:
            within = 0
            others[level] = others.get(level, 0) + filled
    others = {level: count for level, count in others.items() if count}
    if not cards:
        return 0.0
    level = max(lanes, key=lambda level: len({status for _, status in lanes[level]}))
    found, other = lanes[level], others.get(level, 0)
    states = len({status for _, status in found})
    certain = sum(is_certain(title) for title, _ in found)
    if states > 2 and sum(not is_plain(title) for title, _ in found) > 2:
        certain = len(found)
    if NEXT_STEP_HEADING.search(document.text):
        return (
            0.0 if states < 2 or not certain else 0.65
        )  # a hand-off file also says what is done and what waits
    if states > 1 and (certain > 1 or (certain and len(found) >= other)):
        return 0.88
    if not certain and len(found) < 3 and any(not is_plain(title) for title, _ in found):
        return 0.0  # "Waiting for the dough", "Ready"
    alone = other == 0 and (level > 1 or len(found) > 1 or not others)
    named = _FILE_NAMES.search(document.name) is not None
    if named and sum(map(len, lanes.values())) > 1:
        return 0.62
    said = {status for _, status in found}
    several = len(found) > 1 and (states > 1 or (certain > 0 and Declared.TODO in said))
    return 0.62 if alone and (named or several) else 0.0


def parse(document: Document) -> Outline:
    grammar = _Lanes(document)
    outline = walk(document, grammar)
    outline.findings += grammar.notes.findings
    kept = {id(item) for item in outline.items}
    for lane in grammar.lanes:
        lane.against = [item for item in lane.against if id(item) in kept]
    settle(outline)
    for lane in grammar.lanes:
        _against(outline, lane)
    return outline


def is_plugin(document: Document) -> bool:
    """Does the file say that it is a board of Obsidian's Kanban plugin?"""
    return any(document.front.get(key, "").lower() in ("board", "basic", "list", "table") for key in _PLUGIN)


def _headings(text: str) -> Iterator[tuple[int, str, bool]]:
    """Level and title of each heading and label, and whether a list item stands before the next one."""
    found = [(m.start(), m.end(), _level(m), m["title"] or m["above"]) for m in _HEADING.finditer(text)]
    labels = ((m.start(), m.end(), _LABEL_LEVEL, m["title"]) for m in _LABELS.finditer(text))
    found += [
        label
        for label in labels
        if lane_of(label[3].rstrip(":")) is not None and _stands_alone(text, label[0])
    ]
    found.sort()
    for index, (_, end, level, title) in enumerate(found):
        until = found[index + 1][0] if index + 1 < len(found) else len(text)
        yield level, title.strip().rstrip("#:").strip(), _CARD.search(text, end, until) is not None


def _stands_alone(text: str, start: int) -> bool:
    """Is the line at this place a label, and not the last line of a paragraph that ends with a colon?"""
    above = text[text.rfind("\n", 0, max(0, start - 1)) + 1 : start].rstrip()
    return _PROSE.match(above) is None


def _level(match: re.Match[str]) -> int:
    if match["marks"]:
        return len(match["marks"])
    return 1 if match["rule"][0] == "=" else 2


@dataclass(slots=True)
class _Lane:
    level: int
    name: str
    status: Declared
    against: list[ParsedItem]  # cards whose own mark says the opposite


class _Lanes(Grammar):
    def __init__(self, document: Document) -> None:
        self.raw = document.raw
        self.notes = Outline()  # what is found at cards; a card is asked for before there is an item
        self.plugin = is_plugin(document)
        self.archives = set(_archives(document)) if self.plugin else set[int]()
        self.title_line = 0 if self.plugin else _title_line(document)
        self.lanes: list[_Lane] = []
        self.open: list[_Lane] = []
        self.priority: int | None = None
        self.priority_level = 0

    def heading(self, line: int, level: int, title: str) -> None:
        if self.priority is not None and level <= self.priority_level:
            self.priority = None
        if (priority := priority_of(heading_words(title))) is not None:
            self.priority, self.priority_level = priority, level
        while self.open and self.open[-1].level >= level:
            self.open.pop()
        status = lane_of(title, loose=self.plugin)
        if line == self.title_line:
            level = _TITLE_LEVEL  # it holds the cards right below it, up to the next heading
        if line in self.archives:
            status = Declared.DONE
        if status is not None and not (self.open and is_plain(title)):
            self._enter(level, title, status)
        elif self.plugin:
            self.open.clear()  # a lane of its own, whatever it is called

    def _enter(self, level: int, title: str, status: Declared) -> None:
        self.open.append(_Lane(level, title, status, []))
        self.lanes.append(self.open[-1])

    def prose(self, line: int, text: str, outline: Outline) -> bool:
        match = _LABEL.fullmatch(text)
        if match is None:
            return False
        name = (match["bold"] or match["plain"]).strip()
        if self.plugin:
            # The word is the plugin's own, in the language of the program
            if not match["bold"] or status_of(name) is not Declared.DONE:
                return False
            if self.open:
                self.open[-1].status = Declared.DONE
            else:
                self._enter(_LABEL_LEVEL, name, Declared.DONE)
            return True
        status = lane_of(name) if _PROSE.match(self.raw[line - 2] if line > 1 else "") is None else None
        inside = self.open and self.open[-1].level < _LABEL_LEVEL
        if status is None or (inside and is_plain(name)):
            return False
        while self.open and self.open[-1].level >= _LABEL_LEVEL:
            self.open.pop()
        self._enter(_LABEL_LEVEL, name, status)
        return True

    def card(self, line: int, text: str) -> ParsedItem | None:
        if not self.open or _NO_CARD.fullmatch(text[:400]) or NOTHING.whole(text[:60]):
            return None
        item = ParsedItem(line=line, title=text, status=self.open[-1].status)
        self._describe(item, self.notes)
        return item

    def item(self, item: ParsedItem, outline: Outline) -> None:
        if item.parent_line is None and self.open:
            lane = self.open[-1]
            if self._unmarked(item):
                item.status = lane.status
            elif item.status.is_open != lane.status.is_open:
                lane.against.append(item)
        self._describe(item, outline)

    def _unmarked(self, item: ParsedItem) -> bool:
        """Is the checkbox empty, so that the lane speaks?"""
        if item.status is not Declared.TODO:
            return False
        mark = item.mark
        return (
            mark is None
            or mark.style == "glyph"
            or not self.raw[item.line - 1][mark.start : mark.end].strip()
        )

    def _describe(self, item: ParsedItem, outline: Outline) -> None:
        if self.open:
            item.labels["lane"] = self.open[-1].name
        if self.priority is not None and item.priority == 2:
            item.priority = self.priority
        take_fields(item, outline)
        take_key(item)


def _title_line(document: Document) -> int:
    """Line of the one first-level heading where lanes are below it: `# TODO` is then the file's title."""
    found = [
        (line, heading_of(text)) for line, text in enumerate(document.live, 1) if text.lstrip()[:1] == "#"
    ]
    tops = [line for line, heading in found if heading and heading[0] == 1]
    below = any(heading and heading[0] > 1 and lane_of(heading[1]) is not None for _, heading in found)
    return tops[0] if len(tops) == 1 and below else 0


def _archives(document: Document) -> Iterator[int]:
    """Headings right below `***`, which is how the plugin sets its archive apart."""
    rule = False
    for line, text in enumerate(document.live, 1):
        stripped = text.strip()
        if rule and stripped.startswith("#"):
            yield line
        if stripped:
            rule = stripped == "***"


def _against(outline: Outline, lane: _Lane) -> None:
    if not lane.against:
        return
    first, count = lane.against[0], len(lane.against)
    others = f" and {count - 1} more" if count > 1 else ""
    message = (
        f"{name_of(first)}{others} {'are' if count > 1 else 'is'} marked {first.status} in the lane "
        f"{quoted(lane.name)}, which is {lane.status}. "
        "The mark was believed; move the card to where it belongs."
    )
    outline.find("lane_conflict", Severity.INFO, first.line, message)
