"""How often which rule failed: what is counted, and out of what."""

from __future__ import annotations

from typing import Any

import pytest

from models.enums import ErrorType
from sql.connection import Database
from tasks.validate.statistics import FAILED, Statistics, statistics

from .kept import Kept


def failure(
    check: str, message: str = "why", layer: str = "rules", error_type: str = "rule"
) -> dict[str, Any]:
    return {"layer": layer, "check": check, "error_type": error_type, "message": message}


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database)


def count(kept: Kept, **scope: Any) -> Statistics:
    with kept.database.connect() as connection:
        return statistics(connection, **scope)


def test_rules_are_counted_per_recipe_and_model(kept: Kept) -> None:
    small, large = kept.batch(model="small"), kept.batch(model="large")
    item, other = kept.item("a"), kept.item("b")
    two = [failure("length"), failure("confidence", "too low")]
    kept.attempt(item, small, "x", "retry", error_type="rule", checks=two)
    kept.attempt(item, small, "x", "retry", error_type="rule", checks=[failure("length")])
    kept.attempt(other, small, "a good one")
    kept.attempt(other, large, "a good one")
    found = count(kept)
    assert (found.checked, found.failed) == (4, 2)
    assert [(each.model, each.check, each.failed, each.items, each.checked) for each in found.rules] == [
        ("small", "length", 2, 1, 3),
        ("small", "confidence", 1, 1, 3),
    ]
    assert found.rules[0].share == pytest.approx(2 / 3)
    assert found.rules[1].example == "too low"
    assert [(each.model, each.checked, each.failed) for each in found.answers] == [
        ("small", 3, 2),
        ("large", 1, 0),
    ]
    assert count(kept, recipe="other").checked == 0
    assert count(kept, boards=[kept.board]).checked == 4
    assert count(kept, boards=[kept.board + 1]).checked == 0


def test_a_server_that_failed_is_no_answer_and_a_repair_is_no_failure(kept: Kept) -> None:
    batch = kept.batch()
    repaired = {"layer": "shape", "check": "repaired", "error_type": None, "message": "out of a fence"}
    kept.attempt(kept.item("a"), batch, None, "returned", error_type="connection", error="gone")
    kept.attempt(kept.item("b"), batch, "fine", checks=[repaired])
    kept.attempt(kept.item("c"), batch, "fine", "deferred", error_type="human_only", checks=[])
    found = count(kept)
    assert (found.checked, found.failed, found.rules) == (2, 0, [])


def test_what_the_call_itself_said_is_a_layer(kept: Kept) -> None:
    kept.attempt(kept.item("a"), kept.batch(), None, "retry", error_type="refused", error="It would not.")
    [rule] = count(kept).rules
    assert (rule.layer, rule.check, rule.error_type, rule.example) == (
        "call",
        "refused",
        "refused",
        "It would not.",
    )


def test_days_are_those_of_the_zone_and_end_somewhere(kept: Kept) -> None:
    batch = kept.batch()
    item = kept.item("a")
    for days in (0, 3, 200):
        kept.attempt(item, batch, "x", "retry", error_type="rule", checks=[failure("length")], days_ago=days)
    kept.do("update attempt set finished_at = date_trunc('day', now() at time zone 'UTC') at time zone 'UTC'"
            " + interval '23 hours' - interval '3 days' where number = 2")  # fmt: skip
    found = count(kept)
    assert found.failed == 2
    assert len(found.rules[0].days) == 2
    utc, east = (sorted(count(kept, zone=zone).rules[0].days) for zone in ("UTC", "Asia/Tokyo"))
    assert (east[0] - utc[0]).days == 1
    assert count(kept, days=1).failed == 1
    assert sum(sum(layers.values()) for layers in found.by_layer().values()) == 2
    assert sum(failed for _, failed in found.by_day().values()) == 2


def test_only_errors_of_answers_are_counted() -> None:
    assert {"rule", "schema", "grounding", "check_crashed", "no_evidence", "refused"} <= set(FAILED)
    for other in (
        ErrorType.CONNECTION,
        ErrorType.HUMAN_ONLY,
        ErrorType.PLAN,
        ErrorType.POISON,
        ErrorType.CYCLE,
    ):
        assert other not in FAILED
