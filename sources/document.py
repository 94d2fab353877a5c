"""A decoded text as the dialects see it: lines, with code, comments, quotes and front matter blanked.

What is blanked can never become an item; `masked` says why. `raw` keeps everything, and line n is `raw[n - 1]` and
`live[n - 1]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.board import Finding
from models.enums import Declared
from sources.masking import Mask
from sources.words import Names

_KEY = re.compile(r"([\w-]+)\s*:\s*(.*)")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
INVISIBLE = "\ufeff\u200b\u2060\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""No width, and marks of the writing's direction. The joiners U+200C and U+200D are part of words and of signs."""
_DROPPED = dict.fromkeys(map(ord, INVISIBLE))
_SEEN = re.compile(f"[{INVISIBLE}]")
FRONT_MATTER_LINES = 200


@dataclass(slots=True)
class Row:
    line: int
    cells: list[str]
    spans: list[tuple[int, int]] = field(default_factory=list)  # of each cell's text; none for cells made up


@dataclass(slots=True)
class Table:
    line: int
    section: str
    header: list[str]
    rows: list[Row] = field(default_factory=list)
    signs: dict[str, Declared] = field(default_factory=dict)  # what the file says its signs mean

    def column(self, names: Names) -> int | None:
        """Index of the first column that is called so."""
        return next((i for i, name in enumerate(self.header) if names.whole(name)), None)


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
    return line.translate(_DROPPED) if not line.isascii() and _SEEN.search(line) else line


def read_document(text: str, name: str = "") -> Document:
    text = visible(text)
    raw = text.split("\n")
    document = Document(raw=raw, live=raw, text=text, name=name)
    if any(sign in text for sign in ("```", "~~~", "<!--", ">", "%%")) or text.startswith("---"):
        _mask(document)
        document.text = "\n".join(document.live)
    document.title = _title(document)
    return document


def _title(document: Document) -> str:
    if match := re.search(r"^ {0,3}#[^\S\n]+(\S.*)$", document.text, re.MULTILINE):
        return match[1].rstrip().rstrip("#").rstrip()
    return document.front.get("title", "")


def _mask(document: Document) -> None:
    # Obsidian's own comments; a stray pair of signs elsewhere must not swallow the text below it.
    percents = "%%" in document.text and document.text.count("%%") % 2 == 0
    mask = Mask(percents=percents)
    skipped, document.front = front_matter(document.raw)
    document.live = [""] * skipped
    document.masked = dict.fromkeys(range(1, skipped + 1), "front_matter")
    for number in range(skipped + 1, len(document.raw) + 1):
        document.live.append(mask.feed(number, document.raw[number - 1]))
    mask.finish()
    document.masked |= mask.masked
    document.comments = mask.comments
    document.findings += mask.findings


def front_matter(lines: Sequence[str]) -> tuple[int, dict[str, str]]:
    """How many lines YAML front matter takes at the start, and its plain keys; (0, {}) without."""
    found: dict[str, str] = {}
    if not lines or lines[0].rstrip() != "---":
        return 0, {}
    for index, line in enumerate(lines[1:FRONT_MATTER_LINES], 1):
        if line.rstrip() in ("---", "..."):
            return index + 1, found
        if match := _KEY.match(line):
            found[match[1].lower()] = match[2].strip().strip("\"'")
        elif line.strip() and line[0] not in " \t#-":
            break
    return 0, {}
