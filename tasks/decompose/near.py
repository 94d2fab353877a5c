"""Open items of a run that read nearly alike: a finding for a person. Nothing is dropped for it, and both are run.

Alike is what the encoder of memory finds close (tasks/remember/embedding.py) and what then passes a gate of words:
titles, with what they stand under, may differ in small words, order, endings and typing errors only, and the texts must
have the same numbers, names and negations. "Enable it" and "Disable it", "phase 1" and "phase 2" are not alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePath
from typing import Any

import psycopg

from models.board import Finding
from models.enums import Severity
from models.words import quoted
from sql.statements import statement
from tasks.ingest import replace_findings
from tasks.remember.embedding import Encoder, default_encoder

STAGE = "near"
CLOSE = 0.8
"""Cosine of two texts' vectors. One small word more in a title of four makes 0.93, another verb 0.7."""
MOST = 5000
"""Open items of one recipe that are compared, each with each: half a second. Of more, none are."""
LOOKED_AT = 5  # the closest earlier items that pass the gate's door
BLOCK = 1024
LONGEST = 4000  # characters of an item's text
SAME_WORD = 0.8

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\S", re.UNICODE)
_TOKEN = re.compile(r"\S+")
_CODE = re.compile(r"[/\\_.:@#=<>(){}\[\]$%&*+]|[a-zа-яё][A-ZА-ЯЁ]")
_AROUND = ".,;:!?\"'«»“”„()[]…-–—*`"
_SMALL = frozenset(
    # English, Russian, German, French, Spanish: words that change no task
    "a an the of for to in on at by with and from into its it this that these all is are be as our we please "  # noqa: SIM905
    "и в во на по для к ко с со из от до о об у при это все "
    "der die das den dem des ein eine einen einer für und mit im in auf von zu zum zur bei an am "
    "le la les l un une des du de d et pour dans sur au aux avec "
    "el los las una unos unas del al y en con por para".split()
)
_NEGATIONS = frozenset(
    "not no never none without non don't doesn't can't cannot won't must shouldn't except unless "  # noqa: SIM905
    "не нет ни без никогда кроме nicht kein keine keinen keiner ohne nie außer ne pas sans jamais sauf "
    "sin nunca ningún ninguna excepto".split()
)


@dataclass(frozen=True, slots=True)
class Open:
    """An open item of the run, as read."""

    item_id: int
    board_id: int
    recipe: str
    ext_id: str | None
    title: str
    body: str
    line: int
    above: str
    source: str

    @property
    def text(self) -> str:
        return f"{self.above}\n{self.title}\n{self.body}"[:LONGEST]

    def named(self, beside: Open) -> str:
        place = "" if beside.board_id == self.board_id else f"{PurePath(self.source).name}, "
        return f"{self.ext_id or quoted(self.title)} ({place}line {self.line})"


def find_near(
    connection: psycopg.Connection[Any], boards: Sequence[int], encoder: Encoder | None = None
) -> list[str]:
    """Put a finding at each open item of these boards that reads nearly like one before it, in place of those that
    were found before. Gives the recipes with more than MOST open items, which were not compared."""
    rows = connection.execute(statement("decompose.open_items"), {"boards": list(boards)}).fetchall()
    groups: dict[str, list[Open]] = defaultdict(list)
    for row in rows:
        groups[row[2]].append(Open(*row))
    findings: dict[int, list[Finding]] = {board: [] for board in boards}
    for items in groups.values():
        if 1 < len(items) <= MOST:
            for item, other in pairs(items, encoder or default_encoder()):
                message = (
                    f"{item.named(item)} reads nearly like {other.named(item)}. Both are run; take one off its board "
                    "if they are the same work."
                )
                findings[item.board_id].append(Finding("near_duplicate", Severity.INFO, item.line, message))
    with connection.transaction():
        for board in sorted(findings):
            replace_findings(connection, board, {STAGE: findings[board]})
    return sorted(recipe for recipe, items in groups.items() if len(items) > MOST)


def pairs(items: Sequence[Open], encoder: Encoder) -> Iterator[tuple[Open, Open]]:
    """Each item that reads like an earlier one, with the closest of those."""
    import numpy as np

    vectors = encoder.encode([item.text for item in items]).astype(np.float32)
    for start in range(0, len(items), BLOCK):
        block = vectors[start : start + BLOCK]
        likeness = block @ vectors[: start + len(block)].T
        for place, row in enumerate(likeness):
            number = start + place
            row[number:] = 0.0
            if number and row[:number].max() >= CLOSE:
                closest = np.argsort(-row[:number], kind="stable")[:LOOKED_AT]
                for other in closest:
                    if row[other] >= CLOSE and alike(items[number], items[int(other)]):
                        yield items[number], items[int(other)]
                        break


def alike(one: Open, other: Open) -> bool:
    """Do the two say the same but for small words, endings and typing errors?"""
    left, right = _hard(one.text), _hard(other.text)
    if left.exact != right.exact or not (left.names <= right.words and right.names <= left.words):
        return False
    names = left.names | right.names
    mine, theirs = (_content(f"{each.above} {each.title}") for each in (one, other))
    mine, theirs = mine - theirs, theirs - mine
    for word in mine.elements():
        if word in names:
            return False
        match = next(
            (each for each in theirs if theirs[each] and each not in names and _same_word(word, each)), None
        )
        if match is None:
            return False
        theirs[match] -= 1
    return not any(theirs.values())


@dataclass(slots=True)
class _Hard:
    """What of a text may not differ: numbers, negations and what looks like code; names, however written."""

    exact: Counter[str]
    names: set[str]
    words: set[str]


def _hard(text: str) -> _Hard:
    found = _Hard(Counter(), set(), set())
    first = True  # of a sentence: a capital says nothing there
    for token in _TOKEN.findall(unicodedata.normalize("NFKC", text)):
        plain = token.strip(_AROUND)
        folded = plain.casefold().replace("’", "'")
        found.words.add(folded)
        if folded in _NEGATIONS or folded.endswith("n't"):
            found.exact["not"] += 1
        elif any(sign.isdigit() for sign in plain) or _CODE.search(plain):
            found.exact[folded] += 1
        elif plain[:1].isupper() and not first:
            found.names.add(folded)
        first = not plain or token[-1] in ".!?:"
    return found


def _content(text: str) -> Counter[str]:
    words = (word.casefold() for word in _WORD.findall(unicodedata.normalize("NFKC", text)))
    return Counter(word for word in words if word[0].isalnum() and word not in _SMALL)


def _same_word(one: str, other: str) -> bool:
    """Another ending or a typing error: the beginning is the same ("encrypt" and "decrypt" are two words)."""
    if one[:2] != other[:2] or any(sign.isdigit() for sign in one + other):
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= SAME_WORD
