"""Text that others wrote (boards, sources, answers), made fit to be shown to a model, compared and stored."""

from __future__ import annotations

import re
from bisect import bisect_right

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What has no sign of its own: Unicode's Default_Ignorable_Code_Point, controls, marks of direction, joiners, tags,
variation selectors, non-characters of the first plane, lone surrogates."""
_ESCAPE = re.compile(
    "\x1b\\[(?:[0-9;:]*;)?0?8m[^\x1b]*"  # concealed: what stands there, up to the next sequence
    "|\x1b\\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI: colours, moves
    "|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)"  # OSC, DCS ...: texts that are never shown
    "|\x1b[ -/]{0,8}[0-Z\\\\^-~]"
)
"""Sequences of a terminal (ECMA-48). One that is never closed loses its escape character alone."""
_REFERENCE = re.compile(
    r"""^[ ]{0,3}\[[^\]\n]{1,200}\]:[ \t]{0,8}(?:\#|<>)[ \t]{1,8}(?:\([^\n]*\)|"[^"\n]*"|'[^'\n]*')[ \t]*\n?""",
    re.MULTILINE,
)
"""Markdown's other comment: `[//]: # (text)`, the title of a link that leads nowhere and is used by nobody."""
_ELEMENT = re.compile(
    r"<(?P<name>[a-zA-Z][a-zA-Z0-9]{0,15})\b(?=[^<>]{0,600}?(?:\shidden(?![\w-])"
    r"|style\s{0,4}=\s{0,4}[\"']?(?:(?!style\s{0,4}=)[^<>\"']){0,300}?(?:display\s{0,4}:\s{0,4}none|visibility\s{0,4}:\s{0,4}hidden"
    r"|font-size\s{0,4}:\s{0,4}0(?![.\d]*[1-9])|opacity\s{0,4}:\s{0,4}0(?![.\d]*[1-9]))))[^<>]{0,1000}>",
    re.IGNORECASE,
)
"""The opening tag of an element that a browser does not show. The nearest `style=` before what hides it counts: from
each of many the same characters would be looked at again."""
_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})", re.MULTILINE)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")

MOST_ROUNDS = 4
"""In which hidden markup is looked for: what is left of it may make some anew."""
MOST_TAGS = 5_000
"""That are looked at for the ends of elements: a text of opening tags alone would take the square of its length."""


def visible(text: str) -> str:
    """The text as a person sees it: without HTML and Markdown comments, elements that are not shown, zero-width,
    direction and control characters, tags, and the sequences of a terminal.

    What a person can't see must not steer a model. A comment that is never closed stays, its opening mark
    broken, because the rest of the text may be no comment at all. Code in a fence is shown as it is but for comments
    and characters that nobody sees. Stable: what is visible stays as it is.
    """
    if not text:
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    # Hidden characters first: they could hide the mark of a comment.
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    text = _CONTROL.sub("", text) if text.isascii() else _HIDDEN.sub("", text)
    for _ in range(MOST_ROUNDS):
        shorter = _without_markup(text)
        if shorter == text:
            return text
        text = shorter
    # What is nested so deeply is meant to be found by nobody: its marks are broken, and it stays to be seen.
    return _REFERENCE.sub(lambda line: "\\" + line[0], _ELEMENT.sub(lambda tag: "< " + tag[0][1:], text))


def _without_markup(text: str) -> str:
    """Without what a page does not show. What is left may make some anew."""
    if "<!--" in text:
        text = _without_comments(text)
    if "]:" in text and ("#" in text or "<>" in text):
        text = _REFERENCE.sub("", text)
    if "<" in text:
        small = text.lower()
        if any(word in small for word in _MAY_HIDE):
            return _without_hidden_elements(text)
    return text


_MAY_HIDE = ("hidden", "display", "font-size", "opacity")


def _without_comments(text: str) -> str:
    """Linear in the text's length, which a lazy regular expression over unclosed comments is not."""
    kept = []
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        kept.append(text[at:start])
        at = end + 3
    kept.append(text[at:])
    # Again, because what is left on both sides of a removed comment may make a new mark.
    return "".join(kept).replace("<!--", "<! --")


def _without_hidden_elements(text: str) -> str:
    """Without elements that are not shown, up to their own closing tag; one that is never closed loses its tag."""
    left = MOST_TAGS
    fences = iter([*_fenced(text), (len(text), len(text))])
    fence = next(fences)
    ends: dict[str, list[tuple[int, int]]] = {}
    kept = []
    at = 0
    for tag in _ELEMENT.finditer(text):
        while tag.start() >= fence[1]:
            fence = next(fences)
        if tag.start() < at or fence[0] <= tag.start():
            continue
        ends = ends or _ends(text)
        kept.append(text[at : tag.start()])
        at, seen = _end_of(ends[tag["name"].lower()], tag.end(), left)
        left -= seen
    return "".join([*kept, text[at:]])


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})\b[^<>]{0,1000}>")


def _ends(text: str) -> dict[str, list[tuple[int, int]]]:
    """By name of an element: where its tags end, in their order, 1 for one that opens it and -1 for one that closes it.

    All in one pass: a pass for each element that is not shown would take the square of the text's length.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for tag in _TAG.finditer(text):
        found.setdefault(tag[2].lower(), []).append((tag.end(), -1 if tag[1] else 1))
    return found


def _end_of(ends: list[tuple[int, int]], start: int, most: int) -> tuple[int, int]:
    """Where the element ends whose opening tag ends at `start`; elements of the same name within it are counted.

    The second value: how many tags were looked at, `most` at most.
    """
    depth, seen = 1, 0
    first = bisect_right(ends, (start, 1))
    for seen, place in enumerate(range(first, min(first + most, len(ends))), 1):
        depth += ends[place][1]
        if depth == 0:
            return ends[place][0], seen
    return start, seen


def _fenced(text: str) -> list[tuple[int, int]]:
    """Where code stands between fences, as offsets."""
    found: list[tuple[int, int]] = []
    start, mark = 0, ""
    for fence in _FENCE.finditer(text):
        if not mark:
            start, mark = fence.start(), fence[1]
        elif fence[1].startswith(mark):
            found.append((start, fence.end()))
            mark = ""
    return found


def storable(text: str) -> str:
    """The text with what Postgres can't store (NUL, lone surrogates) replaced by U+FFFD."""
    return _NOT_STORABLE.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    return _NOT_STORABLE.search(text) is None


def one_line(text: str) -> str:
    """Visible text with every run of white space as one space: for names, cites and comparisons."""
    return " ".join(visible(text).split())


def excerpt(value: object, limit: int = 80) -> str:
    """A value shown within a message: a text in quotation marks, on one line, cut."""
    return f'"{cut(value, limit)}"' if isinstance(value, str) else cut(str(value), limit)


def cut(text: str, limit: int) -> str:
    """The text on one line, with an ellipsis where it is longer than `limit` characters."""
    line = one_line(text)
    return line if len(line) <= limit else line[: limit - 3] + "..."
