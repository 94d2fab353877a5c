"""Recipes with several models, drained: the good one gets the work, the others their share, and no load is wasted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from backends.registry import make
from backends.simulator import inside
from models.calls import ModelInfo, Probe
from models.enums import BackendName, ErrorType
from models.pause import PauseKind
from models.recipe import Recipe
from models.settings import Endpoint
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from sql.statements import statement
from tasks import pause
from tasks.execute import Stages, Tally, drain
from tasks.execute.order import Group, Order
from tasks.execute.router import Router, known_of, parameters
from tasks.execute.routing import STINT, TURN

from .conftest import STAGES, InProcess, World, answered, no_recall, no_split, recipe

TASK = recipe(models=["bad", "good"], max_attempts=1)


def failed(item_id: int) -> Verdict:
    failure = Failure("rules", "length", ErrorType.RULE, "much too short")
    return Verdict(item_id, (failure,), "")


async def bad_model_fails(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
    """Of the bad one, four answers of five."""
    return BatchVerdict(
        {
            row.item_id: failed(row.item_id)
            if row.answer.model.startswith("bad") and row.item_id % 5
            else Verdict(row.item_id, (), row.answer.text)
            for row in rows
        }
    )


CHECKED = Stages(no_recall, STAGES.render, bad_model_fails, no_split)


async def simulated(world: World, *, seed: int = 1, **settings: Any) -> tuple[Tally, dict[str, int]]:
    """Drained on a simulated Ollama that has room for one model; what came of it, and how often it loaded which."""
    async with inside(flavour="ollama", models=["bad", "good"], resident=1, slots=4) as server:
        endpoint = Endpoint(backend=BackendName.OLLAMA, url=server.url, slots=4, resident=1, model="bad")
        backend = make(endpoint)
        try:
            tally = await drain(
                world.database,
                backend,
                endpoint,
                model="bad",
                recipes={"task": TASK},
                stages=CHECKED,
                settings=world.settings.model_copy(
                    update={"endpoints": [endpoint], "strike_after": 10_000} | settings
                ),
                trace_id="",
                chance=random.Random(seed),
            )
        finally:
            await backend.close()
        loads = server.stats()["loads_by_model"]
    return tally, {name.removesuffix(":latest"): count for name, count in loads.items()}


def shares(world: World) -> dict[tuple[str, bool], int]:
    return {
        (model, explores): int(items)
        for model, explores, items in world.rows("select model, explores, sum(size) from batch group by 1, 2")
    }


async def test_the_good_model_gets_the_work_and_exploring_stays_below_its_cap(world: World) -> None:
    world.add(600)
    tally, loads = await simulated(world)
    assert tally.settled == 600
    given = shares(world)
    explored = sum(items for (_, explores), items in given.items() if explores)
    assert TURN <= explored <= 60
    assert given["good", False] > given["bad", False], given
    assert tally.accepted > 0.55 * 600, "a fifth, had the first been asked to the end"
    turns = len(world.rows("select from batch where explores"))
    assert loads["good"] <= turns + 2
    assert loads["bad"] <= turns + 2


async def test_what_one_drain_learnt_the_next_one_knows(world: World) -> None:
    world.add(300)
    await simulated(world)
    before = shares(world)
    world.add(64)
    tally, _ = await simulated(world, seed=2, routing_explore=0.0)
    assert shares(world)["good", False] - before["good", False] == 64
    assert tally.accepted == 64


async def test_switched_off_the_first_of_the_list_is_asked(world: World) -> None:
    world.add(200)
    await simulated(world, routing=False)
    assert shares(world) == {("bad", False): 200}


async def test_a_model_that_the_server_has_not_is_not_chosen(world: World) -> None:
    backend = InProcess(answered)

    async def probe(deadline: float) -> Probe:
        return Probe(True, "", (ModelInfo("good"), ModelInfo("other")))

    backend.probe = probe  # type: ignore[method-assign]
    world.add(20)
    await world.drain(backend, TASK)
    assert shares(world) == {("good", False): 20}


async def test_a_paused_model_is_not_chosen(world: World) -> None:
    connection = await world.database.aconnect(autocommit=True)
    await pause.pause(connection, PauseKind.MODEL, "bad")
    await connection.close()
    world.add(20)
    await world.drain(InProcess(answered), TASK)
    assert shares(world) == {("good", False): 20}


async def test_a_struck_model_is_left_for_another(world: World) -> None:
    world.add(100)
    settings = world.settings.model_copy(update={"strike_after": 10, "routing_explore": 0.0})

    async def all_fail(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        return BatchVerdict(
            {
                row.item_id: failed(row.item_id)
                if row.answer.model == "bad"
                else Verdict(row.item_id, (), row.answer.text)
                for row in rows
            }
        )

    stages = Stages(no_recall, STAGES.render, all_fail, no_split)
    tally = await world.drain(InProcess(answered), TASK, stages=stages, settings=settings)
    given = shares(world)
    assert given["bad", False] <= 10 + 2 * 16
    assert tally.accepted == given["good", False] > 0


async def test_an_item_that_names_its_model_is_asked_of_it(world: World) -> None:
    ids = world.add(10)
    with world.database.connect() as connection:
        connection.execute("update item set model = 'mine' where id = any(%s)", [ids])
    await world.drain(InProcess(answered), TASK)
    assert shares(world) == {("mine", False): 10}


async def test_evidence_is_of_first_tries_that_say_something_of_the_model(world: World) -> None:
    world.add(8)
    again = recipe(models=["bad", "good"], max_attempts=3)

    async def none_pass(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        return BatchVerdict({row.item_id: failed(row.item_id) for row in rows})

    stages = Stages(no_recall, STAGES.render, none_pass, no_split)
    await world.drain(InProcess(answered), again, stages=stages)
    assert world.rows("select count(*) from attempt") == [(24,)]
    with world.database.connect() as connection:
        asked = parameters({again.name: again.hash, "other": "x"})
        [row] = connection.execute(statement("routing.evidence"), asked).fetchall()
    assert row[:7] == ("task", "bad", 24, 0, False, 8, 0)
    [known] = known_of([row], simulated=False).values()
    assert (known.models["bad"].tries, known.items) == (8, 24)
    assert not known_of([row], simulated=True)["task"].models, "the simulator is another model"
    with world.database.connect() as connection:
        connection.execute("update attempt set cached = true where item_id % 2 = 0")
        connection.execute(
            "update attempt set model_digest = 'new'"
            " where id = (select max(id) from attempt where number = 1 and not cached)"
        )
        [row] = connection.execute(statement("routing.evidence"), asked).fetchall()
    assert row[5] == 1, "neither what needed no call nor what another model under that name did"


async def test_another_version_of_the_recipe_begins_anew(world: World) -> None:
    world.add(4)
    await world.drain(InProcess(answered), TASK)
    with world.database.connect() as connection:
        found = connection.execute(statement("routing.evidence"), parameters({"task": "new"})).fetchall()
    assert found == []


def group(name: str = "task", *, model: str = "", urgency: int = 12) -> Group:
    return Group("", name, model, urgency, 0.0)


async def routed(world: World, explore: float = 0.5) -> Router:
    """A router that has asked the server and read what is known: of the first, that it is bad."""
    settings = world.settings.model_copy(update={"routing_explore": explore})
    order = Order(settings.max_wait, "bad")
    router = Router(settings, order, {"task": TASK}, "test://here", random.Random(3))
    await router.start(InProcess(answered), None, 0.0)
    return router


async def test_a_choice_holds_for_a_stint(world: World) -> None:
    router = await routed(world)
    [first] = router.routed([group()], lambda group: True, 0.0)
    for now in range(1, 5):
        router.took(first, STINT // 8)
        assert router.routed([group()], lambda group: True, float(now)) == [first]
    assert router.room(first, 16) == 16
    assert router.routed([group(model="mine")], lambda group: True, 9.0)[0].asks == "mine"


@pytest.mark.parametrize("urgency", [5, 12])
async def test_an_exploration_takes_a_turn_and_never_from_who_waits(world: World, urgency: int) -> None:
    router = await routed(world, explore=1.0)
    rows = [("task", "bad", 200, 0, False, 100, 0, 1.0, None)]
    router._known = known_of(rows, simulated=False)
    [chosen] = router.routed([group(urgency=urgency)], lambda group: True, 1.0)
    if urgency == 5:
        assert (chosen.asks, router.explores(chosen)) == ("bad", False)
        return
    assert (chosen.asks, router.explores(chosen), router.room(chosen, 16)) == ("good", True, TURN)
    router.took(chosen, TURN - 2)
    assert router.room(chosen, 16) == 2
    [urgent] = router.routed([group(urgency=5)], lambda group: True, 2.0)
    assert (urgent.asks, router.explores(urgent)) == ("bad", False)


async def test_loads_for_an_exploration_take_no_more_of_the_time_than_its_share(world: World) -> None:
    router = await routed(world, explore=0.1)
    router.order.load_seconds = {"bad": 5.0, "good": 5.0}
    rows = [("task", "bad", 2000, 0, False, 100, 0, 1.0, None)]
    for now, explores in ((99.0, False), (101.0, True)):
        router._known = known_of(rows, simulated=False)
        [chosen] = router.routed([group()], lambda group: True, now)
        assert router.explores(chosen) is explores
        router.routed([], lambda group: True, now)  # the group is left
    assert not router._stints
    [chosen] = router.routed([group()], lambda group: True, 150.0)
    assert not router.explores(chosen), "the last one was 49 s ago"
    router.routed([], lambda group: True, 150.0)
    router.order.loaded = frozenset({"bad", "good"})
    [chosen] = router.routed([group()], lambda group: True, 151.0)
    assert router.explores(chosen), "both are loaded"
