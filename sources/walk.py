"""The walk over a board's lines that all list dialects share.

Every checkbox line outside code, comments, quotes and templates becomes an item in every dialect; a dialect's
`Grammar` adds what it knows of ids, phases, priorities and steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.board import Finding, ParsedItem
from models.enums import Declared, Severity
from sources.document import Document, heading_of, indent_of
from sources.vocabulary import DETAIL_KEYS, MARKS, ODD_MARKS, priority_of, state_of, status_of

_ITEM = re.compile(
    r"(?P<bullet>(?:[-*+•]|\d{1,9}[.)])\s+)?\[(?P<mark>[^\[\]]{0,24})\](?P<rest>.*)", re.DOTALL
)
_STARTS = frozenset("-*+•[0123456789")
_BULLET = re.compile(r"(?:[-*+•]|\d{1,9}[.)])\s+")
_RULE = re.compile(r"(?:[-*_=]\s*){3,}$")
_DETAIL = re.compile(r"\**(?P<key>[^\W\d][\w ]{1,20}?)\**\s*:\s*\**\s*(?P<value>.*)")
_NEEDS = re.compile(
    r"[(\[;,—–]\s*(?:depends on|blocked by|зависит от)\b:?\s*(?P<ids>[^()\[\]]+)", re.IGNORECASE
)
_NEEDS_WORDS = ("epends on", "locked by", "ависит от")
_REFERENCE = re.compile(
    # The prefix is bounded: searched from each letter of one endless word it would take the square of its length.
    r"(?:[^\W_]{1,40}-)?#?\d[\w.]*\w|#?\d+|[A-ZА-Я][A-ZА-Я0-9]{0,40}-[\w.]*\w|line:\d+",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[\s,;.&+`]*|\s+(?:and|и)\s+", re.IGNORECASE)
_INLINE_PRIORITY = re.compile(r"(?:^|[(\[])P([0-4])(?:[)\]:]|\s|$)")
_LEGEND = re.compile(
    r"легенд|legend|обозначени|формат|\bformat|условные|\bkey\b|статус|status", re.IGNORECASE
)
_TEMPLATE = re.compile(
    r"\btemplate\b|\bшаблон\b|\(reference\)|\(example\)|\(пример\)|\bобразец\b", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"(?:\w+ )?(?:XXX|NNN|<[^>]+>|…|\.\.\.)(?:[.\s-]|$)")
_PLACEHOLDER_ALONE = re.compile(r"(?:XXX|NNN)(?:[.-][\w.]*)?|<[^<>]+>|…|\.\.\.")


@dataclass(slots=True)
class Section:
    line: int
    level: int
    title: str
    first: int  # index of its first item


class Grammar:
    """What one dialect adds to the walk. The base reads plain task lists."""

    min_step = 2  # columns that make a child: "-" and a space, as in CommonMark
    states_required = False

    def heading(self, line: int, level: int, title: str) -> None:
        """A heading was passed."""

    def item(self, item: ParsedItem, outline: Outline) -> None:
        """A checkbox line was read; fill in what the dialect knows."""

    def bullet(self, line: int, text: str, parent: ParsedItem) -> ParsedItem | None:
        """An indented bullet without a mark stands below `parent`: a step of its own, or None for body text."""
        return None

    def prose(self, line: int, text: str, outline: Outline) -> bool:
        """A line that belongs to no item. True when the dialect took it for its own (a commit, a group label)."""
        return False

    def comment(self, item: ParsedItem, text: str, outline: Outline) -> None:
        """An HTML comment stands on or below an item."""


@dataclass(slots=True)
class Outline:
    items: list[ParsedItem] = field(default_factory=list)
    indents: dict[int, int] = field(default_factory=dict)  # by line
    findings: list[Finding] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def find(self, code: str, severity: Severity, line: int, message: str) -> None:
        self.findings.append(Finding(code, severity, line, message))


def mark_status(mark: str, *, bullet: bool) -> Declared | None:
    """Status of what stands in the brackets; None when this is no checkbox."""
    inner = mark.strip().replace("\ufe0f", "")  # an emoji may come with its variation selector
    if len(inner) <= 1:
        return Declared.TODO if inner in ODD_MARKS and inner not in MARKS else MARKS.get(inner)
    return state_of(inner) if bullet else None


def references(text: str) -> list[str] | None:
    """The item ids in "PHC-1.2, #14 and 4.5.6a"; None when there is other text among them."""
    if not all(_BETWEEN.fullmatch(between) for between in _REFERENCE.split(text)):
        return None
    return _REFERENCE.findall(text)


def walk(document: Document, grammar: Grammar) -> Outline:
    return _Walk(document, grammar).run()


class _Walk:
    def __init__(self, document: Document, grammar: Grammar) -> None:
        self.document = document
        self.grammar = grammar
        self.outline = Outline()
        self.stack: list[tuple[int, ParsedItem]] = []
        self.section = ""
        self.legend = False
        self.bodies: dict[int, list[str]] = {}

    def run(self) -> Outline:
        outline, comments, raw = self.outline, self.document.comments, self.document.raw
        after_blank = True
        for number, line in enumerate(self.document.live, 1):
            text = line.strip()
            if not text:
                if raw[number - 1] and not raw[number - 1].isspace():
                    self._masked(number, raw[number - 1])
                else:
                    after_blank = True
                continue
            if text[0] == "#" and (heading := heading_of(line)):
                self._heading(number, *heading)
            else:
                prefix = line[: len(line) - len(line.lstrip())]
                indent = indent_of(prefix) if prefix else 0
                if not (text[0] in _STARTS and self._item(number, indent, text)):
                    self._other(number, indent, text, after_blank)
            if number in comments:
                self._comments(number)
            after_blank = False
        for item in outline.items:
            if item.line in self.bodies:
                item.body = "\n".join(filter(None, (item.body, *self.bodies[item.line])))
        _drop_templates(outline)
        return outline

    def _heading(self, number: int, level: int, title: str) -> None:
        self.stack.clear()
        self.section = title[:200]
        self.legend = _LEGEND.search(self.section) is not None
        self.outline.sections.append(Section(number, level, title, len(self.outline.items)))
        self.grammar.heading(number, level, title)

    def _item(self, number: int, indent: int, text: str) -> bool:
        match = _ITEM.match(text)
        if match is None:
            return False
        mark, rest, bullet = match["mark"], match["rest"], match["bullet"] is not None
        status = mark_status(mark, bullet=bullet)
        if rest[:1] in ("(", "[") or (not bullet and rest[:1] and not rest[0].isspace()):
            return False  # a link
        title = rest.strip().removeprefix(":").strip()
        if status is None:
            if not (bullet and self.grammar.states_required and mark.isupper() and len(mark) > 2 and title):
                return False
            status = Declared.TODO
            self.outline.find(
                "unknown_state",
                Severity.WARNING,
                number,
                f"the state [{mark}] is not known; read as TODO. Use TODO, IN_PROGRESS, BLOCKED, DONE or SKIPPED.",
            )
        if not title:
            message = (
                f"the checkbox [{mark}] has no text after it, so it is no item. Write what is to be done."
            )
            self.outline.find("empty_item", Severity.INFO, number, message)
            return True
        if title[0] in "—–=" or (self.legend and _only_a_status(title)):
            return True  # a legend: it explains the marks
        self._odd_mark(number, mark)
        item = ParsedItem(line=number, title=title, status=status)
        if self.section:
            item.labels["section"] = self.section
        self._push(indent, item)
        if "P" in title and (priority := _INLINE_PRIORITY.search(title)):
            item.priority = int(priority[1])
        if any(word in title for word in _NEEDS_WORDS) and (needs := _NEEDS.search(title)):
            item.needs.extend(references(needs["ids"]) or ())
        self.grammar.item(item, self.outline)
        return True

    def _odd_mark(self, number: int, mark: str) -> None:
        inner = mark.strip()
        if inner in ODD_MARKS and inner:
            known = MARKS.get(inner, Declared.TODO)
            message = (
                f"the mark [{inner}] is not one of [ ] [x] [~] [-] [!]; read as {known}. Use one of them."
            )
            self.outline.find("unknown_mark", Severity.INFO, number, message)

    def _push(self, indent: int, item: ParsedItem) -> None:
        stack = self.stack
        while stack and stack[-1][0] + self.grammar.min_step > indent:
            stack.pop()
        if stack:
            item.parent_line = stack[-1][1].line
        stack.append((indent, item))
        self.outline.items.append(item)
        self.outline.indents[item.line] = indent

    def _other(self, number: int, indent: int, text: str, after_blank: bool) -> None:
        """A line that is no item: a detail of the item above it, or prose."""
        bullet = _BULLET.match(text)
        if _RULE.match(text) and not bullet:
            self.stack.clear()
            return
        if bullet is None and not after_blank and self.stack and indent <= self.stack[-1][0]:
            if text[0] != "|" and not self.grammar.prose(number, text, self.outline):
                self.bodies.setdefault(self.stack[-1][1].line, []).append(text)  # wrapped, not indented
            return
        while self.stack and self.stack[-1][0] >= indent:
            self.stack.pop()
        if self.stack:
            self._detail(number, indent, text, self.stack[-1][1], bullet)
        else:
            self.grammar.prose(number, text, self.outline)

    def _detail(
        self, number: int, indent: int, text: str, item: ParsedItem, bullet: re.Match[str] | None
    ) -> None:
        content = text[bullet.end() :] if bullet else text
        match = _DETAIL.match(content)
        label = DETAIL_KEYS.get(match["key"].lower()) if match else None
        needs = references(match["value"]) if match and label == "needs" else None
        if needs:
            item.needs.extend(needs)
        elif match and label and label != "needs":
            value = match["value"].strip()
            item.labels[label] = value
            if label == "priority" and (level := priority_of(value)) is not None:
                item.priority = level
        else:
            step = self.grammar.bullet(number, content, item) if bullet else None
            if step is not None:
                self._push(indent, step)
            else:
                depth = max(0, indent - self.outline.indents[item.line] - 2)
                self.bodies.setdefault(item.line, []).append(" " * min(depth, 40) + text)

    def _masked(self, number: int, raw: str) -> None:
        """Code and quotes below an item are part of what it says, comments are about it."""
        if number in self.document.comments:
            self._comments(number)
        elif self.stack and "<!--" not in raw:
            indent = indent_of(raw[: len(raw) - len(raw.lstrip())])
            if indent > self.stack[-1][0]:
                self.bodies.setdefault(self.stack[-1][1].line, []).append(raw.strip("\n").rstrip())

    def _comments(self, number: int) -> None:
        if self.stack:
            for text in self.document.comments[number]:
                self.grammar.comment(self.stack[-1][1], text, self.outline)


def _only_a_status(title: str) -> bool:
    return len(title) < 40 and len(title.split()) < 5 and status_of(title) is not None


def _drop_templates(outline: Outline) -> None:
    """Items of a section that shows how an item is written are not work. The section must say so twice: by its
    heading and by a placeholder such as XXX in an item. Elsewhere an item that is a placeholder goes alone."""
    firsts = [section.first for section in outline.sections] + [len(outline.items)]
    keep = [item for item in outline.items[: firsts[0]] if not _placeholder(item, outline)]
    level = 0  # of the heading whose sections are being dropped; 0 for none
    for section, end in zip(outline.sections, firsts[1:], strict=True):
        items = outline.items[section.first : end]
        if level and section.level <= level:
            level = 0
        if not level and _TEMPLATE.search(section.title):
            level = (
                section.level if any(_PLACEHOLDER.match(item.ext_id or item.title) for item in items) else 0
            )
        if not level:
            keep.extend(item for item in items if not _placeholder(item, outline))
        elif items:
            message = (
                f"the section {section.title[:80]!r} shows how items are written: its {len(items)} checkbox line(s) "
                "are not items. Rename the section if they are work."
            )
            outline.find("template_section", Severity.INFO, section.line, message)
    if len(keep) < len(outline.items):
        kept = {item.line for item in keep}
        for item in keep:
            item.parent_line = item.parent_line if item.parent_line in kept else None
        outline.items = keep


def _placeholder(item: ParsedItem, outline: Outline) -> bool:
    name = item.ext_id or item.title
    if not _PLACEHOLDER_ALONE.fullmatch(name):
        return False
    message = f"{name[:60]!r} is a placeholder, so it is no item. Give it a real id or title if it is work."
    outline.find("placeholder_item", Severity.INFO, item.line, message)
    return True
