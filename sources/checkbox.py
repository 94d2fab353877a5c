"""A line with a box or a state at its start: how it looks, and what its mark says."""

from __future__ import annotations

import re

from models.enums import Declared, Severity
from sources.masking import BULLETS, NUMBER
from sources.outline import Outline
from sources.signs import MARKS, ODD_MARKS, SIGNS
from sources.vocabulary import state_of
from sources.words import fold, words_of

CHECKBOX_LINE = re.compile(
    rf"(?P<bullet>(?:[{re.escape(BULLETS)}–—]|{NUMBER})(?:\s+|(?=[\[［【])))?"
    r"(?:(?P<open>[\[［【])(?P<mark>[^\[\]［］【】]{0,24})[\]］】]|(?P<glyph>[☐□⬜🔲☑🗹☒])\ufe0f?)(?P<rest>.*)",
    re.DOTALL,
)
STARTS = frozenset(BULLETS + "–—[［【0123456789０１２３４５６７８９☐□⬜🔲☑🗹☒")
_NO_STATES = frozenset(
    words_of(
        "new fix fixed see note notes nb info warn warning error tip hint important bug feat feature features doc docs "
        "chore test tests api ui ux db ci cd add added change changed remove removed deprecated security breaking "
        "optional required rfc poc mvp perf refactor style build revert draft example link ref question idea backend "
        "frontend hotfix update updated improvement enhancement release critical high medium low urgent qa ops infra "
        "devops voir siehe ver vedi zie см смотри див patrz viz"
    )
)
"""Words in brackets that tell a topic, a kind of change or a place to look at."""


def mark_status(mark: str, *, bullet: bool, weak: bool = False) -> Declared | None:
    """Status of what stands in the brackets; None when this is no checkbox. `weak`: see `state_of`."""
    inner = mark.strip().replace("\ufe0f", "")  # an emoji may come with its variation selector
    if len(inner) > 1:
        return state_of(inner, weak=weak) if bullet else None
    if (status := MARKS.get(inner)) is not None or inner.isascii():
        return Declared.TODO if status is None and inner in ODD_MARKS else status
    return MARKS.get(fold(inner)) or SIGNS.get(inner)  # a wide letter, a picture


def may_be_a_state(mark: str) -> bool:
    """A word or two in capitals: a state that is not known. What marks a change or a topic is none."""
    words = mark.replace("_", " ").replace("-", " ").split()
    letters = "".join(words)
    return (
        mark.isupper()
        and len(letters) > 2
        and len(words) < 4
        and letters.isalpha()
        and _NO_STATES.isdisjoint(fold(word) for word in words)
    )


def is_checkbox(text: str) -> bool:
    """Does a line without its indent look like a checkbox, whatever it turns out to be?"""
    match = CHECKBOX_LINE.match(text)
    if match is None:
        return False
    return bool(match["glyph"]) or mark_status(match["mark"], bullet=match["bullet"] is not None) is not None


def odd_mark(outline: Outline, number: int, mark: str) -> None:
    """Say so where a checkbox has a sign that has no agreed meaning, or a letter that looks like x."""
    inner = mark.strip()
    if inner in ODD_MARKS and inner:
        known = MARKS.get(inner, Declared.TODO)
        message = f"the mark [{inner}] is not one of [ ] [x] [~] [-] [!]; read as {known}. Use one of them."
        outline.find("unknown_mark", Severity.INFO, number, message)
