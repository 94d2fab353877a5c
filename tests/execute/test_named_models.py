"""Which model an item is asked of: its own, its recipe's, the endpoint's. A server with room for one is the judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

import sources
from backends.registry import make
from backends.simulator import inside
from deployments.load import read
from models.enums import BackendName, ErrorType
from models.recipe import Recipe
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Failure, Verdict
from tasks.decompose import decompose_board
from tasks.execute import Stages, drain
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes

from .conftest import STAGES, InProcess, World, accept_all, answered, no_recall, no_split, recipe

EACH = 8


def board() -> Iterator[str]:
    """Items of each sort by turns, so that taking them as they stand would load a model for nearly each."""
    yield "# Board\n\n- [ ] EP A — Alarm\n"
    for number in range(1, EACH + 1):
        yield f"  - [ ] T A-1.{number} — Paint gate {number}\n"  # the endpoint's
        yield f"  - [ ] T A-2.{number} — Weigh offer {number} [model:: large]\n"
        yield f"  - [ ] T A-3.{number} — CONSULT — which rack is {number}?\n"  # its recipe's
        yield f"  - [ ] T A-4.{number} — CONSULT — which port is {number}? [model:: small]\n"


EXPECTED = {"Paint": "small", "Weigh": "large", "which rack": "large", "which port": "small"}


def recipes(**consult: object) -> Recipes:
    known = {"task": recipe(kinds=["*"]), "consult": recipe("consult", kinds=["consult"], **consult)}
    return Recipes(known, {"*": "task", "consult": "consult"})


def stored(world: World, known: Recipes) -> None:
    text = "".join(board())
    with world.database.connect(autocommit=True) as connection:
        found = ingest_board(connection, sources.parse(text.encode(), "board.md"), source="/board.md")
        decompose_board(connection, found.board_id, known)
        connection.execute("update item set rollup = false")


def asked(world: World) -> dict[str, set[str]]:
    """Of each sort of item, which models answered."""
    rows = world.rows("select s.title, a.model from attempt a join item_source s on s.item_id = a.item_id")
    return {
        sort: {model.removesuffix(":latest") for title, model in rows if sort in title} for sort in EXPECTED
    }


async def test_each_is_asked_of_its_model_and_each_model_is_loaded_once(world: World) -> None:
    known = recipes(model="large")
    stored(world, known)
    async with inside(
        flavour="ollama", models=["small", "large"], resident=1, load_seconds=0.03, slots=4
    ) as server:
        endpoint = Endpoint(backend=BackendName.OLLAMA, url=server.url, slots=4, resident=1, model="small")
        backend = make(endpoint)
        try:
            tally = await drain(
                world.database,
                backend,
                endpoint,
                model="small",
                recipes=known,
                stages=STAGES,
                settings=world.settings.model_copy(
                    update={"batch_size": 3, "batch_seconds": 0, "endpoints": [endpoint]}
                ),
                trace_id="",
            )
        finally:
            await backend.close()
        judged = server.stats()
    assert tally.accepted == 4 * EACH
    assert asked(world) == {sort: {model} for sort, model in EXPECTED.items()}
    assert {name.removesuffix(":latest"): count for name, count in judged["loads_by_model"].items()} == {
        "small": 1,
        "large": 1,
    }
    batches = world.rows("select distinct recipe, model from batch order by 1, 2")
    assert batches == [("consult", "large"), ("consult", "small"), ("task", "large"), ("task", "small")]


async def test_a_fallback_is_asked_of_its_own_model_unless_the_item_names_one(world: World) -> None:
    known = recipes(model="large", fallback="task", max_attempts=1)
    stored(world, known)

    async def checks(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
        if recipe.name == "task":
            return await accept_all(recipe, rows)
        failure = Failure("shape", "json", ErrorType.SCHEMA, "no JSON at all")
        return BatchVerdict({row.item_id: Verdict(row.item_id, (failure,), "") for row in rows})

    stages = Stages(no_recall, STAGES.render, checks, no_split)
    tally = await world.drain(InProcess(answered), *known.values(), stages=stages)
    assert (tally.accepted, tally.fallback) == (4 * EACH, 2 * EACH)
    assert asked(world) == {
        "Paint": {"test-model"},
        "Weigh": {"large"},
        "which rack": {"large", "test-model"},
        "which port": {"small"},
    }


async def test_another_name_in_the_recipe_counts_from_the_next_run_on(world: World) -> None:
    stored(world, recipes(model="gone"))
    await world.drain(InProcess(answered), *recipes(model="large").values())
    assert asked(world)["which rack"] == {"large"}


def test_the_queues_are_those_of_the_models(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home)
    mine = load_recipes(settings)["consult"]
    (home / "recipes").mkdir()
    text = mine.text.replace("name: consult\n", "name: consult\nmodel: large\n", 1)
    (home / "recipes" / "consult.md").write_text(text, encoding="utf-8")
    known = load_recipes(settings)
    assert known["consult"].header.model == "large"
    stored(world, known)
    with world.database.connect(autocommit=True) as connection:
        queues = {(queue.backend, queue.model): queue.due for queue in read(connection, settings).queues}
    assert queues == {("", ""): EACH, ("", "large"): 2 * EACH, ("", "small"): EACH}
