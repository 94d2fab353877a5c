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
from models.council import Decided, Opinion, risks_of
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
from tasks.foreign import storable, visible
from tasks.shortening import cut_at_an_end

__all__ = ["checked", "conclude", "convene", "material", "opinions_of", "speak"]

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
            Passage(opinion.cite, cut_at_an_end(visible(opinion.text).strip(), share), 1.0 - number / 1000)
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


def speak(reports: Sequence[Report]) -> None:
    """The opinions of members as they are kept: named, and with all that the synthesis is to see and may quote.

    So a quote from an opinion stands in what is stored of it, also when results are checked again later.
    """
    for report in reports:
        if report.error_type is None and report.data is not None and report.text is not None:
            name = report.item.labels.get("member", "a member")
            report.text = _opinion(name, report.text, report.data, report.citations)


def _opinion(name: str, text: str, data: Mapping[str, Any], citations: Sequence[Mapping[str, str]]) -> str:
    position = " ".join(str(data.get("position") or "").split())
    parts = [f"{name} says: {position}".rstrip(), text.strip()]
    parts += [f"A {level} risk: {risk}" for risk, level in risks_of(data)]
    if isinstance(sure := data.get("confidence"), int | float):
        parts.append(f"Its confidence is {sure:.2f}.")
    parts += [
        f"It quotes {each['cite']}: “{' '.join(each['quote'].split())}”" for each in citations[:MOST_EVIDENCE]
    ]
    return storable("\n".join(parts))


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
