"""Is an answer another item's of the same batch? Told by words that only one of the questions has.

Packed answers are matched by id, and a model may still write the answer to one under the id of another. Said only where
it is plain: the answer has none of the words that set its own question apart from the batch's others, and those of
another question; either two and half of them, or one where that item's answer has this one's (a swap). Words that the
item's own passages have prove nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from backends.lexical import content_stems
from models.enums import ErrorType
from models.verdict import AnswerRow, Failure
from tasks.foreign import excerpt

LAYER = "grounding"
QUESTION = 2000
ANSWER = 4000
"""Characters of each that are compared."""
COMMON = 200
"""Rows of a batch from which on nothing is compared: ever fewer words are one item's alone."""


def check_members(rows: Sequence[AnswerRow], texts: Sequence[str | None]) -> dict[int, Failure]:
    """By position, the failure of rows whose answer is another's. `texts`: None where there is no answer."""
    if not 2 <= len(rows) <= COMMON:
        return {}
    asked = [set(content_stems(row.question[:QUESTION])) for row in rows]
    owners: dict[str, list[int]] = defaultdict(list)
    for position, stems in enumerate(asked):
        for stem in stems:
            owners[stem].append(position)
    alone = {stem: found[0] for stem, found in owners.items() if len(found) == 1}
    own_count = Counter(alone.values())
    hits: dict[int, dict[int, set[str]]] = {}
    for position, text in enumerate(texts):
        if text is None:
            continue
        found_in: dict[int, set[str]] = defaultdict(set)
        for stem in content_stems(text[:ANSWER]):
            if stem in alone:
                found_in[alone[stem]].add(stem)
        hits[position] = found_in
    failures = {}
    for position, found_in in hits.items():
        if not own_count[position] or found_in.get(position):
            continue
        for other, shared in sorted(found_in.items(), key=lambda pair: -len(pair[1])):
            swapped = position in hits.get(other, {}) and other not in hits[other]
            if not swapped and (len(shared) < 2 or 2 * len(shared) < own_count[other]):
                continue
            if shared - _given(rows[position]):
                failures[position] = _failure(rows[other])
                break
    return failures


def _given(row: AnswerRow) -> frozenset[str]:
    return frozenset(stem for passage in row.passages for stem in content_stems(passage.text))


def _failure(other: AnswerRow) -> Failure:
    title = other.question.lstrip().partition("\n")[0]
    return Failure(
        LAYER,
        "own_item",
        ErrorType.GROUNDING,
        f"It seems to be the answer to item {other.item_id} ({excerpt(title)}): "
        "it has that one's words and none of its own.",
    )
