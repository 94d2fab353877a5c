"""A decoded text as the dialects see it: lines, with code, comments, quotes and front matter blanked.

What is blanked can never become an item; `masked` says why. `raw` keeps everything, and line n is `raw[n - 1]` and
`live[n - 1]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.board import Finding
from models.enums import Severity

_FENCE = re.compile(r"(?:(?:[-*+]|\d{1,9}[.)])\s+)*(?:(?P<ticks>`{3,})[^`]*|(?P<tildes>~{3,}).*)$")
_LIST = re.compile(r"(?:[-*+•]|\d{1,9}[.)])\s|\[.?\]\s")
_KEY = re.compile(r"([\w-]+)\s*:\s*(.*)")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
INVISIBLE = "\ufeff\u200b\u2060"
_DROPPED = dict.fromkeys(map(ord, INVISIBLE))
_FRONT_MATTER_LINES = 200
_WIDE = ("\u2003", "\u3000")  # em space and ideographic space look two columns wide


@dataclass(slots=True)
class Row:
    line: int
    cells: list[str]


@dataclass(slots=True)
class Table:
    line: int
    section: str
    header: list[str]
    rows: list[Row] = field(default_factory=list)

    def column(self, pattern: re.Pattern[str]) -> int | None:
        """Index of the first column whose whole header matches."""
        return next((i for i, name in enumerate(self.header) if pattern.fullmatch(name)), None)


@dataclass(slots=True)
class Document:
    raw: list[str]
    live: list[str]
    text: str  # the live lines in one string, for counting by regular expression
    title: str = ""
    name: str = ""  # the file's own name, without its folders: some tools know their files by it
    front: dict[str, str] = field(default_factory=dict)
    masked: dict[int, str] = field(default_factory=dict)  # reason by line: code, comment, quote, front_matter
    comments: dict[int, list[str]] = field(default_factory=dict)  # by the line they end on
    findings: list[Finding] = field(default_factory=list)
    tables: list[Table] | None = None  # read once by sources.tables


def indent_of(prefix: str) -> int:
    """Columns of a line's leading white space: a tab goes to the next multiple of 4, an em space is two wide."""
    if prefix.isascii() and "\t" not in prefix:
        return len(prefix)
    for space in _WIDE:
        prefix = prefix.replace(space, "  ")
    return len(prefix.expandtabs(4))


def heading_of(line: str) -> tuple[int, str] | None:
    """Level and title of an ATX heading."""
    if not line.startswith("#") and not line.lstrip(" ").startswith("#"):
        return None
    match = _HEADING.match(line.strip())
    if match is None or len(line) - len(line.lstrip(" ")) > 3:
        return None
    return len(match[1]), match[2].rstrip("#").rstrip()


def visible(line: str) -> str:
    """The line without characters that nobody sees; `sources.marks` counts columns with them again."""
    return line.translate(_DROPPED) if any(mark in line for mark in INVISIBLE) else line


def read_document(text: str, name: str = "") -> Document:
    text = visible(text)
    raw = text.split("\n")
    document = Document(raw=raw, live=raw, text=text, name=name)
    if any(sign in text for sign in ("```", "~~~", "<!--", ">", "%%")) or text.startswith("---"):
        document.live = list(raw)
        _Mask(document).run()
        document.text = "\n".join(document.live)
    document.title = _title(document)
    return document


def _title(document: Document) -> str:
    if match := re.search(r"^ {0,3}#[^\S\n]+(\S.*)$", document.text, re.MULTILINE):
        return match[1].rstrip().rstrip("#").rstrip()
    return document.front.get("title", "")


class _Mask:
    """One pass over the lines with the state that reaches over lines: an open fence, an open comment."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.fence = ""  # the opening run of ticks or tildes
        self.fence_line = 0
        self.item_indent = -1  # of the list item the fence stands in; a line left of its text ends both
        self.comment_line = 0
        self.comment: list[str] = []
        self.comment_end = "-->"
        # Obsidian's own comments; a stray pair of signs elsewhere must not swallow the text below it
        self.percents = "%%" in document.text and document.text.count("%%") % 2 == 0

    def run(self) -> None:
        live = self.document.live
        list_indent = -1
        for index in range(self._front_matter(), len(live)):
            line = live[index]
            text = line.lstrip()
            if not text:
                continue
            indent = indent_of(line[: len(line) - len(text)])
            if self.fence and not self._left_the_list(index, indent, text):
                self._mask(index, "code")
                mark = text.rstrip()
                if len(mark) >= len(self.fence) and mark == self.fence[0] * len(mark):
                    self.fence = ""
                continue
            if self.comment_line:
                self._continue_comment(index, text)
                continue
            if _LIST.match(text):
                list_indent = indent
            elif indent <= list_indent:
                list_indent = -1
            match = _FENCE.match(text) if "```" in text or "~~~" in text else None
            if match:
                self.fence, self.fence_line = match["ticks"] or match["tildes"], index + 1
                self.item_indent = list_indent
                self._mask(index, "code")
            elif text[0] == ">":
                self._mask(index, "quote")
            elif "<!--" in text:
                self._comment(index, line, text)
            elif self.percents and text.startswith("%%"):
                self._percent_comment(index, text)
        self._report_open_ends()

    def _mask(self, index: int, reason: str) -> None:
        self.document.live[index] = ""
        self.document.masked[index + 1] = reason

    def _percent_comment(self, index: int, text: str) -> None:
        """`%% ... %%`, over one line or many."""
        self._mask(index, "comment")
        end = text.find("%%", 2)
        if end < 0:
            self.comment_line, self.comment, self.comment_end = index + 1, [text[2:]], "%%"
        else:
            self.document.comments.setdefault(index + 1, []).append(text[2:end].strip())

    def _left_the_list(self, index: int, indent: int, text: str) -> bool:
        """A fence in a list item ends with the item, closed or not."""
        if indent > self.item_indent or not _LIST.match(text):
            return False
        self._unclosed_fence(f"the list item on line {index + 1} ends it")
        self.fence = ""
        return True

    def _comment(self, index: int, line: str, text: str) -> None:
        """A comment at a line's start may go over lines; one inside a line must end in it (as in CommonMark)."""
        parts: list[str] = []
        position = ticks = counted = 0
        while (start := line.find("<!--", position)) >= 0:
            ticks, counted = ticks + line.count("`", counted, start), start
            if ticks % 2:
                parts.append(line[position : start + 4])  # inside `code`: text
                position = start + 4
                continue
            end = line.find("-->", start + 4)
            if end < 0:
                if start == len(line) - len(text):
                    self.comment_line, self.comment, self.comment_end = index + 1, [line[start + 4 :]], "-->"
                    self._mask(index, "comment")
                    return
                break
            self.document.comments.setdefault(index + 1, []).append(line[start + 4 : end].strip())
            parts.append(line[position:start])
            position = end + 3
        parts.append(line[position:])
        self.document.live[index] = left = "".join(parts)
        if not left.strip():
            self.document.masked[index + 1] = "comment"

    def _continue_comment(self, index: int, text: str) -> None:
        end = text.find(self.comment_end)
        self._mask(index, "comment")
        self.comment.append(text if end < 0 else text[:end])
        if end >= 0:
            self.document.comments.setdefault(index + 1, []).append("\n".join(self.comment).strip())
            self.comment_line = 0

    def _front_matter(self) -> int:
        """Index of the first line after YAML front matter; 0 without."""
        raw = self.document.raw
        if raw[0].rstrip() != "---":
            return 0
        for index in range(1, min(len(raw), _FRONT_MATTER_LINES)):
            line = raw[index]
            if line.rstrip() in ("---", "..."):
                for masked in range(index + 1):
                    self._mask(masked, "front_matter")
                return index + 1
            if match := _KEY.match(line):
                self.document.front[match[1].lower()] = match[2].strip().strip("\"'")
            elif line.strip() and line[0] not in " \t#-":
                break
        self.document.front.clear()
        return 0

    def _unclosed_fence(self, end: str) -> None:
        message = f"a code fence {self.fence!r} opens here and is never closed; {end}. Close it."
        self.document.findings.append(Finding("unclosed_fence", Severity.WARNING, self.fence_line, message))

    def _report_open_ends(self) -> None:
        if self.fence:
            self._unclosed_fence("everything below it was read as code, not as items")
        if self.comment_line:
            message = f"a comment opens here and is never closed; all below it was left out. Close it with {self.comment_end}."
            self.document.findings.append(
                Finding("unclosed_comment", Severity.WARNING, self.comment_line, message)
            )
