"""org-mode: headlines with a TODO keyword, and checkbox lists below them.

A file's own keywords (`#+TODO: DRAFT REVIEW | DONE DROPPED`) are to do before the bar and done after it, unless they
are known words. Blocks, drawers, comments and whole subtrees under a COMMENT headline hold no items.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from textwrap import dedent

from models.board import Mark, NotItem, ParsedItem
from models.enums import Declared, Severity
from sources.checkbox import mark_status, odd_mark
from sources.document import Document
from sources.leftovers import account
from sources.masking import indent_of
from sources.org_fields import planning, priority_of_cookie, take_properties
from sources.outline import Outline
from sources.structure import settle

NAME = "org"

KEYWORDS: dict[str, Declared] = {
    **dict.fromkeys(("TODO", "NEXT"), Declared.TODO),
    **dict.fromkeys(
        ("STARTED", "DOING", "INPROGRESS", "IN-PROGRESS", "IN_PROGRESS", "STRT"), Declared.IN_PROGRESS
    ),
    **dict.fromkeys(("WAITING", "WAIT", "HOLD", "BLOCKED"), Declared.BLOCKED),
    "DONE": Declared.DONE,
    **dict.fromkeys(("CANCELLED", "CANCELED", "KILL"), Declared.SKIPPED),
}
_NAMES = "|".join(re.escape(name) for name in KEYWORDS)

_TITLE = re.compile(r"^[ \t]*#\+TITLE:[ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_HEADLINE = re.compile(r"(?P<stars>\*+)[ \t]+(?P<text>.*)")
_PRIORITY = re.compile(r"\[#(?P<level>[A-Za-z]|\d{1,2})\](?:\s+|$)")
_TAGS = re.compile(r"(?:^|(?<=\s)):(?P<tags>[\w@#%:]+):$")
_COOKIE = re.compile(r"[ \t]{0,8}\[(?:\d{0,6}/\d{0,6}|\d{0,3}%)\]")
_LIST = re.compile(
    r"(?P<bullet>[-+*]|\d{1,9}[.)]|[A-Za-z][.)])(?:[ \t]+\[@\w{1,6}\])?(?:[ \t]+|$)(?P<rest>.*)"
)
_BOX = re.compile(r"\[(?P<mark>[^\[\]]?)\](?:[ \t]+(?P<text>.*)|$)")
_KEYWORD = re.compile(r"#\+(?P<key>[A-Za-z][\w-]{0,40}):[ \t]*(?P<value>.*)")
_BEGIN = re.compile(r"#\+begin_(?P<name>\w{1,40})", re.IGNORECASE)
_END = re.compile(r"#\+end_(?P<name>\w{1,40})\s*$", re.IGNORECASE)
_DRAWER = re.compile(r":[\w-]{1,60}:$")
_OPAQUE = {
    "src": "code", "example": "code", "export": "code", "verse": "quote", "quote": "quote", "comment": "comment",
}  # fmt: skip
"""Blocks whose lines are text; others (center, a block of one's own) may hold lists."""

_SIGN = re.compile(rf"^\*+[ \t]+(?:{_NAMES})[ \t]+\S|^[ \t]*#\+\w+:", re.MULTILINE)
_KEYED = re.compile(r"^[ \t]*#\+(?:TITLE|(?:SEQ_|TYP_)?TODO|FILETAGS|STARTUP):", re.MULTILINE | re.IGNORECASE)
_DEEP = re.compile(rf"^\*{{2,}}[ \t]+(?:{_NAMES})[ \t]+\S", re.MULTILINE)
_FLAT = re.compile(rf"^\*[ \t]+(?:{_NAMES})[ \t]+\S", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]*(?::PROPERTIES:|(?:SCHEDULED|DEADLINE|CLOSED):[ \t]*[<\[]\d{4})", re.MULTILINE)
_HEADLINES = re.compile(r"^\*+[ \t]+\S", re.MULTILINE)
_MARKDOWN = re.compile(
    rf"^(?:#{{1,6}}[ \t]+\S|[ \t]*[-+*][ \t]+\[[ xX]\][ \t]|\*[ \t]+(?!(?:{_NAMES})[ \t]))", re.MULTILINE
)
_MARKDOWN_HEADING = re.compile(r"^#{2,6}[ \t]+\S", re.MULTILINE)  # one # and a blank begin a comment in org


def score(document: Document) -> float:
    """0.97 for a file of that name, 0.9 with a keyword of the file or headlines that only org has, 0.7 for a flat list
    of `* TODO text` alone: a star is Markdown's bullet, too."""
    text = document.text
    if document.name.lower().endswith((".org", ".org_archive")):
        return 0.97
    if not _SIGN.search(text) or not _HEADLINES.search(text):
        return 0.0
    if _DEEP.search(text) or (_FLAT.search(text) and _FIELD.search(text)):
        return 0.9
    if _KEYED.search(text):
        return 0.0 if _MARKDOWN_HEADING.search(text) else 0.9
    return 0.7 if _FLAT.search(text) and not _MARKDOWN.search(text) else 0.0


def parse(document: Document) -> Outline:
    document.findings.clear()  # they are about Markdown, as is its title
    title = _TITLE.search(document.text)
    document.title = title[1].strip() if title else ""
    reader = _Reader(document)
    for number, line in enumerate(document.raw, 1):
        reader.feed(number, line)
    return reader.finish()


@dataclass(slots=True)
class Node:
    """A headline: an item where it has a keyword."""

    level: int
    title: str
    item: ParsedItem | None = None
    comment: bool = False
    ordered: bool = False
    children: list[ParsedItem] = field(default_factory=list)  # the items right below it, in their order


@dataclass(slots=True)
class _Entry:
    """A list item that the lines below may belong to."""

    column: int
    item: ParsedItem | None


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.outline = Outline()
        self.root = Node(0, "")
        self.nodes = [self.root]
        self.all_nodes = [self.root]
        self.entries: list[_Entry] = []
        self.bodies: dict[int, list[str]] = defaultdict(list)
        self.reasons: dict[int, str] = {}
        self.aliases: dict[str, str] = {}  # CUSTOM_ID where there is an ID, too
        self.blockers: dict[int, str] = {}
        self.keywords, self.closing = _keywords(document.raw)
        self.closings = _closings(document.raw)
        self.until = 0  # last line of the block or drawer that is open
        self.reason = ""
        self.drawer: list[str] = []
        self.fresh = False  # right below a headline: planning and properties stand here

    def feed(self, number: int, line: str) -> None:
        if number <= self.until:
            self._inside(number, line)
            return
        if line[:1] == "*" and (headline := _HEADLINE.match(line)):
            self._headline(number, headline)
            return
        text = line.strip()
        if self.nodes[-1].comment:
            self.reasons[number] = "comment"
        elif text[:1] == "#" and self._hash(number, text):
            pass
        elif text[:1] == ":" and _DRAWER.match(text) and number in self.closings:
            self._open(number, "comment", drawer=text.upper() == ":PROPERTIES:")
        elif self.fresh and (dates := planning(text)):
            if (item := self.nodes[-1].item) is not None:
                item.labels.update(dates)
            return  # still fresh: the drawer of properties comes after it
        elif text:
            self._text(number, line, text)
        if number > self.until:
            self.fresh = False

    def _hash(self, number: int, text: str) -> bool:
        """A comment, a keyword of the file, the begin of a block. False for any other line that begins so."""
        if text == "#" or text[1:2].isspace():
            self.reasons[number] = "comment"
            return True
        if begin := _BEGIN.match(text):
            reason = _OPAQUE.get(begin["name"].lower())
            if reason is not None and number in self.closings:
                self._body(text)
                self._open(number, reason)
            return True
        return text[1:2] == "+"

    def _open(self, number: int, reason: str, *, drawer: bool = False) -> None:
        self.until, self.reason = self.closings[number], reason
        self.drawer = []
        self.fresh = self.fresh and drawer

    def _inside(self, number: int, line: str) -> None:
        self.reasons[number] = self.reason
        if self.fresh:
            if number < self.until:
                self.drawer.append(line)
            else:
                self._properties()
                self.fresh = False
        elif self.reason in ("code", "quote"):
            self._body(line.rstrip())
        keyword = line.strip().removeprefix(",").lstrip("*").split(maxsplit=1)[:1]
        if line.strip()[:2] in (",*", "* ", "**") and keyword and keyword[0] in self.keywords:
            self.outline.not_items.append(NotItem(number, self.reason))

    def _properties(self) -> None:
        node = self.nodes[-1]
        properties = take_properties(self.drawer)
        node.ordered = properties.get("ORDERED", "").lower() in ("t", "yes", "true")
        if (item := node.item) is None:
            return
        ids = [properties[name] for name in ("ID", "CUSTOM_ID") if properties.get(name)]
        if ids:
            item.ext_id = ids[0]
            self.aliases.update(dict.fromkeys(ids[1:], ids[0]))
        if properties.get("BLOCKER"):
            self.blockers[item.line] = properties["BLOCKER"]
        for name, label in (
            ("EFFORT", "estimate"),
            ("OWNER", "owner"),
            ("ASSIGNEE", "owner"),
            ("CREATED", "created"),
            ("MODEL", "model"),
            ("BACKEND", "backend"),
            ("RECIPE", "recipe"),
        ):
            if properties.get(name):
                item.labels.setdefault(label, properties[name])

    def _headline(self, number: int, headline: re.Match[str]) -> None:
        self.entries.clear()
        self.fresh = True
        level = len(headline["stars"])
        while self.nodes[-1].level >= level:
            self.nodes.pop()
        above = self.nodes[-1]
        text, start = headline["text"], headline.start("text")
        word = text.split(maxsplit=1)[0] if text[:1].strip() else ""
        status = self.keywords.get(word)
        rest = text[len(word) :].lstrip() if status is not None else text
        priority = _PRIORITY.match(rest)
        title = rest[priority.end() :] if priority else rest
        start_of_title = start + len(text) - len(title)
        box = _BOX.match(title) if status is None else None
        if box is not None and (status := self._box_status(box, bullet=True)) is not None:
            title = box["text"] or ""  # some people's keywords are boxes
        node = Node(level, title.strip(), comment=above.comment or title.split(maxsplit=1)[:1] == ["COMMENT"])
        self.nodes.append(node)
        self.all_nodes.append(node)
        if status is None:
            return
        if node.comment:
            self.outline.not_items.append(NotItem(number, "comment"))
            return
        item = ParsedItem(line=number, title=title.strip(), status=status)
        if box is not None:
            begin, end = start_of_title + box.start("mark"), start_of_title + box.end("mark")
            item.mark = Mark(number, begin, end, "org_box")
        else:
            item.mark = Mark(number, start, start + len(word), f"org:{self.closing}")
            item.labels["keyword"] = word
        if priority:
            item.priority = priority_of_cookie(priority["level"])
        self._finish_title(item, tags=True)
        if not item.title:
            message = (
                f"the headline {word[:20]} has no text after it, so it is no item. Write what is to be done."
            )
            self.outline.find("empty_item", Severity.INFO, number, message)
            self.outline.not_items.append(NotItem(number, "empty"))
            return
        section = next((n.title for n in reversed(self.nodes[:-1]) if n.item is None and n.title), "")
        if section:
            item.labels["section"] = _COOKIE.sub("", _TAGS.sub("", section)).strip()[:200]
        node.item = item
        self._add(item, next((n.item for n in reversed(self.nodes[:-1]) if n.item is not None), None), above)

    def _finish_title(self, item: ParsedItem, *, tags: bool) -> None:
        if tags and item.title.endswith(":") and (match := _TAGS.search(item.title)):
            item.labels["tags"] = ", ".join(filter(None, match["tags"].split(":")))
            item.title = item.title[: match.start()].rstrip()
        if (
            "[" in item.title
            and (cookie := _COOKIE.search(item.title))
            and cookie[0].strip() not in ("[/]", "[%]")
        ):
            item.labels["progress"] = cookie[0].strip()[1:-1]
        if "[" in item.title:
            item.title = _COOKIE.sub("", item.title).strip()

    def _text(self, number: int, line: str, text: str) -> None:
        column = indent_of(line[: len(line) - len(line.lstrip())])
        while self.entries and self.entries[-1].column >= column:
            self.entries.pop()
        listed = _LIST.match(text)
        if listed is not None and listed["bullet"] == "*" and column == 0:
            listed = None
        rest = listed["rest"] if listed else text
        box = _BOX.match(rest)
        status = self._box_status(box, bullet=listed is not None) if box else None
        if box is None or status is None:
            if listed is not None:
                self.entries.append(_Entry(column, None))
            self._body(" " * min(column, 40) + text)
            return
        title = (box["text"] or "").strip()
        if not title:
            return  # accounted for as empty
        item = ParsedItem(line=number, title=title, status=status)
        offset = len(line) - len(line.lstrip()) + (listed.start("rest") if listed else 0)
        item.mark = Mark(number, offset + box.start("mark"), offset + box.end("mark"), "org_box")
        odd_mark(self.outline, number, box["mark"])
        self._finish_title(item, tags=False)
        item.title = item.title or title
        inner = next((entry.item for entry in reversed(self.entries) if entry.item is not None), None)
        outer = next((node.item for node in reversed(self.nodes) if node.item is not None), None)
        self._add(item, inner or outer, None if inner else self.nodes[-1])
        self.entries.append(_Entry(column, item))

    def _box_status(self, box: re.Match[str], *, bullet: bool) -> Declared | None:
        return Declared.PARTIAL if box["mark"] == "-" else mark_status(box["mark"], bullet=bullet)

    def _add(self, item: ParsedItem, parent: ParsedItem | None, node: Node | None) -> None:
        if parent is not None:
            item.parent_line = parent.line
        if node is not None:
            node.children.append(item)
        self.outline.items.append(item)

    def _owner(self) -> ParsedItem | None:
        """What a line of text belongs to: the list item it is indented below, else its own headline."""
        inner = next((entry.item for entry in reversed(self.entries) if entry.item is not None), None)
        return inner or self.nodes[-1].item

    def _body(self, text: str) -> None:
        if owner := self._owner():
            self.bodies[owner.line].append(text)

    def finish(self) -> Outline:
        outline = self.outline
        for item in outline.items:
            item.body = dedent("\n".join(self.bodies.get(item.line, ()))).strip("\n")
        for node in self.all_nodes:
            self._order(node)
        settle(outline)
        account(self.document, outline, self.reasons, "text")
        return outline

    def _order(self, node: Node) -> None:
        """What the items right below a headline wait for: one another where it is ORDERED, and their BLOCKER."""
        for index, item in enumerate(node.children):
            before = node.children[index - 1] if index else None
            blocker = self.blockers.get(item.line, "")
            if before is not None and (node.ordered or "previous-sibling" in blocker):
                item.needs.append(before.ext_id or f"line:{before.line}")
            if blocker:
                item.needs.extend(self.aliases.get(name, name) for name in blocker_ids(blocker))


def blocker_ids(blocker: str) -> list[str]:
    """The ids of a BLOCKER property, of org-depend (`id1 id2`) or org-edna (`ids("id:a" b) todo?(DONE)`)."""
    edna = re.search(r"\bids\(([^()]{0,2000})\)", blocker)
    if edna is None and "(" in blocker:
        return []
    words = (edna[1] if edna else blocker).replace('"', " ").replace(",", " ").split()
    return [name for word in words if (name := word.removeprefix("id:")) and name != "previous-sibling"]


def _keywords(lines: list[str]) -> tuple[dict[str, Declared], str]:
    """The keywords with their statuses, and the word that closes an item: the first after the file's bar."""
    keywords, closing = dict(KEYWORDS), ""
    for line in lines:
        text = line.strip()
        if not text.startswith("#+") or not (match := _KEYWORD.match(text)):
            continue
        if match["key"].upper() not in ("TODO", "SEQ_TODO", "TYP_TODO"):
            continue
        words = [word.partition("(")[0] for word in match["value"].split()]
        bar = words.index("|") if "|" in words else len(words) - 1
        for index, word in enumerate(words):
            if word and word != "|":
                keywords.setdefault(word, Declared.DONE if index >= bar else Declared.TODO)
                if index >= bar and not closing and keywords[word] is Declared.DONE:
                    closing = word
    return keywords, closing or "DONE"


def _closings(lines: list[str]) -> dict[int, int]:
    """Line of the end of each block and drawer, by the line of its begin; one that has no end of its own is text, and
    so is a drawer without one before the next headline."""
    closings: dict[int, int] = {}
    ends: dict[str, int] = {}
    for number in range(len(lines), 0, -1):
        line = lines[number - 1]
        if line[:1] == "*" and _HEADLINE.match(line):
            ends.pop(":", None)  # a drawer belongs to one headline; an example may show headlines
            continue
        text = line.strip()
        if text[:1] == "#":
            if end := _END.match(text):
                ends[end["name"].lower()] = number
            elif (begin := _BEGIN.match(text)) and (name := begin["name"].lower()) in ends:
                closings[number] = ends.pop(name)
        elif text[:1] == ":":
            if text.upper() == ":END:":
                ends[":"] = number
            elif ":" in ends and _DRAWER.match(text):
                closings[number] = ends[":"]
    return closings
