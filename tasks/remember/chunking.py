"""Documents into chunks that can be cited: `source:12-18` is true byte for byte.

A chunk is a run of whole lines, its text exactly those lines. Boundaries follow the document's structure, by
markdown-it's block tokens and their line maps (CommonMark and GFM tables; plain text is paragraphs of it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

__all__ = ["MOST", "Chunk", "chunk"]

LEAST = 300
"""Characters below which neighbours of one section are put together."""
MOST = 1200
"""Characters of a chunk at most: what a passage in a prompt may take."""
UNIT = 1000
"""Characters of one block at most, so that its heading still fits in front of it."""
LONGEST_TITLE = 120


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines `line_start` to `line_end` (1-based, inclusive) of a document.

    `text` is those lines joined by "\\n". Only a line longer than MOST is told in several chunks, each with a part
    of it and that one line as its range; the parts joined are the line.
    """

    heading: str  # the way to it: headings, then the item or the table columns it continues; " > " between
    text: str
    line_start: int
    line_end: int


@dataclass(frozen=True, slots=True)
class _Unit:
    """A block that isn't divided further: lines[start:end], 0-based. `part` is set for a piece of a long line."""

    start: int
    end: int
    label: str = ""
    level: int = 0  # of a heading
    title: str = ""
    part: str | None = None


def chunk(text: str) -> list[Chunk]:
    """Chunks in the order of the text, up to MOST characters each, at least LEAST where the section has them.

    No chunk goes over a top-level heading, except that headings with nothing between them stay together. Blocks
    (paragraph, list item, table row, code block) stay whole unless they are longer than UNIT characters. Every
    line that isn't blank is in exactly one chunk. Lines end at "\\n". Never raises on content.
    """
    lines = text.split("\n")
    chunks: list[Chunk] = []
    path: list[tuple[int, str]] = []
    section: list[_Unit] = []
    for unit in _units(lines):
        if unit.level:
            if not (_only_headings(section) and path and unit.level > path[-1][0]):
                chunks += _pack(section, lines, path)
                section = []
            path = [*(step for step in path if step[0] < unit.level), (unit.level, unit.title)]
        section.append(unit)
    return chunks + _pack(section, lines, path)


@cache
def _markdown() -> MarkdownIt:
    # Inline rules triple the time and say nothing about lines.
    return MarkdownIt("commonmark").enable("table").disable("inline")


def _units(lines: Sequence[str]) -> Iterator[_Unit]:
    shown = list(lines)
    for index in range(_front_matter(lines)):
        shown[index] = ""  # else its closing line makes a heading of it
    # To markdown-it a lone "\r" ends a line; here it doesn't.
    source = re.sub(r"\r(?!\n)", " ", "\n".join(shown))
    root = SyntaxTreeNode(_markdown().parse(source))
    yield from _divide(root.children, 0, len(lines), "", lines)


def _front_matter(lines: Sequence[str]) -> int:
    """How many lines the YAML front matter takes, its fences included; 0 where there is none."""
    if lines[0].rstrip() != "---":
        return 0
    for index, line in enumerate(lines[1:200], start=1):
        if line.rstrip() in ("---", "..."):
            return index + 1
    return 0


def _divide(
    nodes: Sequence[SyntaxTreeNode], start: int, end: int, label: str, lines: Sequence[str]
) -> Iterator[_Unit]:
    """Units for lines[start:end]: those of the nodes and, between them, what markdown-it has no token for."""
    position = start
    for node in nodes:
        if node.map is None:
            continue
        first, last = max(node.map[0], position), min(node.map[1], end)
        if last <= first:
            continue
        yield from _split(position, first, label, lines)
        yield from _of_node(node, first, last, label, lines)
        position = last
    yield from _split(position, end, label, lines)


def _of_node(node: SyntaxTreeNode, start: int, end: int, label: str, lines: Sequence[str]) -> Iterator[_Unit]:
    if node.type == "heading" and node.level == 0:
        title = " ".join(node.children[0].content.split())
        # A paragraph over a line of dashes is a heading to Markdown; people mean a rule.
        if title and len(title) <= LONGEST_TITLE:
            yield _Unit(start, end, label, int(node.tag[1:]), title)
            return
    blocks = [child for child in node.children if child.map is not None and child.type != "inline"]
    if not blocks or _size(start, end, lines) <= UNIT:
        yield from _split(start, end, label, lines)
    elif node.type == "list_item":
        first, rest = blocks[0], blocks[1:]
        middle = min(max(first.map[1] if first.map else start, start), end)
        yield from _divide([first], start, middle, label, lines)
        yield from _divide(rest, middle, end, _joined(label, lines[start].strip()), lines)
    elif node.type == "table":
        columns = _columns(lines[start])
        yield from _divide(blocks[:1], start, min(start + 2, end), label, lines)
        yield from _divide(blocks[1:], min(start + 2, end), end, _joined(label, columns), lines)
    else:
        yield from _divide(blocks, start, end, label, lines)


def _split(start: int, end: int, label: str, lines: Sequence[str]) -> Iterator[_Unit]:
    """lines[start:end] as units of at most UNIT characters, cut at blank lines where that isn't wasteful."""
    while start < end:
        if not lines[start].strip():
            start += 1
            continue
        if len(lines[start]) > MOST:
            yield from (_Unit(start, start + 1, label, part=part) for part in _parts(lines[start]))
            start += 1
            continue
        cut = _cut(start, end, lines)
        last = cut
        while not lines[last - 1].strip():
            last -= 1
        yield _Unit(start, last, label)
        start = cut


def _cut(start: int, end: int, lines: Sequence[str]) -> int:
    """Where the unit that begins at `start` ends; at least one line further."""
    size, blank = len(lines[start]), 0
    for index in range(start + 1, end):
        size += 1 + len(lines[index])
        if size > UNIT:
            return blank or index
        if not lines[index].strip() and size >= LEAST:
            blank = index
    return end


def _parts(line: str) -> Iterator[str]:
    position = 0
    while len(line) - position > MOST:
        cut = line.rfind(" ", position + LEAST, position + MOST) + 1 or position + MOST
        yield line[position:cut]
        position = cut
    yield line[position:]


def _pack(units: Sequence[_Unit], lines: Sequence[str], path: Sequence[tuple[int, str]]) -> list[Chunk]:
    """One section's units as chunks: neighbours together until LEAST, a short rest with what is before it."""
    groups: list[list[_Unit]] = []
    for unit in units:
        group = groups[-1] if groups else None
        if (
            group is not None
            and unit.part is None
            and group[-1].part is None
            and (_only_headings(group) or _size(group[0].start, group[-1].end, lines) < LEAST)
            and _size(group[0].start, unit.end, lines) <= MOST
        ):
            group.append(unit)
        else:
            groups.append([unit])
    if len(groups) > 1:
        last, before = groups[-1], groups[-2]
        whole = all(unit.part is None for unit in (*last, *before))
        short = _size(last[0].start, last[-1].end, lines) < LEAST
        if whole and short and _size(before[0].start, last[-1].end, lines) <= MOST:
            groups[-2:] = [[*before, *last]]
    titles = [title for _, title in path]
    return [_chunk(group, lines, titles) for group in groups]


def _chunk(group: Sequence[_Unit], lines: Sequence[str], titles: Sequence[str]) -> Chunk:
    first, last = group[0], group[-1]
    text = first.part if first.part is not None else "\n".join(lines[first.start : last.end])
    heading = " > ".join([*titles, *([first.label] if first.label else [])])
    return Chunk(heading, text, first.start + 1, last.end)


def _only_headings(units: Sequence[_Unit]) -> bool:
    return all(unit.level for unit in units)


def _size(start: int, end: int, lines: Sequence[str]) -> int:
    return sum(len(line) for line in lines[start:end]) + max(end - start - 1, 0)


def _columns(header: str) -> str:
    return ", ".join(cell.strip() for cell in header.strip().strip("|").split("|") if cell.strip())


def _joined(label: str, more: str) -> str:
    more = more[:LONGEST_TITLE]
    # Two steps are enough to know where one is; a deep tree would repeat itself in every chunk.
    return " > ".join([*label.split(" > ")[-1:], more]) if label else more
