"""The score of one answer: the share of its parts that hold; unknown is no number."""

from __future__ import annotations

from typing import Any

import pytest

from models.calls import ModelAnswer, ModelCallError
from models.enums import ErrorType
from models.verdict import Failure, Verdict
from tasks.evaluate.cases import Case
from tasks.evaluate.scoring import score

ANSWER = ModelAnswer("{}", "m", "stop")


def case(**expect: Any) -> Case:
    return Case.model_validate({"id": "a", "title": "Which port?", "expect": expect})


def verdict(text: str, *failures: ErrorType, **values: Any) -> Verdict:
    failed = tuple(Failure("rules", "a rule", each, "too short") for each in failures)
    return Verdict(1, failed, text, **values)


def test_without_expectations_the_recipes_checks_decide() -> None:
    assert score(case(), ANSWER, verdict("yes")).value == 1.0
    failed = score(case(), ANSWER, verdict("yes", ErrorType.RULE))
    assert (failed.value, failed.passed, failed.missed) == (0.0, False, ("rule: too short",))


@pytest.mark.parametrize(
    ("expect", "text", "value"),
    [
        ({"contains": ["PORT  7070"]}, "It is port 7070.", 1.0),
        ({"contains": ["7070", "9090"]}, "It is port 7070.", 2 / 3),
        ({"lacks": ["7070"]}, "It is port 7070.", 0.5),
        ({"lacks": ["9090"]}, "It is port 7070.", 1.0),
        ({"lacks": ["9090"]}, "", 0.5),
        ({"matches": [r"port \d+", "^7"]}, "It is port 7070.", 2 / 3),
        ({"cites": ["a.md:1"]}, "x", 1.0),
        ({"cites": ["a.md:1", "b.md:2"]}, "x", 2 / 3),
        ({"fields": {"severity": "high", "list.1.n": 2}}, "x", 1.0),
        ({"fields": {"severity": "low", "list.7": 2, "none.at.all": None}}, "x", 0.5),
    ],
)
def test_each_property_is_a_part(expect: dict[str, Any], text: str, value: float) -> None:
    data = {"severity": "high", "list": [{"n": 1}, {"n": 2}]}
    citations = ({"cite": "a.md:1", "quote": "x"},)
    found = score(case(**expect), ANSWER, verdict(text, data=data, citations=citations))
    assert found.value == pytest.approx(value)
    assert found.passed is (value == 1.0)


def test_an_answer_that_must_fail_fails_in_that_way_alone() -> None:
    wanted = case(error="no_evidence")
    assert score(wanted, ModelCallError(ErrorType.NO_EVIDENCE, "none"), None).value == 1.0
    assert score(wanted, ANSWER, verdict("x", ErrorType.NO_EVIDENCE)).value == 1.0
    assert score(wanted, ANSWER, verdict("x", ErrorType.RULE)).value == 0.0
    assert score(wanted, ANSWER, verdict("x")).missed == ("It should fail with no_evidence, and passed.",)


def test_a_refusal_is_a_bad_answer_and_a_server_that_failed_is_none() -> None:
    refused = score(case(contains=["x"]), ModelCallError(ErrorType.REFUSED, "no"), None)
    assert (refused.value, refused.passed) == (0.0, False)
    for unknown in (
        score(case(), ModelCallError(ErrorType.TIMEOUT, "late"), None),
        score(case(), None, None),
        score(case(), ANSWER, None),
        score(case(), ANSWER, verdict("x", ErrorType.CHECK_CRASHED)),
        score(case(error="no_evidence"), ModelCallError(ErrorType.OVERLOADED, "busy"), None),
    ):
        assert (unknown.value, unknown.passed) == (None, None)
        assert unknown.missed[0]
