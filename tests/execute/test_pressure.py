"""A drain under pressure: what the parts of tasks/execute/pressure.py come to when a drain really runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Budget, Device, ModelSpec, Price
from models.enums import BackendName, ErrorType, Status
from models.errors import BackendUnavailable
from models.settings import Endpoint, Settings
from tasks.execute import Seat, Tally, drain_any

from .conftest import STAGES, InProcess, World, answered, recipe

Reply = Callable[[ModelRequest], Awaitable[str]]


def endpoint(number: int = 0, **values: object) -> Endpoint:
    return Endpoint.model_validate(
        {"backend": BackendName.OPENAI, "url": f"test://{number}", "slots": 4, "call_timeout": 20} | values
    )


def configured(**values: object) -> Settings:
    return Settings.model_validate(
        {"batch_size": 16, "batch_seconds": 0, "heartbeat": 5.0, "retry_delay": 0.0, "watch_host": False}
        | values
    )


async def go(world: World, settings: Settings, *places: tuple[InProcess, Endpoint]) -> Tally:
    return await drain_any(
        world.database,
        [Seat(backend, where, "m", STAGES) for backend, where in places],
        recipes={"task": recipe()},
        settings=settings,
        trace_id="",
        boards=[1],
    )


async def test_too_much_is_answered_by_asking_for_less(world: World) -> None:
    """Two at once is all that the server bears. What it refuses costs no attempt; soon it is asked for no more."""
    world.add(60)
    most: list[int] = []

    async def reply(request: ModelRequest) -> str:
        most.append(backend.in_flight)
        if backend.in_flight > 2:
            raise ModelCallError(ErrorType.OVERLOADED, "two at once, please")
        await asyncio.sleep(0.01)
        return await answered(request)

    backend = InProcess(reply)
    tally = await go(world, configured(breaker_failures=99), (backend, endpoint()))
    assert tally.accepted == 60
    assert world.rows("select distinct attempts from item") == [(0,)]
    assert max(most[-20:]) <= 3, "2, and once more the look whether 3 is better"
    stored = world.rows("select slots, allowed, reason from endpoint")
    assert stored[0][0] == 4
    assert stored[0][1] <= 3
    assert stored[0][2]


async def test_after_a_memory_fault_it_stays_low_also_for_the_next_drain(world: World) -> None:
    world.add(30)
    failed = False

    async def reply(request: ModelRequest) -> str:
        nonlocal failed
        if not failed and backend.in_flight == 4:
            failed = True
            raise ModelCallError(ErrorType.OUT_OF_MEMORY, "no memory left")
        await asyncio.sleep(0.01)
        return await answered(request)

    backend = InProcess(reply)
    assert (await go(world, configured(), (backend, endpoint()))).accepted == 30
    held = "select allowed, held_until > now() + interval '100 seconds' from endpoint"
    assert world.rows(held) == [(2.0, True)]
    world.add(30)

    async def slow(request: ModelRequest) -> str:
        await asyncio.sleep(0.01)
        return await answered(request)

    later = InProcess(slow)
    assert (await go(world, configured(), (later, endpoint()))).accepted == 30
    assert later.most_in_flight == 2


async def test_endpoints_on_one_device_never_send_more_together_than_it_takes(world: World) -> None:
    world.add(90)
    at_once = most = 0

    async def reply(request: ModelRequest) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return await answered(request)

    backends = [InProcess(reply) for _ in range(3)]
    settings = configured(
        devices=[Device(name="gpu", slots=4)],
        endpoints=[endpoint(number, device="gpu") for number in range(3)],
    )
    tally = await go(world, settings, *zip(backends, settings.endpoints, strict=True))
    assert tally.accepted == 90
    assert most == 4
    assert all(backend.asked for backend in backends), "each gets a share"
    assert world.rows("select count(*) from seat where token is not null") == [(0,)]


async def test_a_heavy_model_takes_more_of_the_device(world: World) -> None:
    world.add(12)

    async def reply(request: ModelRequest) -> str:
        await asyncio.sleep(0.02)
        return await answered(request)

    backend = InProcess(reply)
    settings = configured(
        devices=[Device(name="gpu", slots=5)],
        endpoints=[endpoint(device="gpu", models={"m": ModelSpec(weight=2)})],
    )
    assert (await go(world, settings, (backend, settings.endpoints[0]))).accepted == 12
    assert backend.most_in_flight == 2


async def test_a_model_that_fails_is_left_alone_and_another_goes_on(world: World) -> None:
    """The breaker is for one model of one endpoint."""
    good = world.add(20)
    bad = world.add(20)
    with world.database.connect() as connection:
        connection.execute("update item set model = 'broken' where id = any(%s)", [bad])
    asked = 0

    async def reply(request: ModelRequest) -> str:
        nonlocal asked
        if request.model == "broken":
            asked += 1
            raise ModelCallError(ErrorType.SERVER_ERROR, "it fell over")
        return await answered(request)

    with pytest.raises(BackendUnavailable, match="broken of openai at test://0 failed 3 times in a row"):
        await go(world, configured(), (InProcess(reply), endpoint()))
    assert world.rows("select count(*) from item where status = 4") == [(20,)]
    assert world.statuses() == {Status.DONE: 20, Status.READY: 20}
    assert asked <= 3 + 4, "what was in flight together is one incident"
    assert world.rows("select id from item where status = 4 order by id") == [(item,) for item in good]


async def test_half_open_one_item_is_tried_before_all_others(world: World) -> None:
    world.add(20)
    broken = True
    asked = 0

    async def reply(request: ModelRequest) -> str:
        nonlocal asked
        asked += 1
        if broken:
            raise ModelCallError(ErrorType.SERVER_ERROR, "it fell over")
        return await answered(request)

    with pytest.raises(BackendUnavailable):
        await go(world, configured(), (InProcess(reply), endpoint()))
    with world.database.connect() as connection:
        connection.execute("update model_state set open_until = now() - interval '1 second'")
    asked = 0
    with pytest.raises(BackendUnavailable):
        await go(world, configured(), (InProcess(reply), endpoint()))
    assert asked == 1
    with world.database.connect() as connection:
        connection.execute("update model_state set open_until = now() - interval '1 second'")
    broken = False
    assert (await go(world, configured(), (InProcess(reply), endpoint()))).accepted == 20
    assert world.rows("select failures, open_until from model_state where model = 'm'") == [(0, None)]


async def test_a_budget_that_is_used_up_stops_in_order(world: World) -> None:
    world.add(40)
    backend = InProcess(answered)
    settings = configured(
        endpoints=[endpoint(account="team")], budgets=[Budget(account="team", requests_per_day=10)]
    )
    tally = await go(world, settings, (backend, settings.endpoints[0]))
    assert tally.accepted == 10
    assert len(backend.asked) == 10
    assert world.statuses() == {Status.DONE: 10, Status.READY: 30}
    assert world.rows("select attempts from item where status = 1 and attempts > 0") == []
    assert world.rows("select account, requests, tokens from spend") == [("team", 10, 150)]
    again = await go(world, settings, (backend, settings.endpoints[0]))
    assert (again.accepted, len(backend.asked)) == (0, 10)


async def test_what_an_answer_cost_is_kept(world: World) -> None:
    world.add(2)

    class Priced(InProcess):
        async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
            reply = await super().answer(request, deadline)
            return ModelAnswer(reply.text, reply.model, "stop", 1000, 100, 0.01, cached_tokens=600)

    price = Price(input=2.0, output=10.0, cached=0.5)
    await go(world, configured(), (Priced(answered), endpoint(models={"m": ModelSpec(price=price)})))
    expected = (400 * 2.0 + 600 * 0.5 + 100 * 10.0) / 1e6
    rows = world.rows("select distinct cost, cached_tokens from attempt")
    assert rows == [(pytest.approx(expected), 600)]


async def test_one_account_rests_for_all_its_endpoints(world: World) -> None:
    """What one was told, the other keeps too: its next calls come after the rest."""
    world.add(24)
    clock = asyncio.get_running_loop().time
    told: list[float] = []
    sent: list[float] = []

    async def first(request: ModelRequest) -> str:
        if not told:
            told.append(clock())
            raise ModelCallError(ErrorType.RATE_LIMITED, "slowly", retry_after=2.5)
        sent.append(clock())
        return await answered(request)

    async def second(request: ModelRequest) -> str:
        sent.append(clock())
        await asyncio.sleep(0.3)
        return await answered(request)

    settings = configured(
        endpoints=[endpoint(0, account="team", slots=1), endpoint(1, account="team", slots=1)]
    )
    places = zip([InProcess(first), InProcess(second)], settings.endpoints, strict=True)
    assert (await go(world, settings, *places)).accepted == 24
    within = [when for when in sent if told[0] + 1.5 < when < told[0] + 2.4]
    assert within == [], "the other looks once a second"
