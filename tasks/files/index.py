"""The text files of one root as pieces with their lines, found by words: kept in memory, read again where they changed.

Ranking is BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009) over the stems of a piece, each
counted once: in 20 lines a word that is said twice says little more.
"""

from __future__ import annotations

import math
import os
import re
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import sources
from backends.lexical import content_stems
from models.errors import SourceError
from sources.folder import is_report, is_source, tracked
from tasks.files.roots import MOST_BYTES, is_secret, read_within
from tasks.redaction import find_secrets
from tasks.remember.chunking import MOST, chunk

MOST_FILES = 5_000
MOST_TEXT = 16_000_000
"""Bytes of all files of a root together."""
SECONDS = 20.0
"""For one reading of a root. What was not read then is read the next time."""
FRESH = 15.0
"""Seconds for which nobody looks whether files have changed."""
K, B = 1.2, 0.75
LEAST_LINES = 4

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DATA = frozenset(
    re.findall(
        r"\.\w+",
        ".csv .tsv .jsonl .ipynb .svg .map .lock .log .po .pot .min .snap .sum .png .jpg .jpeg .gif .ico .webp .pdf"
        " .zip .gz .tar .xz .whl .so .a .o .pyc .class .jar .exe .dll .bin .dat .db .sqlite .woff .woff2 .ttf .eot"
        " .mp3 .mp4 .parquet",
    )
)
"""Ends of names of files that are no text, or that nobody wrote."""
_MADE = frozenset({"package-lock.json", "pnpm-lock.yaml", "npm-shrinkwrap.json", "go.sum"})


def stems(text: str) -> list[str]:
    """The words that carry meaning; names of code are several (`readFile`, `read_file`)."""
    return content_stems(_CAMEL.sub(" ", text))


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of a file, 1-based and inclusive."""

    path: str
    first: int
    last: int
    text: str
    whole: bool = False  # the file has no other lines

    @property
    def cite(self) -> str:
        return f"{self.path}:{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Read:
    """A file as it was read. `pieces` are those that may be found by words, each with its stems."""

    stamp: tuple[int, ...]
    lines: tuple[str, ...]
    pieces: tuple[tuple[Piece, tuple[str, ...]], ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(slots=True)
class Index:
    """Of one root. Used by one thread at a time."""

    root: Path
    without: Path | None = None  # a folder below it that is none of the project's
    paths: frozenset[str] = frozenset()  # of files that may be given, read or not
    names: dict[str, list[str]] = field(default_factory=dict)  # the same by the last part of each
    whole: bool = True  # False: there is more than was read
    _read: dict[str, Read | None] = field(default_factory=dict)  # None: not to be given
    _looked: float = -math.inf
    _pieces: list[Piece] = field(default_factory=list)
    _postings: dict[str, array[int]] = field(default_factory=dict)
    _lengths: list[int] = field(default_factory=list)

    def refresh(self) -> None:
        """Bring it in step with the disk, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._looked < FRESH:
            return
        ends = now + SECONDS
        paths = self._listed(ends)
        changed = bool(self._read.keys() - paths)
        self._read = {path: read for path, read in self._read.items() if path in paths}
        self.paths = frozenset(paths)
        self.names = defaultdict(list)
        for path in paths:
            self.names[path.rpartition("/")[2]].append(path)
        size = 0
        for path in sorted(paths, key=lambda path: (path.count("/"), path)):  # what is near the top first
            if time.monotonic() > ends or size > MOST_TEXT:
                self.whole = False
                break
            before = self._read.get(path)
            if not self._is_same(path, before):
                read = self._read[path] = self._reading(path)
                changed |= read is not None or before is not None
            if (read := self._read[path]) is not None:
                size += read.stamp[1]
        if changed:
            self._arrange()
        self._looked = time.monotonic()

    def file(self, path: str) -> Read | None:
        """A file by its path, as it is now; None for one that is not to be given."""
        if path not in self.paths:
            return None
        if not self._is_same(path, self._read.get(path)):
            self._read[path] = self._reading(path)
        return self._read.get(path)

    def search(
        self, wanted: Iterable[str], limit: int, without: Iterable[str] = ()
    ) -> list[tuple[Piece, float]]:
        """The pieces that are most like it, best first, of files that are not among `without`."""
        scores: dict[int, float] = defaultdict(float)
        count = len(self._pieces)
        mean = sum(self._lengths) / count if count else 1.0
        for stem in dict.fromkeys(wanted):
            places = self._postings.get(stem, ())
            idf = math.log1p((count - len(places) + 0.5) / (len(places) + 0.5))
            for place in places:
                scores[place] += idf * (K + 1) / (1 + K * (1 - B + B * self._lengths[place] / mean))
        left_out = frozenset(without)
        best = sorted(scores, key=lambda place: (-scores[place], place))
        return [
            (self._pieces[place], scores[place]) for place in best if self._pieces[place].path not in left_out
        ][:limit]

    def _listed(self, ends: float) -> set[str]:
        found: set[str] = set()
        self.whole = True
        for path in tracked(self.root):
            if self.without is not None and (self.root / path).is_relative_to(self.without):
                continue
            if is_secret(path) or not _is_text(path):
                continue
            if len(found) == MOST_FILES or time.monotonic() > ends:
                self.whole = False
                break
            found.add(path)
        return found

    def _is_same(self, path: str, read: Read | None) -> bool:
        if path not in self._read:
            return False
        if read is None:
            return time.monotonic() - self._looked < FRESH
        try:
            return _stamp(os.lstat(self.root / path)) == read.stamp
        except OSError:
            return False

    def _reading(self, path: str) -> Read | None:
        found = read_within(self.root, path)
        if found is None or is_report(found[0]):
            return None
        data, state = found
        try:
            text = _without_keys(sources.decode(data, path, MOST_BYTES).text)
            lines = tuple(text.removesuffix("\n").split("\n"))
            prose = is_source(PurePosixPath(path).name)
            pieces = _of_prose(path, text, data) if prose else _of_code(path, lines)
        except SourceError:
            return None  # no text
        return Read(
            _stamp(state), lines, tuple((piece, tuple(stems(f"{path} {piece.text}"))) for piece in pieces)
        )

    def _arrange(self) -> None:
        self._pieces, self._lengths = [], []
        postings: dict[str, array[int]] = defaultdict(lambda: array("l"))
        for path in sorted(self._read):
            for piece, words in read.pieces if (read := self._read[path]) is not None else ():
                for word in words:
                    postings[word].append(len(self._pieces))
                self._pieces.append(piece)
                self._lengths.append(len(words))
        self._postings = dict(postings)


def _without_keys(text: str) -> str:
    """Private keys go before the text is in pieces: of one that is in two, the middle has no known shape."""
    if "PRIVATE KEY" not in text:
        return text
    parts, at = [], 0
    for secret in find_secrets(text):
        if secret.kind == "private-key":
            rows = text.count("\n", secret.start, secret.end)
            parts += [text[at : secret.start], "[redacted: private-key]", "\n" * rows]
            at = secret.end
    return "".join([*parts, text[at:]])


def _stamp(state: os.stat_result) -> tuple[int, ...]:
    return state.st_mtime_ns, state.st_size, state.st_ino


def _is_text(path: str) -> bool:
    name = PurePosixPath(path).name
    return name not in _MADE and not any(suffix.lower() in _DATA for suffix in PurePosixPath(name).suffixes)


def _of_prose(path: str, text: str, data: bytes) -> list[Piece]:
    """Without what is a plan: an item of another list is a claim, not evidence (tasks/remember)."""
    items = Counter(item.line for item in sources.parse(data, path).items)
    return [
        Piece(path, one.line_start, one.line_end, one.text)
        for one in chunk(text)
        if one.text.strip() and not any(line in items for line in range(one.line_start, one.line_end + 1))
    ]


def _of_code(path: str, lines: tuple[str, ...]) -> list[Piece]:
    """Runs of lines of MOST characters at most, ended before a line that begins something, where there is one."""
    found = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        end, size, begins = start, 0, 0
        while end < len(lines) and size + len(lines[end]) < MOST:
            size += len(lines[end]) + 1
            end += 1
            blank = end < len(lines) and not lines[end - 1].strip()
            if blank and lines[end][:1].strip() and end - start >= LEAST_LINES and size > MOST // 3:
                begins = end
        if end == start:  # one line that is longer than a piece may be: data
            start += 1
            continue
        end = begins or end if end < len(lines) else end
        last = end
        while not lines[last - 1].strip():
            last -= 1
        found.append(Piece(path, start + 1, last, "\n".join(lines[start:last])))
        start = end
    return found
