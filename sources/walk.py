"""The walk over a board's lines that all list dialects share.

Every checkbox line outside code, comments, quotes and templates becomes an item in every dialect; a dialect's
`Grammar` adds what it knows of ids, phases, priorities and steps. What looks like a checkbox and is no item is
accounted for with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType

from models.board import Mark, NotItem, ParsedItem
from models.enums import Declared, Severity
from sources.checkbox import CHECKBOX_LINE, STARTS, mark_status, may_be_a_state, odd_mark
from sources.document import FRONT_MATTER_LINES, Document, front_matter, heading_of
from sources.legends import signs_of
from sources.masking import BULLETS, NUMBER, Mask, indent_of
from sources.naming import LEGEND, LEGEND_ALONE
from sources.outline import Outline, Section, drop_templates
from sources.signs import GLYPHS, MARKS
from sources.vocabulary import NEEDS_SIGNS, NEEDS_WORDS, detail_of, priority_of, status_of

_BULLET = re.compile(rf"(?:[{re.escape(BULLETS)}]|{NUMBER})\s+|・")
_OWN_BOX = re.compile(r"\[[^\s\[\]xX~/!+-]\]")
_RULE = re.compile(r"(?:[-*_=]\s*){3,}$")
_DETAIL = re.compile(r"\**(?P<key>[^\W\d][^:：*|()\[\]/`]{1,24}?)\**\s*[:：]\s*\**\s*(?P<value>.*)")
_NEEDS = re.compile(
    rf"[(\[;,—–]\s*(?:{NEEDS_WORDS})\b:?\s*(?P<ids>[^()\[\]]+)|(?:[(（\[;—–]|\s-)\s*(?:{NEEDS_SIGNS})[:：]?\s*(?P<more>[^()（）\[\]]+)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    # The prefix is bounded: searched from each letter of one endless word it would take the square of its length.
    r"(?:[^\W_]{1,40}-)?#?\d[\w.]*\w|#?\d+|[A-ZА-Я][A-ZА-Я0-9]{0,40}-[\w.]*\w|line:\d+",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[\s,;.&+`、，]*|\s+(?:and|и|та|und|et|y|e|i|ve)\s+", re.IGNORECASE)
_PARTICLES = frozenset("のはをがにでともへや")
_INLINE_PRIORITY = re.compile(r"(?:^|[(\[])P([0-4])(?:[)\]:]|\s|$)")

_NOTHING = re.compile(r"[*_]{1,2}\([^()]*\)[*_]{1,2}|[*_]{1,2}\([^()]*[*_]{1,2}\)")  # *(nothing yet)*
_MARKS_IN_TEXT = re.compile(r"`?\[[ xX~/!>-]\]`?")


class Grammar:
    """What one dialect adds to the walk. The base reads plain task lists."""

    min_step = 2  # columns that make a child: "-" and a space, as in CommonMark
    states_required = False  # is this a board of states, where another word in capitals is one, too?
    indented_code = True  # four columns after a blank line outside a list are code, as in CommonMark

    def heading(self, line: int, level: int, title: str) -> None:
        """A heading was passed."""

    def item(self, item: ParsedItem, outline: Outline) -> None:
        """A checkbox line was read; fill in what the dialect knows."""

    def bullet(self, line: int, text: str, parent: ParsedItem) -> ParsedItem | None:
        """An indented bullet without a mark stands below `parent`: a step of its own, or None for body text."""
        return None

    def card(self, line: int, text: str) -> ParsedItem | None:
        """A bullet without a mark stands below no item: an item of its own, or None for text."""
        return None

    def prose(self, line: int, text: str, outline: Outline) -> bool:
        """A line that belongs to no item. True when the dialect took it for its own (a commit, a group label)."""
        return False

    def comment(self, item: ParsedItem, text: str, outline: Outline) -> None:
        """An HTML comment stands on or below an item."""


def references(text: str) -> list[str] | None:
    """The item ids in "PHC-1.2, #14 and 4.5.6a"; None when there is other text among them."""
    if not all(_BETWEEN.fullmatch(between) for between in _REFERENCE.split(text)):
        return None
    return _REFERENCE.findall(text)


def walk(document: Document, grammar: Grammar) -> Outline:
    """Read the whole document."""
    walker = Walk(grammar, signs_of(document) if _OWN_BOX.search(document.text) else {})
    comments, masked = document.comments, document.masked
    for number, (line, raw) in enumerate(zip(document.live, document.raw, strict=True), 1):
        walker.feed(number, line, raw, comments.get(number, ()), masked.get(number))
    return walker.finish()


def stream(lines: Iterable[str]) -> Iterator[ParsedItem]:
    """The items of a plain task list of any length, in its order; memory for a few of them, not for all.

    `lines` come without line ends and without invisible characters. Each item has its mark, status, body, and its
    parent and depth by indent. What is found by comparing items with one another (ids, gates, closed parents) needs
    the whole board: `sources.parse`.
    """
    source = iter(lines)
    first = list(islice(source, FRONT_MATTER_LINES))
    skipped, _ = front_matter(first)
    mask, walker = Mask(), Walk(Grammar())
    for number, line in enumerate(chain(first[skipped:], source), skipped + 1):
        live = mask.feed(number, line)
        walker.feed(number, live, line, mask.comments.pop(number, ()), mask.masked.pop(number, None))
        if len(walker.outline.items) > _TAKEN and walker.at_top:
            yield from walker.take()
    yield from walker.finish().items


_TAKEN = 1000
_LABEL_LEVEL = 7  # below any heading


class Walk:
    """The walk as a machine: fed line by line, it holds the items below the last heading."""

    def __init__(self, grammar: Grammar, signs: Mapping[str, Declared] = MappingProxyType({})) -> None:
        self.grammar = grammar
        self.signs = signs  # what the file says that signs of its own mean
        self.outline = Outline()
        self.stack: list[tuple[int, ParsedItem]] = []
        self.section = ""
        self.legend = self.labelled = False
        self.bodies: dict[int, list[str]] = {}
        self.wide: dict[int, str] = {}  # lists indented by other than spaces and tabs, by line
        self.after_blank = True
        self.in_list = False  # below a bullet that is no item: its indented lines are no code
        self.in_code = False
        self.paragraph = ""  # the line above, where it may turn out to be a heading with a rule below

    def feed(self, number: int, line: str, raw: str, comments: Iterable[str], masked: str | None) -> None:
        """One line: as it is to be read, as it stands there, the comments that end on it, why it is blanked."""
        text = line.strip()
        if not text:
            self.paragraph = ""
            if raw and not raw.isspace():
                self._masked(number, raw, comments, masked)
            else:
                self.after_blank = True
                if self.labelled:
                    self._label(number, "")
            return
        if text[0] == "#" and (heading := heading_of(line)):
            self._heading(number, *heading)
        else:
            prefix = line[: len(line) - len(line.lstrip())]
            indent = indent_of(prefix) if prefix else 0
            if not prefix.isascii() and text[0] in STARTS:
                self.wide[number] = prefix
            if not self._code(number, indent, prefix, text) and not (
                text[0] in STARTS and self._item(number, indent, text, line, raw)
            ):
                self._other(number, indent, text)
        self._comments(comments)
        self.after_blank = False

    def finish(self) -> Outline:
        self._close_bodies()
        drop_templates(self.outline)
        if self.outline.items:
            _wide_indents(self.outline, self.wide)
        self.wide.clear()
        return self.outline

    @property
    def at_top(self) -> bool:
        """Has the last item just begun a new tree? Then those before it are complete."""
        return len(self.stack) == 1 and self.stack[0][1] is self.outline.items[-1]

    def take(self) -> list[ParsedItem]:
        """The items before the last one, which are forgotten here."""
        outline, body = self.outline, self.bodies.pop(self.outline.items[-1].line, None)
        last = outline.items.pop()
        section = outline.sections[-1:]
        self.finish()
        self.outline = Outline(items=[last], indents={last.line: outline.indents[last.line]})
        self.outline.sections = [Section(one.line, one.level, one.title, 0) for one in section]
        if body is not None:
            self.bodies[last.line] = body
        return outline.items

    def _close_bodies(self) -> None:
        for item in self.outline.items:
            if item.line in self.bodies:
                item.body = "\n".join(filter(None, (item.body, *self.bodies[item.line])))
        self.bodies.clear()

    def _heading(self, number: int, level: int, title: str) -> None:
        self.stack.clear()
        self.in_list = self.in_code = False
        self.paragraph = ""
        self.after_blank = True
        self.section = title[:200]
        self.labelled = False
        self.legend = LEGEND.within(self.section)
        self.outline.sections.append(Section(number, level, title, len(self.outline.items)))
        self.grammar.heading(number, level, title)

    def _label(self, number: int, text: str) -> None:
        """A label that says "legend" holds the list right below it, up to a blank line."""
        self.labelled = bool(text)
        self.outline.sections.append(Section(number, _LABEL_LEVEL, text, len(self.outline.items)))

    def _code(self, number: int, indent: int, prefix: str, text: str) -> bool:
        """Is this a line of indented code? An item above keeps its indented lines, blank lines between or not."""
        if indent < 4 or self.stack or self.in_list or not self.grammar.indented_code:
            self.in_code = False
            return False
        self.in_code = (self.in_code or self.after_blank) and prefix.strip(" \t") == ""
        if self.in_code and (match := CHECKBOX_LINE.match(text)) and self._status(match) is not None:
            self.outline.not_items.append(NotItem(number, "code"))
        return self.in_code

    def _status(self, match: re.Match[str]) -> Declared | None:
        if match["glyph"]:
            return GLYPHS[match["glyph"]]
        if self.signs and (inner := match["mark"].strip()) not in MARKS and inner in self.signs:
            return self.signs[inner]
        states = self.grammar.states_required
        bullet = match["bullet"] is not None or (states and match["open"] == "【")
        return mark_status(match["mark"], bullet=bullet, weak=states)

    def _item(self, number: int, indent: int, text: str, line: str, raw: str) -> bool:
        match = CHECKBOX_LINE.match(text)
        if match is None:
            return False
        mark, rest, bullet = match["mark"] or "", match["rest"], match["bullet"] is not None
        status = self._status(match)
        wide = match["open"] in ("［", "【")
        if match["open"] == "【" and status is not None and rest[:1] in _PARTICLES:
            self.outline.not_items.append(NotItem(number, "text"))  # a sentence that begins with the word
            return False
        if not wide and (rest[:1] in ("(", "[") or (not bullet and rest[:1] and not rest[0].isspace())):
            if status is not None:
                self.outline.not_items.append(NotItem(number, "link"))
            return False
        title = rest.strip().removeprefix(":").strip()
        if status is None:
            if not (bullet and self.grammar.states_required and title and may_be_a_state(mark)):
                return False
            status = Declared.TODO
            self.outline.find(
                "unknown_state",
                Severity.WARNING,
                number,
                f"the state [{mark}] is not known; read as TODO. Use TODO, IN_PROGRESS, BLOCKED, DONE or SKIPPED.",
            )
        if reason := self._no_item(number, mark, title):
            self.outline.not_items.append(NotItem(number, reason))
            return True
        if mark.strip() not in self.signs:
            odd_mark(self.outline, number, mark)
        item = ParsedItem(line=number, title=title, status=status)
        if self.section:
            item.labels["section"] = self.section
        item.mark = _mark(number, match, line, raw)
        self.push(indent, item)
        if "P" in title and (priority := _INLINE_PRIORITY.search(title)):
            item.priority = int(priority[1])
        if any(sign in title for sign in "([—–;,-") and (needs := _NEEDS.search(title)):
            item.needs.extend(references(needs["ids"] or needs["more"]) or ())
        self.grammar.item(item, self.outline)
        return True

    def _no_item(self, number: int, mark: str, title: str) -> str:
        """Why a checkbox is no item; empty when it is one."""
        if not title:
            message = (
                f"the checkbox [{mark}] has no text after it, so it is no item. Write what is to be done."
            )
            self.outline.find("empty_item", Severity.INFO, number, message)
            return "empty"
        if title[0] in "—–=→-:" and (self.legend or _only_a_status(title.lstrip("—–=→->: "))):
            return "legend"  # it explains the marks
        if self.legend and _only_a_status(title):
            return "legend"
        if "[" in title and (parts := _MARKS_IN_TEXT.split(title)) and len(parts) > 1:
            named = [part.strip(" ,;·|/—–-=:") for part in parts]
            if all(_only_a_status(part) for part in named if part) and any(named):
                return "legend"
        if title[0] in "*_" and _NOTHING.fullmatch(title):
            return "placeholder"
        return ""

    def push(self, indent: int, item: ParsedItem) -> None:
        stack = self.stack
        while stack and stack[-1][0] + self.grammar.min_step > indent:
            stack.pop()
        if stack:
            item.parent_line = stack[-1][1].line
            item.depth = len(stack)
        stack.append((indent, item))
        self.outline.items.append(item)
        self.outline.indents[item.line] = indent

    def _other(self, number: int, indent: int, text: str) -> None:
        """A line that is no item: a detail of the item above it, a card, a heading by its rule, or prose."""
        bullet = _BULLET.match(text)
        if not bullet and _RULE.match(text):
            above, self.paragraph = self.paragraph, ""
            if above and text[0] in "-=" and not self.stack:
                self._heading(number - 1, 1 if text[0] == "=" else 2, above)
            self.stack.clear()
            return
        self.paragraph = "" if bullet or text[0] in "|[" or indent > 3 else text
        if not bullet and len(text) < 60:
            if text[-1] in ":：" or text[:2] in ("**", "__"):  # "**Legend**" is a heading, too
                self.legend = LEGEND.within(self.section) or LEGEND.within(text)
            if LEGEND_ALONE.whole(text):
                self.legend = True
                self._label(number, text)
        if bullet is None and not self.after_blank and self.stack and indent <= self.stack[-1][0]:
            if text[0] != "|" and not self.grammar.prose(number, text, self.outline):
                self.bodies.setdefault(self.stack[-1][1].line, []).append(text)  # wrapped, not indented
            self.paragraph = ""
            return
        while self.stack and self.stack[-1][0] >= indent:
            self.stack.pop()
        if self.stack:
            self._detail(number, indent, text, self.stack[-1][1], bullet)
            return
        if bullet:
            self.in_list = True
            if card := self.grammar.card(number, text[bullet.end() :].strip()):
                if self.section:
                    card.labels.setdefault("section", self.section)
                self.push(indent, card)
                return
        elif indent == 0 and self.after_blank:
            self.in_list = False
        self.grammar.prose(number, text, self.outline)

    def _detail(
        self, number: int, indent: int, text: str, item: ParsedItem, bullet: re.Match[str] | None
    ) -> None:
        content = text[bullet.end() :] if bullet else text
        match = _DETAIL.match(content)
        label = detail_of(match["key"]) if match else None
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
                self.push(indent, step)
            else:
                depth = max(0, indent - self.outline.indents[item.line] - 2)
                self.bodies.setdefault(item.line, []).append(" " * min(depth, 40) + text)

    def _masked(self, number: int, raw: str, comments: Iterable[str], reason: str | None) -> None:
        """Code and quotes below an item are part of what it says, comments are about it."""
        if (
            reason is not None
            and (match := CHECKBOX_LINE.match(raw.strip().lstrip("> \t")))
            and self._status(match) is not None
        ):
            self.outline.not_items.append(NotItem(number, reason))
        if comments:
            self._comments(comments)
        elif self.stack and reason != "comment":
            indent = indent_of(raw[: len(raw) - len(raw.lstrip())])
            if indent > self.stack[-1][0]:
                self.bodies.setdefault(self.stack[-1][1].line, []).append(raw.strip("\n").rstrip())

    def _comments(self, comments: Iterable[str]) -> None:
        if self.stack:
            for text in comments:
                self.grammar.comment(self.stack[-1][1], text, self.outline)


def _mark(number: int, match: re.Match[str], line: str, raw: str) -> Mark | None:
    group = "glyph" if match["glyph"] else "mark"
    begin = len(line) - len(line.lstrip())
    start, end = begin + match.start(group), begin + match.end(group)
    if raw is not line and raw[: end + 1] != line[: end + 1]:
        return None  # a comment stands before the mark
    inner = match[group].strip()
    style = "glyph" if group == "glyph" else "state" if len(inner) > 1 and inner[0].isalpha() else "box"
    return Mark(number, start, end, style)


def _wide_indents(outline: Outline, wide: dict[int, str]) -> None:
    if not wide:
        return
    signs = [sign for prefix in wide.values() for sign in prefix if not sign.isascii()]
    names = ", ".join(f"U+{ord(sign):04X}" for sign in sorted(set(signs))[:4])
    message = (
        f"{len(signs)} character(s) in the indents of {len(wide)} line(s), down to line {max(wide)}, are no plain "
        f"spaces ({names}); an em space was read as two columns. Indent with spaces."
    )
    outline.find("wide_indent", Severity.INFO, min(wide), message)


def _only_a_status(title: str) -> bool:
    return len(title) < 40 and len(title.split()) < 5 and status_of(title) is not None
