"""What is not to be read as work: code fences, comments, quotes. Fed line by line, so that a text of any length can be
read; what is blanked keeps its line number and its reason."""

from __future__ import annotations

import re

from models.board import Finding
from models.enums import Severity

_FENCE = re.compile(r"(?:(?:[-*+]|\d{1,9}[.)])\s+)*(?:(?P<ticks>`{3,})[^`]*|(?P<tildes>~{3,}).*)$")
BULLETS = "-*+•◦‣▪●・"
NUMBER = r"\d{1,9}[.)．）、]"
_LIST = re.compile(rf"(?:[{re.escape(BULLETS)}]|{NUMBER})\s|[\[［].?[\]］]\s")
_WIDE = ("\u2003", "\u3000")  # em space and ideographic space look two columns wide


def indent_of(prefix: str) -> int:
    """Columns of a line's leading white space: a tab goes to the next multiple of 4, an em space is two wide."""
    if prefix.isascii() and "\t" not in prefix:
        return len(prefix)
    for space in _WIDE:
        prefix = prefix.replace(space, "  ")
    return len(prefix.expandtabs(4))


class Mask:
    """One pass over the lines with the state that reaches over lines: an open fence, an open comment.

    `percents`: also Obsidian's comments, `%% ... %%`.
    """

    def __init__(self, *, percents: bool = False) -> None:
        self.masked: dict[int, str] = {}  # reason by line: code, quote, comment
        self.comments: dict[int, list[str]] = {}  # by the line they end on
        self.findings: list[Finding] = []
        self._percents = percents
        self._fence = ""  # the opening run of ticks or tildes
        self._fence_line = 0
        self._item_indent = -1  # of the list item the fence stands in; a line left of its text ends both
        self._list_indent = -1
        self._comment_line = 0
        self._comment: list[str] = []
        self._comment_end = "-->"

    def feed(self, number: int, line: str) -> str:
        """The next line as it is to be read: itself, without its comments, or blank."""
        text = line.lstrip()
        if not text:
            return line
        indent = indent_of(line[: len(line) - len(text)])
        if self._fence and not self._left_the_list(number, indent, text):
            mark = text.rstrip()
            if len(mark) >= len(self._fence) and mark == self._fence[0] * len(mark):
                self._fence = ""
            return self._blank(number, "code")
        if self._comment_line:
            return self._continue_comment(number, text)
        if _LIST.match(text):
            self._list_indent = indent
        elif indent <= self._list_indent:
            self._list_indent = -1
        match = _FENCE.match(text) if "```" in text or "~~~" in text else None
        if match:
            self._fence, self._fence_line = match["ticks"] or match["tildes"], number
            self._item_indent = self._list_indent
            return self._blank(number, "code")
        if text[0] == ">":
            return self._blank(number, "quote")
        if "<!--" in text:
            return self._without_comments(number, line, text)
        if self._percents and text.startswith("%%"):
            return self._percent_comment(number, text)
        return line

    def finish(self) -> None:
        """After the last line: what is still open is a finding."""
        if self._fence:
            self._unclosed_fence("everything below it was read as code, not as items")
        if self._comment_line:
            message = (
                "a comment opens here and is never closed; all below it was left out. "
                f"Close it with {self._comment_end}."
            )
            self.findings.append(Finding("unclosed_comment", Severity.WARNING, self._comment_line, message))

    def _blank(self, number: int, reason: str) -> str:
        self.masked[number] = reason
        return ""

    def _left_the_list(self, number: int, indent: int, text: str) -> bool:
        """A fence in a list item ends with the item, closed or not."""
        if indent > self._item_indent or not _LIST.match(text):
            return False
        self._unclosed_fence(f"the list item on line {number} ends it")
        self._fence = ""
        return True

    def _unclosed_fence(self, end: str) -> None:
        message = f"a code fence {self._fence!r} opens here and is never closed; {end}. Close it."
        self.findings.append(Finding("unclosed_fence", Severity.WARNING, self._fence_line, message))

    def _without_comments(self, number: int, line: str, text: str) -> str:
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
                    self._open_comment(number, line[start + 4 :], "-->")
                    return self._blank(number, "comment")
                break
            self.comments.setdefault(number, []).append(line[start + 4 : end].strip())
            parts.append(line[position:start])
            position = end + 3
        parts.append(line[position:])
        left = "".join(parts)
        return left if left.strip() else self._blank(number, "comment")

    def _percent_comment(self, number: int, text: str) -> str:
        end = text.find("%%", 2)
        if end < 0:
            self._open_comment(number, text[2:], "%%")
        else:
            self.comments.setdefault(number, []).append(text[2:end].strip())
        return self._blank(number, "comment")

    def _open_comment(self, number: int, text: str, end: str) -> None:
        self._comment_line, self._comment, self._comment_end = number, [text], end

    def _continue_comment(self, number: int, text: str) -> str:
        end = text.find(self._comment_end)
        self._comment.append(text if end < 0 else text[:end])
        if end >= 0:
            self.comments.setdefault(number, []).append("\n".join(self._comment).strip())
            self._comment_line = 0
        return self._blank(number, "comment")
