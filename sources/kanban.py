"""Kanban board with a hierarchy: `[x] US PHC-1.2 — title`, types EP > FEAT > US > T, dotted ids, GOV gates.

Not CommonMark: most lines have no bullet, any indent and any blank line may stand between parent and child.
"""

from __future__ import annotations

import re

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.document import Document
from sources.outline import Outline
from sources.structure import ancestors_of, settle
from sources.tree import look_over
from sources.walk import Grammar, walk

NAME = "kanban"

_KINDS = {
    "EP": "epic", "EPIC": "epic", "FEAT": "feature", "FEATURE": "feature", "US": "story", "STORY": "story",
    "T": "task", "TASK": "task", "BUG": "task", "GOV": "task",
}  # fmt: skip
_TYPES = "|".join(_KINDS)
_ID = r"(?:[^\W\d_]\w{0,15}-\d[\w.]{0,60}|\d{1,6}(?:\.\w{1,16}){1,12}|(?:XXX|NNN)[\w.]{0,40})"
_SEPARATOR = r"(?:\s*[—–:|]\s*|\s+[-?]\s+|\s*$)"  # " ? " is a dash that an editor lost
_TYPED = re.compile(
    rf"(?P<type>{_TYPES})\s+(?=\S*\d|XXX|NNN)(?P<id>[\w.#/+@-]{{1,80}}?){_SEPARATOR}(?P<title>.*)", re.DOTALL
)
_SPACED = re.compile(rf"(?P<type>{_TYPES})\s+(?P<id>{_ID})\s+(?P<title>.*)", re.DOTALL)
_NUMBERED = re.compile(r"(?P<id>\d{1,4}(?:\.\w{1,16}){1,12})\.?\s+(?P<title>\S.*)", re.DOTALL)  # "4.5.1 text"
_UNTYPED = re.compile(rf"(?P<id>{_ID}){_SEPARATOR}(?P<title>.*)", re.DOTALL)
_TALK = re.compile(r"(?P<kind>CONSULT|REFLECT)\b(?:\s*[—–:?-]\s*|\s+|$)(?P<question>.*)", re.DOTALL)
_DATE = re.compile(r"\((\d{4}-\d{2}-\d{2})\)$")
_EFFORT = re.compile(r"\[([LMHSX]{1,2})\]$")
_FIELD = re.compile(r"(\w+)\s*:\s*\"?([^\"|]*)\"?")

_LINE = re.compile(
    rf"^[^\S\n]*(?:[-*+][^\S\n]+)?\[[ xX~-]\][^\S\n]+"
    rf"(?:(?:{_TYPES})[^\S\n]+\S{{0,80}}[\dX]|\*{{0,2}}{_ID}\*{{0,2}}[^\S\n]*[—–:|?-])",
    re.MULTILINE,
)
_NUMBERED_LINE = re.compile(
    r"^[^\S\n]*(?:[-*+][^\S\n]+)?\[[ xX~-]\][^\S\n]+\**(?P<id>\d{1,4}(?:\.\w{1,16}){1,12})\.?[^\S\n]+\S",
    re.MULTILINE,
)
_OF_A_TREE = re.compile(rf"\][^\S\n]+\**(?:(?:{_TYPES})[^\S\n]|[\w-]{{1,40}}\.\w)")
_ANY = re.compile(r"^[^\S\n]*(?:[-*+][^\S\n]+)?\[[ xX~-]\]\s", re.MULTILINE)


def score(document: Document) -> float:
    """Share of checkbox lines that carry a type or an id.

    Keys of a tracker alone (PROJ-12) make no tree: a board of lanes has them, too. Numbers without a dash behind them
    (4.5.1 text) count where one of them is the parent of another.
    """
    text = document.text
    typed = sum(1 for _ in _LINE.finditer(text))
    numbers = {match["id"]: None for match in _NUMBERED_LINE.finditer(text)} if not typed else {}
    if any(above in numbers for number in numbers for above in ancestors_of(number)):
        typed = len(numbers)
    if not typed:
        return 0.0
    # Keys of a tracker alone are what any task list has.
    best = 0.95 if numbers or any(_OF_A_TREE.search(match[0]) for match in _LINE.finditer(text)) else 0.45
    return best * min(1.0, 2 * typed / max(1, sum(1 for _ in _ANY.finditer(text))))


def parse(document: Document) -> Outline:
    grammar = _Kanban()
    outline = walk(document, grammar)
    _untyped(outline, grammar.untyped)
    settle(outline, by_id=True)
    look_over(document, outline)
    return outline


def _untyped(outline: Outline, untyped: dict[int, str]) -> None:
    """Items without a type, on a board that writes types."""
    if 2 * len(untyped) > len(outline.items):
        return
    for item in outline.items:
        if what := untyped.get(item.line):
            message = f"{quoted(item.title)} has {what}; read as a task. Write it as `[ ] T <id> — title`."
            outline.find("untyped_item", Severity.INFO, item.line, message)


class _Kanban(Grammar):
    min_step = 1

    def __init__(self) -> None:
        self.untyped: dict[int, str] = {}

    def item(self, item: ParsedItem, outline: Outline) -> None:
        title = item.title
        if title.startswith("**"):
            title = title.replace("**", "", 2)
        match = _TYPED.match(title) or _SPACED.match(title) or _UNTYPED.match(title) or _NUMBERED.match(title)
        level = ""
        if match:
            groups = match.groupdict()
            level = groups.get("type") or ""
            item.ext_id = groups["id"]
            title = groups["title"].strip()
        if level:
            item.kind = _KINDS[level]
            item.labels["level"] = level
        else:
            self.untyped[item.line] = "an id but no type" if match else "neither type nor id"
        if " | " in title or title.startswith(("owner:", "created:", "title:")):
            title = _fields(item, title)
        title = self._trailer(item, title)
        if talk := _TALK.match(title):
            item.kind = talk["kind"].lower()
            title = talk["question"].strip()
            if not title:
                message = (
                    f"{item.ext_id or 'the item'} is a {talk['kind']} without a question; "
                    "nobody can answer it. Write what is to be decided."
                )
                outline.find("consult_without_question", Severity.WARNING, item.line, message)
                title = talk["kind"]
        item.title = title or item.ext_id or item.title

    def _trailer(self, item: ParsedItem, title: str) -> str:
        if title.endswith("]") and (effort := _EFFORT.search(title, max(0, len(title) - 4))):
            item.labels["effort"] = effort[1]
            title = title[: effort.start()].rstrip()
        if title.endswith(")_") and (start := title.rfind("_(")) > 0:
            item.body = title[start + 2 : -2]  # a decision, written into the line
            title = title[:start].rstrip()
        if title.endswith(")") and (date := _DATE.search(title, max(0, len(title) - 12))):
            item.labels["completed" if item.status is Declared.DONE else "date"] = date[1]
            title = title[: date.start()].rstrip()
        return title


def _fields(item: ParsedItem, text: str) -> str:
    """`owner: x | created: y | title: "z"`, an older way to write the same board."""
    fields: dict[str, str] = {}
    for part in text.split("|"):
        if match := _FIELD.fullmatch(part.strip()):
            fields[match[1]] = match[2]
    if "title" not in fields:
        return text
    title = fields.pop("title").strip()
    item.labels.update({key: value.strip() for key, value in fields.items() if value.strip()})
    return title
