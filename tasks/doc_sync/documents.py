"""Which paths are documents, and which of their lines are code, prose or a person's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from markdown_it import MarkdownIt

MAX_DOCUMENT = 2 * 1024 * 1024
"""Bytes; a larger document is data, and left alone with a finding."""

_PROSE = frozenset({".md", ".markdown", ".rst", ".txt"})
_IN_DOCS = frozenset({"", ".adoc", ".asciidoc", ".html", ".htm", ".mdx"})
_MARKDOWN = frozenset({".md", ".markdown", ".mdx", ""})
_RECORDS = re.compile(
    r"(^|/)(changelog|changes|history|news|releases?([-_ ]?notes)?|whats[-_ ]?new|upgrad\w*|migrat\w*|adr[-_]?\d.*)"
    r"([-_.][^/]*)?$"
    r"|(^|/)(adrs?|decisions|archives?|archived|history|changelogs?(\.d)?|releases?|release[-_]notes)/",
    re.IGNORECASE,
)
_NO_DOCUMENTS = re.compile(
    r"(^|/)([^/]*requirements[^/]*\.txt|constraints[^/]*\.txt|cmakelists\.txt|robots\.txt|licen[sc]e[^/]*|copying[^/]*)$"
    r"|(^|/)(tests?|testdata|fixtures|node_modules|vendor|third_party|site-packages)/",
    re.IGNORECASE,
)
_OFF = re.compile(r"<!--\s*penstock:off\s*-->|^\s*(?:\.\.|//|#)\s*penstock:off\s*$")
_ON = re.compile(r"<!--\s*penstock:on\s*-->|^\s*(?:\.\.|//|#)\s*penstock:on\s*$")
_SPAN = re.compile(r"(?P<ticks>(?<!`)`+(?!`))(?P<code>.+?)(?<!`)(?P=ticks)(?!`)")
# Only block structure is needed; reading inline marks of a large document takes ten times as long.
_BLOCKS = MarkdownIt("commonmark").disable(["inline"])


def is_prose(path: str) -> bool:
    """Is it text for people by its ending, whether a document of the project or not (test data, licences)?"""
    return PurePosixPath(path).suffix.lower() in _PROSE


def is_record(path: str) -> bool:
    """Does it tell what once was (change log, decision record, archive)? Old names are right there."""
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in _PROSE | _IN_DOCS and bool(_RECORDS.search(path))


def is_document(path: str) -> bool:
    """*.md, *.rst, *.txt, README*, and text below docs/; no records, licences, requirements or test data."""
    if _NO_DOCUMENTS.search(path) or is_record(path):
        return False
    pure = PurePosixPath(path)
    suffix = pure.suffix.lower()
    in_docs = any(part.lower() in {"docs", "doc"} for part in pure.parts[:-1])
    readme = pure.name.lower().startswith("readme") and suffix in _PROSE | _IN_DOCS
    return suffix in _PROSE or readme or (in_docs and suffix in _IN_DOCS)


@dataclass(frozen=True)
class Document:
    """A document at the tip. Lines keep every byte: undecodable ones as surrogate escapes, ends as they are."""

    path: str
    data: bytes

    @cached_property
    def utf8(self) -> bool:
        try:
            self.data.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    @cached_property
    def lines(self) -> list[str]:
        """Lines with their ends; only a line feed ends a line, as for git."""
        return [part for part in re.split(r"(?<=\n)", self.data.decode("utf-8", "surrogateescape")) if part]

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(re.findall(r"\w+", self.data.decode("utf-8", "replace")))

    @cached_property
    def blocks(self) -> list[bool]:
        """Per line: is it inside a code block?"""
        suffix = PurePosixPath(self.path).suffix.lower()
        marked = [False] * len(self.lines)
        if suffix in _MARKDOWN:
            # Lone carriage returns are line ends for the parser and not for git: the numbers must agree.
            plain = "\n".join(line.rstrip("\r\n").replace("\r", " ") for line in self.lines)
            for token in _BLOCKS.parse(plain):
                if token.type in {"fence", "code_block"} and token.map:
                    for number in range(token.map[0], min(token.map[1], len(marked))):
                        marked[number] = True
            return marked
        indent: int | None = None
        for number, line in enumerate(self.lines):
            if not line.strip():
                continue
            here = len(line) - len(line.lstrip())
            if indent is not None and here > indent:
                marked[number] = True
                continue
            opens = line.rstrip().endswith("::") or re.match(r"\s*\.\. (code|code-block|sourcecode)::", line)
            indent = here if opens else None
        return marked

    @cached_property
    def own(self) -> list[bool]:
        """Per line: is it inside a block that a person keeps to themselves? Unclosed, it lasts to the end."""
        marked, off = [], False
        for line in self.lines:
            off = off or bool(_OFF.search(line))
            marked.append(off)
            if off and _ON.search(line):
                off = False
        return marked

    def spans(self, number: int) -> list[tuple[int, int]]:
        """Inline code of a line (0-based) as (start, end) of the text between the ticks."""
        return [found.span("code") for found in _SPAN.finditer(self.lines[number])]

    def marker(self, message: str) -> str:
        """A note for the editor at the end of a line, as the format hides or shows it."""
        message = message.replace("-->", "-- >").replace("*/", "* /")
        suffix = PurePosixPath(self.path).suffix.lower()
        if suffix == ".mdx":
            return f"{{/* penstock: {message} */}}"
        if suffix in {".rst", ".txt", ".adoc", ".asciidoc"}:
            return f"[penstock: {message}]"
        return f"<!-- penstock: {message} -->"
