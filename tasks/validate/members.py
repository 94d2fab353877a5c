"""Is an answer another item's of the same batch? Told by words that only one of the questions has.

Packed answers are matched by id, and a model may still write the answer to one under the id of another. Said only where
it is plain: an answer that has next to none of the words that set its own question apart from the batch's others, and

- it has those of a question whose answer is astray likewise, or that answer has this one's (a swap, or a turn of
  several): two words and half of them, or one each way, and what it cites was given to both;
- or it is the answer to another question once more, under that one's id in its place;
- or it has no citation that holds, and three words and most of those of another question, which its own passages have
  not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from backends.lexical import content_stems
from models.enums import ErrorType
from models.verdict import AnswerRow, Failure
from tasks.foreign import excerpt, one_line

LAYER = "grounding"
OWN_ITEM = "own_item"
QUESTION = 2000
ANSWER = 2000
CITED = 1000
"""Characters of each that are compared."""
HALF, MOST, LITTLE = 0.5, 0.6, 0.2
HALF_OF_PAIRS = 0.2
"""In scripts without spaces, whose words are pairs of letters here: many of them join two words and mean nothing."""
_SPACELESS = re.compile("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
FEWEST = 3
WORDS_A_HIT = 25
LONG_NUMBER = 4
COMMON = 200
"""Rows of a batch from which on nothing is compared: ever fewer words are one item's alone."""


def check_members(
    rows: Sequence[AnswerRow], texts: Sequence[str | None], cites: Sequence[frozenset[str]]
) -> dict[int, Failure]:
    """By position, the failure of rows whose answer is another's.

    `texts`: None where there is no answer. `cites`: the passages of its citations that hold.
    """
    if not 2 <= len(rows) <= COMMON:
        return {}
    alone, sizes = _alone(rows)
    # What it cites speaks of what it answers, too.
    stems = [
        content_stems(f"{(text or '')[:ANSWER]} {_cited(row, of)[:CITED]}")
        for row, text, of in zip(rows, texts, cites, strict=True)
    ]
    hits = [_hits(of, alone) for of in stems]
    given = [frozenset(passage.cite for passage in row.passages) for row in rows]

    def share(answer: int, question: int) -> float:
        return len(hits[answer].get(question, ())) / sizes[question] if sizes[question] else 0.0

    def speaks_of(answer: int, question: int) -> bool:
        return share(answer, question) >= (HALF_OF_PAIRS if _is_spaceless(rows[question]) else HALF)

    def much_of(answer: int, question: int) -> bool:
        # A long text has some words of many questions.
        fewest = max(2.0, len(stems[answer]) / WORDS_A_HIT)
        return speaks_of(answer, question) and len(hits[answer][question]) >= fewest

    astray = [
        sizes[number] > 0 and text is not None and share(number, number) <= LITTLE
        for number, text in enumerate(texts)
    ]
    failures = {}
    for number in (number for number, lost in enumerate(astray) if lost):
        for other in range(len(rows)):
            if other == number or not cites[number] <= given[other]:
                continue  # what it cites was given to this item and not to that one
            mutual = speaks_of(number, other) and speaks_of(other, number)
            turned = astray[other] and (mutual or much_of(number, other) or much_of(other, number))
            again = speaks_of(other, other) and _plain(texts[number]) == _plain(texts[other])
            shared = hits[number].get(other, set())
            strange = not cites[number] and len(shared) >= FEWEST and share(number, other) >= MOST
            if turned or again or (strange and shared - _given(rows[number])):
                failures[number] = _failure(rows[number], rows[other])
                break
    return failures


def _alone(rows: Sequence[AnswerRow]) -> tuple[dict[str, int], Counter[int]]:
    """The words that one question alone has, to its position; and how many each has.

    Those of its title, where there are two: what a body tells beside is seldom said in an answer.
    """
    owners: dict[str, list[int]] = defaultdict(list)
    titles: list[set[str]] = []
    for position, row in enumerate(rows):
        titles.append(set(content_stems(_title(row))))
        for stem in {*titles[-1], *content_stems(row.question[:QUESTION])}:
            owners[stem].append(position)
    own: dict[int, set[str]] = defaultdict(set)
    for stem, found in owners.items():
        # A small number may be in any text.
        if len(found) == 1 and not (stem.isdigit() and len(stem) < LONG_NUMBER):
            own[found[0]].add(stem)
    for position, stems in own.items():
        if len(stems & titles[position]) > 1:
            stems &= titles[position]
    alone = {stem: position for position, stems in own.items() for stem in stems}
    return alone, Counter(alone.values())


def _title(row: AnswerRow) -> str:
    return row.question.lstrip().partition("\n")[0][:QUESTION]


def _is_spaceless(row: AnswerRow) -> bool:
    return _SPACELESS.search(_title(row)) is not None


def _cited(row: AnswerRow, cites: frozenset[str]) -> str:
    return " ".join(passage.text for passage in row.passages if passage.cite in cites)


def _hits(stems: Sequence[str], alone: Mapping[str, int]) -> dict[int, set[str]]:
    """Of the words that one question alone has, those that the answer has, by the question's position."""
    found: dict[int, set[str]] = defaultdict(set)
    for stem in stems:
        if stem in alone:
            found[alone[stem]].add(stem)
    return dict(found)


def _plain(text: str | None) -> str:
    return one_line(text or "").casefold()


def _given(row: AnswerRow) -> frozenset[str]:
    return frozenset(stem for passage in row.passages for stem in content_stems(passage.text))


def _failure(own: AnswerRow, other: AnswerRow) -> Failure:
    return Failure(
        LAYER,
        OWN_ITEM,
        ErrorType.GROUNDING,
        f"It seems to be another item's answer: it has next to none of the words of {excerpt(_title(own))}, "
        f"and it is mixed up with item {other.item_id} ({excerpt(_title(other))}).",
    )
