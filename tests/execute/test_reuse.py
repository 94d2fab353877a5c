"""The very same request is asked once in a run, and not again while its accepted answer is kept; a retry always is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calls import ModelAnswer, ModelCallError, ModelRequest, Passage, Probe
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType, Status
from models.errors import BackendUnavailable
from models.recipe import Recipe, RecipeHeader, Rendered
from models.settings import Settings
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import Batch, ClaimedItem, Seat, Stages, drain_any
from tasks.execute.asking import as_request
from tasks.execute.pressure import Pressure
from tasks.execute.reuse import Flights, Plan, Reuse, Who, expire
from tasks.execute.savings import clear, savings
from tasks.execute.work import Report
from tasks.prompts import render

from .conftest import SCHEMA, STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe


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
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
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
async def test_it_can_be_turned_off(world: World, days: int, header: dict[str, Any]) -> None:
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


async def test_what_is_claimed_again_behind_its_own_batch_asks_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch is written, and not counted yet: what it was answered there is no answer to this try."""
    first, *_ = world.add(30)
    planned = asyncio.Event()
    plan, judge = Reuse.plan, Pressure.judge

    async def planning(reuse: Reuse, batch: Batch, *others: Any, **options: Any) -> Plan:
        found = await plan(reuse, batch, *others, **options)
        if any(item.id == first and item.tries == 2 for item in batch.items):
            planned.set()
        return found

    async def judging(pressure: Pressure, batch: Batch, reports: Sequence[Report]) -> None:
        if any(item.id == first and item.tries == 1 for item in batch.items):
            await asyncio.wait_for(planned.wait(), 20)
        await judge(pressure, batch, reports)

    async def reply(request: ModelRequest) -> str:
        if request.item_id == first and backend.asked.count(first) == 1:
            raise ModelCallError(ErrorType.SERVER_ERROR, "500")
        return await answered(request)

    monkeypatch.setattr(Reuse, "plan", planning)
    monkeypatch.setattr(Pressure, "judge", judging)
    backend = InProcess(reply)
    await world.drain(backend)
    rows = world.rows(f"select outcome, cached from attempt where item_id = {first} order by number")
    assert rows == [("returned", False), ("accepted", False)]
    assert backend.asked.count(first) == 2


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


class Named(InProcess):
    """Its server tells which model a name stands for, as Ollama does, and may be the simulator."""

    def __init__(self, digest: str | None, simulated: bool = False) -> None:
        super().__init__(answered)
        self.digest = digest
        self.simulated = simulated

    async def identify(self, model: str, deadline: float) -> str | None:
        return self.digest

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        return replace(await super().answer(request, deadline), simulated=self.simulated)


async def test_another_model_under_the_same_name_is_asked(world: World) -> None:
    alike(world, 1)
    for digest, calls in (("one", 1), ("one", 0), ("two", 1), (None, 1), ("one", 0), (None, 1)):
        backend = Named(digest)
        await world.drain(backend)
        assert len(backend.asked) == calls, digest
        again(world)
    rows = world.rows("select model_digest, count(*) from attempt group by 1 order by 1 nulls last")
    assert rows == [("one", 3), ("two", 1), (None, 2)]


async def test_the_same_digest_is_the_same_model_wherever_it_runs(world: World) -> None:
    alike(world, 1)
    await world.drain(Named("one"))
    again(world)
    elsewhere = world.endpoint.model_copy(update={"url": "test://there"})
    backend = Named("one")
    await world.drain(backend, endpoint=elsewhere)
    assert backend.asked == []


async def test_what_a_simulator_said_is_no_model_s_answer(world: World) -> None:
    """Found again by a simulator alone, and labelled; one that nobody took for one keeps nothing."""
    alike(world, 1)
    probes = {True: Probe(True, "simulated", simulated=True), False: Probe(True, "real")}
    for said, is_simulated, calls in ((False, True, 1), (True, True, 1), (True, True, 0), (False, False, 1)):
        backend = Named("one", is_simulated)
        seat = Seat(backend, world.endpoint, "test-model", STAGES, probes[said])
        await drain_any(
            world.database, [seat], recipes={"task": recipe()}, settings=world.settings, trace_id=""
        )
        assert len(backend.asked) == calls, (said, is_simulated)
        again(world)
    rows = world.rows("select simulated, cached from attempt order by id")
    assert rows == [(True, False), (True, False), (True, True), (False, False)]
    assert world.rows("select simulated from result order by id") == [(True,), (True,), (True,), (False,)]


async def test_two_endpoints_of_a_run_ask_the_same_model_once(world: World) -> None:
    alike(world, 30)
    backends = [Named("one"), Named("one")]
    seats = [
        Seat(each, world.endpoint.model_copy(update={"url": f"test://{number}"}), "test-model", STAGES)
        for number, each in enumerate(backends)
    ]
    await drain_any(world.database, seats, recipes={"task": recipe()}, settings=world.settings, trace_id="")
    assert sum(len(each.asked) for each in backends) == 1
    assert world.statuses() == {Status.DONE: 30}


async def test_an_answer_that_is_found_is_checked_like_any_other(world: World) -> None:
    (item,) = alike(world, 1)
    await world.drain(InProcess(answered))
    again(world)
    seen: list[AnswerRow] = []

    async def stricter(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        seen.extend(rows)
        failure = Failure("rules", "taste", ErrorType.RULE, "not good any more")
        failures = (failure,) if len(seen) == 1 else ()
        return BatchVerdict({row.item_id: Verdict(row.item_id, failures, "") for row in rows}, {})

    backend = InProcess(answered)
    await world.drain(backend, stages=Stages(no_recall, STAGES.render, stricter, no_split))
    assert seen[0].answer.text == seen[1].answer.text
    assert (seen[0].answer.finish_reason, seen[0].answer.prompt_tokens) == ("stop", 10)
    assert backend.asked == [item]  # the retry
    assert world.rows("select outcome, cached from attempt order by id") == [
        ("accepted", False),
        ("retry", True),
        ("accepted", False),
    ]


async def test_it_takes_no_budget(world: World) -> None:
    alike(world, 1)
    await world.drain(InProcess(answered))
    again(world)
    account = world.endpoint.resource
    values = world.settings.model_dump() | {
        "endpoints": [world.endpoint],
        "budgets": [{"account": account, "requests_per_day": 1}],
    }
    await world.drain(InProcess(answered), settings=Settings(**values))
    assert world.statuses() == {Status.DONE: 1}
    assert world.rows("select count(*) from spend where requests > 0") == [(0,)]


async def test_a_leader_that_is_stopped_takes_nobody_along(world: World) -> None:
    """Who followed a request that was never sent is given back, and asked by the next drain."""
    alike(world, 3)

    async def broken(request: ModelRequest) -> str:
        raise ModelCallError(ErrorType.RATE_LIMITED, "quota used up", retry_after=86400.0)

    with pytest.raises(BackendUnavailable):
        await world.drain(InProcess(broken))
    assert world.rows("select count(*) from item where attempts > 0") == [(0,)]
    with world.database.connect() as connection:
        connection.execute("update item set run_after = now()")
        connection.execute("delete from account")
    backend = InProcess(answered)
    await world.drain(backend, by_person=True)
    assert (len(backend.asked), world.statuses()) == (1, {Status.DONE: 3})


async def test_kept_answers_end_with_their_days_and_on_demand(world: World) -> None:
    alike(world, 1, 1)
    await world.drain(InProcess(answered))
    again(world)
    with world.database.connect() as connection:
        connection.execute("update answer_cache set at = now() - interval '31 days'")
    backend = InProcess(answered)
    await world.drain(backend)
    assert len(backend.asked) == 2
    with world.database.connect() as connection:
        connection.execute(
            "update answer_cache set at = now() - interval '31 days'"
            " where key = (select min(key) from answer_cache)"
        )
        found = savings(connection, 30)
        assert (found.kept, found.answers, found.unasked) == (2, 4, 0)
    upkeep = await world.database.aconnect(autocommit=True)
    try:
        assert await expire(upkeep, 30) == 1
    finally:
        await upkeep.close()
    with world.database.connect() as connection:
        assert clear(connection) == 1
    again(world)
    backend = InProcess(answered)
    await world.drain(backend)
    assert len(backend.asked) == 2


FENCED = "The key is {{ fence }}. <data {{ fence }}>{{ item.title }} {{ item.ext_id }}</data {{ fence }}>"


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cd")), min_size=2, max_size=6),
    st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=2, unique=True),
)
def test_a_key_is_of_what_is_asked_and_not_of_the_fence(
    words: list[tuple[str, str]], secrets: list[bytes]
) -> None:
    header = RecipeHeader(name="task", about="", answer_schema=SCHEMA)
    made = Recipe(header, "", FENCED, "", "hash", "task.md")
    endpoint = Endpoint(backend=BackendName.OPENAI, url="test://here")
    reuse = Reuse(never, InProcess(answered), endpoint, 30, Flights())
    keys: dict[bytes, set[bytes]] = {}
    for secret in secrets:
        for title, parent in words:
            item = ClaimedItem(
                1, 1, "task", None, 0, 1, "task", None, title, "", 1, {}, f"{parent}.md", "", parent, ""
            )
            prompt = render(made, item, [], secret=secret)
            batch = Batch(1, "task", "m", (item,))
            request = as_request(batch, item, prompt, context_tokens=4096, recipes={"task": made})
            keys.setdefault(title.encode(), set()).add(reuse.key(Who("m"), request, made, prompt))
            other = replace(request, max_tokens=request.max_tokens + 1)
            assert reuse.key(Who("m"), other, made, prompt) not in keys[title.encode()]
            assert reuse.key(Who("n"), request, made, prompt) not in keys[title.encode()]
    assert all(len(found) == 1 for found in keys.values())
    assert len(set.union(*keys.values())) == len(keys)


async def never(ask: object) -> None:
    raise AssertionError("no database is asked")
