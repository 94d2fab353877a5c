"""A drain takes every ready item to its end, once, within the endpoint's slots, whatever the server does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from backends.testing import eventually
from models.calls import ModelCallError, ModelRequest, Passage
from models.enums import ErrorType, Status
from models.errors import BackendUnavailable, LeaseLost
from models.recipe import Note, Recipe, Rendered
from models.settings import Settings
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import ClaimedItem, Stages
from tasks.execute.stopping import last_thing, to_the_end
from tasks.execute.store import Store

from .conftest import STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe


async def test_every_item_is_answered_once(world: World) -> None:
    ids = world.add(50)
    backend = InProcess(answered)
    tally = await world.drain(backend)
    assert world.statuses() == {Status.DONE: 50}
    assert sorted(backend.asked) == ids
    assert (tally.accepted, tally.ignored, tally.batches) == (50, 0, 8)  # 7 a batch: one slot is kept
    assert world.rows("select count(*), count(distinct item_id) from result") == [(50, 50)]
    assert world.rows("select count(*) from attempt where outcome = 'accepted'") == [(50,)]
    assert world.rows("select count(*) from lease") == [(0,)]


async def test_in_flight_never_exceeds_the_slots(world: World) -> None:
    world.add(60)

    async def slow(request: ModelRequest) -> str:
        await asyncio.sleep(0.002)
        return await answered(request)

    backend = InProcess(slow)
    await world.drain(backend)
    assert backend.most_in_flight == world.endpoint.slots


async def test_what_a_kill_can_cost_is_one_batch(world: World) -> None:
    """Claimed and not yet written never exceeds `batch_size`, though two half batches overlap."""
    world.add(64)
    most = 0

    async def count(request: ModelRequest) -> str:
        nonlocal most
        most = max(most, world.statuses().get(Status.RUNNING, 0))
        return await answered(request)

    await world.drain(InProcess(count))
    assert world.settings.batch_size // 2 < most <= world.settings.batch_size


@pytest.mark.parametrize(("size", "share", "lane"), [(1, 0.25, 1), (16, 0.25, 0), (16, 0.0, 0), (4, 0.5, 0)])
async def test_that_holds_for_small_batches_and_for_what_people_wait_for(
    world: World, size: int, share: float, lane: int
) -> None:
    ids = world.add(48)
    with world.database.connect() as connection:
        connection.execute("update item set lane = %s", [lane])
    world.settings = world.settings.model_copy(update={"batch_size": size, "interactive_share": share})
    claimed: list[int] = []
    full = asyncio.Event()

    async def count(request: ModelRequest) -> str:
        claimed.append(world.statuses().get(Status.RUNNING, 0))
        if backend.in_flight == min(size, world.endpoint.slots):
            full.set()
        await asyncio.wait_for(full.wait(), 20)  # all slots are used
        await asyncio.sleep(0.02)  # there is time to claim more
        return await answered(request)

    backend = InProcess(count)
    await world.drain(backend)
    assert sorted(backend.asked) == ids
    assert max(claimed) <= size


async def test_urgent_first_and_one_group_at_a_time(world: World) -> None:
    """Priority first; among equals a recipe's items run to the end before the next recipe's."""
    for _ in range(8):
        world.add(3, recipe="a")
        world.add(3, recipe="b")
    urgent = world.add(2, recipe="b", priority=0)
    await world.drain(InProcess(answered), recipe("a"), recipe("b"))
    order = [row[0] for row in world.rows("select recipe from batch order by id")]
    first = world.rows("select item_id from attempt where batch_id = (select min(id) from batch) order by id")
    assert [row[0] for row in first[:2]] == urgent
    switches = sum(one != two for one, two in itertools.pairwise(order))
    assert switches == 1, order


def failing(error_type: ErrorType, times: int) -> InProcess:
    """Fails `times` for each item, then answers."""
    asked: dict[int, int] = {}

    async def reply(request: ModelRequest) -> str:
        asked[request.item_id] = asked.get(request.item_id, 0) + 1
        if asked[request.item_id] <= times:
            raise ModelCallError(error_type, f"broken {asked[request.item_id]}")
        return await answered(request)

    return InProcess(reply)


async def test_a_bad_answer_is_charged_and_asked_again_with_the_reason(world: World) -> None:
    world.add(3)
    prompts: list[str] = []

    def render(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        prompt = STAGES.render(recipe, item, passages, reason)
        prompts.append(prompt.prompt)
        return prompt

    stages = Stages(no_recall, render, accept_all, no_split)
    tally = await world.drain(failing(ErrorType.MALFORMED, 2), stages=stages)
    assert (tally.accepted, tally.retry) == (3, 6)
    assert world.rows("select distinct attempts, tries from item") == [(2, 3)]
    assert sum("broken 1" in prompt for prompt in prompts) == 3
    assert sum("broken 2" in prompt for prompt in prompts) == 3


async def test_after_the_last_attempt_a_person_is_asked(world: World) -> None:
    world.add(2)
    tally = await world.drain(failing(ErrorType.EMPTY, 99))
    assert (tally.deferred, tally.retry) == (2, 4)
    assert world.statuses() == {Status.WAITING: 2}
    assert world.rows("select distinct error_type, reason from review where decided_at is null") == [
        ("empty", "broken 3")
    ]


async def test_infrastructure_never_costs_an_attempt(world: World) -> None:
    world.add(4)
    world.settings = Settings(batch_size=16, batch_seconds=0, heartbeat=5, retry_delay=0, breaker_failures=99)
    tally = await world.drain(failing(ErrorType.OVERLOADED, 2))
    assert tally.accepted == 4
    assert world.rows("select distinct attempts, tries from item") == [(0, 3)]


async def test_an_item_that_breaks_the_server_goes_to_a_person(world: World) -> None:
    """Uncharged tries end too: a server that fails on one item only must not be asked through the night."""
    good, bad = world.add(1), world.add(1)

    async def reply(request: ModelRequest) -> str:
        if request.item_id in bad:
            raise ModelCallError(ErrorType.TIMEOUT, "no answer")
        return await answered(request)

    world.settings = Settings(batch_size=4, batch_seconds=0, heartbeat=5, retry_delay=0, breaker_failures=99)
    tally = await world.drain(InProcess(reply))
    assert (tally.accepted, tally.deferred) == (1, 1)
    assert world.rows("select item_id, error_type from review") == [(bad[0], "timeout")]
    assert world.rows(f"select status from item where id = {good[0]}") == [(int(Status.DONE),)]


async def test_only_tries_that_were_asked_count_against_the_server(world: World) -> None:
    """Claims that were given back, tries before a person's decision: none of them makes one failure the last one."""
    given_back, decided = world.add(1), world.add(1)
    with world.database.connect() as connection:
        connection.execute("update item set tries = 40 where id = %s", given_back)
    await world.drain(failing(ErrorType.EMPTY, 99), recipe(max_attempts=30))
    assert world.statuses() == {Status.WAITING: 2}
    with world.database.connect() as connection:
        connection.execute("update item set status = 1, ready = true, attempts = 0")
        connection.execute("update review set decided_at = now(), decision = 'retry'")
    world.settings = Settings(batch_size=16, batch_seconds=0, heartbeat=5, retry_delay=0, breaker_failures=99)
    tally = await world.drain(failing(ErrorType.OVERLOADED, 3))
    assert (tally.accepted, tally.deferred, tally.returned) == (2, 0, 6), decided


async def test_a_server_that_wants_a_day_ends_the_drain(world: World) -> None:
    """Not: a run that waits until tomorrow without a word, while it holds the endpoint."""
    world.add(20)

    async def reply(request: ModelRequest) -> str:
        raise ModelCallError(ErrorType.RATE_LIMITED, "quota used up", retry_after=86400.0)

    backend = InProcess(reply)
    with pytest.raises(BackendUnavailable, match=r"only in 24\.0 hours: quota used up"):
        await asyncio.wait_for(world.drain(backend), 20)
    assert len(backend.asked) <= world.endpoint.slots
    assert world.statuses() == {Status.READY: 20}
    assert world.rows("select count(*) from item where run_after > now() or attempts > 0") == [(0,)]


async def test_a_server_that_wants_a_pause_gets_it(world: World) -> None:
    world.add(6)
    clock = asyncio.get_running_loop().time
    asked: list[float] = []

    async def reply(request: ModelRequest) -> str:
        asked.append(clock())
        if len(asked) == 1:
            raise ModelCallError(ErrorType.RATE_LIMITED, "slowly", retry_after=0.4)
        return await answered(request)

    tally = await world.drain(InProcess(reply), endpoint=world.endpoint.model_copy(update={"slots": 1}))
    assert tally.accepted == 6
    assert asked[1] - asked[0] >= 0.4


async def test_a_dead_server_stops_the_drain_and_costs_nothing(world: World) -> None:
    world.add(40)
    with pytest.raises(BackendUnavailable, match=r"failed 3 times in a row.*run the same command again"):
        await world.drain(failing(ErrorType.CONNECTION, 99))
    assert world.statuses() == {Status.READY: 40}
    assert world.rows("select distinct attempts, ready from item where run_after <= now()") == [(0, True)]
    with pytest.raises(BackendUnavailable, match="left alone"):
        await world.drain(InProcess(answered))  # it failed minutes ago, and nobody says that it was mended
    tally = await world.drain(InProcess(answered), by_person=True)
    assert tally.accepted == 40


async def test_what_a_dead_server_put_off_may_run_when_it_is_back(world: World) -> None:
    """Else the run that a person starts then waits minutes for nothing."""
    world.add(40)
    world.settings = Settings(
        batch_size=16, batch_seconds=0, heartbeat=5, retry_delay=3600, retry_delay_cap=3600
    )
    with pytest.raises(BackendUnavailable, match="left alone"):
        await asyncio.wait_for(world.drain(failing(ErrorType.CONNECTION, 99)), 20)
    assert world.rows("select count(*) from attempt where outcome = 'returned'") != [(0,)]
    assert world.rows("select count(*) from item where run_after > now()") == [(0,)]


@pytest.mark.parametrize("kind", [ErrorType.NO_EVIDENCE, ErrorType.CONTEXT_TOO_LONG])
async def test_what_would_end_so_again_goes_to_a_person_at_once(world: World, kind: ErrorType) -> None:
    world.add(2)
    tally = await world.drain(failing(kind, 99))
    assert (tally.deferred, tally.retry) == (2, 0)


async def test_a_fallback_recipe_goes_on_before_a_person_is_asked(world: World) -> None:
    world.add(2, recipe="split")
    calls: list[str] = []

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        calls.append(recipe.name)
        if recipe.name == "task":
            return await accept_all(recipe, rows)
        failure = Failure("shape", "json", ErrorType.SCHEMA, "no JSON at all")
        return BatchVerdict({row.item_id: Verdict(row.item_id, (failure,), "") for row in rows})

    stages = Stages(no_recall, STAGES.render, checks, no_split)
    tally = await world.drain(
        InProcess(answered), recipe("split", fallback="task", max_attempts=2), recipe("task"), stages=stages
    )
    assert calls == ["split", "split", "task"]
    assert (tally.retry, tally.fallback, tally.accepted) == (2, 2, 2)
    assert world.rows("select distinct recipe, attempts from item") == [("task", 0)]


async def test_what_the_backend_may_not_do_is_rerouted_within_a_run(world: World) -> None:
    world.add(2, recipe="split")
    tally = await world.drain(
        InProcess(answered), recipe("split", fallback="task", backends=["ollama"]), recipe("task"), boards=[1]
    )
    assert tally.accepted == 2


async def test_an_answer_without_a_verdict_is_not_a_pass(world: World) -> None:
    world.add(2)

    async def silent(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        return BatchVerdict({})

    tally = await world.drain(InProcess(answered), stages=Stages(no_recall, STAGES.render, silent, no_split))
    assert tally.deferred == 2
    assert world.rows("select distinct error_type from review") == [("check_crashed",)]


async def test_nul_bytes_from_a_server_are_no_trouble(world: World) -> None:
    world.add(1)

    async def reply(request: ModelRequest) -> str:
        return "a\0b \\u0000 c"

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        return BatchVerdict(
            {
                row.item_id: Verdict(row.item_id, (), row.answer.text, {"x\0": ["y\0", "\\u0000"]})
                for row in rows
            }
        )

    await world.drain(InProcess(reply), stages=Stages(no_recall, STAGES.render, checks, no_split))
    assert world.rows("select text, data from result") == [("ab \\u0000 c", {"x": ["y", "\\u0000"]})]


async def test_a_cancelled_drain_gives_back_what_it_had(world: World) -> None:
    world.add(30)
    started = asyncio.Event()

    async def hang(request: ModelRequest) -> str:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(world.drain(InProcess(hang)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.statuses() == {Status.READY: 30}
    assert world.rows("select count(*) from lease") == [(0,)]


async def test_what_was_claimed_while_a_drain_was_stopped_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is committed, and the drain is stopped before it hears of that."""
    world.add(30)
    committed = asyncio.Event()
    claim = Store.claim

    async def unheard(*arguments: Any, **options: Any) -> Any:
        await claim(*arguments, **options)
        committed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Store, "claim", unheard)
    running = asyncio.create_task(world.drain(InProcess(answered)))
    await asyncio.wait_for(committed.wait(), 20)
    assert world.statuses()[Status.RUNNING] > 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.statuses() == {Status.READY: 30}


async def test_a_drain_that_lost_its_lease_stops_and_changes_nothing(world: World) -> None:
    world.add(20)
    world.settings = Settings(batch_size=16, batch_seconds=0, heartbeat=0.1, retry_delay=0)
    started = asyncio.Event()

    async def hang(request: ModelRequest) -> str:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    running = asyncio.create_task(world.drain(InProcess(hang)))
    await started.wait()
    with world.database.connect() as connection:
        connection.execute("update lease set token = nextval('lease_token'), holder = 'another'")
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(running, 10)
    assert world.statuses()[Status.RUNNING] in (7, 14)  # the new holder recovers them, not the old one
    assert world.rows("select count(*) from attempt") == [(0,)]


async def test_a_late_report_changes_nothing(world: World) -> None:
    """The lease is taken over between the answer and its writing."""
    world.add(4)

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        with world.database.connect() as connection:
            connection.execute(
                "update lease set token = nextval('lease_token'), expires_at = now() + interval '1 h'"
            )
        return await accept_all(recipe, rows)

    tally = await world.drain(InProcess(answered), stages=Stages(no_recall, STAGES.render, checks, no_split))
    assert (tally.accepted, tally.ignored) == (0, 4)
    assert world.rows("select count(*) from result") == [(0,)]


async def test_an_item_that_changed_while_it_ran_does_not_take_the_old_answer(world: World) -> None:
    """Its board was edited and the same drain claimed it again: the token is the same, the claim is not."""
    world.add(1)

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        with world.database.connect() as connection:
            connection.execute("update item set tries = tries + 1 where tries = 1")
        return await accept_all(recipe, rows)

    stages = Stages(no_recall, STAGES.render, checks, no_split)
    tally = await world.drain(InProcess(answered), stages=stages)
    assert (tally.accepted, tally.ignored) == (0, 1)
    assert world.rows("select count(*) from result") == [(0,)]


async def test_a_prompt_that_does_not_fit_is_never_sent(world: World) -> None:
    """A server that cuts a prompt in silence answers another question."""
    first, _ = world.add(2)
    notes = (Note("cut", "2 of 3 passages left out: it did not fit."),)

    def render(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        long = "" if item.id > first else "It is too long, so it was not asked."
        return replace(STAGES.render(recipe, item, passages, reason), notes=notes, too_long=long)

    backend = InProcess(answered)
    tally = await world.drain(backend, stages=Stages(no_recall, render, accept_all, no_split))
    assert (tally.accepted, tally.deferred) == (1, 1)
    assert first not in backend.asked
    assert world.rows("select reason, error_type, proposal, details -> 'checks' -> 0 ->> 'message' from review") == [
        ("It is too long, so it was not asked.", "context_too_long", None, notes[0].message)
    ]  # fmt: skip
    assert world.rows("select distinct checks -> 0 ->> 'layer', checks -> 0 ->> 'check' from attempt") == [
        ("prompt", "cut")
    ]
    assert world.rows("select failures from model_state where failures > 0") == [], "it is no server's fault"


async def test_what_is_measured_of_tokens_is_learned(world: World) -> None:
    world.add(3)
    seen: list[tuple[str, int | None]] = []
    stages = replace(
        STAGES, learn=lambda request, answer: seen.append((request.prompt, answer.prompt_tokens))
    )
    await world.drain(InProcess(answered), stages=stages)
    assert len(seen) == 3
    assert {tokens for _, tokens in seen} == {10}


async def test_what_was_answered_is_checked_and_written_when_a_drain_is_stopped(world: World) -> None:
    """In the middle of a half batch: one answer has come, the others are in flight or were not sent."""
    world.add(30)
    hangs = asyncio.Event()

    async def first_only(request: ModelRequest) -> str:
        if request.item_id > 1:
            hangs.set()
            await asyncio.Event().wait()
        return await answered(request)

    world.endpoint = world.endpoint.model_copy(update={"slots": 1})
    running = asyncio.create_task(world.drain(InProcess(first_only)))
    await hangs.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.statuses() == {Status.DONE: 1, Status.READY: 29}
    assert world.rows("select item_id, outcome from attempt") == [(1, "accepted")]
    assert world.rows("select text from result") == [('{"answer":"answer to 1"}',)]


@pytest.mark.parametrize("all_tasks", [False, True])
async def test_a_batch_that_is_being_checked_is_written_when_a_drain_is_stopped(
    world: World, all_tasks: bool
) -> None:
    """`all_tasks`: as a process that ends cancels them."""
    world.add(5)
    checking = asyncio.Event()

    async def slowly(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        if not checking.is_set():
            checking.set()
            await asyncio.Event().wait()
        return await accept_all(recipe, rows)

    stages = Stages(no_recall, STAGES.render, slowly, no_split)
    running = asyncio.create_task(world.drain(InProcess(answered), stages=stages))
    before = asyncio.all_tasks()
    await checking.wait()
    for task in (asyncio.all_tasks() - before) | {running} if all_tasks else {running}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.statuses() == {Status.DONE: 5}
    assert world.rows("select (select count(*) from attempt), (select count(*) from lease)") == [(5, 0)]


async def test_a_batch_that_is_being_written_is_written_when_a_drain_is_stopped(world: World) -> None:
    """It waits for a row that somebody has: what was sent of it is taken back, and sent once more."""
    world.add(5)
    waits = b"select query_start from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with world.database.connect() as other, world.database.connect(autocommit=True) as looking:

        async def reply(request: ModelRequest) -> str:
            if request.item_id == 3:
                other.execute("select from item where id = 2 for update")
            return await answered(request)

        running = asyncio.create_task(world.drain(InProcess(reply)))
        await eventually(lambda: looking.execute(waits).fetchone() is not None, "it waits")
        since = looking.execute(waits).fetchone()
        running.cancel()
        await eventually(lambda: looking.execute(waits).fetchone() != since, "it was taken back")
        other.rollback()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert world.statuses() == {Status.DONE: 5}
    assert world.rows("select (select count(*) from attempt), (select count(*) from lease)") == [(5, 0)]


async def test_who_is_cancelled_while_it_commits_leaves_no_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives a COMMIT up like any other statement, and the transaction is still there."""
    ids = world.add(2)
    with world.database.connect() as setting:
        setting.execute("update item set status = 2, ready = false, lease = 7")
    commands = psycopg.AsyncTransaction._get_commit_commands

    def slowly(transaction: psycopg.AsyncTransaction) -> Iterator[bytes]:
        yield b"select pg_sleep(60)"
        yield from commands(transaction)

    asleep = (
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
        " and query = 'select pg_sleep(60)'"
    )
    connection = await world.database.aconnect(autocommit=True)
    try:
        store = Store(connection, 7)
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.AsyncTransaction, "_get_commit_commands", slowly)
            for change in (store.give_back, store.results_of_parts):
                changing = asyncio.ensure_future(change(ids))
                await eventually(lambda: world.rows(asleep) == [(1,)], "it commits")
                changing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await changing
                assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        await store.give_back(ids)
    finally:
        await connection.close()
    assert world.statuses() == {Status.READY: 2}


async def test_a_drain_that_can_not_begin_leaves_no_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("tasks.execute.Drain", fails)
    theirs = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name like 'penstock drain%'"
    )
    with pytest.raises(RuntimeError, match="no"):
        await world.drain(InProcess(answered))
    await eventually(lambda: world.rows(theirs) == [(0,)], "they are closed")


async def test_what_can_not_be_checked_in_time_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.add(5)
    checking = asyncio.Event()

    async def never(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        checking.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(last_thing, "__defaults__", (0.05,))
    monkeypatch.setattr(to_the_end, "__defaults__", (0.05,))
    stages = Stages(no_recall, STAGES.render, never, no_split)
    running = asyncio.create_task(world.drain(InProcess(answered), stages=stages))
    await checking.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.statuses() == {Status.READY: 5}
    assert "it is asked again" in caplog.text


async def test_whole_files_that_were_given_reach_the_checks(world: World) -> None:
    world.add(1)
    wanted: list[int] = []

    async def files(
        items: Sequence[ClaimedItem], limit: int, found: Sequence[Sequence[Passage]]
    ) -> list[list[Passage]]:
        wanted.append(limit)
        return [[*has, Passage("src/a.py:1-2", "one\ntwo", 2.0, "src/a.py")] for has in found]

    async def check(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        assert [dict(row.files) for row in rows] == [{"src/a.py": "one\ntwo"}]
        return await accept_all(recipe, rows)

    stages = replace(STAGES, validate=check, files=files)
    assert (await world.drain(InProcess(answered), recipe(files=3), stages=stages)).accepted == 1
    assert wanted == [3]
