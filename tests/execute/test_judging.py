"""A recipe's judge is asked in the drain: where its model is, within the slots there, one load for a batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from backends.registry import make
from backends.simulator import inside
from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Device, ModelSpec
from models.enums import BackendName, ErrorType, Status
from models.recipe import Recipe
from models.run import Wish
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict
from tasks.execute import Halt, Seat, Stages, Tally, drain_any
from tasks.execute.lease import endpoint_lease
from tasks.validate import validate_batch
from tasks.validate.judge import Ask, check_judge

from .conftest import STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe

Server = Any


async def judge_alone(recipe: Recipe, rows: Sequence[AnswerRow], *, judge: Ask | None = None) -> BatchVerdict:
    return await check_judge(recipe, rows, await accept_all(recipe, rows), judge)


STAGES_JUDGED = Stages(no_recall, STAGES.render, judge_alone, no_split)


def judged(model: str = "judge", votes: int = 3, **header: Any) -> Recipe:
    return recipe(judge={"model": model, "votes": votes}, **header)


@asynccontextmanager
async def seats(*servers: Server, **options: Any) -> AsyncIterator[list[Seat]]:
    """A seat per server; `options` of their endpoints, in their order where they are tuples."""
    async with AsyncExitStack() as stack:
        made = []
        for number, server in enumerate(servers):
            own = {
                name: value[number] if isinstance(value, tuple) else value for name, value in options.items()
            }
            endpoint = Endpoint(backend=BackendName.OLLAMA, url=server.url, **{"slots": 2} | own)
            backend = make(endpoint)
            stack.push_async_callback(backend.close)
            made.append(Seat(backend, endpoint, endpoint.model or "", STAGES_JUDGED))
        yield made


async def run(world: World, taken: Sequence[Seat], *known: Recipe, all_seats: Sequence[Seat] = ()) -> Tally:
    declared = [seat.endpoint for seat in all_seats or taken]
    settings = world.settings.model_copy(update={"endpoints": declared, "batch_size": 8})
    return await asyncio.wait_for(
        drain_any(
            world.database,
            taken,
            recipes={each.name: each for each in known},
            settings=settings,
            trace_id="",
        ),
        60,
    )


def of(counts: dict[str, Any]) -> dict[str, Any]:
    return {name.removesuffix(":latest"): value for name, value in counts.items()}


async def test_its_model_is_loaded_once_for_a_batch_and_no_more_is_in_flight_than_may_be(
    world: World,
) -> None:
    world.add(12)
    async with (
        inside(flavour="ollama", models=["small", "judge"], resident=1, load_seconds=0.02, slots=4) as server,
        seats(server, model="small", resident=1) as (seat,),
    ):
        tally = await run(world, [seat], judged())
        stats = server.stats()
    assert (tally.accepted, world.statuses()) == (12, {Status.DONE: 12})
    models = of(stats["models"])
    warmed = of(stats["loads_by_model"])
    assert (
        models["judge"]["requests"] == 12 * 2 + warmed["judge"]
    )  # two of three votes decide; one to prove a load
    assert warmed["judge"] <= tally.batches
    assert stats["max_in_flight"] <= seat.endpoint.slots
    assert world.rows("select count(*) from attempt") == [(12,)]


async def test_an_endpoint_of_its_own_is_opened_for_it_and_left_in_the_end(world: World) -> None:
    world.add(6)
    async with (
        inside(flavour="ollama", models=["small"], slots=4) as first,
        inside(flavour="ollama", models=["judge"], slots=4) as second,
        seats(first, second, model=("small", None)) as (mine, other),
    ):
        tally = await run(world, [mine], judged(), all_seats=[mine, other])
        stats = second.stats()
    assert tally.accepted == 6
    assert of(stats["models"])["judge"]["requests"] >= 12
    assert stats["max_in_flight"] <= other.endpoint.slots
    assert world.rows("select count(*) from lease") == [(0,)]


async def test_a_drain_beside_is_asked_through_its_own_gate(world: World) -> None:
    """Both endpoints work, and each one's judge is the other's model."""
    world.add(20, recipe="task")
    async with (
        inside(flavour="ollama", models=["one"], slots=4, latency=0.005) as first,
        inside(flavour="ollama", models=["two"], slots=4, latency=0.005) as second,
        seats(first, second, model=("one", "two")) as both,
    ):
        tally = await run(world, both, judged("two"))
        stats = [server.stats() for server in (first, second)]
    assert tally.accepted == 20
    assert all(each["max_in_flight"] <= 2 for each in stats)
    assert of(stats[1]["models"])["two"]["requests"] >= 40
    assert of(stats[0]["models"])["one"]["answered"] > 0  # it took its share of the items
    assert world.rows("select count(*) from lease") == [(0,)]


async def test_two_models_of_one_device_make_way_for_each_other(world: World) -> None:
    """Its memory holds the one that answers or the judge, each on a server of its own."""
    world.add(6)
    specs = ({"small": {"memory": 6}}, {"judge": {"memory": 6}})
    world.settings = world.settings.model_copy(update={"devices": [Device(name="gpu", slots=4, memory=8)]})
    async with (
        inside(flavour="ollama", models=["small"], slots=4) as first,
        inside(flavour="ollama", models=["judge"], slots=4) as second,
        seats(first, second, model=("small", "judge"), models=specs, device="gpu") as (mine, other),
    ):
        tally = await run(world, [mine], judged(), all_seats=[mine, other])
    assert tally.accepted == 6
    assert world.rows("select count(*) from lease") == [(0,)]
    assert world.rows("select count(*) from seat where token is not null") == [(0,)]


async def test_what_nobody_has_is_a_check_that_crashed(world: World) -> None:
    world.add(3)
    async with (
        inside(flavour="ollama", models=["small"], slots=4) as server,
        seats(server, model="small") as (seat,),
    ):
        tally = await run(world, [seat], judged("nobody:7b"))
    assert tally.deferred == 3
    (row,) = world.rows("select distinct error_type, reason from review where decided_at is null")
    assert row[0] == "check_crashed"
    assert "no endpoint has the model 'nobody:7b'" in row[1]


async def test_an_endpoint_that_another_process_holds_is_not_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(2)
    monkeypatch.setattr("tasks.execute.doors.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("tasks.execute.doors.LOOK_AGAIN_SECONDS", 0.01)
    async with (
        inside(flavour="ollama", models=["small"], slots=4) as first,
        inside(flavour="ollama", models=["judge"], slots=4) as second,
        seats(first, second, model=("small", "judge")) as (mine, other),
        endpoint_lease(
            lambda: world.database.aconnect(autocommit=True),
            backend=other.endpoint.backend,
            url=other.endpoint.url,
            model="judge",
            heartbeat=15,
        ) as lease,
    ):
        assert lease is not None
        tally = await run(world, [mine], judged(), all_seats=[mine, other])
        asked = of(second.stats()["models"])
    assert tally.deferred == 2
    assert "another process holds it" in world.rows("select reason from review")[0][0]
    assert not asked or asked["judge"]["requests"] == 0


class Voting(InProcess):
    """Its judge says what a function of the vote says; in OpenAI's protocol, and lists both models."""

    def __init__(
        self,
        vote: Callable[[ModelRequest, int], str],
        reply: Callable[[ModelRequest], Awaitable[str]] = answered,
    ) -> None:
        super().__init__(reply)
        self._vote = vote
        self.votes = 0

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        if request.model == "judge" and request.item_id:
            self.votes += 1
            verdict = self._vote(request, self.votes)
            text = orjson.dumps({"verdict": verdict, "reason": f"it is a {verdict}"}).decode()
            return ModelAnswer(text, request.model, "stop", 100, 10, 0.01)
        return await super().answer(request, deadline)


def both(world: World) -> dict[str, Any]:
    return {"endpoint": world.endpoint.model_copy(update={"models": {"judge": ModelSpec()}})}


async def test_who_does_not_pass_is_asked_again_with_the_judge_s_reason(world: World) -> None:
    world.add(1)
    prompts: list[str] = []

    def first_fails(request: ModelRequest, number: int) -> str:
        prompts.append(request.prompt)
        return "fail" if number <= 2 else "pass"

    tally = await world.drain(Voting(first_fails), judged(), stages=STAGES_JUDGED, **both(world))
    assert (tally.accepted, tally.retry) == (1, 1)
    errors = world.rows("select error_type, error from attempt where outcome = 'retry'")
    assert errors[0][0] == "rule"
    assert "it is a fail" in errors[0][1]
    assert len(set(prompts)) == 4
    assert world.rows("select count(*) from answer_cache") == [(0,)]


async def test_items_that_are_the_same_are_judged_each_and_no_vote_is_found_again(world: World) -> None:
    world.add(4)
    with world.database.connect() as connection:
        connection.execute("update item_source set title = 'the same'")
    backend = Voting(lambda request, number: "pass")
    tally = await world.drain(backend, judged(), stages=STAGES_JUDGED, **both(world))
    assert (tally.accepted, len(backend.asked), backend.votes) == (4, 1, 8)
    with world.database.connect() as connection:
        connection.execute("update item set status = 1, ready = true")
        connection.execute("update result set superseded_at = now()")
    backend = Voting(lambda request, number: "pass")
    tally = await world.drain(backend, judged(), stages=STAGES_JUDGED, **both(world))
    assert (tally.accepted, len(backend.asked), backend.votes) == (4, 0, 8)  # found again, and judged again


async def test_a_server_that_fails_once_is_asked_once_more_and_one_that_always_does_is_a_crash(
    world: World,
) -> None:
    world.add(2)
    world.settings = world.settings.model_copy(update={"breaker_failures": 99})

    def busy_at_first(request: ModelRequest, number: int) -> str:
        if number <= 2:
            raise ModelCallError(ErrorType.OVERLOADED, "too busy")
        return "pass"

    tally = await world.drain(Voting(busy_at_first), judged(), stages=STAGES_JUDGED, **both(world))
    assert tally.accepted == 2
    world.add(2)

    def always_busy(request: ModelRequest, number: int) -> str:
        raise ModelCallError(ErrorType.OVERLOADED, "too busy")

    tally = await world.drain(Voting(always_busy), judged(), stages=STAGES_JUDGED, **both(world))
    assert tally.deferred == 2
    rows = world.rows("select error_type, reason from review")
    assert {row[0] for row in rows} == {"check_crashed"}
    assert all("too busy" in row[1] for row in rows)


async def test_its_votes_are_paid_from_the_budget_and_end_with_it(world: World) -> None:
    world.add(2)
    options = both(world)
    values = world.settings.model_dump() | {
        "endpoints": [options["endpoint"]],
        "budgets": [{"account": options["endpoint"].resource, "requests_per_day": 5}],
    }
    backend = Voting(lambda request, number: "pass")
    tally = await world.drain(
        backend, judged(votes=5), stages=STAGES_JUDGED, settings=Settings(**values), **options
    )
    assert (len(backend.asked), backend.votes) == (2, 3)  # of six votes that would decide it
    assert (tally.accepted, tally.deferred) == (1, 1)
    assert world.rows("select requests from spend") == [(5,)]
    assert (
        "5 of 5 requests a day"
        in world.rows("select reason from review where error_type = 'check_crashed'")[0][0]
    )


async def test_a_pause_before_the_votes_asks_nobody_and_gives_the_items_back(world: World) -> None:
    world.add(6)
    halt = Halt()

    async def slow(request: ModelRequest) -> str:
        if len(backend.asked) == 6:
            halt.tell(Wish.PAUSE, "Run 1 was paused.")
        return await answered(request)

    backend = Voting(lambda request, number: "pass", slow)
    tally = await world.drain(backend, judged(), stages=STAGES_JUDGED, halt=halt, **both(world))
    assert backend.votes == 0
    assert (tally.accepted, tally.deferred) == (0, 0)
    assert world.statuses() == {Status.READY: 6}
    assert world.rows("select count(*) from review") == [(0,)]


async def test_the_checks_of_a_drain_are_those_of_the_recipe(world: World) -> None:
    """Once with all layers: the item's own criteria, the suite, the judge."""
    good, long = world.add(2)
    with world.database.connect() as connection:
        connection.execute(
            "update item_source set title = 'Which port is it?', body = 'Acceptance criteria:\n- at most 2 words'"
            " where item_id = %s",
            [long],
        )
    stages = Stages(no_recall, STAGES.render, validate_batch, no_split)
    known = judged(grounding="none", max_attempts=1, language="any")
    tally = await world.drain(Voting(lambda request, number: "pass"), known, stages=stages, **both(world))
    assert (tally.accepted, tally.deferred) == (1, 1)
    assert world.rows("select id from item where status = 4") == [(good,)]
    (checks,) = world.rows(f"select checks from attempt where item_id = {long}")[0]
    assert [(each["layer"], each["check"]) for each in checks] == [("acceptance", "length")]
    (validation,) = world.rows("select validation from batch")[0]
    assert validation["judge"] == {"model": "judge", "votes": 3, "asked": 1, "failed": 0}
