"""Sentences and words of any language, as far as comparing them needs: offsets, stems, stop words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

LONGEST = 600
"""Characters of one quote; a longer run without an end is cut at a blank, and stays verbatim."""


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str  # verbatim, a slice of the passage
    stems: frozenset[str]
    states: bool  # False for headings, questions and task lines: they are never evidence
    around: frozenset[
        str
    ]  # the stems of what it is read with: its heading, the sentence before, its table's head


_STOP = frozenset(
    word
    for line in files("backends").joinpath("stop_words.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for word in line.split()
)

_WORD = re.compile(r"[^\W_]+")
_SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")
_CYRILLIC_END = re.compile(
    r"(?:л?ени[еяюй]|л?ением|л?ениях|ани[еяюй]|анием|ыми|ими|ого|его|ому|ему|ами|ями|[аяеи]?(?:ат|ят|ут|ют|ет|ит|ть)ся|ают|яют|уют|ует|ает|яет"
    r"|ать|ять|ить|еть|ил[аи]?|ал[аи]?|ах|ях|ам|ям|ов|ев|ей|ой|ый|ий|ая|яя|ое|ее|ую|юю|ые|ие|ым|им|ых|их|ом|ем|ия"
    r"|ию|ии|ет|ит|ют|ят|[аяоеуюыиьй])$"
)
_LATIN_END = re.compile(r"(?:ations?|ments?|ions?|ings?|ers?|ies|ied|ed|es|en|ly|[esyn])$")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word without its usual inflection, at least 3 letters long; numbers are left alone."""
    if len(word) <= 3 or word.isdigit():
        return word
    ending = _CYRILLIC_END if "\u0400" <= word[0] <= "\u04ff" else _LATIN_END
    cut = ending.sub("", word)
    return cut if len(cut) >= 3 else word[:3]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("ё", "е"))


def content_stems(text: str) -> list[str]:
    """The stems of the words that carry meaning, in order, each once. Scripts without spaces give letter
    pairs.
    """
    found: dict[str, None] = {}
    for word in _words(text):
        spaceless = _SPACELESS.search(word)
        if spaceless is not None:
            for run in _SPACELESS.findall(word):
                for at in range(max(1, len(run) - 1)):
                    found[run[at : at + 2]] = None
            word = _SPACELESS.sub("", word)
        if word and word not in _STOP and (len(word) > 1 or word.isdigit()):
            found[stem(word)] = None
    return list(found)


class Vocabulary:
    """Stems to look words up in, forgiving what `stem` left of an inflection."""

    def __init__(self, stems: Iterable[str]) -> None:
        self._stems = stems if isinstance(stems, frozenset) else frozenset(stems)
        self._by_start: dict[str, list[str]] | None = None

    def known(self, words: Iterable[str]) -> set[str]:
        """Those of the words that are here, inflected otherwise perhaps."""
        return {word for word in words if word in self._stems or self._akin(word)}

    def _akin(self, word: str) -> bool:
        if len(word) < 5 or word.isdigit():
            return False
        if self._by_start is None:
            self._by_start = {}
            for known in self._stems:
                if len(known) >= 5:
                    self._by_start.setdefault(known[:5], []).append(known)
        return any(_akin(word, known) for known in self._by_start.get(word[:5], ()))


def _akin(one: str, other: str) -> bool:
    """The same but for an ending: at most 2 letters more on one side and 1 on the other."""
    shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        shared += 1
    rests = sorted((len(one) - shared, len(other) - shared))
    return rests[0] <= 1 and rests[1] <= 2


def normalised(text: str) -> str:
    """The words alone, lower case, between single blanks: for comparing whole sentences."""
    return " ".join(_words(text))


_STARTS_BLOCK = re.compile(r"\s*(?:#{1,6}\s|[-*+•]\s|\d{1,3}[.)]\s|\||>|```|~~~)")
_MARKER = re.compile(r"\s*(?:(?:#{1,6}|[-*+•>]|\d{1,3}[.)])\s+|\|\s*)*")
_TASK = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])?\s*\[[^\]\n]?\](?!\()")
_END = re.compile(r"[.!?…]+[\"'»”)\]*_`]*\s+|[。！？]+\s*")
_ABBREVIATION = re.compile(
    r"(?:\b[^\W\d_]{1,2}|\b(?:e\.g|i\.e|etc|vs|fig|approx|т\.е|т\.д|т\.п|см|др|bzw|usw|ca))\.$"
)


@lru_cache(maxsize=4096)
def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a Markdown text, verbatim. A list item, table row or heading is at least one of its own."""
    found = []
    nothing: frozenset[str] = frozenset()
    heading = before = table = nothing
    for start, end in _blocks(text):
        block = text[start:end]
        is_heading, is_row = block.lstrip().startswith("#"), block.lstrip().startswith("|")
        is_task = _TASK.match(block) is not None
        marker = _MARKER.match(block)
        for piece in _split(block[marker.end() if marker else 0 :]):
            stems = frozenset(content_stems(piece))
            if not stems:
                continue
            is_question = piece.rstrip("\"'»”)]*_` ").endswith(("?", "？"))
            states = not (is_heading or is_task or is_question)
            found.append(Sentence(piece, stems, states, heading | before | table))
            if is_heading:
                heading, before = stems, nothing
            else:
                before = stems if states else nothing
            if not is_row:
                table = nothing
            elif not table:
                table = stems
    return tuple(found)


def _blocks(text: str) -> list[tuple[int, int]]:
    """Runs of lines that belong together, as offsets."""
    blocks: list[tuple[int, int]] = []
    start: int | None = None
    at = 0
    for line in text.splitlines(keepends=True):
        blank = not line.strip()
        if start is not None and (blank or _STARTS_BLOCK.match(line)):
            blocks.append((start, at))
            start = None
        if not blank:
            if start is None:
                start = at
            if line.lstrip().startswith("#"):  # a heading ends with its line
                blocks.append((start, at + len(line)))
                start = None
        at += len(line)
    if start is not None:
        blocks.append((start, at))
    return blocks


def _split(block: str) -> list[str]:
    pieces, start = [], 0
    for end in _END.finditer(block):
        following = block[end.end() : end.end() + 1]
        before = block[start : end.start() + 1]
        if following.islower() or _ABBREVIATION.search(before):
            continue
        pieces.append(block[start : end.end()])
        start = end.end()
    pieces.append(block[start:])
    return [_cut(piece.strip().rstrip("|").rstrip()) for piece in pieces if piece.strip()]


def _cut(piece: str) -> str:
    if len(piece) <= LONGEST:
        return piece
    blank = piece.rfind(" ", 0, LONGEST)
    return piece[: blank if blank > 0 else LONGEST]
