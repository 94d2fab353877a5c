"""A phase's heading: "Phase 10A — title", "Sprint #3", "Fase II", "2. Etappe", "第二阶段", "フェーズ1"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sources.languages import LANGUAGES
from sources.naming import PHASE_SIGNS, PHASE_WORDS, heading_words
from sources.vocabulary import latin_id
from sources.words import fold

_NUMBER = r"\d{1,6}(?:\.\d{1,6}){0,5}"
_DIGITS = "一二三四五六七八九"
_HAN = rf"[{_DIGITS}十]{{1,3}}"
_END = r"(?:\s*[—–:：.,、-]\s*|\s+|(?=[(（【\[])|$)"


def _ordinals() -> dict[str, int]:
    """The number of each word that counts phases; a star stands for any ending."""
    found: dict[str, int] = {}
    for language in LANGUAGES:
        for number, words in enumerate(language.words("ordinals"), 1):
            for word in words.split("/"):
                found.setdefault(word, number)
    return found


_ORDINALS = _ordinals()
_COUNTING = "|".join(
    re.escape(word).replace(r"\*", r"\w*") for word in sorted(_ORDINALS, key=len, reverse=True)
)
_PHASE = re.compile(
    rf"\W*(?:第\s*(?P<nth>\d{{1,4}}|{_HAN})\s*(?:个|の)?(?P<nth_word>{PHASE_SIGNS}|期)(?:\s*[—–:：.,、-]\s*)?"
    rf"|(?P<before>\d{{1,4}})\s*(?P<before_word>단계|차\s*스프린트)(?:\s*[—–:：.,-]\s*)?"
    rf"|(?P<sign>{PHASE_SIGNS})\s*(?P<after>{_NUMBER}|{_HAN})(?:\s*[—–:：.,、-]\s*)?"
    rf"|(?P<ordinal>\d{{1,4}})(?:\.|-?(?:st|nd|rd|th|й|я|а|re|er|ère|e|ème|ª|º|°))?\s+(?P<ordinal_word>{PHASE_WORDS})"
    rf"(?:\s*[—–:：]\s*|\s+-\s+|(?=\s*\()|\s*$)"
    rf"|(?P<counted>{_COUNTING})\s+(?P<counted_word>{PHASE_WORDS})(?!\w){_END}"
    rf"|(?P<word>{PHASE_WORDS})(?:\s*(?:[#№]|n[°ºr]\.?)?\s*(?P<number>{_NUMBER})(?P<letter>[^\W\d_]?)"
    rf"|\s+(?P<said>{_COUNTING})(?=\W|$)|\s+(?P<roman>[IVX]{{1,6}})|\s+(?P<alone>[^\W\d_])['׳’]?)(?!\w){_END})"
    r"\s*(?P<title>.*)",
    re.IGNORECASE,
)
_ROMAN = {"I": 1, "V": 5, "X": 10}


@dataclass(frozen=True, slots=True)
class PhaseName:
    name: str  # as it is written, but with Latin letters: "Phase 10A"
    key: tuple[bool, tuple[int, ...], str]  # lettered phases after numbered ones; 10 before 10A before 11
    title: str
    written: str  # the number as it stands there, "10А" with a Cyrillic letter
    looks_alike: bool


def phase_of(title: str) -> PhaseName | None:
    """What a heading says of a phase, None for any other heading. The word alone ("Phases") is none."""
    match = _PHASE.match(title[:2000])
    if match is None and (words := heading_words(title[:2000])) != title:
        match = _PHASE.match(words)
    if match is None:
        return None
    rest = match["title"].strip() + title[2000:]
    if nth := match["nth"]:
        return PhaseName(f"第{nth}{match['nth_word']}", _key(_of_han(nth)), rest, nth, False)
    if before := match["before"]:
        return PhaseName(f"{before}{match['before_word']}", _key(int(before)), rest, before, False)
    if after := match["after"]:
        return PhaseName(f"{match['sign']}{after}", _key(*_numbers(after)), rest, after, False)
    if ordinal := match["ordinal"]:
        return PhaseName(f"{match['ordinal_word']} {ordinal}", _key(int(ordinal)), rest, ordinal, False)
    if counted := match["counted"]:
        return PhaseName(f"{counted} {match['counted_word']}", _key(_of_word(counted)), rest, counted, False)
    word = match["word"]
    if said := match["said"]:
        return PhaseName(f"{word} {said}", _key(_of_word(said)), rest, said, False)
    if roman := match["roman"]:
        return PhaseName(f"{word} {roman}", _key(_of_roman(roman.upper())), rest, roman, False)
    number, letter = match["number"] or "", match["letter"] or match["alone"] or ""
    latin = latin_id(letter)
    key = (not number, _numbers(number) if number else (), latin)
    return PhaseName(f"{word} {number}{latin}", key, rest, f"{number}{letter}", latin != letter)


def _key(*numbers: int) -> tuple[bool, tuple[int, ...], str]:
    return (False, numbers, "")


def _numbers(text: str) -> tuple[int, ...]:
    return (_of_han(text),) if text[0] in _DIGITS + "十" else tuple(map(int, text.split(".")))


def _of_word(text: str) -> int:
    word = fold(text)
    known = next((number for name, number in _ORDINALS.items() if fold(name) == word), None)
    if known is not None:
        return known
    stems = ((fold(name[:-1]), number) for name, number in _ORDINALS.items() if name.endswith("*"))
    return max((len(stem), number) for stem, number in stems if word.startswith(stem))[1]


def _of_roman(text: str) -> int:
    values = [_ROMAN[sign] for sign in text]
    return sum(
        -value if index + 1 < len(values) and value < values[index + 1] else value
        for index, value in enumerate(values)
    )


def _of_han(text: str) -> int:
    """一 to 九十九, and digits."""
    if text.isdecimal():
        return int(text)
    tens, ten, ones = text.partition("十")
    if not ten:
        return int("".join(str(_DIGITS.index(sign) + 1) for sign in tens))
    return 10 * (_DIGITS.index(tens[-1]) + 1 if tens else 1) + (
        _DIGITS.index(ones[0]) + 1 if ones and ones[0] in _DIGITS else 0
    )
