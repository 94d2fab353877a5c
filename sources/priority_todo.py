"""To-do by priority: `## High priority`, `### theme`, `- [ ] **Title** - description`, steps without mark."""

from __future__ import annotations

import re

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.document import Document
from sources.gfm import CHECKBOX
from sources.naming import SEE_WORDS, heading_words
from sources.outline import Outline
from sources.structure import settle
from sources.vocabulary import priority_of
from sources.walk import Grammar, walk

NAME = "priority_todo"

_TITLED = re.compile(r"\*\*(?P<title>.+?)\*\*:?\s*(?:[-—–:]\s+)?(?P<description>.*)", re.DOTALL)
_HEADING = re.compile(r"^ {0,3}#{1,6}[^\S\n](.{1,100})$", re.MULTILINE)
_RESULT = re.compile(r"(?P<done>\d{1,4})\s*/\s*(?P<all>\d{1,4})")
_REFERENCE = re.compile(rf"(?:{SEE_WORDS})[:：]?\s+(\S+)$", re.IGNORECASE)
_DEFAULT = 2


def score(document: Document) -> float:
    levels = sum(
        1
        for match in _HEADING.finditer(document.text)
        if priority_of(heading_words(match[1].rstrip(" #"))) is not None
    )
    if not levels or not CHECKBOX.search(document.text):
        return 0.0
    return 0.85 if levels > 1 else 0.7


def parse(document: Document) -> Outline:
    grammar = _PriorityTodo()
    outline = walk(document, grammar)
    settle(outline)
    for line, (item, succeeded, of) in grammar.results.items():
        item.labels["result"] = f"{succeeded}/{of}"
        if (item.status is Declared.DONE) != (succeeded == of):
            message = (
                f"{quoted(item.title)} is {item.status}, but its last result says {succeeded} of {of} steps "
                "succeeded. Check which is true and correct the other."
            )
            outline.find("evidence_conflict", Severity.WARNING, line, message)
    return outline


class _PriorityTodo(Grammar):
    def __init__(self) -> None:
        self.priority: int | None = None
        self.level = 0
        self.theme = ""
        self.last: ParsedItem | None = None
        self.results: dict[int, tuple[ParsedItem, int, int]] = {}  # the last result of an item counts

    def heading(self, line: int, level: int, title: str) -> None:
        priority = priority_of(heading_words(title))
        if priority is not None:
            self.priority, self.level, self.theme = priority, level, ""
        elif self.priority is not None and level > self.level:
            self.theme = title
        else:
            self.priority, self.theme = None, ""

    def item(self, item: ParsedItem, outline: Outline) -> None:
        self.last = item
        if self.priority is not None and item.priority == _DEFAULT:
            item.priority = self.priority
        if self.theme:
            item.labels["theme"] = self.theme
        if match := _TITLED.match(item.title):
            item.title = match["title"].strip()
            item.body = match["description"].strip()

    def bullet(self, line: int, text: str, parent: ParsedItem) -> ParsedItem | None:
        if match := _REFERENCE.match(text):
            parent.labels["document"] = match[1]
            return None
        if parent.kind == "step" or not text.strip():
            return None
        status = Declared.TODO if parent.status.is_open else parent.status
        return ParsedItem(
            line=line,
            title=text,
            kind="step",
            status=status,
            priority=parent.priority,
            labels={key: parent.labels[key] for key in ("section", "theme") if key in parent.labels},
            explicit_status=False,
        )

    def comment(self, item: ParsedItem, text: str, outline: Outline) -> None:
        if self.last is not None and (match := _RESULT.search(text)):
            self.results[self.last.line] = (self.last, int(match["done"]), int(match["all"]))
