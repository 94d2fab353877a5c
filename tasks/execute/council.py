"""A drain's side of councils: seats for their members, material for the synthesis, and what follows from it.

Members are parts of the item, so each is asked, checked, retried and resumed like any item; who answered is not asked
again. The synthesis is the item's own try, made from what they said (tasks/council/combine.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from models.calls import Passage
from models.council import Decided, Opinion
from models.enums import ErrorType
from models.recipe import Recipe
from models.verdict import BatchVerdict, Failure
from tasks.council.combine import combine, synthesis_problem, why_a_person
from tasks.council.convene import convene
from tasks.council.opinions import opinions_of
from tasks.council.text import write
from tasks.execute import policy
from tasks.execute.parts import Parts
from tasks.execute.work import Report
from tasks.foreign import visible
from tasks.shortening import cut_at_an_end

__all__ = ["checked", "conclude", "convene", "material", "opinions_of"]

SHARE = 0.6  # of the context: the rest is the question and the recipe's own words
LEAST = 400  # characters of an opinion that are always shown
MOST_EVIDENCE = 6
"""Quotes of documents that are shown with an opinion."""


async def material(
    connection: psycopg.AsyncConnection[Any], items: Sequence[int], characters: int
) -> list[Parts]:
    """What the syntheses of these items are made from: the opinions, named, and who did not answer.

    `characters`: of the context of one request. Opinions that are too long together are cut to the same length.
    """
    found = await opinions_of(connection, items)
    return [_of_one(found.get(item, []), int(characters * SHARE)) for item in items]


def _of_one(opinions: Sequence[Opinion], budget: int) -> Parts:
    heard = [opinion for opinion in opinions if opinion.heard]
    share = max(budget // max(len(heard), 1), LEAST)
    return Parts(
        # In their order: where something must be left out all the same, it is the last.
        passages=[
            Passage(opinion.cite, cut_at_an_end(_text(opinion), share), 1.0 - number / 1000)
            for number, opinion in enumerate(heard)
        ],
        lines=[
            f"- {opinion.name} (its opinion is {opinion.cite})"
            if opinion.heard
            else f"- {opinion.name} (did not answer)"
            for opinion in opinions
        ],
        simulated=any(opinion.simulated for opinion in heard),
    )


def _text(opinion: Opinion) -> str:
    position = " ".join(str(opinion.data.get("position") or "").split())
    parts = [f"{opinion.name} says: {position}".rstrip(), opinion.text.strip()]
    parts += [f"A {level} risk: {text}" for text, level in opinion.risks]
    if "confidence" in opinion.data:
        parts.append(f"Its confidence is {opinion.confidence:.2f}.")
    parts += [
        f"It quotes {each.get('cite')}: “{' '.join(str(each.get('quote')).split())}”"
        for each in opinion.citations[:MOST_EVIDENCE]
    ]
    return visible("\n".join(parts))


def checked(verdicts: BatchVerdict, opinions: Mapping[int, Sequence[Opinion]]) -> BatchVerdict:
    """A synthesis that passed by itself and leaves an opinion out is asked again, with the reason."""
    for item_id, verdict in verdicts.verdicts.items():
        if verdict.passed and verdict.data is not None:
            problem = synthesis_problem(verdict.data, opinions.get(item_id, ()))
            if problem is not None:
                failure = Failure("rules", "council", ErrorType.RULE, problem)
                verdicts.verdicts[item_id] = replace(verdict, failures=(failure,))
    return verdicts


def conclude(
    recipe: Recipe, reports: Sequence[Report], opinions: Mapping[int, Sequence[Opinion]]
) -> dict[int, Decided]:
    """What was decided, by item; the reports then say it in words, and which of it a person must look at first."""
    rule = recipe.header.council
    assert rule is not None
    found: dict[int, Decided] = {}
    for report in reports:
        passed = report.error_type in (None, ErrorType.HUMAN_ONLY)
        if not passed or report.data is None:
            continue
        decided = combine(report.data, report.citations, opinions.get(report.item.id, ()))
        found[report.item.id] = decided
        report.text = write(decided)
        if report.error_type is None and (why := why_a_person(rule, decided)) is not None:
            report.next = policy.Next("deferred")
            report.error_type, report.error = ErrorType.COUNCIL, why
    return found
