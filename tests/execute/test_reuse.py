"""The very same request is asked once in a run, and not again while its accepted answer is kept; a retry always is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from models.calls import ModelCallError, ModelRequest, Passage
from models.enums import ErrorType, Status
from models.recipe import Recipe, Rendered
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import ClaimedItem, Stages

from .conftest import STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe


def alike(world: World, *groups: int) -> list[int]:
    """Items whose prompts are the same within each group of so many."""
    ids: list[int] = []
    for number, count in enumerate(groups):
        new = world.add(count)
        with world.database.connect() as connection:
            connection.execute(
                "update item_source set title = %s where item_id = any(%s)", [f"group {number}", new]
            )
        ids += new
    return ids


def again(world: World) -> None:
    """All items as if they had never been asked, as a new board with the same words has them."""
    with world.database.connect() as connection:
        connection.execute("update item set status = 1, ready = true, attempts = 0")
        connection.execute("update result set superseded_at = now()")


async def test_what_is_the_same_is_asked_once_and_settles_each(world: World) -> None:
    ids = alike(world, 5, 1)
    backend = InProcess(answered)
    tally = await world.drain(backend)
    assert world.statuses() == {Status.DONE: 6}
    assert sorted(backend.asked) == [ids[0], ids[5]]
    assert (tally.accepted, tally.cached, tally.prompt_tokens, tally.completion_tokens) == (6, 4, 20, 10)
    rows = world.rows("select item_id, cached, cost, checks from attempt where cached order by item_id")
    assert [row[0] for row in rows] == ids[1:5]
    assert all(cost == 0 for _, _, cost, _ in rows)
    assert f"item {ids[0]} asks the very same" in rows[0][3][0]["message"]
    assert len(world.rows("select distinct text from result")) == 2


async def test_two_half_batches_share_a_call(world: World) -> None:
    """Those of the second do not wait for the first to be written."""
    alike(world, 40)
    both, rendered = asyncio.Event(), 0

    def render(
        recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None
    ) -> Rendered:
        nonlocal rendered
        rendered += 1
        if rendered > 7:  # of the first half batch
            both.set()
        return STAGES.render(recipe, item, passages, reason)

    async def reply(request: ModelRequest) -> str:
        await asyncio.wait_for(both.wait(), 20)
        return await answered(request)

    backend = InProcess(reply)
    await world.drain(backend, stages=Stages(no_recall, render, accept_all, no_split))
    assert len(backend.asked) == 1
    assert world.statuses() == {Status.DONE: 40}


async def test_an_accepted_answer_is_found_again_without_a_call_or_a_load(world: World) -> None:
    ids = alike(world, 1, 1)
    first = InProcess(answered)
    await world.drain(first)
    again(world)
    second = InProcess(answered)
    tally = await world.drain(second)
    assert (second.asked, second.warmed) == ([], [])
    assert (tally.accepted, tally.cached, tally.prompt_tokens) == (2, 2, 0)
    rows = world.rows("select item_id, answer, prompt_tokens, checks from attempt where cached order by 1")
    assert [(row[0], row[2]) for row in rows] == [(item, 10) for item in ids]
    assert "From the cache" in rows[0][3][0]["message"]
    assert "its server gives no digest" in rows[0][3][0]["message"]
    assert world.rows("select count(*) from result where superseded_at is null") == [(2,)]


@pytest.mark.parametrize(("days", "header"), [(0, {}), (30, {"cache": "off"}), (30, {"temperature": 0.7})])
async def test_it_can_be_turned_off(world: World, days: int, header: dict[str, object]) -> None:
    alike(world, 3)
    world.settings = world.settings.model_copy(update={"cache_days": days})
    for number in (1, 2):
        backend = InProcess(answered)
        await world.drain(backend, recipe(**header))
        assert len(backend.asked) == 3, number
        again(world)
    assert world.rows("select count(*) from answer_cache") == [(0,)]


async def test_a_recipe_that_says_so_is_served_at_any_temperature(world: World) -> None:
    alike(world, 3)
    backend = InProcess(answered)
    await world.drain(backend, recipe(temperature=0.7, cache="exact"))
    assert len(backend.asked) == 1


async def test_what_fails_fails_each_and_a_retry_asks_for_itself(world: World) -> None:
    alike(world, 3)
    backend = InProcess(answered)
    checked: list[int] = []

    async def reject_first(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        verdicts = {}
        for row in rows:
            first = checked.count(row.item_id) == 0
            checked.append(row.item_id)
            failure = Failure("rules", "taste", ErrorType.RULE, "not good")
            verdicts[row.item_id] = Verdict(row.item_id, (failure,) if first else (), row.answer.text)
        return BatchVerdict(verdicts, {})

    tally = await world.drain(backend, stages=Stages(no_recall, STAGES.render, reject_first, no_split))
    assert (tally.retry, tally.accepted, tally.cached) == (3, 3, 2)
    assert len(backend.asked) == 1 + 3
    assert world.rows("select count(*) from answer_cache") == [(0,)]  # a retry's request has its reason


async def test_a_call_that_failed_failed_for_each(world: World) -> None:
    alike(world, 3)
    calls = 0

    async def reply(request: ModelRequest) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ModelCallError(ErrorType.TIMEOUT, "no answer")
        return await answered(request)

    tally = await world.drain(InProcess(reply))
    assert (tally.returned, tally.accepted) == (3, 3)
    assert calls == 2  # it was nobody's fault: they are asked together again
    assert world.rows(
        "select count(*), count(cost) from attempt where error_type = 'timeout' and cached"
    ) == [(2, 2)]


async def test_what_a_person_wants_again_is_asked_again(world: World) -> None:
    (item,) = alike(world, 1)
    await world.drain(InProcess(answered))
    again(world)
    with world.database.connect() as connection:
        connection.execute(
            "insert into review (subject, kind, item_id, title, reason, error_type, decision, decided_at)"
            " values ('x', 'item', %s, '', '', 'rule', 'retry', now())",
            [item],
        )
    backend = InProcess(answered)
    await world.drain(backend)
    assert backend.asked == [item]
