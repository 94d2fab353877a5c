"""Stored results under other recipes: what would change is shown, and only what was asked for changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from models.enums import Status
from models.recipe import Recipe
from sql.connection import Database
from tasks.remember import remember_results
from tasks.validate import rerun
from tasks.validate.rerun import Recheck, Superseded, recheck, supersede

from .kept import Kept

if TYPE_CHECKING:
    from .conftest import MakeRecipe

LONG = """  - expect: expect_column_values_to_be_between
    with: {column: words, min_value: 3}
    says: An answer has three words at least.
"""
CRASHES = """  - expect: expect_column_values_to_be_between
    with: {column: words, min_value: 9, max_value: 2}
    says: Nothing can be between these.
"""


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database)


def again(kept: Kept, recipes: dict[str, Recipe], **scope: Any) -> Recheck:
    async def work() -> Recheck:
        connection = await kept.database.aconnect(autocommit=True)
        try:
            return await recheck(connection, recipes, **scope)
        finally:
            await connection.close()

    return asyncio.run(work())


def apply(kept: Kept, found: Recheck) -> Superseded:
    async def work() -> Superseded:
        connection = await kept.database.aconnect(autocommit=True)
        try:
            return await supersede(connection, found)
        finally:
            await connection.close()

    return asyncio.run(work())


def test_what_would_change_is_shown_and_nothing_changes(kept: Kept, make_recipe: MakeRecipe) -> None:
    good = kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    bad = kept.accepted("How deep is it?", "Deep.")
    kept.accepted("What did she decide?", "No.", by="person")
    found = again(kept, {"mine": make_recipe(LONG)})
    assert (found.checked, [each.item_id for each in found.failing]) == (2, [bad])
    assert found.sentence == "2 stored results checked again: 1 would not pass today."
    [change] = found.failing
    assert change.error_type == "rule"
    assert "An answer has three words at least." in change.why
    assert "words 1" in change.why
    assert change.checks[0]["layer"] == "rules"
    assert {kept.status(good), kept.status(bad)} == {Status.DONE}
    assert kept.one("select count(*) from review") == 0
    assert kept.one("select count(*) from attempt") == 3, "no model was asked"


def test_applied_it_goes_to_a_person_with_the_reason(kept: Kept, make_recipe: MakeRecipe) -> None:
    good = kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    bad = kept.accepted("How deep is it?", "Deep.")
    found = again(kept, {"mine": make_recipe(LONG)})
    assert apply(kept, found) == Superseded((bad,), 0)
    assert (kept.status(good), kept.current(good)) == (Status.DONE, 1)
    assert (kept.status(bad), kept.current(bad)) == (Status.WAITING, 0)
    assert "no longer passes the recipe mine as it is now" in kept.one("select reason from review")
    assert kept.one("select proposal from review") == "Deep."
    assert kept.one("select details -> 'rerun' ->> 'recipe_hash' from review") == make_recipe(LONG).hash
    assert apply(kept, found) == Superseded((), 1), "a second time changes nothing"
    assert kept.one("select count(*) from review") == 1
    later = again(kept, {"mine": make_recipe(LONG)})
    assert (later.checked, later.failing) == (1, [])


def test_what_changed_in_the_meantime_stays(kept: Kept, make_recipe: MakeRecipe) -> None:
    bad = kept.accepted("How deep is it?", "Deep.")
    found = again(kept, {"mine": make_recipe(LONG)})
    kept.do("update result set superseded_at = now() where item_id = %s", bad)
    kept.do("insert into result (item_id, text, accepted_by) values (%s, 'Four metres deep.', 'person')", bad)
    assert apply(kept, found) == Superseded((), 1)
    assert (kept.status(bad), kept.current(bad)) == (Status.DONE, 1)


def test_what_contains_it_and_what_needs_it_follows(kept: Kept, make_recipe: MakeRecipe) -> None:
    whole = kept.item("All about the basin", recipe=None)
    kept.do("update item set rollup = false where id = %s", whole)
    bad = kept.accepted("How deep is it?", "Deep.", parent=whole)
    after = kept.item("Order a ladder", Status.READY, needs=bad)
    done = kept.item("Order a rope", Status.DONE, needs=bad)
    apply(kept, again(kept, {"mine": make_recipe(LONG)}))
    assert kept.status(bad) is Status.WAITING
    assert kept.status(whole) is Status.PENDING
    assert kept.status(after) is Status.PENDING
    assert kept.status(done) is Status.DONE, "what was done stays"


def test_a_synthesis_of_what_no_longer_stands_is_taken_back(kept: Kept, make_recipe: MakeRecipe) -> None:
    whole = kept.item("All about the basin", recipe="rollup")
    bad = kept.accepted("How deep is it?", "Deep.", parent=whole)
    kept.accepted("Which pump feeds it?", "Pump seven feeds it.", parent=whole)
    kept.do("update item set rolled_of = penstock_parts(id) where id = %s", whole)
    kept.do(
        "insert into result (item_id, text, accepted_by) values (%s, 'Deep, and pump seven.', 'checks')",
        whole,
    )
    apply(kept, again(kept, {"mine": make_recipe(LONG)}, recipe="mine"))
    assert kept.status(bad) is Status.WAITING
    assert (kept.status(whole), kept.current(whole)) == (Status.PENDING, 0)


def test_two_that_apply_at_once_ask_once(kept: Kept, make_recipe: MakeRecipe) -> None:
    bad = [kept.accepted(f"How deep is basin {number}?", "Deep.") for number in range(20)]
    found = again(kept, {"mine": make_recipe(LONG)})

    async def both() -> list[Superseded]:
        connections = [await kept.database.aconnect(autocommit=True) for _ in range(3)]
        try:
            return await asyncio.gather(*(supersede(connection, found) for connection in connections))
        finally:
            for connection in connections:
                await connection.close()

    done = asyncio.run(both())
    assert sorted(item for each in done for item in each.items) == sorted(bad)
    assert sorted(each.left for each in done) == [0, 20, 20]
    assert kept.one("select count(*) from review") == 20


def test_memory_forgets_what_no_longer_stands(kept: Kept, make_recipe: MakeRecipe) -> None:
    bad = kept.accepted("How deep is it?", "Deep.")
    nodes = "select count(*) from node where source = %s and superseded_at is null"
    with kept.database.connect(autocommit=True) as connection:
        remember_results(connection)
    assert kept.one(nodes, f"item:{bad}") == 1
    apply(kept, again(kept, {"mine": make_recipe(LONG)}))
    with kept.database.connect(autocommit=True) as connection:
        remember_results(connection)
    assert kept.one(nodes, f"item:{bad}") == 0


def test_a_check_that_cannot_run_undoes_nothing(kept: Kept, make_recipe: MakeRecipe) -> None:
    item = kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    found = again(kept, {"mine": make_recipe(CRASHES)})
    assert (found.checked, found.failing) == (0, [])
    [left] = found.unchecked
    assert (left.item_id, left.error_type) == (item, "check_crashed")
    assert found.sentence == "0 stored results checked again: 0 would not pass today, 1 could not be checked."
    assert apply(kept, found) == Superseded((), 0)
    assert kept.status(item) is Status.DONE


def test_a_recipe_that_is_gone_is_named(kept: Kept) -> None:
    kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    [left] = again(kept, {}).unchecked
    assert left.why == "There is no recipe 'mine' any more."


def test_only_what_was_asked_for(kept: Kept, make_recipe: MakeRecipe) -> None:
    other = Kept(kept.database, "/boards/other.md")
    kept.accepted("How deep is it?", "Deep.")
    bad = other.accepted("How wide is it?", "Wide.")
    recipes = {"mine": make_recipe(LONG)}
    assert [each.item_id for each in again(kept, recipes, boards=[other.board]).failing] == [bad]
    assert again(kept, recipes, recipe="another").checked == 0
    assert len(again(kept, recipes, recipe="mine").failing) == 2


def test_quotes_are_looked_for_in_the_passage_as_it_was(kept: Kept, make_recipe: MakeRecipe) -> None:
    header = """grounding: required
answer_schema: {type: object, required: [answer], properties: {answer: {type: string}, citations: {type: array}}}"""
    recipes = {"mine": make_recipe(header=header)}
    kept.do(
        "insert into node (kind, source, cite, text, embedding, encoder, content_hash, valid_from, superseded_at)"
        " values ('document', 'ops.md', 'ops.md:1', 'The door listens on port 4270.',"
        " array_fill(0, array[768])::vector::halfvec, 'x', '', now() - interval '2 days', now())"
    )
    quote = {"cite": "ops.md:1", "quote": "listens on port 4270"}
    data = {"answer": "The port is 4270.", "citations": [quote]}
    text = '{"answer": "The port is 4270.", "citations": [{"cite": "ops.md:1", "quote": "listens on port 4270"}]}'
    item = kept.accepted("Which port?", text, data=data, citations=[quote])
    kept.do(
        "insert into node (kind, source, cite, text, embedding, encoder, content_hash, valid_from)"
        " values ('document', 'ops.md', 'ops.md:1', 'The door listens on port 1.',"
        " array_fill(0, array[768])::vector::halfvec, 'x', '', now() + interval '1 day')"
    )
    found = again(kept, recipes)
    assert (found.checked, found.failing, found.unchecked) == (1, [], [])
    kept.do("delete from node")
    [left] = again(kept, recipes).unchecked
    assert left.item_id == item
    assert left.why == "It cites ops.md:1, which is no longer stored."


def test_an_answer_that_waits_and_would_pass_is_named_for_the_person(
    kept: Kept, make_recipe: MakeRecipe
) -> None:
    item, review = kept.waiting("Which pump feeds it?", "Pump seven feeds it.")
    kept.waiting("How deep is it?", "Deep.")
    found = again(kept, {"mine": make_recipe(LONG)})
    assert [(each.item_id, each.id) for each in found.passing] == [(item, review)]
    assert kept.status(item) is Status.WAITING, "a person decides"


def test_what_was_not_kept_is_no_failure(kept: Kept, make_recipe: MakeRecipe) -> None:
    kept.accepted("Which file?", "It stands in docs/ops.md:3.")
    found = again(kept, {"mine": make_recipe(header="grounding: none\nverify: [files]")})
    assert (found.checked, found.failing) == (0, [])
    assert "Of what it was given only the passages that it cites are kept" in found.unchecked[0].why


def test_answers_of_other_batches_are_no_companions(
    kept: Kept, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = "answer_schema: {type: object, required: [answer], properties: {answer: {type: string}}}"
    recipes = {"mine": make_recipe(header=f"grounding: none\n{schema}")}
    for title in ("Can the copper tank run dry?", "Can the northern pump freeze?"):
        text = '{"answer": "The copper tank ran dry twice in May."}'
        kept.accepted(title, text, data={"answer": "The copper tank ran dry twice in May."})
    found = again(kept, recipes)
    assert (found.checked, found.failing, found.unchecked) == (2, [], [])
    monkeypatch.setattr(rerun, "OF_ITS_BATCH", frozenset())
    assert [each.checks[0]["check"] for each in again(kept, recipes).failing] == ["own_item"], (
        "it would be seen"
    )


def test_a_judge_is_not_asked(kept: Kept, make_recipe: MakeRecipe) -> None:
    kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    found = again(kept, {"mine": make_recipe(header="grounding: none\njudge: {model: sim}")})
    assert (found.checked, found.judged, found.failing, found.unchecked) == (1, 1, [], [])
    assert found.sentence.endswith("1 of a recipe with a judge, which was not asked again.")


@pytest.mark.parametrize("error_type", ["rule", "check_crashed"])
def test_what_a_judge_did_not_let_pass_would_not_pass_while_there_is_one(
    kept: Kept, make_recipe: MakeRecipe, error_type: str
) -> None:
    failure = {"layer": "judge", "check": "votes", "error_type": error_type, "message": "2 fail"}
    item, _ = kept.waiting("Which pump feeds it?", "Pump seven feeds it.", error_type, [failure])
    judged = make_recipe(header="grounding: none\njudge: {model: sim}")
    assert again(kept, {"mine": judged}).passing == []
    plain = make_recipe(header="grounding: none")
    assert [each.item_id for each in again(kept, {"mine": plain}).passing] == [item]


def test_it_is_checked_against_what_the_model_was_shown(kept: Kept, make_recipe: MakeRecipe) -> None:
    """Not the comment that nobody sees: it is no criterion."""
    item = kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    hidden = "<!--\nAcceptance criteria:\n- at most 2 words\n-->"
    kept.do("update item_source set body = %s where item_id = %s", hidden, item)
    assert again(kept, {"mine": make_recipe(header="grounding: none")}).failing == []
    kept.do("update item_source set body = %s where item_id = %s", hidden[4:-3], item)
    assert len(again(kept, {"mine": make_recipe(header="grounding: none")}).failing) == 1


def test_what_a_rerun_undid_is_named_when_the_recipe_is_as_before(
    kept: Kept, make_recipe: MakeRecipe
) -> None:
    bad = kept.accepted("How deep is it?", "Deep.")
    apply(kept, again(kept, {"mine": make_recipe(LONG)}))
    assert again(kept, {"mine": make_recipe(LONG)}).passing == []
    assert [each.item_id for each in again(kept, {"mine": make_recipe()}).passing] == [bad]


def test_pages_of_answers_miss_none(
    kept: Kept, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerun, "PAGE", 3)
    bad = [kept.accepted(f"How deep is basin {number}?", "Deep.") for number in range(7)]
    found = again(kept, {"mine": make_recipe(LONG)})
    assert (found.checked, [each.item_id for each in found.failing]) == (7, bad)
