"""Is an answer another item's of the same batch? Told by words that only one of the questions has.

Packed answers are matched by id, and a model may still write the answer to one under the id of another. Said only where
it is plain: the answer has none of the words that set its own question apart from the batch's others, and has those of
another question. Either the two are swapped (each has at least half of the other's), or it is that one's answer once
more, or it has no citation that holds, and three words and most of that question's, which its own passages have not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from backends.lexical import content_stems
from models.enums import ErrorType
from models.verdict import AnswerRow, Failure
from tasks.foreign import excerpt, one_line

LAYER = "grounding"
QUESTION = 2000
ANSWER = 4000
"""Characters of each that are compared."""
HALF, MOST = 0.5, 0.6
FEWEST = 3
LONG_NUMBER = 4
COMMON = 200
"""Rows of a batch from which on nothing is compared: ever fewer words are one item's alone."""


def check_members(
    rows: Sequence[AnswerRow], texts: Sequence[str | None], cited: Sequence[bool]
) -> dict[int, Failure]:
    """By position, the failure of rows whose answer is another's.

    `texts`: None where there is no answer. `cited`: has it a citation that holds?
    """
    if not 2 <= len(rows) <= COMMON:
        return {}
    owners: dict[str, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        for stem in content_stems(row.question[:QUESTION]):
            owners[stem].append(position)
    # A small number may be in any text.
    alone = {
        stem: found[0]
        for stem, found in owners.items()
        if len(found) == 1 and not (stem.isdigit() and len(stem) < LONG_NUMBER)
    }
    sizes = Counter(alone.values())
    hits = [_hits(text, alone) for text in texts]

    def share(answer: int, question: int) -> float:
        return len(hits[answer].get(question, ())) / sizes[question]

    failures = {}
    for position, found in enumerate(hits):
        if not sizes[position] or position in found:
            continue
        for other, shared in found.items():
            swapped = share(position, other) >= HALF <= share(other, position) and other not in hits[other]
            again = other in hits[other] and _plain(texts[position]) == _plain(texts[other])
            strange = not cited[position] and len(shared) >= FEWEST and share(position, other) >= MOST
            if swapped or again or (strange and shared - _given(rows[position])):
                failures[position] = _failure(rows[other])
                break
    return failures


def _hits(text: str | None, alone: Mapping[str, int]) -> dict[int, set[str]]:
    """Of the words that one question alone has, those that the answer has, by the question's position."""
    found: dict[int, set[str]] = defaultdict(set)
    for stem in content_stems((text or "")[:ANSWER]):
        if stem in alone:
            found[alone[stem]].add(stem)
    return dict(found)


def _plain(text: str | None) -> str:
    return one_line(text or "").casefold()


def _given(row: AnswerRow) -> frozenset[str]:
    return frozenset(stem for passage in row.passages for stem in content_stems(passage.text))


def _failure(other: AnswerRow) -> Failure:
    title = other.question.lstrip().partition("\n")[0]
    return Failure(
        LAYER,
        "own_item",
        ErrorType.GROUNDING,
        f"It seems to be the answer to item {other.item_id} ({excerpt(title)}): "
        "it has that one's words, and none that only its own question has.",
    )
