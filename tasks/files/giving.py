"""Which pieces of its files an item is given."""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from models.calls import Passage
from tasks.files.index import Index, Piece, stems
from tasks.files.roots import root_of

log = logging.getLogger(__name__)

WHOLE = 8_000
"""Characters of a file that is given whole where it is named; of a longer one, the pieces most like the item are."""
MOST_LINES = 200
"""Of those that an item names."""
MOST_ROOTS = 4
"""That are kept in memory."""
MOST_NAMED = 20
LONGEST_QUESTION = 20_000

_NAMED = re.compile(
    r"(?<![\w@+./-])(?P<path>[\w.@+/-]{2,300}?\w)(?::(?P<first>\d{1,7})(?:[-–](?P<last>\d{1,7}))?"
    r"|#L(?P<from>\d{1,7})(?:-L?(?P<to>\d{1,7}))?)?(?!\.?[\w@+/-])"
)


class FilesOf(Protocol):
    """An item, as far as its files matter (tasks.execute.work.ClaimedItem)."""

    @property
    def source(self) -> str: ...
    @property
    def question(self) -> str: ...


async def files_for_items(
    items: Sequence[FilesOf], limit: int, found: Sequence[Sequence[Passage]], *, home: Path
) -> list[list[Passage]]:
    """The passages that each item has already (`found`), and up to `limit` of the files of its board's root.

    Off the event loop: reading a root the first time takes seconds.
    """
    if not any(os.path.isabs(item.source) for item in items):
        return [list(passages) for passages in found]
    return await asyncio.to_thread(_for_items, items, limit, found, home)


_lock = threading.Lock()
_indexes: OrderedDict[Path, Index] = OrderedDict()


def _for_items(
    items: Sequence[FilesOf], limit: int, found: Sequence[Sequence[Passage]], home: Path
) -> list[list[Passage]]:
    roots = {source: root_of(source, home) for source in {item.source for item in items}}
    given = []
    with _lock:  # the drains of one process share what they read
        for item, passages in zip(items, found, strict=True):
            root = roots[item.source]
            if root is None:
                given.append(list(passages))
                continue
            index = _index(root, Path(os.path.realpath(home)))
            own = os.path.relpath(os.path.realpath(item.source), root)
            pieces = _pieces(index, item.question[:LONGEST_QUESTION], own, limit)
            given.append(_together(passages, pieces, limit))
    return given


def _index(root: Path, home: Path) -> Index:
    index = _indexes.pop(root, None) or Index(root, home)
    _indexes[root] = index
    while len(_indexes) > MOST_ROOTS:
        _indexes.popitem(last=False)
    known = index.whole
    index.refresh()
    if known and not index.whole:
        log.info("%s has more files than are read for prompts; those near its top were read.", root)
    return index


def _pieces(index: Index, question: str, own: str, limit: int) -> Iterator[tuple[Piece, bool]]:
    """In their order; whether the item names it. A board's own lines are never evidence for its items."""
    wanted = stems(question)
    named: list[str] = []
    for match in list(_NAMED.finditer(question))[: 50 * MOST_NAMED]:
        path = _resolved(index, match["path"], posixpath.dirname(own))
        if path is None or path == own or len(named) == MOST_NAMED:
            continue
        read = index.file(path)
        if read is None:
            continue
        first = int(match["first"] or match["from"] or 0)
        last = int(match["last"] or match["to"] or first)
        if 0 < first <= last and first <= len(read.lines):
            last = min(last, first + MOST_LINES - 1, len(read.lines))
            yield Piece(path, first, last, "\n".join(read.lines[first - 1 : last])), True
        elif path not in named:
            if len(read.text) <= WHOLE:
                yield Piece(path, 1, len(read.lines), read.text, whole=True), True
            else:
                best = sorted(read.pieces, key=lambda each: -len({*wanted} & {*each[1]}))
                yield from ((piece, True) for piece, _ in best[: max(1, limit // 2)])
        named.append(path)
    for piece, _ in index.search(wanted, 3 * limit, without=(own,)):
        yield piece, False


def _resolved(index: Index, path: str, folder: str) -> str | None:
    """The file of the root that these words mean: from the board's folder, from the root, or by its end alone."""
    if os.path.isabs(path):
        path = os.path.relpath(path, index.root) if path.startswith(f"{index.root}/") else "/"
    for base in (folder, ""):
        if (full := posixpath.normpath(posixpath.join(base, path))) in index.paths:
            return full
    if "." not in path and "/" not in path:
        return None
    named = index.names.get(path.rpartition("/")[2], ())
    ends = [each for each in named if each.endswith(f"/{path.removeprefix('./')}")]
    return ends[0] if len(ends) == 1 else None


def _together(known: Sequence[Passage], pieces: Iterator[tuple[Piece, bool]], limit: int) -> list[Passage]:
    """What is named before what is remembered, what is alike beside it; nothing twice."""
    memory = sorted((passage.score for passage in known), reverse=True) or [1.0]
    given: list[Passage] = []
    for piece, named in pieces:
        if len(given) == limit:
            break
        if not piece.text.strip() or any(_holds(other, piece) for other in given):
            continue
        if not named and any(piece.text.strip() in other.text for other in known):
            continue
        place = len(given)
        like = memory[min(place, len(memory) - 1)] * (0.99 - place / 1000)
        score = memory[0] + 1 - place / 100 if named else like
        given.append(Passage(piece.cite, piece.text, score, piece.path if piece.whole else ""))
    texts = [passage.text for passage in given]
    cites = {passage.cite for passage in given}
    kept = [
        passage
        for passage in known
        if passage.cite not in cites and not any(passage.text.strip() in text for text in texts)
    ]
    return [*(passage for passage in given if passage.score > memory[0]), *kept,
            *(passage for passage in given if passage.score <= memory[0])]  # fmt: skip


def _holds(given: Passage, piece: Piece) -> bool:
    """Are these lines among what was given already?"""
    path, _, lines = given.cite.rpartition(":")
    first, last = map(int, lines.split("-"))
    return path == piece.path and first <= piece.first and piece.last <= last
