"""Boards through ingest, decompose and drain with the built-in recipes and every check: splits, gates, roll-up.

The model is the simulator over HTTP, the extractive backend, or a function where a test must know what it says.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable
from typing import Any

import orjson
import pytest

import sources
from backends import simulator
from backends.extractive import ExtractiveBackend
from backends.registry import make
from flows.execute import stages
from models.calls import Backend, ModelRequest
from models.enums import BackendName, Decision, Status
from models.settings import Endpoint, Settings
from sql.connection import Database
from tasks import report as reports
from tasks.decompose import Wishes, decompose_board
from tasks.execute import Halt, Seat, Tally, drain_any
from tasks.ingest import ingest_board
from tasks.recipes import Recipes, load_recipes
from tasks.remember import remember_board
from tasks.review import decide

from .conftest import InProcess

LEVELS = """# Levels

## Basin one

The level of basin one is 212 metres above the sea. The pump of basin one runs at night.

## Basin two

The level of basin two is 198 metres above the sea. The wall of basin two is two metres thick.

## Bells

The bell of the flood alarm hangs above the north door. Operators may silence the flood alarm for ten minutes.
"""


class Pipeline:
    """One board beside a document, and whoever answers."""

    def __init__(self, database: Database, recipes: Recipes) -> None:
        self.database = database
        self.recipes = recipes
        self.settings = Settings(batch_size=8, batch_seconds=0, heartbeat=5.0, retry_delay=0.0)
        self.boards: list[int] = []

    def ingest(self, text: str, wishes: Wishes | None = None) -> None:
        self.boards = []
        with self.database.connect(autocommit=True) as connection:
            for name, content in (("/levels.md", LEVELS), ("/plan.md", text)):
                board = sources.parse(content.encode(), name)
                delta = ingest_board(connection, board, source=name)
                remember_board(connection, delta.board_id, board)
                self.boards.append(delta.board_id)
            connection.execute("insert into run (id, board_ids) values (%s, %s)", [uuid.uuid4(), self.boards])
            for board_id in self.boards:
                decompose_board(connection, board_id, self.recipes, wishes)

    async def drain(self, backend: Backend, endpoint: Endpoint, halt: Halt | None = None) -> Tally:
        return await drain_any(
            self.database,
            [Seat(backend, endpoint, endpoint.model or "m", stages(endpoint.context_tokens, self.recipes))],
            recipes=self.recipes,
            settings=self.settings,
            trace_id=str(uuid.uuid4()),
            boards=self.boards,
            halt=halt,
        )

    async def extractive(self) -> Tally:
        endpoint = Endpoint(backend=BackendName.EXTRACTIVE, url="extractive://local")
        return await self.drain(ExtractiveBackend(endpoint), endpoint)

    async def simulated(self, **options: Any) -> Tally:
        with simulator.running(**options) as server:
            endpoint = Endpoint(backend=BackendName.OLLAMA, url=server.url, model="sim:small", slots=4)
            backend = make(endpoint)
            try:
                return await self.drain(backend, endpoint)
            finally:
                await backend.close()

    async def model(self, reply: Callable[[ModelRequest], str], halt: Halt | None = None) -> Tally:
        async def answer(request: ModelRequest) -> str:
            return reply(request)

        endpoint = Endpoint(backend=BackendName.OPENAI, url="test://here", slots=4)
        return await self.drain(InProcess(answer), endpoint, halt)

    async def decide(self, review: int, decision: Decision, text: str | None = None) -> int:
        async with await self.database.aconnect(autocommit=True) as connection:
            return (await decide(connection, review, decision, text=text, by="anna")).released

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def state(self, title: str) -> tuple[Status, str | None]:
        (row,) = self.rows(
            "select status, recipe from item join item_source on item_id = id where title like %s"
            " and removed_at is null",
            title,
        )
        return Status(row[0]), row[1]

    def reviews(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "select id, kind, error_type, title, proposal, reason from review where decided_at is null order by id"
        )


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes(Settings())


@pytest.fixture
def pipeline(database: Database, recipes: Recipes) -> Pipeline:
    return Pipeline(database, recipes)


EPIC = """# Board
[ ] EP AB-1 — Basins
   [ ] FEAT AB-1.1 — Levels of the basins
   [ ] T AB-1.2 — State how thick the wall of basin two is
"""


def part(title: str, *needs: int) -> dict[str, Any]:
    return {"title": title, "acceptance": ["it is written down"], **({"needs": list(needs)} if needs else {})}


def says(*parts: dict[str, Any]) -> str:
    return orjson.dumps({"subtasks": list(parts)}).decode()


GOOD = says(part("State the level of basin one"), part("State the level of basin two", 1))


def working(split: Callable[[ModelRequest], str]) -> Callable[[ModelRequest], str]:
    """Splits as told, and answers with the first passage quoted."""

    def reply(request: ModelRequest) -> str:
        if "subtasks" in (request.schema or {})["properties"]:
            return split(request)
        passage = request.passages[0]
        quote = passage.text.strip().splitlines()[-1]
        return orjson.dumps(
            {
                "answer": f"As written: {quote}",
                "citations": [{"cite": passage.cite, "quote": quote}],
                "confidence": 0.9,
            }
        ).decode()

    return reply


async def test_from_a_feature_to_the_synthesis_of_the_whole(pipeline: Pipeline) -> None:
    pipeline.ingest(EPIC)
    order: list[str] = []

    def split(request: ModelRequest) -> str:
        assert "into about 3 subtasks" in request.prompt, "the score says into how many"
        return GOOD

    def reply(request: ModelRequest) -> str:
        order.append(request.question.splitlines()[0])
        return working(split)(request)

    tally = await pipeline.model(reply)

    assert tally.deferred == 0
    assert order.index("State the level of basin one") < order.index("State the level of basin two")
    assert order[-2:] == ["Levels of the basins", "Basins"], "each parent after its parts"
    assert pipeline.state("Levels of the basins") == (Status.DONE, "rollup")
    assert pipeline.state("Basins") == (Status.DONE, "rollup")
    results = pipeline.rows(
        "select s.title, r.citations, r.accepted_by from result r join item_source s using (item_id)"
        " where r.superseded_at is null order by r.id"
    )
    assert len(results) == 5
    ids = {
        title: f"item:{number}" for title, number in pipeline.rows("select title, item_id from item_source")
    }
    assert results[-2][1][0]["cite"] == ids["State the level of basin one"]
    assert {row[2] for row in results} == {"checks"}


FAULTS = {
    "a ring": says(part("one of them", 2), part("two of them", 1)),
    "twice": says(part("one of them"), part("One  of them")),
    "without criteria": says({"title": "one of them", "acceptance": []}, part("two of them")),
    "one part": says(part("one of them")),
    "the item itself": says(part("Levels of the basins"), part("two of them")),
    "on the board": says(part("state how thick the wall of basin two is"), part("two of them")),
    "cut off": GOOD[:-20],
    "no JSON": "I would first look at the levels.",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_split_with_a_fault_is_asked_again_with_the_reason(pipeline: Pipeline, fault: str) -> None:
    pipeline.ingest(EPIC)
    prompts: list[str] = []

    def split(request: ModelRequest) -> str:
        prompts.append(request.prompt)
        return FAULTS[fault] if len(prompts) == 1 else GOOD

    await pipeline.model(working(split))

    assert len(prompts) == 2
    assert "An earlier answer was not accepted" in prompts[1]
    assert pipeline.state("Levels of the basins") == (Status.DONE, "rollup")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"```json\n{GOOD}\n```", "code fence"),
        (f"<think>{{maybe}} two parts</think>\n{GOOD}", "thoughts"),
        (f"Here it is:\n\n{GOOD}\n\nGood luck!", "prose"),
        (GOOD.replace("}]}", "},]}"), "comma"),
    ],
)
async def test_what_small_models_wrap_around_is_put_right_and_said(
    pipeline: Pipeline, text: str, said: str
) -> None:
    pipeline.ingest(EPIC)
    await pipeline.model(working(lambda request: text))
    assert pipeline.state("Levels of the basins") == (Status.DONE, "rollup")
    checks = pipeline.rows("select checks from attempt where checks is not null and outcome = 'accepted'")
    assert [(one["check"], said in one["message"]) for one in checks[0][0]] == [("repaired", True)]


async def test_after_the_last_attempt_a_person_says_how(pipeline: Pipeline) -> None:
    pipeline.ingest(EPIC)
    await pipeline.model(working(lambda request: FAULTS["a ring"]))
    ((review, kind, error, title, _, reason),) = pipeline.reviews()
    assert (kind, error, title) == ("plan", "rule", "Levels of the basins")
    assert "wait for one another" in reason
    assert pipeline.state("Levels of the basins") == (Status.WAITING, "split")
    assert pipeline.rows("select count(*) from attempt where outcome = 'retry'") == [(1,)]

    plan = (
        "1. State the level of basin one\n   - in metres\n2. State the level of basin two\n   - in metres\n"
    )
    assert await pipeline.decide(review, Decision.EDIT, plan) == 2
    await pipeline.model(working(lambda request: GOOD))
    assert pipeline.state("Basins") == (Status.DONE, "rollup")


LIKELY = """# Board

- [ ] Say all there is to say of the basins, their levels and their walls; complexity: 9
  - the level of basin one
  - the level of basin two
"""


async def test_after_the_last_attempt_the_items_own_list_is_the_split(pipeline: Pipeline) -> None:
    pipeline.ingest(LIKELY)
    assert pipeline.state("Say all%")[1] == "split", (
        "it is a list of things, perhaps of steps: a model is asked first"
    )
    tally = await pipeline.model(working(lambda request: "no"))
    assert (tally.retry, tally.fallback, tally.deferred) == (1, 1, 0)
    assert pipeline.reviews() == []
    assert pipeline.state("Say all%") == (Status.DONE, "rollup")
    assert pipeline.state("the level of basin one") == (Status.DONE, "task")
    assert pipeline.rows("select decision, note from review") == [("superseded", "split by its own list")]


@pytest.mark.parametrize("by", ["run", "recipe"])
async def test_a_plan_that_must_be_approved_runs_nothing_before(
    pipeline: Pipeline, recipes: Recipes, by: str, home: Any
) -> None:
    if by == "recipe":
        folder = home / "recipes"
        folder.mkdir(parents=True)
        text = recipes["split"].text.replace("splits: true", "splits: true\napprove: true", 1)
        (folder / "split.md").write_text(text, encoding="utf-8")
        pipeline.recipes = load_recipes(Settings(home=home))
    pipeline.ingest(EPIC, Wishes(approve=by == "run"))
    asked: list[str] = []

    def reply(request: ModelRequest) -> str:
        asked.append(request.question.splitlines()[0])
        return working(lambda request: GOOD)(request)

    tally = await pipeline.model(reply)

    assert tally.deferred == 1
    assert sorted(asked) == ["Levels of the basins", "State how thick the wall of basin two is"]
    ((review, kind, error, _, proposal, _),) = pipeline.reviews()
    assert (kind, error) == ("plan", "plan")
    assert proposal.startswith("1. State the level of basin one\n   - it is written down\n2. State")
    assert "- needs: 1" in proposal
    assert pipeline.state("Levels of the basins") == (Status.WAITING, "split")
    assert pipeline.rows("select count(*) from item where lease is not null") == [(0,)]
    assert (await pipeline.model(reply)).batches == 0, "waiting is free, and is never ended by a machine"

    assert await pipeline.decide(review, Decision.ACCEPT) == 1, "the second part needs the first"
    await pipeline.model(reply)
    assert pipeline.state("Basins") == (Status.DONE, "rollup")


STEPS = """# Board

- [ ] Say what is known of the basins
  1. State the level of basin one
  2. State the level of basin two
  3. State how thick the wall of basin two is
  4. State when the pump of basin one runs
"""


async def test_what_is_made_of_simulated_results_is_marked_whoever_makes_it(pipeline: Pipeline) -> None:
    pipeline.ingest(STEPS)
    tally = await pipeline.simulated(seed=1)
    assert tally.simulated
    assert pipeline.reviews() == []
    assert pipeline.state("Say what%") == (Status.DONE, "rollup")
    marks = pipeline.rows("select distinct simulated from result where superseded_at is null")
    assert marks == [(True,)]

    pipeline.ingest(STEPS.replace("when the pump of basin one runs", "when the pump of basin one is running"))
    assert pipeline.state("Say what%") == (Status.PENDING, None)
    await pipeline.extractive()
    simulated = pipeline.rows(
        "select s.title, r.simulated from result r join item_source s using (item_id)"
        " where r.superseded_at is null and not r.simulated"
    )
    assert simulated == [("State when the pump of basin one is running", False)]
    assert pipeline.state("Say what%") == (Status.DONE, "rollup")


async def test_without_a_model_a_list_is_split_answered_and_put_together(pipeline: Pipeline) -> None:
    pipeline.ingest(STEPS)
    tally = await pipeline.extractive()
    assert (tally.accepted, tally.deferred) == (5, 0)
    ((text, citations),) = pipeline.rows(
        "select r.text, r.citations from result r join item_source s using (item_id)"
        " where s.title = 'Say what is known of the basins' and r.superseded_at is null"
    )
    assert len(citations) == 4
    for fact in ("212 metres", "198 metres", "two metres thick", "runs at night"):
        assert fact in text
    with pipeline.database.connect() as connection:
        report = reports.build(connection, pipeline.boards)
    (board,) = [each for each in report.boards if each.items]
    assert (board.counts.items, board.counts.to_do, board.counts.done) == (1, 4, 4), "the board has one item"
    assert (board.parts, board.syntheses, report.unsettled) == (4, 1, 0)
    told = reports.as_markdown(report)
    assert "4 parts made by splitting. 1 item has a synthesis of the parts' results." in told
    assert "put together from its parts by extractive" in told


async def test_a_part_that_is_done_anew_makes_the_syntheses_above_it_anew(pipeline: Pipeline) -> None:
    pipeline.ingest(EPIC)
    await pipeline.model(working(lambda request: GOOD))
    before = dict(
        pipeline.rows(
            "select s.title, r.id from result r join item_source s using (item_id) where superseded_at is null"
        )
    )
    pipeline.ingest(
        EPIC.replace("how thick the wall of basin two is", "the thickness of the wall of basin two")
    )
    assert pipeline.state("Basins") == (Status.PENDING, None)
    tally = await pipeline.model(working(lambda request: GOOD))
    assert tally.accepted == 2, "the item that changed and the synthesis that it is in"
    after = dict(
        pipeline.rows(
            "select s.title, r.id from result r join item_source s using (item_id) where superseded_at is null"
        )
    )
    assert after["Levels of the basins"] == before["Levels of the basins"]
    assert after["Basins"] != before["Basins"]


GATES = """# Board
[ ] EP AB-1 — Alarms
   [ ] US AB-1.1 — Silence
      [ ] T AB-1.1.GOV — CONSULT — may operators silence the flood alarm?
      [ ] T AB-1.1.2 — State where the bell of the flood alarm hangs
   [ ] US AB-1.2 — Walls
      [ ] T AB-1.2.GOV — REFLECT — how thick is the wall of basin two?
      [ ] T AB-1.2.2 — State the level of basin two
"""


@pytest.mark.parametrize("backend", ["extractive", "simulator"])
async def test_a_consultation_is_prepared_and_decided_a_reflection_is_worked_out(
    pipeline: Pipeline, backend: str
) -> None:
    pipeline.ingest(GATES)
    consult, reflect = "%silence the flood alarm?", "%wall of basin two?"
    assert pipeline.state("State where%")[0] is Status.PENDING
    assert pipeline.state("State the level%")[0] is Status.PENDING, "both kinds block what they gate"

    await (pipeline.extractive() if backend == "extractive" else pipeline.simulated(seed=1))

    assert pipeline.state(reflect)[0] is Status.DONE
    ((text, accepted_by),) = pipeline.rows(
        "select r.text, r.accepted_by from result r join item_source s using (item_id) where s.title like %s",
        reflect,
    )
    assert accepted_by == "checks"
    assert text
    assert pipeline.state("State the level%")[0] is Status.DONE, "what the reflection gated went on"
    assert pipeline.state(consult)[0] is Status.WAITING
    assert pipeline.state("State where%")[0] is Status.PENDING, "a brief settles nothing"
    ((review, kind, error, _, proposal, reason),) = pipeline.reviews()
    assert (kind, error) == ("item", "human_only")
    assert "always asks a person" in reason
    assert proposal
    if backend == "extractive":
        assert "Operators may silence the flood alarm for ten minutes." in proposal
    assert pipeline.rows(
        "select count(*) from result r join item_source s using (item_id) where s.title like %s", consult
    ) == [(0,)]

    assert await pipeline.decide(review, Decision.EDIT, "Yes, for five minutes.") == 1
    await (pipeline.extractive() if backend == "extractive" else pipeline.simulated(seed=1))
    assert pipeline.state("State where%")[0] is Status.DONE
    assert pipeline.state("Silence") == (Status.DONE, "rollup")
    assert pipeline.state("Alarms") == (Status.DONE, "rollup")
    ((text,),) = pipeline.rows(
        "select r.text from result r join item_source s using (item_id) where s.title like %s", consult
    )
    assert text == "Yes, for five minutes."


DRAIN = """
import asyncio, sys, uuid
from backends.registry import make
from flows.execute import stages
from models.settings import Endpoint, settings
from sql.connection import database
from tasks.execute import Seat, drain_any
from tasks.recipes import load_recipes

async def main(url: str, board: int) -> None:
    config = settings()
    recipes = load_recipes(config)
    endpoint = Endpoint(backend="ollama", url=url, model="sim:small", slots=4)
    seat = Seat(make(endpoint), endpoint, "sim:small", stages(endpoint.context_tokens, recipes))
    with database(config) as db:
        await drain_any(db, [seat], recipes=recipes, settings=config, trace_id=str(uuid.uuid4()), boards=[board])

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.timeout(120)
async def test_kill_9_in_the_middle_of_a_synthesis_costs_that_one_call(
    database_env: Database, recipes: Recipes
) -> None:
    pipeline = Pipeline(database_env, recipes)
    pipeline.ingest(STEPS)
    with simulator.running(
        slots=4, script=["ok"] * 5 + ["hang"]
    ) as server:  # the first is the proof that its model answers
        arguments = [sys.executable, "-c", DRAIN, server.url, str(pipeline.boards[1])]
        process = await asyncio.create_subprocess_exec(*arguments)
        try:
            while (
                pipeline.state("Say what%") != (Status.RUNNING, "rollup") or not server.stats()["in_flight"]
            ):
                assert process.returncode is None, "it ended before it could be killed"
                await asyncio.sleep(0.05)
        finally:
            process.kill()
            await process.wait()
        endpoint = Endpoint(backend=BackendName.OLLAMA, url=server.url, model="sim:small", slots=4)
        backend = make(endpoint)
        tally = await pipeline.drain(
            backend, endpoint
        )  # a holder that is known to be dead is replaced at once
        await backend.close()
    assert (tally.accepted, tally.deferred) == (1, 0)
    assert pipeline.state("Say what%") == (Status.DONE, "rollup")
    assert pipeline.rows("select count(*), count(distinct item_id) from result") == [(5, 5)]
    assert pipeline.rows("select count(*) from attempt") == [(5,)]
    assert pipeline.rows("select count(*) from item where lease is not null") == [(0,)]
