"""Several endpoints of one backend, drains beside drains, and recipes that a backend may not do."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Sequence

import pytest

from models.calls import ModelRequest
from models.enums import BackendName, Status
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from tasks.execute import Seat, Tally, adopt, drain_any
from tasks.execute.store import Left, Scope, Store

from .conftest import STAGES, InProcess, World, answered, recipe


def seats(*backends: InProcess) -> list[Seat]:
    return [
        Seat(
            backend,
            Endpoint(backend=BackendName.OPENAI, url=f"test://{number}", slots=2),
            f"m{number}",
            STAGES,
        )
        for number, backend in enumerate(backends)
    ]


async def go(
    world: World, places: Sequence[Seat], boards: list[int] | None = None, *recipes: Recipe
) -> Tally:
    return await drain_any(
        world.database,
        places,
        recipes={each.name: each for each in recipes or (recipe(),)},
        settings=world.settings,
        trace_id=str(uuid.uuid4()),
        boards=boards,
    )


async def test_drains_spread_over_the_endpoints(world: World) -> None:
    world.add(48)
    asked: dict[int, set[str]] = {0: set(), 1: set()}
    both = asyncio.Event()

    def at(number: int) -> InProcess:
        async def reply(request: ModelRequest) -> str:
            asked[number].add(request.model)
            if all(asked.values()):
                both.set()
            await asyncio.wait_for(both.wait(), 20)  # neither can go on without the other
            return await answered(request)

        return InProcess(reply)

    backends = at(0), at(1)
    first, second = await asyncio.gather(go(world, seats(*backends), [1]), go(world, seats(*backends), [1]))
    assert first.accepted + second.accepted == 48
    assert asked == {0: {"m0"}, 1: {"m1"}}
    assert [each.most_in_flight for each in backends] == [2, 2]
    assert world.rows("select count(*), count(distinct item_id) from result") == [(48, 48)]


async def test_a_run_waits_for_what_another_drain_has_of_its_boards(world: World) -> None:
    """Else it would report as queued what is being answered, and leave what that releases."""
    world.add(2)
    world.settings = Settings(batch_size=16, batch_seconds=0, heartbeat=0.2, retry_delay=0)
    began, release = asyncio.Event(), asyncio.Event()

    async def slow(request: ModelRequest) -> str:
        began.set()
        await release.wait()
        return await answered(request)

    one, other = seats(InProcess(slow), InProcess(answered))
    working = asyncio.create_task(go(world, [one], [1]))
    await began.wait()
    beside = asyncio.create_task(go(world, [other], [1]))
    assert not (await asyncio.wait([beside], timeout=1))[0]
    release.set()
    await asyncio.gather(working, beside)
    assert world.statuses() == {Status.DONE: 2}


async def test_what_died_on_another_endpoint_is_taken_over(world: World) -> None:
    ids = world.add(6)
    world.settings = Settings(batch_size=16, batch_seconds=0, heartbeat=0.2, retry_delay=0)
    with world.database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('openai test://1', 'openai', 77, 'elsewhere', now() + interval '1 second')"
        )
        connection.execute(
            "update item set status = 2, ready = false, lease = 77 where id = any(%s)", [ids[3:]]
        )
    tally = await asyncio.wait_for(go(world, seats(InProcess(answered)), [1]), 20)
    assert tally.accepted == 6


async def test_what_a_run_releases_is_rerouted_too(world: World) -> None:
    """An item that becomes ready while the drain runs, of a recipe that leads on over one that isn't allowed either."""
    first, second = world.add(1), world.add(1, recipe="big")
    with world.database.connect() as connection:
        connection.execute("update item set status = 0, ready = false where id = %s", second)
        connection.execute("insert into need values (%s, %s)", [second[0], first[0]])
    # In this order a single pass over the recipes would stop at `middle`.
    known = (
        recipe("middle", fallback="task", backends=["ollama"]),
        recipe("big", fallback="middle", backends=["ollama"]),
        recipe("task"),
    )
    tally = await go(world, seats(InProcess(answered)), [1], *known)
    assert tally.accepted == 2
    assert world.statuses() == {Status.DONE: 2}


async def test_items_of_a_recipe_that_is_gone_are_done_by_that_of_their_kind(world: World) -> None:
    ready, waiting, kept = world.add(1, recipe="gone"), world.add(1, recipe="gone"), world.add(1)
    with world.database.connect() as connection:
        connection.execute("update item set status = 3, ready = false, attempts = 3 where id = %s", waiting)
    async with await world.database.aconnect(autocommit=True) as own:
        assert await adopt(own, ["task", "other"], lambda kind: f"for {kind}") == 2
        assert await adopt(own, ["task", "for task"], lambda kind: "no") == 0
    assert world.rows("select id, recipe, attempts, status from item order by id") == [
        (ready[0], "for task", 0, 1),
        (waiting[0], "for task", 0, 3),
        (kept[0], "task", 0, 1),
    ]


async def test_locked_items_are_waited_for_without_hurry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready, but another transaction has the rows: the drain looks again, at a pace."""
    ids = world.add(2)
    looks = 0
    left = Store.left

    async def counted(store: Store, scope: Scope, without: Collection[int] = ()) -> Left:
        nonlocal looks
        looks += 1
        return await left(store, scope, without)

    monkeypatch.setattr(Store, "left", counted)
    with world.database.connect() as editor:
        editor.execute("select from item where id = any(%s) for update", [ids])
        running = asyncio.create_task(go(world, seats(InProcess(answered))))
        done, _ = await asyncio.wait([running], timeout=0.5)
        assert not done
        assert 0 < looks < 20
        editor.commit()
    assert (await asyncio.wait_for(running, 20)).accepted == 2
