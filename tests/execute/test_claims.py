"""What a claim takes: boards in turn, what shares a prefix together, the oldest, what is not paused or used up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from models.calls import ModelRequest
from models.enums import Lane, Status
from models.settings import Settings
from tasks import pause
from tasks.execute import drain_any
from tasks.execute.order import Group
from tasks.execute.store import Scope, Store, Wish
from tasks.pause import PauseKind

from .conftest import InProcess, World, answered, recipe
from .test_seats import seats

SCOPE = Scope("openai", ("task", "check"))


class Claims:
    """A drain's store with a live lease, and claims from it."""

    def __init__(self, world: World, store: Store) -> None:
        self.world = world
        self.store = store
        self.after = -1

    async def groups(self, scope: Scope = SCOPE, without: frozenset[int] = frozenset()) -> list[Group]:
        return await self.store.groups(scope, without)

    async def take(
        self,
        size: int,
        *,
        scope: Scope = SCOPE,
        without: frozenset[int] = frozenset(),
        limited: frozenset[int] = frozenset(),
        aged: int = 0,
        patience: float = 900.0,
        model: str = "",
    ) -> list[int]:
        def choose(groups: list[Group]) -> Wish | None:
            there = [group for group in groups if group.model == model]
            if not there:
                return None
            group = min(there, key=lambda each: each.urgency)
            return Wish(group, size, aged=aged, patience=patience, after=self.after)

        batch = await self.store.claim(scope, without, choose, lambda name, _: describe(name), limited)
        if batch is None:
            return []
        boards = {item.board_id for item in batch.items}
        self.after = max(boards, key=lambda board: (board <= self.after, board))
        return [item.id for item in batch.items]

    def boards(self, items: Sequence[int]) -> Counter[int]:
        rows = self.world.rows("select id, board_id from item")
        of: dict[int, int] = {row[0]: row[1] for row in rows}
        return Counter(of[item] for item in items)


def describe(name: str) -> dict[str, object]:
    known = recipe(name)
    return {
        "backend": "openai",
        "endpoint": "test://here",
        "model": "m",
        "recipe": name,
        "recipe_hash": known.hash,
        "hash": known.hash,
        "name": name,
        "text": known.text,
        "flow_run_id": "",
    }


@pytest.fixture
async def claims(world: World) -> AsyncIterator[Claims]:
    connection = await world.database.aconnect(autocommit=True)
    await connection.execute(
        "insert into lease (resource, backend, token, holder, expires_at)"
        " values ('openai test://here', 'openai', 7, 'me', now() + interval '1 hour')"
    )
    yield Claims(world, Store(connection, 7))
    await connection.close()


def change(world: World, query: str, *values: object) -> None:
    with world.database.connect() as connection:
        connection.execute(query.encode(), values)


async def test_a_large_board_leaves_room_for_small_ones(world: World, claims: Claims) -> None:
    world.add(200, board="large.md")
    small = [set(world.add(3, board=f"small{n}.md")) for n in range(2)]
    taken = await claims.take(12)
    assert all(each <= set(taken) for each in small)
    assert len(taken) == 12


async def test_boards_take_turns_where_there_are_more_than_fit(world: World, claims: Claims) -> None:
    for number in range(6):
        world.add(20, board=f"{number}.md")
    served = [claims.boards(await claims.take(8)) for _ in range(3)]
    assert [len(each) for each in served] == [2, 2, 2], (
        "four of each: they share the beginning of their prompts"
    )
    assert len(served[0] | served[1] | served[2]) == 6


async def test_urgent_items_of_any_board_first(world: World, claims: Claims) -> None:
    world.add(20, board="a.md")
    urgent = world.add(2, board="b.md", priority=0)
    assert await claims.take(8) == urgent


async def test_interactive_before_all_and_bulk_after_all(world: World, claims: Claims) -> None:
    bulk = world.add(2, board="bulk.md", priority=0)
    normal = world.add(2, board="normal.md", priority=4)
    person = world.add(2, board="person.md", priority=4)
    change(world, "update item set lane = %s where id = any(%s)", int(Lane.BULK), bulk)
    change(world, "update item set lane = %s where id = any(%s)", int(Lane.INTERACTIVE), person)
    assert [await claims.take(4) for _ in range(3)] == [person, normal, bulk]


async def test_a_near_deadline_goes_before_any_priority(world: World, claims: Claims) -> None:
    world.add(2, priority=0)
    due, later = world.add(2, priority=4), world.add(2, priority=4)
    change(world, "update item set deadline = now() + interval '3 hours' where id = any(%s)", due)
    change(world, "update item set deadline = now() + interval '3 days' where id = any(%s)", later)
    await claims.store.hurry(86400)
    assert await claims.take(4) == due


async def test_what_shares_a_prefix_runs_together_the_longest_first(world: World, claims: Claims) -> None:
    items = world.add(12)
    change(world, "update item set parent_id = 1 + id %% 3, length = id %% 5 where id = any(%s)", items)
    taken = await claims.take(12)
    places = {
        row[0]: (row[1], -row[2], row[0]) for row in world.rows("select id, parent_id, length from item")
    }
    assert taken == sorted(items, key=lambda item: places[item])


async def test_the_oldest_get_half_of_a_batch_once_they_waited_too_long(world: World, claims: Claims) -> None:
    young = world.add(20, priority=0)
    old = world.add(20, priority=4)
    change(world, "update item set run_after = now() - interval '1 hour' where id = any(%s)", old)
    taken = set(await claims.take(8, aged=4))
    assert len(taken & set(old)) == 4
    assert len(taken & set(young)) == 4


@pytest.mark.parametrize("scoped", [False, True])
async def test_a_paused_board_is_passed_over(world: World, claims: Claims, scoped: bool) -> None:
    world.add(5, board="a.md", priority=0)
    free = world.add(5, board="b.md")
    scope = Scope("openai", ("task",), (1, 2)) if scoped else SCOPE
    groups = await claims.groups(scope, without=frozenset({1}))
    assert [group.urgency for group in groups] == [13]
    assert await claims.take(8, scope=scope, without=frozenset({1})) == free
    assert await claims.take(8, scope=scope, without=frozenset({1})) == []


async def test_a_board_with_a_limit_gets_no_more_than_it(world: World, claims: Claims) -> None:
    world.add(10, board="a.md")
    world.add(3, board="b.md")
    change(world, "update board set wip = 4 where source = 'a.md'")
    limited = frozenset({1})
    taken = claims.boards(await claims.take(8, limited=limited) + await claims.take(8, limited=limited))
    assert taken == {1: 4, 2: 3}
    change(
        world,
        "update item set status = 4, lease = null where id = (select min(id) from item where status = 2)",
    )
    assert claims.boards(await claims.take(8, limited=limited)) == {1: 1}


async def test_drains_that_claim_at_once_keep_a_boards_limit_together(world: World) -> None:
    world.add(60)
    change(world, "update board set wip = 5")
    most = 0

    async def count(request: ModelRequest) -> str:
        nonlocal most
        most = max(most, world.statuses().get(Status.RUNNING, 0))
        return await answered(request)

    places = seats(*[InProcess(count) for _ in range(3)])
    world.settings = Settings(batch_size=8, batch_seconds=0, heartbeat=5.0, retry_delay=0.0)
    tally = await drain_any(
        world.database, places, recipes={"task": recipe()}, settings=world.settings, trace_id="", boards=[1]
    )
    assert tally.accepted == 60
    assert 0 < most <= 5


@pytest.mark.parametrize("count", [3, 80])
async def test_a_run_of_some_boards_sees_these_alone(world: World, claims: Claims, count: int) -> None:
    for number in range(count + 2):
        world.add(2, board=f"{number}.md", priority=0 if number > count else 2)
    scope = Scope("openai", ("task",), tuple(range(1, count + 1)))
    taken: list[int] = []
    while batch := await claims.take(16, scope=scope):
        taken += batch
    assert claims.boards(taken) == dict.fromkeys(range(1, count + 1), 2)


async def test_groups_are_told_apart_by_recipe_model_and_backend(world: World, claims: Claims) -> None:
    world.add(2)
    other = world.add(2, recipe="check")
    change(
        world,
        "update item set model = 'b', run_after = now() - interval '1 minute' where id = any(%s)",
        other,
    )
    elsewhere = world.add(2)
    change(world, "update item set backend = 'mlx' where id = any(%s)", elsewhere)
    groups = await claims.groups()
    assert [(group.recipe, group.model, group.urgency) for group in groups] == [
        ("check", "b", 13),
        ("task", "", 13),
    ]
    assert 59 < groups[0].waited < 90
    assert await claims.take(9, model="b") == other


async def test_what_is_put_off_is_not_there_yet(world: World, claims: Claims) -> None:
    items = world.add(4)
    change(world, "update item set run_after = now() + interval '1 hour' where id = any(%s)", items[:3])
    assert await claims.take(9) == items[3:]
    assert await claims.groups() == []


async def test_a_paused_recipe_or_model_leaves_the_others_running(world: World) -> None:
    world.add(3)
    stopped = world.add(3, recipe="check")
    connection = await world.database.aconnect(autocommit=True)
    await pause.pause(connection, PauseKind.RECIPE, "check", reason="a test", by="me")
    said: list[str] = []
    tally = await world.drain(InProcess(answered), recipe(), recipe("check"), on_wait=said.append)
    assert tally.accepted == 3
    assert world.rows("select id from item where status = 1 order by id") == [(item,) for item in stopped]
    assert "check on test-model is paused" in said[0]
    await pause.resume(connection, PauseKind.RECIPE, "check")
    await connection.close()
    assert (await world.drain(InProcess(answered), recipe(), recipe("check"))).accepted == 3


async def test_an_endpoint_that_is_paused_while_it_works_begins_nothing_new(world: World) -> None:
    world.add(200)
    backend = InProcess(answered)
    connection = await world.database.aconnect(autocommit=True)

    async def slow(request: ModelRequest) -> str:
        if len(backend.asked) == 5:
            await pause.pause(connection, PauseKind.BACKEND, "openai", reason="heat", by="me")
        await asyncio.sleep(0.05)
        return await answered(request)

    backend._reply = slow
    said: list[str] = []
    tally = await world.drain(backend, on_wait=said.append)
    await connection.close()
    assert 0 < tally.accepted < 200
    assert world.statuses()[Status.READY] == 200 - tally.accepted
    assert "heat" in said[0]


async def test_a_person_is_answered_while_a_long_batch_runs(world: World) -> None:
    """Items of the interactive lane do not wait for the two half batches that run."""
    world.add(64)
    world.settings = Settings(batch_size=64, batch_seconds=0, heartbeat=5.0, retry_delay=0.0)
    order: list[int] = []

    async def reply(request: ModelRequest) -> str:
        order.append(request.item_id)
        if len(order) == 4:
            item = world.add(1, board="person.md")
            change(world, "update item set lane = 0 where id = any(%s)", item)
        await asyncio.sleep(0.12)
        return await answered(request)

    tally = await world.drain(InProcess(reply))
    assert tally.accepted == 65
    assert order.index(65) < 50, "it came after the fourth; a look a second finds it"


@pytest.mark.parametrize("boards", [None, (1,), tuple(range(1, 61))])
async def test_a_claim_reads_few_rows_also_when_statistics_are_old(
    world: World, claims: Claims, boards: tuple[int, ...] | None
) -> None:
    """Nothing analyses tables here: that is how it is right after a large ingest."""
    for number in range(4):
        world.add(3000, board=f"{number}.md")
    connection = await world.database.aconnect(autocommit=True)
    try:
        async with connection.transaction():
            small = Claims(world, Store(connection, 7))
            assert len(await small.take(8, scope=Scope("openai", ("task",), boards))) == 8
            read = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'item'"
            row = await (await connection.execute(read.encode())).fetchone()
            assert row is not None
            assert row[0] < 500
    finally:
        await connection.close()
