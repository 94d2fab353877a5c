"""What words say of a state, a priority, a detail, an id, in all the languages of `sources.languages`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from models.enums import Declared
from sources.languages import LANGUAGES, STATE_FIELDS, entries
from sources.signs import MARKS, badge_words, shown, sign_status
from sources.words import Phrases, alternatives, fold, is_unspaced, phrases, trimmed, words_of

STATUS_OF_FIELD = dict(
    zip(
        STATE_FIELDS,
        (
            Declared.TODO,
            Declared.IN_PROGRESS,
            Declared.BLOCKED,
            Declared.DONE,
            Declared.SKIPPED,
            Declared.PARTIAL,
        ),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class _Said:
    status: Declared
    strong: bool  # a state by itself, in brackets too; else only where states are asked for
    languages: set[str]


@cache
def _states() -> Phrases[_Said]:
    found: Phrases[_Said] = Phrases(nouns=False)
    # What is a state by itself goes first, so that a phrase is strong if it is so in any language.
    for suffix in ("", "_cell"):
        for field, status in STATUS_OF_FIELD.items():
            for language, word in entries(LANGUAGES, field + suffix):
                known = found.add(language, word, _Said(status, not suffix, set()))
                if known.status is status:
                    known.languages.add(language.code)
    for language in LANGUAGES:
        if language.spaced:
            continue
        begun = {**dict.fromkeys(language.words("begun")), **dict.fromkeys(language.words("done"))}
        for negation in language.words("negations"):
            for word in begun:
                found.add(language, negation + word, _Said(Declared.TODO, True, {language.code}))
    for suffix in ("", "_cell"):
        for field, status in STATUS_OF_FIELD.items():
            for language, word in entries(LANGUAGES, field + suffix):
                found.add_unaccented(language, word, _Said(status, not suffix, {language.code}))
    found.close()
    return found


@cache
def _by_language(field: str) -> Phrases[set[str]]:
    found: Phrases[set[str]] = Phrases()
    for language, word in entries(LANGUAGES, field):
        found.add(language, word, set()).add(language.code)
    for language, word in entries(LANGUAGES, field):
        found.add_unaccented(language, word, {language.code})
    found.close()
    return found


@cache
def _yes_no() -> Phrases[Declared]:
    return phrases({"yes": Declared.DONE, "no": Declared.TODO})


_GAP = 2  # words between a negation and what it negates: "not yet really begun"

_NUMBER_WORDS = "of|из|з|із|von|sur|de|di|van|av|z|ze|od|din|iz|dari|από|מתוך|من|از|中|/"
_PERCENT = re.compile(r"^\W{0,40}?(?:(\d{1,3})(?:[.,٫]\d{1,6})?\s*[%٪]|[%٪]\s?(\d{1,3})(?!\d))")
_FRACTION = re.compile(
    rf"^\W{{0,40}}?(\d{{1,5}})\s*(?:{_NUMBER_WORDS})\s*(\d{{1,5}})(?:\s+[^\W\d_]+){{0,3}}\W{{0,3}}$"
)
_STRUCK = re.compile(r"~~[^~]{1,200}~~")
_SHARE = re.compile(r"(?<!\d)(\d{1,3})\s?[%٪]")
_BOX = re.compile(r"(?:[-*+]\s+)?[\[［](.?)[\]］]")
_CLAUSE = re.compile(r"[,;(){}\[\]:|\n。，；、·•—–،؛]|\s[-/]\s|\.\s")
_CLOSED = (Declared.DONE, Declared.SKIPPED)
_WEIGHT = (Declared.SKIPPED, Declared.BLOCKED, Declared.IN_PROGRESS, Declared.DONE, Declared.TODO)


@lru_cache(maxsize=8192)
def status_of(cell: str) -> Declared | None:
    """Status of a table cell or a short phrase ("**СДЕЛАНО**", "in Arbeit", "✅", "60 %", "2/5"), else None.

    Words say more than signs beside them. A negation goes before what it negates and "partly" before "done":
    "не выполнено" is not done.
    """
    cell = cell[:1000]
    text = (
        _without_struck(shown(cell))
        .replace("*", "")
        .replace("`", "")
        .replace("~~", "")
        .replace("_", " ")
        .strip()[:200]
    )
    if not text:
        return _of_badge(cell)
    if box := _BOX.match(text):
        mark = MARKS.get(box[1].strip())
        if mark is not None or box.end() == len(text):
            return mark
    folded = fold(text)
    if (measured := _measured(folded)) is not None:
        return measured
    if (said := _said(folded)) is not None:
        return said
    if (answer := _yes_no().whole(words_of(folded), trimmed(folded))) is not None or folded in (
        "+",
        "-",
        "—",
        "–",
    ):
        return answer or (Declared.DONE if folded == "+" else Declared.TODO)
    if (signs := sign_status(text)) is not None:
        return signs
    return _of_badge(cell)


def _without_struck(text: str) -> str:
    """ "~~in progress~~ done" is done; a text that is struck altogether stays."""
    if "~~" not in text:
        return text
    left = _STRUCK.sub(" ", text)
    return left if left.strip() else text


def _of_badge(cell: str) -> Declared | None:
    return _said(fold(words)) if "](" in cell and (words := badge_words(cell)) else None


def _measured(folded: str) -> Declared | None:
    if percent := _PERCENT.match(folded):
        part, whole = int(percent[1] or percent[2]), 100
    elif fraction := _FRACTION.match(folded):
        part, whole = int(fraction[1]), int(fraction[2])
    else:
        return None
    if not whole:
        return None
    return Declared.DONE if part >= whole else Declared.PARTIAL if part else Declared.TODO


def _said(folded: str) -> Declared | None:
    """What the words say: what is closed is so whatever follows; else the most telling of all clauses."""
    found = [status for clause in _CLAUSE.split(folded) if (status := _clause(clause)) is not None]
    if not found:
        return None
    if found[0] in _CLOSED and Declared.PARTIAL not in found:
        return found[0]
    for status in (Declared.PARTIAL, Declared.SKIPPED, Declared.BLOCKED, Declared.IN_PROGRESS):
        if status in found:
            return status
    return found[0]


def _clause(clause: str) -> Declared | None:
    words = words_of(clause)
    matches = list(_states().among(words))
    found = {said.status for _, _, said in matches}
    if is_unspaced(clause):
        found.update(said.status for _, _, said in _states().inside(clause))
    if Declared.PARTIAL in found:
        return Declared.PARTIAL
    for at, length, languages in _by_language("negations").among(words):
        if any(place == at and wide > length for place, wide, _ in matches):
            continue  # "will not do" is a state of its own
        denied = _negated(words, matches, at + length, languages)
        if not denied.isdisjoint((Declared.DONE, Declared.IN_PROGRESS)):
            return Declared.TODO
        found -= denied  # "not blocked"
    status = next((status for status in _WEIGHT if status in found), None)
    if status is Declared.DONE and (percent := _SHARE.search(clause)) and int(percent[1]) < 100:
        return Declared.PARTIAL  # "fertig zu 60 %"
    return status


def _negated(
    words: list[str], matches: list[tuple[int, int, _Said]], end: int, languages: set[str]
) -> set[Declared]:
    """The states that a negation before the word `end` denies."""
    denied: set[Declared] = set()
    for at in range(end, min(end + _GAP + 1, len(words))):
        if status := next((said.status for place, _, said in matches if place == at), None):
            same = (said for *_, said in _states().all_at(words, at) if said.status is status)
            if any(not languages.isdisjoint(said.languages) for said in same):
                denied.add(status)
        if any(not languages.isdisjoint(begun) for *_, begun in _by_language("begun").all_at(words, at)):
            denied.add(Declared.IN_PROGRESS)
    return denied - {Declared.TODO}


@lru_cache(maxsize=8192)
def _state(mark: str) -> tuple[Declared, bool, frozenset[str]] | None:
    """Status of a text that is a state and nothing else, whether it is one by itself, and in which languages."""
    folded = trimmed(fold(mark[:100].replace("_", " ").replace("-", " ")))
    words = words_of(folded)
    said = _states().whole(words, folded)
    if said is not None:
        codes = set(said.languages)
        whole = [
            found for found in _at_start(words) if found[0] == len(words) and found[2].status is said.status
        ]
        for _, letters, other in whole:
            if letters == whole[0][1]:
                codes |= other.languages
        return said.status, said.strong, frozenset(codes)
    negation = _by_language("negations").at(words, 0) if words else None
    if negation is None or negation[0] == len(words):
        return None
    rest = words[negation[0] :]
    begun = (Declared.DONE, Declared.IN_PROGRESS)
    known = [
        said.languages
        for length, _, said in _states().all_at(rest, 0)
        if length == len(rest) and said.status in begun
    ]
    known += [
        languages for length, _, languages in _by_language("begun").all_at(rest, 0) if length == len(rest)
    ]
    languages = frozenset(code for some in known for code in some if code in negation[1])
    return (Declared.TODO, True, languages) if languages else None


def _at_start(words: list[str]) -> Iterator[tuple[int, int, _Said]]:
    return _states().all_at(words, 0) if words else iter(())


def state_of(mark: str, *, weak: bool = False) -> Declared | None:
    """Status of a [STATE] mark, None for any other word in brackets. `weak` also takes words that are no state by
    themselves, because changelogs mark with them what is new and what is fixed."""
    said = _state(mark)
    return said[0] if said is not None and (weak or said[1]) else None


def languages_of(words: str) -> frozenset[str]:
    """The languages in which a text is a state and nothing else."""
    said = _state(words)
    return said[2] if said is not None else frozenset()


WRITTEN: dict[str, dict[Declared, str]] = {
    language.code: dict(zip(STATUS_OF_FIELD.values(), language.words("write"), strict=True))
    for language in LANGUAGES
}
"""A word of each language for each status. A board is answered in the language it is written in."""


@cache
def _levels() -> Phrases[int]:
    return phrases({"urgent": 0, "high": 1, "medium": 2, "low": 3, "lowest": 4})


@cache
def _around_levels() -> Phrases[bool]:
    return phrases({"priority": True, "things": True})


_SMALL = frozenset(words_of("de à a i ii iii iv v of the для der die das la le les с mit con com avec"))


@lru_cache(maxsize=4096)
def priority_of(words: str) -> int | None:
    """0 (highest) to 4 for "P1", "high", "Высокий приоритет", "🔥 Hohe Priorität"; None for any other phrase.

    The phrase must be a level and nothing else: "High-level design" is no priority.
    """
    if len(words) > 100:
        return None
    folded = trimmed(fold(words))
    if is_unspaced(folded):
        return _unspaced_level(folded)
    parts = words_of(folded)
    around = {
        place
        for at, length, _ in _around_levels().among(parts)
        if _levels().at(parts, at) is None
        for place in range(at, at + length)
    }
    rest = [word for at, word in enumerate(parts) if at not in around and word not in _SMALL]
    found = list(_levels().among(rest))
    whole = sum(length for _, length, _ in found) == len(rest)
    levels = {level for _, _, level in found}
    return levels.pop() if whole and len(levels) == 1 else None


def _unspaced_level(folded: str) -> int | None:
    rest = folded
    levels = [range(at, at + length) for at, length, _ in _levels().inside(folded)]
    for at, length, _ in reversed(list(_around_levels().inside(folded))):
        if not any(at in level and len(level) >= length for level in levels):
            rest = rest[:at] + " " + rest[at + length :]
    name = trimmed(rest)
    return next(
        (level for text in (name, name.replace(" ", "")) if (level := _levels().whole((), text)) is not None),
        None,
    )


_KEYS = (
    "owner",
    "priority",
    "estimate",
    "commit",
    "due",
    "updated",
    "created",
    "complexity",
    "benefit",
    "needs",
)


@cache
def _details() -> Phrases[str]:
    return phrases({name: name for name in _KEYS})


def detail_of(key: str) -> str | None:
    """The label that a detail line fills ("- owner: codex"), None for a key that is none; "needs" goes to the needs."""
    return _detail(key[:60])


@lru_cache(maxsize=4096)
def _detail(key: str) -> str | None:
    folded = trimmed(fold(key))
    return _details().whole(words_of(folded), folded)


NEEDS_WORDS = alternatives("needs", spaced=True)
"""What stands before the ids of needs inside a line: "(depends on: A-1, A-2)". The ids after it must be ids only."""
NEEDS_SIGNS = alternatives("needs", spaced=False)
"""The same in languages whose words do not stand apart."""

LOOKALIKES = str.maketrans("АВЕКМНОРСТУХавекмнорстух", "ABEKMHOPCTYXabekmhopctyx")
_CYRILLIC = re.compile(r"[Ѐ-ӿ]")


def latin_id(ext_id: str) -> str:
    """The id with Cyrillic letters that look Latin made Latin ("10А" to "10A"); a truly Cyrillic id as it is."""
    if ext_id.isascii():
        return ext_id
    latin = ext_id.translate(LOOKALIKES)
    return ext_id if _CYRILLIC.search(latin) else latin
