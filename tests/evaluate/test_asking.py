"""Golden sets asked of real HTTP servers: within their limits, beside the backlog, and nothing is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.registry import make
from backends.simulator import inside
from models.calls import ModelInfo, Probe
from models.endpoint import Budget
from models.enums import BackendName
from models.errors import BackendUnavailable, InputError
from models.pause import PauseKind
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from sql.connection import Database
from tasks import pause
from tasks.evaluate import GoldenSet, Seat, Variant, evaluate
from tasks.evaluate.cases import Case
from tasks.execute.lease import endpoint_lease
from tasks.recipes import load_recipes

SETTINGS = Settings(batch_size=16, heartbeat=1.0, retry_delay=0.0)
TEXT = "The collector listens on port 7070 and accepts measurements over TLS only."
KEPT = ("board", "item", "batch", "attempt", "result", "review", "node", "streak", "answer_cache", "recipe")


def golden(count: int = 12) -> GoldenSet:
    cases = [
        Case(
            id=str(n),
            title=f"On which port does the collector number {n} listen?",
            passages={"ops.md:1": TEXT},
        )
        for n in range(count)
    ]
    return GoldenSet("task", "task.yaml", "task", tuple(cases))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipes(Settings(home=tmp_path))["task"]


@asynccontextmanager
async def seated(**options: Any) -> AsyncIterator[tuple[Seat, Any]]:
    names = options.pop("models", ["small", "large"])
    async with inside(flavour="ollama", models=names, resident=1, slots=4, **options) as server:
        endpoint = Endpoint(
            backend=BackendName.OLLAMA, url=server.url, slots=3, resident=1, model="small", call_timeout=20
        )
        backend = make(endpoint)
        try:
            probe = Probe(True, "", tuple(ModelInfo(name) for name in names), simulated=True)
            yield Seat(backend, endpoint, probe), server
        finally:
            await backend.close()


def variants(recipe: Recipe, *models: str) -> list[Variant]:
    return [Variant(model, model, {"task": recipe}) for model in models]


def rows(database: Database) -> dict[str, int]:
    with database.connect() as connection:
        return {
            table: connection.execute(f"select count(*) from {table}".encode()).fetchone()[0]  # type: ignore[index]
            for table in KEPT
        }


async def test_variants_are_asked_within_the_slots_and_nothing_is_stored(
    database: Database, recipe: Recipe
) -> None:
    async with seated(latency=0.005) as (seat, server):
        again = Variant("small again", "small", {"task": recipe})
        asked = [*variants(recipe, "small", "large"), again]
        found = await evaluate(database, SETTINGS, seat, [golden()], asked)
        stats = server.stats()
    assert [each.name for each in found] == ["small", "large", "small again"]
    assert [(each.score, each.unknown, len(each.cases)) for each in found] == [(1.0, 0, 12)] * 3
    assert all(each.simulated for each in found)
    assert stats["max_in_flight"] <= 3
    loads = {name.removesuffix(":latest"): count for name, count in stats["loads_by_model"].items()}
    assert loads == {"small": 1, "large": 1}
    assert set(rows(database).values()) == {0}
    with database.connect() as connection:
        assert connection.execute("select count(*) from lease where expires_at > now()").fetchone() == (0,)


async def test_a_case_scores_the_same_whatever_others_there_are(database: Database, recipe: Recipe) -> None:
    """The simulator gives all of them the answer to the first: together, the checks would hold it for mixed up."""
    cases = [
        Case(
            id=str(n),
            title=title,
            passages={"ops.md:1": TEXT, "ops.md:2": "Raw measurements are kept 400 days."},
        )
        for n, title in enumerate(["On which port does the collector listen?", "How long are raw data kept?"])
    ]
    async with seated() as (seat, _):
        scores = []
        for chosen in (cases, cases[1:]):
            golden_set = GoldenSet("task", "task.yaml", "task", tuple(chosen))
            [found] = await evaluate(database, SETTINGS, seat, [golden_set], variants(recipe, "small"))
            scores.append(found.cases[-1].score)
    assert scores[0] == scores[1] == 1.0


async def test_it_waits_for_a_drain_and_says_so(database: Database, recipe: Recipe) -> None:
    told: list[str] = []
    said = asyncio.Event()

    def on_wait(words: str) -> None:
        told.append(words)
        said.set()

    settings = SETTINGS.model_copy(update={"heartbeat": 0.05})
    async with seated() as (seat, server):
        free = asyncio.Event()

        async def hold() -> None:
            async with endpoint_lease(
                lambda: database.aconnect(autocommit=True),
                backend="ollama",
                url=server.url,
                model="small",
                heartbeat=15.0,
            ) as lease:
                assert lease is not None
                free.set()
                await said.wait()
                assert not server.stats()["requests"]

        drain = asyncio.create_task(hold())
        await free.wait()
        [found] = await evaluate(
            database, settings, seat, [golden(3)], variants(recipe, "small"), on_wait=on_wait
        )
        await drain
    assert len(told) == 1
    assert found.score == 1.0


async def test_what_a_server_fails_at_is_not_known_and_tried_again_before(
    database: Database, recipe: Recipe
) -> None:
    async with seated(rates={"error500": 1.0}) as (seat, _):
        [found] = await evaluate(database, SETTINGS, seat, [golden(6)], variants(recipe, "small"))
    assert (found.unknown, found.score, found.passed) == (6, None, 0)
    assert all(case.missed for case in found.cases)
    async with seated(script=["error500", "ok", "error500"]) as (seat, _):
        settings = SETTINGS.model_copy(update={"breaker_failures": 50})
        [found] = await evaluate(database, settings, seat, [golden(4)], variants(recipe, "small"))
    assert (found.unknown, found.score) == (0, 1.0)


async def test_a_model_that_is_not_there_and_one_that_is_paused(database: Database, recipe: Recipe) -> None:
    async with seated() as (seat, server):
        with pytest.raises(InputError, match="does not have the model 'other'; it has small, large"):
            await evaluate(database, SETTINGS, seat, [golden(2)], variants(recipe, "small", "other"))
        connection = await database.aconnect(autocommit=True)
        await pause.pause(connection, PauseKind.MODEL, "small")
        with pytest.raises(BackendUnavailable, match="small is paused"):
            await evaluate(database, SETTINGS, seat, [golden(2)], variants(recipe, "small"))
        await pause.resume(connection, PauseKind.MODEL, "small")
        # A recipe that was struck can be asked: how else would one know that it is well again?
        await pause.pause(connection, PauseKind.RECIPE, "task small")
        await connection.close()
        [found] = await evaluate(database, SETTINGS, seat, [golden(2)], variants(recipe, "small"))
        assert found.score == 1.0
        assert server.stats()["max_in_flight"] <= 3


async def test_it_is_counted_in_the_accounts_budget_and_ends_with_it(
    database: Database, recipe: Recipe
) -> None:
    async with seated() as (seat, _):
        settings = SETTINGS.model_copy(
            update={
                "endpoints": [seat.endpoint],
                "budgets": [Budget(account=seat.endpoint.resource, requests_per_day=5)],
            }
        )
        with pytest.raises(BackendUnavailable, match="5"):
            await evaluate(database, settings, seat, [golden(8)], variants(recipe, "small"))
    with database.connect() as connection:
        assert connection.execute("select requests from spend").fetchone() == (5,)
