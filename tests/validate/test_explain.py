"""One item's tries in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.enums import ErrorType, Status
from models.recipe import Note
from sql.connection import Database
from tasks.validate.explain import EXCERPT, Explanation, explain, layers_of

from .kept import Kept

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database)


def ask(kept: Kept, item: int) -> Explanation:
    with kept.database.connect() as connection:
        return explain(connection, item)


def test_every_try_says_what_failed_where_and_what_followed(kept: Kept) -> None:
    item = kept.item("How deep is it?", Status.WAITING)
    batch = kept.batch()
    rule = {"layer": "rules", "check": "words", "error_type": "rule", "message": "Too short (seen: words 1)"}
    quote = {
        "layer": "grounding",
        "check": "quote_found",
        "error_type": "grounding",
        "message": "No such quote.",
    }
    fence = {"layer": "shape", "check": "repaired", "error_type": None, "message": "out of a fence"}
    kept.attempt(item, batch, None, "returned", error_type="connection", error="Nobody answers.")
    kept.attempt(
        item, batch, "Deep." + "x" * EXCERPT, "retry", error_type="rule", checks=[rule, quote, fence]
    )
    kept.attempt(item, batch, "Deeper.", "fallback", error_type="rule", checks=[rule])
    last = kept.batch(recipe="plain")
    kept.attempt(item, last, "Very deep.", "deferred", error_type="rule", checks=[rule])
    review = kept.one(
        "insert into review (subject, kind, item_id, title, reason, error_type)"
        " values (%s, 'item', %s, '', 'too short', 'rule') returning id",
        f"item:{item}",
        item,
    )
    found = ask(kept, item)
    server, short, other, asked = found.tries
    assert [layer.name for layer in server.layers] == ["call"]
    assert server.layers[0].failed[0].message == "Nobody answers."
    assert server.followed == "It went back to the queue, and was not charged an attempt."
    assert [layer.name for layer in short.layers] == ["shape", "grounding", "rules"], (
        "as an answer meets them"
    )
    assert [said.message for layer in short.layers for said in layer.failed] == [
        quote["message"],
        rule["message"],
    ]
    assert [said.message for said in short.layers[0].noted] == ["out of a fence"]
    assert (len(short.excerpt), short.longer) == (EXCERPT, 5)
    assert short.followed == "It was asked again, with the reason."
    assert other.followed == "It went on as the recipe plain, with fresh attempts."
    assert asked.followed == f"A person was asked (review {review})."
    assert found.after == [f"Review {review} waits for a person: `penstock review show {review}`."]
    assert [each["number"] for each in found.as_json()["tries"]] == [1, 2, 3, 4]


def test_an_accepted_answer_and_one_that_no_longer_stands(kept: Kept) -> None:
    item = kept.accepted("Which pump feeds it?", "Pump seven.")
    found = ask(kept, item)
    assert found.tries[0].followed == "It passed every check and became the item's result."
    assert found.tries[0].layers == []
    assert [re.sub(r"\d+", "N", each) for each in found.after] == ["Result N was accepted by checks."]
    kept.do("update result set superseded_at = now()")
    assert "it no longer stands" in ask(kept, item).after[-1]


def test_one_that_nobody_tried_has_no_tries(kept: Kept) -> None:
    item = kept.item("new", Status.READY)
    assert ask(kept, item) == Explanation(item, [], [])


def test_odd_checks_are_no_crash() -> None:
    assert layers_of(None) == []
    assert layers_of(["x", {"error_type": "rule"}])[0].failed[0].error_type == "rule"
    unknown = layers_of([{"layer": "later", "check": "c", "error_type": "rule", "message": "m"}])
    assert (unknown[0].name, unknown[0].about) == ("later", "")
    assert [layer.name for layer in layers_of([], "empty", "nothing")] == ["call"]


def test_what_was_done_to_the_prompt_comes_first_and_is_no_failure() -> None:
    cut = Note("cut", "1 of 6 passages left out: it did not fit.").as_json()
    rule = {"layer": "rules", "check": "c", "error_type": "rule", "message": "m"}
    prompt, rules = layers_of([rule, cut])
    assert (prompt.name, prompt.failed, prompt.noted[0].message) == ("prompt", [], cut["message"])
    assert rules.failed[0].message == "m"
    assert prompt.about
    assert [layer.name for layer in layers_of([cut], "context_too_long", "too long")] == ["prompt", "call"]


def test_the_page_explains_every_error_type() -> None:
    page = (ROOT / "docs/validation.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", page, re.MULTILINE))
    told = {word for cell in named for word in re.findall(r"`([a-z_]+)`", cell)}
    assert {str(each) for each in ErrorType} <= told
