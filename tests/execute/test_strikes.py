"""What fails again and again is stopped once, a person is asked once, and the decision lets it go on or not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest

from models.calls import ModelCallError
from models.enums import Decision, ErrorType, Status
from models.errors import InputError
from models.pause import Paused, PauseKind
from sql.connection import Database
from tasks.execute import policy, strikes
from tasks.execute.strikes import Strike
from tasks.execute.work import ClaimedItem, Report
from tasks.pause import listed, pause, paused, resume
from tasks.review import decide, open_reviews

from .conftest import InProcess, World, answered, recipe

LIMIT = 3
MODEL = "qwen3:8b"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    opened = await database.aconnect(autocommit=True)
    yield opened
    await opened.close()


def failed(*items: int) -> list[tuple[int, bool, str]]:
    return [(item, False, f"rule: item {item} is too short") for item in items]


def passed(*items: int) -> list[tuple[int, bool, str]]:
    return [(item, True, "") for item in items]


async def counted(
    connection: psycopg.AsyncConnection, results: Sequence[strikes.Result], recipe: str = "task"
) -> Strike | None:
    return await strikes.count(connection, recipe, MODEL, results, strike_after=LIMIT)


async def stopped(connection: psycopg.AsyncConnection) -> Paused:
    return await paused(connection, resource="r", backend="b")


async def streak(connection: psycopg.AsyncConnection, recipe: str = "task") -> tuple[Any, ...] | None:
    return await (
        await connection.execute("select failures, items from streak where recipe = %s", [recipe])
    ).fetchone()


async def test_different_items_in_a_row_strike_the_recipe_on_that_model(
    connection: psycopg.AsyncConnection,
) -> None:
    assert await counted(connection, failed(1, 2)) is None
    assert await counted(connection, failed(2)) is None, "the same item again"
    assert await stopped(connection) == Paused()
    assert await counted(connection, failed(7)) == Strike("task", MODEL, 4, 3, whole_model=False)
    assert await stopped(connection) == Paused(recipe_models=frozenset({("task", MODEL)}))
    (review,) = await open_reviews(connection, kind="strike")
    assert (review.error_type, review.item_id) == (ErrorType.POISON, None)
    assert review.title == f"The recipe task on the model {MODEL} is stopped"
    assert "4 answers in a row, of 3 different items" in review.reason
    assert "rule: item 7 is too short" in review.reason


async def test_one_accepted_answer_begins_anew(connection: psycopg.AsyncConnection) -> None:
    assert await counted(connection, failed(1, 2)) is None
    assert await counted(connection, [*passed(3), *failed(4)]) is None
    assert await streak(connection) == (1, [4])
    assert await counted(connection, [*failed(5, 6, 7), *passed(8)]) is None
    assert await streak(connection) == (0, [])
    assert await counted(connection, []) is None
    assert await stopped(connection) == Paused()


async def test_what_was_struck_is_not_struck_again(connection: psycopg.AsyncConnection) -> None:
    assert await counted(connection, failed(1, 2, 3)) is not None
    assert await counted(connection, failed(*range(4, 40))) is None
    assert len(await open_reviews(connection)) == 1
    row = await streak(connection)
    assert row is not None
    assert row[1] == [1, 2, 3], "the row does not grow"


async def test_a_pause_for_some_time_becomes_one_without_an_end(connection: psycopg.AsyncConnection) -> None:
    await pause(connection, PauseKind.RECIPE, f"task {MODEL}", seconds=60, by="ana")
    assert await counted(connection, failed(1, 2, 3)) is not None
    (left,) = await listed(connection)
    assert (left.until, left.by) == (None, "penstock")


async def test_a_model_with_three_recipes_struck_is_stopped_with_one_question(
    connection: psycopg.AsyncConnection,
) -> None:
    found = [await counted(connection, failed(1, 2, 3), each) for each in ("task", "check", "split")]
    assert [each and each.whole_model for each in found] == [False, False, True]
    assert (await stopped(connection)).models == {MODEL}
    (review,) = await open_reviews(connection)
    assert review.title == f"The model {MODEL} is stopped"
    assert "3 recipes are stopped on it: check, split, task" in review.reason
    await decide(connection, review.id, Decision.RETRY, by="ana")
    assert await stopped(connection) == Paused()
    assert await streak(connection) == (0, [])


async def test_recipes_that_people_paused_say_nothing_of_the_model(
    connection: psycopg.AsyncConnection,
) -> None:
    for name in ("a", "b", "c"):
        await pause(connection, PauseKind.RECIPE, f"{name} {MODEL}")
    found = await counted(connection, failed(1, 2, 3))
    assert found is not None
    assert not found.whole_model


async def test_retry_lets_it_go_on_and_counts_anew(world: World, connection: psycopg.AsyncConnection) -> None:
    items = world.add(5)
    await counted(connection, failed(*items[:3]))
    (review,) = await open_reviews(connection)
    decided = await decide(connection, review.id, Decision.RETRY, by="ana")
    assert decided.released == 5
    assert await stopped(connection) == Paused()
    assert await open_reviews(connection) == []
    assert await counted(connection, failed(8, 9)) is None
    assert await counted(connection, failed(10)) is not None


async def test_reject_leaves_it_stopped_by_that_person(connection: psycopg.AsyncConnection) -> None:
    await counted(connection, failed(1, 2, 3))
    (review,) = await open_reviews(connection)
    assert (await decide(connection, review.id, Decision.REJECT, by="ana")).released == 0
    (left,) = await listed(connection)
    assert (left.by, left.until) == ("ana", None)
    assert await open_reviews(connection) == []
    assert await resume(connection, PauseKind.RECIPE, f"task {MODEL}")
    assert await streak(connection) == (0, [])


@pytest.mark.parametrize("decision", [Decision.ACCEPT, Decision.EDIT])
async def test_there_is_no_answer_to_accept(connection: psycopg.AsyncConnection, decision: Decision) -> None:
    await counted(connection, failed(1, 2, 3))
    (review,) = await open_reviews(connection)
    with pytest.raises(InputError, match="has no answer"):
        await decide(connection, review.id, decision, text="x", by="ana")
    assert len(await open_reviews(connection)) == 1


async def test_resuming_it_settles_the_review(connection: psycopg.AsyncConnection) -> None:
    await counted(connection, failed(1, 2, 3))
    assert await resume(connection, PauseKind.RECIPE, f"task {MODEL}", by="ana")
    assert await open_reviews(connection) == []
    assert await stopped(connection) == Paused()


async def test_drains_at_the_same_time_make_one_strike(database: Database) -> None:
    connections = [await database.aconnect(autocommit=True) for _ in range(6)]
    try:
        for turn in range(8):
            struck = await asyncio.gather(
                *(
                    strikes.count(each, "task", f"m{turn}", failed(number), strike_after=LIMIT)
                    for number, each in enumerate(connections)
                )
            )
            assert sum(each is not None for each in struck) == 1
        assert len(await open_reviews(connections[0])) == 8
    finally:
        for each in connections:
            await each.close()


async def test_three_recipes_struck_at_the_same_time_stop_the_model_once(database: Database) -> None:
    """Each within a transaction of its own, as drains settle: none sees what the others have not committed."""
    connections = [await database.aconnect(autocommit=True) for _ in range(3)]

    async def settle(each: psycopg.AsyncConnection, recipe: str, model: str) -> Strike | None:
        async with each.transaction():
            return await strikes.count(each, recipe, model, failed(1, 2, 3), strike_after=LIMIT)

    try:
        for turn in range(8):
            names = zip(connections, ("task", "check", "split"), strict=True)
            found = await asyncio.gather(*(settle(each, name, f"m{turn}") for each, name in names))
            assert sorted(bool(each and each.whole_model) for each in found) == [False, False, True]
        assert len(await open_reviews(connections[0])) == 8
    finally:
        for each in connections:
            await each.close()


async def test_a_decision_and_a_count_at_the_same_time_do_not_wait_for_one_another(
    database: Database,
) -> None:
    one, two = [await database.aconnect(autocommit=True) for _ in range(2)]
    try:
        for turn in range(20):
            await strikes.count(one, "task", f"m{turn}", failed(1, 2, 3), strike_after=LIMIT)
            (review,) = await open_reviews(one)
            await asyncio.gather(
                decide(one, review.id, Decision.RETRY, by="ana"),
                strikes.count(two, "task", f"m{turn}", failed(4, 5, 6), strike_after=LIMIT),
            )
            await resume(one, PauseKind.RECIPE, f"task m{turn}")
    finally:
        await one.close()
        await two.close()


@pytest.mark.parametrize("seed", range(10))
async def test_it_counts_the_same_however_answers_are_cut_into_batches(
    connection: psycopg.AsyncConnection, seed: int
) -> None:
    chance = random.Random(seed)
    failures, items = 0, set[int]()
    for _ in range(12):
        batch = [(chance.randint(1, 9), chance.random() < 0.2) for _ in range(chance.randint(0, 5))]
        for item, accepted in batch:
            failures, items = (0, set()) if accepted else (failures + 1, items | {item})
        results = [(item, accepted, "" if accepted else "why") for item, accepted in batch]
        await strikes.count(connection, "task", MODEL, results, strike_after=100)
        assert (await streak(connection) or (0, [])) == (failures, sorted(items))


def report(error: ErrorType | None) -> Report:
    item = ClaimedItem(1, 1, "task", None, 0, 1, "task", None, "t", "", 1, {}, "p.md", "", None, None)
    return Report(item, "h", policy.Next("accepted"), error_type=error, error="why")


def test_what_is_counted_is_what_speaks_against_recipe_or_model() -> None:
    told = {error for error in ErrorType if strikes.results([report(error)])}
    uncharged = {error for error in ErrorType if not error.charged}
    own = {ErrorType.NO_EVIDENCE, ErrorType.HUMAN_ONLY, ErrorType.COUNCIL, ErrorType.CYCLE, ErrorType.PLAN}
    assert told == set(ErrorType) - uncharged - own
    assert strikes.results([report(None), report(ErrorType.RULE)]) == [(1, True, ""), (1, False, "rule: why")]


async def test_an_item_that_only_ever_breaks_its_server_goes_to_a_person(world: World) -> None:
    """Ten tries that cost it nothing, then it is poison: a review, and no more tries; others are answered."""
    (bad, *_) = world.add(3)

    async def reply(request: Any) -> str:
        if request.item_id == bad:
            raise ModelCallError(ErrorType.SERVER_ERROR, "500 Internal Server Error")
        return await answered(request)

    settings = world.settings.model_copy(update={"breaker_failures": 100})
    tally = await world.drain(InProcess(reply), recipe(), settings=settings)
    assert (tally.accepted, tally.deferred, tally.returned) == (2, 1, policy.MAX_RETURNS - 1)
    assert world.statuses() == {Status.DONE: 2, Status.WAITING: 1}
    assert world.rows("select attempts, tries from item where status = 3") == [(0, policy.MAX_RETURNS)]
    assert world.rows("select error_type from review") == [("server_error",)]
