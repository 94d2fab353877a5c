"""One item's answers, explained: every try, what failed in which layer and why, in words, and what followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from models.enums import ErrorType
from models.recipe import PROMPT
from sql.statements import statement
from tasks.foreign import visible
from tasks.validate import names
from tasks.validate.statistics import LAYERS

EXCERPT = 400

NOT_FAILED = (ErrorType.HUMAN_ONLY, ErrorType.COUNCIL)
"""Why a person is asked though every check passed."""

ABOUT: Mapping[str, str] = {
    PROMPT: "what was done to the prompt before it was asked",
    "call": "what the model server itself said",
    **names.LAYERS,
}
"""Each layer in words. One that is not here is shown by its name alone."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one check said of an answer. Without an error type it is no failure: something was put right or cut."""

    check: str
    error_type: str | None
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"check": self.check, "error_type": self.error_type, "message": self.message}


@dataclass(slots=True)
class Layer:
    name: str
    about: str
    failed: list[Said] = field(default_factory=list)
    noted: list[Said] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "layer": self.name,
            "failed": [each.as_json() for each in self.failed],
            "noted": [each.as_json() for each in self.noted],
        }


@dataclass(slots=True)
class Tried:
    """One try at the item."""

    number: int
    at: datetime
    recipe: str
    recipe_hash: str
    backend: str
    model: str
    simulated: bool
    outcome: str
    error_type: str | None
    seconds: float
    batch: int
    rows: int  # items in that batch
    layers: list[Layer]
    excerpt: str  # of the answer; empty where there was none
    longer: int  # characters that the excerpt leaves out
    followed: str  # in words

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self.at.isoformat(),
            "recipe": self.recipe,
            "recipe_hash": self.recipe_hash,
            "backend": self.backend,
            "model": self.model,
            "simulated": self.simulated,
            "outcome": self.outcome,
            "error_type": self.error_type,
            "seconds": self.seconds,
            "batch": self.batch,
            "layers": [each.as_json() for each in self.layers],
            "answer": self.excerpt,
            "answer_cut": self.longer,
            "followed": self.followed,
        }


@dataclass(slots=True)
class Explanation:
    item_id: int
    tries: list[Tried]
    after: list[str]  # what became of it later, in words: reviews, decisions, results that no longer stood

    def as_json(self) -> dict[str, Any]:
        return {"item": self.item_id, "tries": [each.as_json() for each in self.tries], "after": self.after}


def explain(connection: psycopg.Connection[Any], item: int) -> Explanation:
    """All tries at an item, oldest first. One that nobody tried yet has none."""
    scope = {"item": item}
    rows = connection.execute(statement("validate.tries"), scope).fetchall()
    reviews = connection.execute(statement("validate.reviews_of_item"), scope).fetchall()
    results = connection.execute(statement("validate.results_of_item"), scope).fetchall()
    tries = [
        _tried(row, rows[place + 1][3] if place + 1 < len(rows) else None, reviews)
        for place, row in enumerate(rows)
    ]
    return Explanation(item, tries, _after(reviews, results))


def layers_of(checks: Any, error_type: str | None = None, error: str | None = None) -> list[Layer]:
    """The failures of an attempt by layer, in the order in which an answer meets them."""
    found: dict[str, Layer] = {}
    for entry in checks if isinstance(checks, list) else []:
        if not isinstance(entry, Mapping):
            continue
        name = str(entry.get("layer") or "rules")
        layer = found.setdefault(name, Layer(name, ABOUT.get(name, "")))
        said = Said(str(entry.get("check") or ""), entry.get("error_type"), str(entry.get("message") or ""))
        (layer.failed if said.error_type else layer.noted).append(said)
    if error_type and error_type not in NOT_FAILED and not any(each.failed for each in found.values()):
        layer = found.setdefault("call", Layer("call", ABOUT["call"]))
        layer.failed.append(Said(error_type, error_type, error or "it gave no reason"))
    return sorted(found.values(), key=lambda each: _place(each.name))


def _place(layer: str) -> int:
    order = (PROMPT, *LAYERS)
    return order.index(layer) if layer in order else len(order)


def _tried(row: Sequence[Any], next_recipe: str | None, reviews: Sequence[Sequence[Any]]) -> Tried:
    (_, number, at, recipe, recipe_hash, backend, model, simulated, outcome, error_type) = row[:10]
    error, answer, checks, seconds, batch, size = row[10:]
    text = visible(answer or "").strip()
    return Tried(
        number,
        at,
        recipe,
        recipe_hash,
        backend,
        model,
        simulated,
        outcome,
        error_type,
        seconds,
        batch,
        size,
        layers_of(checks, error_type, error),
        text[:EXCERPT],
        max(0, len(text) - EXCERPT),
        _followed(outcome, error_type, at, next_recipe, reviews),
    )


def _followed(
    outcome: str,
    error_type: str | None,
    at: datetime,
    next_recipe: str | None,
    reviews: Sequence[Sequence[Any]],
) -> str:
    match outcome:
        case "accepted":
            return "It passed every check and became the item's result."
        case "retry":
            return "It was asked again, with the reason."
        case "returned":
            return "It went back to the queue, and was not charged an attempt."
        case "fallback":
            other = f"the recipe {next_recipe}" if next_recipe else "its recipe's fallback"
            return f"It went on as {other}, with fresh attempts."
        case "deferred":
            asked = next((review for review in reviews if review[3] >= at), None)
            number = f" (review {asked[0]})" if asked else ""
            why = "Its recipe always asks one." if error_type == ErrorType.HUMAN_ONLY else ""
            return f"A person was asked{number}. {why}".rstrip()
        case "failed":
            return "It ended without an answer."
        case _:
            return f"It ended as {outcome}."


def _after(reviews: Sequence[Sequence[Any]], results: Sequence[Sequence[Any]]) -> list[str]:
    told: list[tuple[datetime, str]] = []
    for number, reason, _, opened_at, decision, by, decided_at, _, rerun in reviews:
        if rerun:
            told.append((opened_at, f"It was checked again and did not pass (review {number}): {reason}"))
        if decided_at is not None:
            told.append((decided_at, f"Review {number} was decided: {decision} by {by}."))
        else:
            told.append((opened_at, f"Review {number} waits for a person: `penstock review show {number}`."))
    for number, _, by, accepted_at, superseded_at in results:
        told.append((accepted_at, f"Result {number} was accepted by {'a person' if by == 'person' else by}."))
        if superseded_at is not None:
            told.append((superseded_at, f"Result {number} was superseded: it no longer stands."))
    return [words for _, words in sorted(told, key=lambda each: each[0])]
