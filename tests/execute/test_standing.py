"""What is asked again keeps its accepted answer until a new one is accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from models.enums import ErrorType, Status
from models.recipe import Recipe
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import Stages, Tally
from tasks.runs.again import Choice, ask_again, plan

from .conftest import STAGES, InProcess, World, answered, no_recall, no_split, plain_prompt


def judged(good: Callable[[int], bool]) -> Stages:
    async def validate(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        failure = Failure("rules", "mine", ErrorType.RULE, "It is too short.")
        verdicts = {
            row.item_id: Verdict(row.item_id, () if good(row.item_id) else (failure,), row.answer.text)
            for row in rows
        }
        return BatchVerdict(verdicts, {})

    return Stages(no_recall, plain_prompt, validate, no_split)


async def again(world: World, choice: Choice) -> int:
    with world.database.connect() as reading:
        wanted = plan(reading, [row[0] for row in world.rows("select id from board")], choice)
    connection = await world.database.aconnect(autocommit=True)
    try:
        return await ask_again(connection, wanted, by="ana")
    finally:
        await connection.close()


async def drained(world: World, good: Callable[[int], bool]) -> Tally:
    return await world.drain(InProcess(answered), stages=judged(good))


async def test_a_better_answer_replaces_the_old_one_and_a_worse_one_does_not(world: World) -> None:
    ids = world.add(6)
    assert (await world.drain(InProcess(answered), stages=STAGES)).accepted == 6
    assert await again(world, Choice(done=True)) == 6
    assert world.statuses() == {Status.READY: 6}
    assert world.rows("select count(*) from result where superseded_at is null") == [(6,)], "they stand"

    tally = await drained(world, lambda item: item in ids[:2])

    assert (tally.accepted, tally.kept, tally.deferred) == (2, 4, 0)
    assert world.statuses() == {Status.DONE: 6}
    assert world.rows("select count(*) from review") == [(0,)], (
        "nobody is asked about what was settled before"
    )
    current: dict[int, int] = dict(
        world.rows("select item_id, count(*) from result where superseded_at is null group by 1")
    )
    assert current == dict.fromkeys(ids, 1)
    replaced = [
        row[0] for row in world.rows("select item_id from result where superseded_at is not null order by 1")
    ]
    assert replaced == ids[:2]
    assert world.rows("select distinct recipe from item") == [("task",)]


async def test_a_drain_that_stops_leaves_them_to_the_next_one(world: World) -> None:
    world.add(3)
    await world.drain(InProcess(answered))
    await again(world, Choice(done=True))
    with world.database.connect() as connection:
        connection.execute("update item set status = 2, ready = false, lease = 77, tries = tries + 1")
    assert (await world.drain(InProcess(answered))).accepted == 3, "given back, as after a kill"
    assert world.rows("select count(*), count(*) filter (where superseded_at is null) from result") == [
        (6, 3)
    ]


async def test_deferred_items_leave_the_queue_and_what_only_people_settle_stays(world: World) -> None:
    first, second, third = world.add(3)
    await drained(world, lambda item: False)
    assert world.statuses() == {Status.WAITING: 3}
    with world.database.connect() as connection:
        connection.execute("update review set error_type = 'human_only' where item_id = %s", [second])
        connection.execute("update review set kind = 'plan' where item_id = %s", [third])
        wanted = plan(
            connection, [row[0] for row in world.rows("select id from board")], Choice(deferred=True)
        )
    assert list(wanted.items) == [first]
    assert wanted.left == {"that only a person can settle": 2}
    assert await again(world, Choice(deferred=True)) == 1
    rows = world.rows("select item_id, decision, decided_by from review where decided_at is not null")
    assert rows == [(first, "retry", "ana")]
    assert (await drained(world, lambda item: True)).accepted == 1


@pytest.mark.parametrize("choice", [Choice(), Choice(failed=True)])
async def test_nothing_that_was_not_asked_for_is_touched(world: World, choice: Choice) -> None:
    world.add(3)
    await world.drain(InProcess(answered))
    assert await again(world, choice) == 0
    assert world.statuses() == {Status.DONE: 3}


async def test_what_a_person_accepted_stays(world: World) -> None:
    world.add(2)
    await world.drain(InProcess(answered))
    with world.database.connect() as connection:
        connection.execute(
            "update result set accepted_by = 'person' where item_id = (select min(id) from item)"
        )
    assert await again(world, Choice(failed=True, deferred=True, done=True)) == 1


async def test_items_that_need_one_another_are_asked_in_their_order(world: World) -> None:
    first, second = world.add(2)
    await world.drain(InProcess(answered))
    with world.database.connect() as connection:
        connection.execute("insert into need (item_id, needs_id) values (%s, %s)", [second, first])
    await again(world, Choice(done=True))
    assert world.rows("select id from item where ready") == [(first,)]
    backend = InProcess(answered)
    assert (await world.drain(backend)).accepted == 2
    assert backend.asked == [first, second]


async def test_a_synthesis_is_made_anew_only_when_a_part_was(world: World) -> None:
    whole, part = world.add(2)
    with world.database.connect() as connection:
        connection.execute("update item set parent_id = %s where id = %s", [whole, part])
        connection.execute("update item set recipe = null, status = 0, ready = false where id = %s", [whole])
    from .conftest import recipe

    recipes = (recipe(), recipe("rollup"))
    assert (await world.drain(InProcess(answered), *recipes)).accepted == 2
    before = world.rows(f"select id from result where item_id = {whole} and superseded_at is null")
    await again(world, Choice(done=True))
    await world.drain(InProcess(answered), *recipes, stages=judged(lambda item: False))
    assert world.rows(f"select id from result where item_id = {whole} and superseded_at is null") == before
    await again(world, Choice(done=True))
    assert (await world.drain(InProcess(answered), *recipes)).accepted == 2
    after = world.rows(f"select id from result where item_id = {whole} and superseded_at is null")
    assert len(after) == 1
    assert after != before
