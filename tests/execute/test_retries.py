"""What follows a failed try: another endpoint, a longer answer, a shorter prompt, another model, an end in time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from backends.testing import eventually
from models.calls import ModelAnswer, ModelCallError, ModelRequest, Passage
from models.enums import RULES, BackendName, ErrorType, Status, Step, TimeoutKind
from models.recipe import Recipe, Rendered
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.execute import ClaimedItem, Seat, Stages, drain_any, policy
from tasks.execute.again import LONGEST_REASON, NEW, Past, reason_of
from tasks.execute.policy import Room, after_failure

from .conftest import STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe

SETTINGS = Settings(retry_delay=90, retry_delay_cap=900)
ROOM = Room(longer=True, shorter=True)
CHARGED = [kind for kind in ErrorType if kind.charged]


def after(kind: ErrorType, known: Recipe, **given: Any) -> policy.Next:
    usual: dict[str, Any] = {"attempts": 0, "spread": random.Random(1)}
    return after_failure(kind, known, SETTINGS, **usual | given)


# --- the decision alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(ErrorType))
def test_what_is_not_the_items_fault_costs_it_nothing(kind: ErrorType) -> None:
    then = after(kind, recipe())
    assert then.charged == (kind.charged and kind is not ErrorType.HUMAN_ONLY)
    alone = kind is ErrorType.PACKED  # at once, and not because of the server
    assert (then.outcome == "returned") is not (kind.charged or alone)
    assert (then.outcome, then.delay) == ("retry", 0.0) or not alone
    assert (then.outcome == "deferred") is (kind.charged and not RULES[kind].steps) or RULES[kind].steps


def test_a_pause_doubles_up_to_its_cap_and_is_jittered() -> None:
    for returns, most in [(0, 90), (1, 180), (2, 360), (3, 720), (4, 900), (8, 900)]:
        delays = {after(ErrorType.TIMEOUT, recipe(), past=Past(returns=returns), spread=random.Random(n)).delay
                  for n in range(50)}  # fmt: skip
        assert most / 2 <= min(delays) < max(delays) <= most
    assert after(ErrorType.RATE_LIMITED, recipe(), retry_after=600).delay == 600
    assert after(ErrorType.RATE_LIMITED, recipe(), retry_after=1e9).delay == 900


def test_another_endpoint_gets_it_at_once_the_first_time_only() -> None:
    first = after(ErrorType.TIMEOUT, recipe())
    assert (first.elsewhere, first.delay > 0) == (0.0, True)
    second = after(ErrorType.TIMEOUT, recipe(), past=Past(returns=1))
    assert second.elsewhere == second.delay > 0
    assert after(ErrorType.RATE_LIMITED, recipe()).elsewhere is None, (
        "the account is to blame, not the endpoint"
    )


LADDER = recipe(ladder=["small", "middle", "large"], max_attempts=6)


@pytest.mark.parametrize("kind", [kind for kind in CHARGED if Step.MODEL in RULES[kind].steps])
def test_a_ladder_is_climbed_and_each_model_has_its_turns(kind: ErrorType) -> None:
    asked: list[str] = []
    model: str | None = None
    for attempts in range(6):
        asked.append(model or "small")
        then = after(kind, LADDER, attempts=attempts, model=model)
        model = then.next_model or model
        if then.outcome != "retry":
            break
    rungs = list(dict.fromkeys(asked))
    assert rungs == ["small", "middle", "large"]
    if RULES[kind].steps[0] is Step.REASON:
        assert [asked.count(each) for each in rungs] == [2, 2, 2]
    else:
        assert asked[:3] == rungs, "no use in asking the same model again first"


def test_an_item_that_names_a_model_stays_with_it_unless_it_is_of_the_ladder() -> None:
    assert after(ErrorType.REFUSED, LADDER, model="mine").next_model is None
    assert after(ErrorType.REFUSED, LADDER, model="middle").next_model == "large"
    assert after(ErrorType.REFUSED, LADDER, model="large").next_model is None


def test_a_ladder_has_an_attempt_for_each_model_whatever_the_setting() -> None:
    known = recipe(ladder=["a", "b", "c", "d", "e"])
    assert policy.most_attempts(known, SETTINGS) == 5
    model, asked = None, ["a"]
    for attempts in range(4):
        model = after(ErrorType.SCHEMA, known, attempts=attempts, model=model).next_model
        asked.append(str(model))
    assert asked == ["a", "b", "c", "d", "e"]


def test_steps_that_can_not_be_taken_are_left_out() -> None:
    assert after(ErrorType.CONTEXT_TOO_LONG, recipe()).outcome == "deferred"
    assert after(ErrorType.CONTEXT_TOO_LONG, recipe(), room=ROOM).outcome == "retry"
    assert after(
        ErrorType.CONTEXT_TOO_LONG, recipe(), attempts=1, room=ROOM, past=Past(too_long=2)
    ).outcome == ("deferred")
    assert after(ErrorType.CONTEXT_TOO_LONG, LADDER).next_model == "middle"
    assert after(ErrorType.TRUNCATED, LADDER, room=ROOM).next_model is None
    assert after(ErrorType.TRUNCATED, LADDER, room=ROOM, past=Past(truncated=2)).next_model == "middle"
    assert after(ErrorType.TRUNCATED, LADDER).next_model == "middle"
    assert after(ErrorType.SCHEMA, LADDER, deterministic=True).outcome == "deferred"


@pytest.mark.parametrize("kind", [ErrorType.TIMEOUT, ErrorType.SCHEMA, ErrorType.NO_EVIDENCE])
def test_given_up_is_the_fallback_first(kind: ErrorType) -> None:
    known = recipe(fallback="task")
    then = after(kind, known, attempts=2, past=Past(returns=9))
    assert (then.outcome, then.next_recipe) == ("fallback", "task")


def test_no_pause_is_begun_that_would_outlive_the_limit() -> None:
    assert after(ErrorType.TIMEOUT, recipe(), limit=100.0, past=Past(elapsed=5)).outcome == "returned"
    late = after(ErrorType.TIMEOUT, recipe(), limit=100.0, past=Past(elapsed=60))
    assert late.outcome == "deferred"
    assert "give_up_after (100 s)" in late.why
    assert after(ErrorType.SCHEMA, recipe(), limit=100.0, past=Past(elapsed=99)).outcome == "retry"
    assert after(ErrorType.SCHEMA, recipe(), limit=100.0, past=Past(elapsed=100)).outcome == "deferred"


def test_the_limit_is_the_least_of_the_recipes_it_was_tried_with() -> None:
    known = {"a": recipe("a", give_up_after=60, fallback="b"), "b": recipe("b"), "c": recipe("c")}
    setting = SETTINGS.model_copy(update={"give_up_after": 3600.0})
    assert policy.time_limit(known["b"], NEW, known, SETTINGS) is None
    assert policy.time_limit(known["b"], Past(recipes=("a",)), known, SETTINGS) == 60
    assert policy.time_limit(known["c"], Past(recipes=("b",)), known, setting) == 3600


def test_a_reason_is_of_the_failed_checks_each_once_and_bounded() -> None:
    checks: list[dict[str, Any]] = [
        {"check": "repaired", "error_type": None, "message": "it was in a fence"},
        {"check": "schema", "error_type": "schema", "message": "no answer"},
        {"check": "schema", "error_type": "schema", "message": "no answer"},
        {"check": "rule", "error_type": "rule", "message": "x" * 5000},
    ]
    said = reason_of(checks, "all of it", "schema")
    assert said.startswith("no answer; xxx")
    assert said.count("no answer") == 1
    assert len(said) <= 400
    assert reason_of([checks[0]], "cut off", "truncated") == "cut off"
    assert len(reason_of([], "y" * 9000, None)) <= LONGEST_REASON
    assert reason_of(None, None, "refused") == "refused"


# --- drains -------------------------------------------------------------------------------------------------


def rejecting(kind: ErrorType, accepts: str) -> Stages:
    """Accepts the answers of one model."""

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        failure = Failure("rules", "any", kind, "not good enough")
        return BatchVerdict(
            {
                row.item_id: Verdict(
                    row.item_id, () if row.answer.model == accepts else (failure,), row.answer.text
                )
                for row in rows
            }
        )

    return Stages(no_recall, STAGES.render, checks, no_split)


async def test_items_climb_together_and_the_history_says_so(world: World) -> None:
    world.add(12)
    known = recipe(ladder=["small", "large"], max_attempts=4)
    tally = await world.drain(InProcess(answered), known, stages=rejecting(ErrorType.RULE, "large"))
    assert (tally.accepted, tally.retry) == (12, 24)
    models = world.rows("select model, count(*) from batch group by model order by 1")
    assert [model for model, _ in models] == ["large", "small"]
    assert models[0][1] <= 2, "as a group: the model is changed once"
    order = [model for (model,) in world.rows("select model from batch order by id")]
    assert order == sorted(order, reverse=True)
    assert world.rows("select distinct number, model, tried from attempt order by 1") == [
        (1, "small", None),
        (2, "small", "with the reason"),
        (3, "large", "with the reason"),
    ]
    assert world.rows("select distinct model, named from item") == [("large", None)]


async def test_a_fallback_and_a_person_begin_with_the_first_model_again(world: World) -> None:
    world.add(2)
    known = [
        recipe(ladder=["small", "large"], max_attempts=2, fallback="plain"),
        recipe("plain", max_attempts=1),
    ]
    tally = await world.drain(InProcess(answered), *known, stages=rejecting(ErrorType.RULE, "none"))
    assert (tally.retry, tally.fallback, tally.deferred) == (2, 2, 2)
    history = world.rows("select number, model from attempt where item_id = 1 order by 1")
    assert history == [(1, "small"), (2, "large"), (3, "test-model")]
    ((attempts,),) = world.rows("select details -> 'attempts' from review where item_id = 1")
    assert [
        (one["number"], one["recipe"], one["model"], one["outcome"], one["error_type"]) for one in attempts
    ] == [
        (1, "task", "small", "retry", "rule"),
        (2, "task", "large", "fallback", "rule"),
        (3, "plain", "test-model", "deferred", "rule"),
    ]
    assert all(one["endpoint"] == "test://here" and one["prompt_tokens"] == 10 for one in attempts)


async def test_an_answer_that_was_cut_off_may_be_longer(world: World) -> None:
    world.add(3)
    allowed: dict[int, list[int]] = {}

    async def reply(request: ModelRequest) -> str:
        allowed.setdefault(request.item_id, []).append(request.max_tokens)
        if request.max_tokens < 400:
            raise ModelCallError(ErrorType.TRUNCATED, "cut off")
        return await answered(request)

    tally = await world.drain(InProcess(reply), recipe(max_tokens=100))
    assert tally.accepted == 3
    assert set(map(tuple, allowed.values())) == {(100, 200, 400)}
    assert world.rows("select distinct tried from attempt where number = 2") == [
        ("with the reason, max_tokens 200",)
    ]
    narrow = world.endpoint.model_copy(update={"context_tokens": 512})
    world.add(1, board="narrow.md")
    allowed.clear()
    await world.drain(InProcess(reply), recipe(max_tokens=300), endpoint=narrow)
    ((tokens,),) = [list(each) for each in [allowed.values()]]
    assert tokens[0] == 300
    assert 480 < tokens[1] < 512, "as far as the context has room"


async def test_a_prompt_that_is_too_long_is_sent_with_less(world: World) -> None:
    world.add(2)
    shares: list[float] = []

    def render(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        shares.append(share)
        return Rendered("", f"{item.title} {share}", f"{item.id}", tuple(passages), can_shrink=True)

    async def reply(request: ModelRequest) -> str:
        if "0.25" not in request.prompt:
            raise ModelCallError(ErrorType.CONTEXT_TOO_LONG, "too long")
        return await answered(request)

    async def recall(connection: Any, items: Sequence[ClaimedItem], limit: int) -> list[list[Passage]]:
        return [[Passage("a.md:1", "words")] for _ in items]

    stages = Stages(recall, render, accept_all, no_split)
    tally = await world.drain(InProcess(reply), recipe(passages=1), stages=stages)
    assert (tally.accepted, tally.retry) == (2, 4)
    assert sorted(shares) == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert world.rows("select tried from attempt where number = 3 limit 1") == [
        ("with the reason, 25% of the prompt",)
    ]


async def beside(world: World, settings: Settings, *backends: InProcess) -> None:
    seats = [
        Seat(backend, Endpoint(backend=BackendName.OPENAI, url=f"test://{place}", slots=2), "m", STAGES)
        for place, backend in enumerate(backends)
    ]
    await drain_any(
        world.database, seats, recipes={"task": recipe()}, settings=settings, trace_id="", boards=[1]
    )


async def test_what_fails_on_one_endpoint_is_done_by_the_other_at_once(world: World) -> None:
    world.add(20)
    settings = Settings(batch_size=4, heartbeat=5, retry_delay=60, breaker_failures=99)
    at_work = asyncio.Event()

    async def some(request: ModelRequest) -> str:
        await at_work.wait()
        if request.item_id % 2:
            raise ModelCallError(ErrorType.SERVER_ERROR, "broken here")
        return await answered(request)

    async def all_of_them(request: ModelRequest) -> str:
        """Both work on the board, and this one for as long as the other finds something that it has not failed on."""
        at_work.set()
        left = "select count(*) filter (where status = 2), count(*) filter (where ready and avoid is null) from item"
        if len(whole.asked) <= 2:
            await eventually(
                lambda: world.rows(left) in ([(4, 0)], [(2, 0)]), "the other has done what it can", 20
            )
        return await answered(request)

    broken, whole = InProcess(some), InProcess(all_of_them)
    began = time.monotonic()
    await asyncio.wait_for(beside(world, settings, broken, whole), 30)
    assert time.monotonic() - began < 30, "nobody waited for the pause"
    assert world.statuses() == {Status.DONE: 20}
    odd = [item for item in broken.asked if item % 2]
    assert odd
    assert len(odd) == len(set(odd)), "no item came back to the endpoint that had failed on it"
    assert world.rows("select max(attempts) from item") == [(0,)]


async def test_an_endpoint_that_is_alone_tries_again_itself(world: World) -> None:
    world.add(2)
    asked: set[int] = set()

    async def once(request: ModelRequest) -> str:
        if request.item_id not in asked:
            asked.add(request.item_id)
            raise ModelCallError(ErrorType.SERVER_ERROR, "broken once")
        return await answered(request)

    settings = Settings(batch_size=4, heartbeat=5, retry_delay=0.2, breaker_failures=99)
    await asyncio.wait_for(beside(world, settings, InProcess(once)), 20)
    assert world.statuses() == {Status.DONE: 2}
    assert world.rows("select distinct avoid from item") == [(None,)]


async def test_nobody_starves_where_the_other_endpoint_does_not_take_it(world: World) -> None:
    """Another lease of the backend is alive and does something else: after `retry_delay` more it is this one's."""
    world.add(1)
    with world.database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('openai test://elsewhere', 'openai', 999, 'x', now() + interval '1 hour')"
        )
        connection.execute("update item set avoid = 'openai test://here'")
    settings = Settings(batch_size=4, heartbeat=5, retry_delay=0.5)
    began = time.monotonic()
    tally = await asyncio.wait_for(world.drain(InProcess(answered), settings=settings), 20)
    assert tally.accepted == 1
    assert time.monotonic() - began >= 0.4


async def test_a_call_is_no_longer_than_its_item_has_time(world: World) -> None:
    world.add(2)
    left: list[float] = []

    class Slow(InProcess):
        async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
            if not request.item_id:
                return await super().answer(request, deadline)
            left.append(deadline - asyncio.get_running_loop().time())
            raise ModelCallError(ErrorType.TIMEOUT, "No answer in time.", timeout=TimeoutKind.TOTAL)

    settings = Settings(batch_size=4, heartbeat=5, retry_delay=90, give_up_after=12)
    tally = await world.drain(Slow(answered), settings=settings)
    assert tally.deferred == 2
    assert all(11 < each <= 12 for each in left)
    assert len(left) == 2
    assert world.rows("select count(*) from model_state where failures > 0") == [(0,)], (
        "the server is not to blame"
    )
    assert world.rows(
        "select distinct error_type, attempts, reason from review join item on item.id = item_id"
    ) == [
        (
            "timeout",
            0,
            "No answer in time. The item had no more time than that. It is not tried again: give_up_after (12 s) "
            "counts from its first try.",
        )
    ]


async def test_a_fallback_is_tried_once_when_the_time_is_up_and_not_twice(world: World) -> None:
    world.add(3)
    known = [recipe(give_up_after=30, fallback="plain"), recipe("plain")]
    with world.database.connect() as connection:
        connection.execute("insert into recipe (hash, name, text) values ('h', 'task', '')")
        batch = connection.execute(
            "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
            " values (1, 'openai', 'x', 'm', 'task', 'h', 1) returning id"
        ).fetchone()
        assert batch
        connection.execute(
            "insert into attempt (item_id, number, batch_id, model, prompt_hash, seconds, outcome, error_type, error,"
            " finished_at) select id, 1, %s, 'm', '', 1, 'retry', 'schema', 'no JSON', now() - interval '1 minute'"
            " from item",
            batch,
        )
        connection.execute("update item set tries = 1, attempts = 1")
    backend = InProcess(answered)
    tally = await world.drain(backend, *known, stages=rejecting(ErrorType.RULE, "none"))
    assert (tally.fallback, tally.retry, tally.deferred) == (3, 0, 3)
    assert len(backend.asked) == 3, "with the recipe itself it was not asked any more"
    assert world.rows("select number, outcome, error_type from attempt where item_id = 1 order by 1") == [
        (1, "retry", "schema"),
        (2, "fallback", "timeout"),
        (3, "deferred", "rule"),
    ]
    ((error,),) = world.rows("select error from attempt where item_id = 1 and number = 2")
    assert "no JSON" in error


async def test_what_a_person_lets_begin_anew_has_no_past(world: World) -> None:
    world.add(1)
    told: list[str | None] = []

    def render(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        told.append(reason)
        return STAGES.render(recipe, item, passages, reason)

    async def cut(request: ModelRequest) -> str:
        raise ModelCallError(ErrorType.TRUNCATED, "cut off")

    stages = Stages(no_recall, render, accept_all, no_split)
    await world.drain(InProcess(cut), stages=stages)
    with world.database.connect() as connection:
        connection.execute("update item set status = 1, ready = true, attempts = 0, tried_before = tries")
        connection.execute("update review set decided_at = now(), decision = 'retry'")
    tokens: list[int] = []

    async def reply(request: ModelRequest) -> str:
        tokens.append(request.max_tokens)
        return await answered(request)

    told.clear()
    await world.drain(InProcess(reply), stages=stages)
    assert (told, tokens) == ([None], [1024])


def test_the_bound_is_of_the_recipe_and_its_fallbacks() -> None:
    known: Mapping[str, Recipe] = {
        "a": recipe("a", fallback="b", max_attempts=2),
        "b": recipe("b", ladder=["x", "y"]),
    }
    assert policy.most_tries(known["a"], known, SETTINGS) == 20 + 30
