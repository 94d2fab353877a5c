"""Words of many languages, found in a text: folded alike, as whole words, the longest phrase first.

`fold` makes one spelling of many: case, wide letters, Turkish dots, Greek accents, Arabic vowel signs. A phrase is some
words side by side; in languages whose words do not stand apart it is found anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Generic, TypeVar

from sources.languages import LANGUAGES, Language, entries

T = TypeVar("T")

_HIDDEN = dict.fromkeys((
    0xAD, 0x61C, 0x640, 0x670, *range(0x300, 0x370), *range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x5C4, 0x5C5, 0x5C7,
    *range(0x64B, 0x660), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10), 0xFEFF,
))  # fmt: skip
"""Vowel signs that may be left out, the Arabic stretch, joiners, direction marks, variants of signs."""
_ALIKE = str.maketrans(
    "ıёάέήίόύώϊϋΐΰșțأإآٱىةکیئؤ׳״’ʼ‘`´",
    "iеαεηιουωιυιυşţاااايهكييو'\"'''''",
)
_ONE = _HIDDEN | _ALIKE
_MARKED = "\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
"""Vowels of Devanagari and Thai that are no letters to `re`."""
_WORD = re.compile(rf"(?:[^\W_]|[{_MARKED}])+(?:'(?:[^\W_]|[{_MARKED}])+)*")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NOUN_ENDINGS = (
    "ние", "ния", "нии", "нию", "нием", "ний", "тие", "тия", "ння", "нню", "ннях", "ење", "ења", "ање", "ања",
    "enje", "enja", "anje", "anja", "ení", "ání", "enie", "enia", "anie", "ania", "ção", "ções", "zione",
    "zioni", "sione", "sioni", "ción", "ciones", "sión", "siones", "tion", "tions", "sion", "sions", "ura",
    "ure",
)  # fmt: skip
_PLAIN_LETTERS = str.maketrans("łđø", "ldo")
_LEAST = 5  # letters of a phrase that is also known without its accents


@lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """The spelling under which a text is compared. It has other columns than the text."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return text.translate(_ONE).replace("l·l", "ll")


def words_of(folded: str) -> list[str]:
    """The words of a folded text; the Arabic article is left out."""
    words = _WORD.findall(folded)
    if not folded.isascii():
        words = [word[2:] if len(word) > 4 and word[:2] == "ال" else word for word in words]
    return words


def is_unspaced(folded: str) -> bool:
    """Does the text have letters of a language whose words do not stand apart?"""
    return not folded.isascii() and _UNSPACED.search(folded) is not None


def _bare(text: str) -> str:
    letters = unicodedata.normalize("NFD", text).translate(_PLAIN_LETTERS)
    return unicodedata.normalize("NFC", "".join(sign for sign in letters if not unicodedata.combining(sign)))


class Phrases(Generic[T]):
    """What phrases mean. Where two languages share a phrase, the one that was added first has it.

    Without `nouns`, a beginning is no beginning of a noun: "заверш*" is in "завершено", not in "завершение".
    """

    def __init__(self, *, nouns: bool = True) -> None:
        self._nouns = nouns
        self._first: dict[str, list[tuple[tuple[str, ...], bool, T]]] = {}  # by the first word
        self._stems: dict[str, list[tuple[tuple[str, ...], bool, T]]] = {}  # by its beginning, "hotov*"
        self._anywhere: dict[str, list[tuple[str, T]]] = {}  # by the first sign, the longest first
        self._exact: dict[str, T] = {}
        self._longest = 0

    def add(self, language: Language, phrase: str, meaning: T) -> T:
        """What the phrase means now: the one that was added first, or this."""
        folded = fold(phrase)
        if language.spaced or not is_unspaced(folded):
            return self._add(folded, meaning)
        for spelling in dict.fromkeys((folded, folded.replace(" ", ""))):
            if self._exact.setdefault(spelling, meaning) is meaning:
                self._anywhere.setdefault(spelling[0], []).append((spelling, meaning))
        return self._exact[folded]

    def add_unaccented(self, language: Language, phrase: str, meaning: T) -> None:
        """The same without accents, as people write who have no such keys; after all others were added."""
        bare = _bare(folded := fold(phrase))
        if language.unaccented and bare != folded and len(bare.rstrip("*")) >= _LEAST:
            self._add(bare, meaning)

    def _add(self, folded: str, meaning: T) -> T:
        words, stems = _split(folded)
        if not words:
            raise ValueError(f"{folded!r} has no word")
        table = self._stems if stems[0] else self._first
        key = (tuple(words[1:]), stems[-1])
        found = table.setdefault(words[0], [])
        known = next((other for *rest, other in found if tuple(rest) == key), None)
        if known is not None:
            return known
        found.append((*key, meaning))
        if stems[0]:
            self._longest = max(self._longest, len(words[0]))
        return meaning

    def close(self) -> None:
        """All phrases are known: order those found anywhere by their length."""
        for found in self._anywhere.values():
            found.sort(key=lambda pair: -len(pair[0]))

    def at(self, words: Sequence[str], start: int) -> tuple[int, T] | None:
        """How many words the longest phrase at this place has, and what it means."""
        best: tuple[int, T] | None = None
        for length, _, meaning in self.all_at(words, start):
            if best is None or length > best[0]:
                best = (length, meaning)
        return best

    def all_at(self, words: Sequence[str], start: int) -> Iterator[tuple[int, int, T]]:
        """All phrases at this place: how many words they have, how many letters of the first one they say, and what
        they mean; of two that are equally long the one that says more first."""
        word = words[start]
        for rest, stem, meaning in self._first.get(word, ()):
            if not rest or _fits(words, start, rest, stem):
                yield len(rest) + 1, len(word), meaning
        if not self._nouns and word.endswith(_NOUN_ENDINGS):
            return
        for end in range(min(len(word), self._longest), 1, -1):
            for rest, stem, meaning in self._stems.get(word[:end], ()):
                if not rest or _fits(words, start, rest, stem):
                    yield len(rest) + 1, end, meaning

    def among(self, words: Sequence[str]) -> Iterator[tuple[int, int, T]]:
        """Place, number of words and meaning of each phrase, none inside another."""
        at = 0
        while at < len(words):
            found = self.at(words, at)
            if found is None:
                at += 1
            else:
                yield at, *found
                at += found[0]

    def inside(self, folded: str) -> Iterator[tuple[int, int, T]]:
        """The same for phrases that are found anywhere: place and length in signs."""
        at = 0
        while at < len(folded):
            found = next(
                (pair for pair in self._anywhere.get(folded[at], ()) if folded.startswith(pair[0], at)), None
            )
            if found is not None:
                yield at, len(found[0]), found[1]
            at += len(found[0]) if found is not None else 1

    def whole(self, words: Sequence[str], folded: str) -> T | None:
        """What the text means where it is one phrase and nothing else. `folded` without what is around its words."""
        if (meaning := self._exact.get(folded)) is not None:
            return meaning
        found = self.at(words, 0) if words else None
        return found[1] if found is not None and found[0] == len(words) else None


def _split(folded: str) -> tuple[list[str], list[bool]]:
    """A phrase's words, and which of them are beginnings of words."""
    words: list[str] = []
    stems: list[bool] = []
    for part in folded.split():
        inner = words_of(part)
        words += inner
        stems += [False] * len(inner)
        if inner and part.endswith("*"):
            stems[-1] = True
    return words, stems


def _fits(words: Sequence[str], start: int, rest: tuple[str, ...], stem: bool) -> bool:
    end = start + 1 + len(rest)
    if end > len(words):
        return False
    if tuple(words[start + 1 : end - 1]) != rest[:-1]:
        return False
    last = words[end - 1]
    return last.startswith(rest[-1]) if stem else last == rest[-1]


def phrases(fields: dict[str, T], without: Callable[[str], bool] | None = None) -> Phrases[T]:
    """The phrases of these fields of all languages, with what each field means; `without` those for which it holds."""
    made: Phrases[T] = Phrases()
    found = [
        (language, word, meaning)
        for field, meaning in fields.items()
        for language, word in entries(LANGUAGES, field)
        if without is None or not without(word)
    ]
    for language, word, meaning in found:
        made.add(language, word, meaning)
    for language, word, meaning in found:
        made.add_unaccented(language, word, meaning)
    made.close()
    return made


class Names:
    """What headers and headings are called: the words of some fields of all languages, and signs that stand alone."""

    def __init__(
        self, *fields: str, signs: Iterable[str] = (), without: Callable[[str], bool] | None = None
    ) -> None:
        self._fields, self._without = fields, without
        self._signs = frozenset(signs)
        self._known: dict[tuple[str, str], bool] = {}

    @cached_property
    def _phrases(self) -> Phrases[bool]:
        return phrases(dict.fromkeys(self._fields, True), self._without)

    def whole(self, text: str) -> bool:
        """Is the text one of the names, but for case and what stands around its words?"""
        return self._ask("whole", text)

    def within(self, text: str) -> bool:
        """Is one of the names in the text?"""
        return self._ask("within", text)

    def begins(self, text: str) -> bool:
        """Does the text begin with one of the names?"""
        return self._ask("begins", text)

    def _ask(self, how: str, text: str) -> bool:
        key = (how, text[:200])
        if (known := self._known.get(key)) is None:
            if len(self._known) > 4096:
                self._known.clear()
            known = self._known[key] = self._answer(how, *key[1:])
        return known

    def _answer(self, how: str, text: str) -> bool:
        if text.strip().replace("\ufe0f", "") in self._signs:
            return True
        folded = fold(text)
        words = words_of(folded)
        if how == "whole":
            return self._phrases.whole(words, trimmed(folded)) is not None
        if how == "begins":
            if words and self._phrases.at(words, 0) is not None:
                return True
            return next((at for at, _, _ in self._phrases.inside(trimmed(folded))), -1) == 0
        if next(self._phrases.among(words), None) is not None:
            return True
        return is_unspaced(folded) and next(self._phrases.inside(folded), None) is not None


_AROUND = re.compile(rf"^(?:[^\w{_MARKED}]|_)+|(?:[^\w{_MARKED}]|_)+$")


def trimmed(folded: str) -> str:
    """Without what stands around the words: signs, brackets, blanks."""
    return " ".join(_AROUND.sub("", folded).split())


def alternatives(field: str, *, spaced: bool) -> str:
    """The words of a field as a regular expression for texts as they stand; the longest first."""
    found: dict[str, None] = {}
    for language, word in entries(LANGUAGES, field):
        normal = unicodedata.normalize("NFC", word)
        if (language.spaced or not is_unspaced(fold(normal))) is spaced:
            found[normal] = None
            if language.unaccented and len(bare := _bare(normal)) >= _LEAST:
                found[bare] = None
    ordered = sorted(found, key=lambda word: -len(word))
    return "|".join(
        r"\s+".join(re.escape(part) for part in word.split()).replace(r"\*", r"\w*") for word in ordered
    )
