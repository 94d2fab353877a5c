"""What headings and table columns are called, in the languages of `sources.languages`: which of them holds what."""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import cache, lru_cache

from models.enums import Declared
from sources.languages import LANGUAGES, entries
from sources.signs import pictures
from sources.vocabulary import STATUS_OF_FIELD, state_of
from sources.words import Names, Phrases, alternatives, fold, is_unspaced, phrases, trimmed, words_of

# ---- headings


_IMAGE = re.compile(r"!\[[^\[\]]{0,200}\](?:\([^()]{0,500}\)|\[[^\[\]]{0,100}\])")
_LINK = re.compile(r"\[([^\[\]]{0,300})\]\([^()]{0,500}\)")
_WIKI = re.compile(r"\[\[(?:[^\[\]|]{0,200}\|)?([^\[\]|]{0,200})\]\]")
_TAG = re.compile(r"<[^<>]{0,500}>")
_ANCHOR = re.compile(r"\{[#.:][^{}]{0,100}\}")
_EMPHASIS = re.compile(r"[*`]+|~~|__")


def heading_words(title: str) -> str:
    """A heading without what is no word of it: badges, addresses of links, tags, anchors, emphasis."""
    if "<" in title:
        title = _TAG.sub("", title)
    if "[" in title:
        title = _LINK.sub(r"\1", _IMAGE.sub("", _WIKI.sub(r"\1", title)))
    if "{" in title:
        title = _ANCHOR.sub("", title)
    return _EMPHASIS.sub("", pictures(title)).strip()


_LONGEST = 80  # signs of a lane's name
_COUNT = re.compile(r"\s*[(\[【（]\s*\d+(?:\s*[/|]\s*\d+)?\s*[)\]】）]\s*$|\s*[:：—–-]\s*\d+\s*$")
_NUMBERED = re.compile(r"^[\W\d_]+")
_BRACKETS = re.compile(r"[(（【\[][^()（）【】\[\]]{0,60}[)）】\]]")
_PARTS = re.compile(r"\s*[:：|/,、，;]\s*|\s+[—–-]\s+|\s*[·•&]\s*")


@cache
def _lanes() -> Phrases[tuple[Declared, str]]:
    found: Phrases[tuple[Declared, str]] = Phrases(nouns=False)
    meanings = [
        (field + suffix, status) for suffix in ("", "_lane") for field, status in STATUS_OF_FIELD.items()
    ]
    meanings = [pair for pair in meanings if pair[0] != "partial_lane"]
    for field, status in meanings:
        for language, word in entries(LANGUAGES, field):
            found.add(language, word, (status, language.code))
    for field, status in meanings:
        for language, word in entries(LANGUAGES, field):
            found.add_unaccented(language, word, (status, language.code))
    found.close()
    return found


@cache
def _field(name: str) -> Phrases[bool]:
    return phrases({name: True})


def lane_of(title: str, *, loose: bool = False) -> Declared | None:
    """Status that a lane's heading names ("🚧 In Progress (3)", "Doing: research", "Waiting for the printer",
    "Erledigte Aufgaben", "待办"), None for any other.

    `loose` also reads what begins with such a name ("Blocked Berlin"): for files that say they are boards.
    """
    return _lane(title[:600], loose)[0]


def is_plain(title: str) -> bool:
    """Is the lane's name one that headings of other documents have, too ("Today", "Archive")?"""
    return _lane(title[:600], False)[1] is Sure.PLAIN


def is_certain(title: str) -> bool:
    """Is it a lane's name and nothing else?"""
    return _lane(title[:600], False)[1] is Sure.CERTAIN


class Sure(Enum):
    """How sure it is that a heading names a lane."""

    NO = auto()
    PLAIN = auto()
    BEGINS = auto()  # "Waiting for the dough"
    CERTAIN = auto()


@lru_cache(maxsize=4096)
def _lane(title: str, loose: bool) -> tuple[Declared | None, Sure]:
    name = _NUMBERED.sub("", _COUNT.sub("", fold(heading_words(title)).replace("_", " ").strip()))
    if not name or len(name) > 4 * _LONGEST:
        return None, Sure.NO
    without = _BRACKETS.sub(" ", name)
    texts = [name, without]
    if CRITERIA.within(without):
        without = ""  # "Done, when": what is asked for, not what is done
    for text in dict.fromkeys((*texts, *_PARTS.split(without, maxsplit=1)[:1])):
        if len(text) <= _LONGEST and (found := _named(trimmed(text))) is not None:
            return found
    found = _joined(words_of(without), loose) if len(without) <= _LONGEST else None
    return found or (None, Sure.NO)


def _named(name: str) -> tuple[Declared, Sure] | None:
    """The lane that is called so and nothing else, but for a word for tasks: "Open tasks", "完了したタスク"."""
    words = words_of(name)
    lane = _lanes().whole(words, name)
    if lane is not None:
        return lane[0], _sure(words, name)
    if (status := state_of(name)) is not None:
        return status, Sure.CERTAIN  # "not started"
    rest = _without_things(name, words)
    if not rest or rest == name:
        return None
    for text in dict.fromkeys((rest, rest.replace(" ", "") if is_unspaced(rest) else rest)):
        words = words_of(text)
        if (lane := _lanes().whole(words, text)) is not None:
            return lane[0], _sure(words, text)
        if (status := state_of(text)) is not None:
            return status, Sure.CERTAIN
    return None


def _sure(words: list[str], name: str) -> Sure:
    return Sure.PLAIN if _field("plain").whole(words, name) is not None else Sure.CERTAIN


def _without_things(name: str, words: list[str]) -> str:
    """The name without its words for tasks, but for those that are part of a state: "в работе", "in Arbeit"."""
    if is_unspaced(name):
        for at, length, _ in reversed(list(_field("things").inside(name))):
            name = name[:at] + " " + name[at + length :]
        return trimmed(name)
    things = {place for at, length, _ in _field("things").among(words) for place in range(at, at + length)}
    for at, length, _ in _lanes().among(words):
        if length > 1:
            things.difference_update(range(at, at + length))
    return " ".join(word for at, word in enumerate(words) if at not in things) if things else name


def _joined(words: list[str], loose: bool) -> tuple[Declared, Sure] | None:
    """A lane's name and more: "Waiting for the printer", "Done since May"."""
    lane = _lanes().at(words, 0) if words else None
    if lane is None or lane[0] == len(words):
        return None
    length, (status, _) = lane
    name = " ".join(words[:length])
    if loose:
        return status, Sure.BEGINS
    waits = _field("waits").at(words, 0)
    if waits is not None and waits[0] < len(words):
        return Declared.BLOCKED, Sure.BEGINS
    if _field("plain").whole(words[:length], name) is not None:
        return None
    follows = words[length]
    ends = _field("joins").at(words, length - 1) if length > 1 else None  # "waiting for"
    if ends is not None or follows[0].isdigit() or _field("joins").at(words, length) is not None:
        return status, Sure.BEGINS
    return None


# ---- legends and templates

LEGEND = Names("legend", "formats")
LEGEND_ALONE = Names("legend")
"""A heading that promises an explanation of the marks and nothing else."""
TEMPLATE_WORDS = Names("template")
_SAMPLE = re.compile(
    "|".join(re.escape(fold(word)) for _, word in entries(LANGUAGES, "template") if word.startswith("("))
)
NOTHING = Names("nothing")
"""The card of a lane that has none."""
CRITERIA = Names("criteria")
PRD_TITLE = Names("prd")


def is_template(title: str) -> bool:
    """Does the heading say that what is below shows how to write it?"""
    folded = fold(title)
    return _SAMPLE.search(folded) is not None or TEMPLATE_WORDS.within(_BRACKETS.sub(" ", folded))


# ---- patterns for texts as they stand

PHASE_WORDS = alternatives("phase", spaced=True)
"""What a phase is called, before its number or letter; the words without spaces between them are PHASE_SIGNS."""
PHASE_SIGNS = alternatives("phase", spaced=False)
COMMIT_WORDS = f"{alternatives('commit', spaced=True)}|{alternatives('commit', spaced=False)}"
GOAL_WORDS = f"{alternatives('goal', spaced=True)}|{alternatives('goal', spaced=False)}"
COUNTED_WORDS = "|".join(
    (alternatives("things", spaced=True).replace(r"\w*", ""), alternatives("counters", spaced=False))
)
"""What issues are counted as: "20 tasks", "12 Aufgaben"; beginnings of words."""
ALL_WORDS = alternatives("every", spaced=True)
ALL_SIGNS = alternatives("every", spaced=False)
CHOICE_WORDS, CHOICE_SIGNS = (
    alternatives("alternatives", spaced=True),
    alternatives("alternatives", spaced=False),
)
SEE_WORDS = f"{alternatives('see', spaced=True)}|{alternatives('see', spaced=False)}"
NEXT_STEP = f"(?:{alternatives('next_step', spaced=True)}|{alternatives('next_step', spaced=False)})"
"""What the block of the one next step is called; a plural is a list and no step."""
NEXT_STEP_HEADING = re.compile(
    rf"^ {{0,3}}#{{1,6}}[^\S\n]\W{{0,20}}{NEXT_STEP}(?!\w)", re.MULTILINE | re.IGNORECASE
)

# ---- columns

NUMBER_COLUMN = Names("number", signs="#№")
STATUS_COLUMN = Names("status", "result", signs=("✓", "✔", "✅", "☑", "%", "[x]", "[ ]"))
CHECK_COLUMN = Names("check")
WORK_COLUMN = Names("work")
ISSUE_COLUMN = Names("issues")
PHASE_COLUMN = Names("phase")
OWNER_COLUMN = Names("owner", "who")
STATUS_IN_HEADER = Names("status", without=lambda word: state_of(word, weak=True) is not None)
"""A longer header that speaks of a status ("Implementation status"): it is one where its cells are statuses."""
DATE_COLUMN = Names("date")
MEANING_COLUMN = Names("meaning")
SIGN_COLUMN = Names("sign")
THING_COLUMN = Names("thing")
"""What a table lists the condition of. Its "Status" is no work unless it says how far the work on it is."""
CONDITION = Names("condition")
"""A cell that begins so says how something is, not how far it is."""
TOTAL_ROW = Names("total")
OBLIGATIONS = frozenset(
    {
        "must",
        "should",
        "could",
        "won't",
        "must-have",
        "should-have",
        "could-have",
        "nice-to-have",
        "muss",
        "soll",
        "kann",
    }
)
"""How binding requirements are. A table that says so holds requirements: nothing to tick."""
