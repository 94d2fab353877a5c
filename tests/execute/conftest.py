"""A small world for drains: items put straight into the tables, a backend in this process, no Prefect."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.rows import TupleRow

from models.calls import Backend, ModelAnswer, ModelRequest, Passage, Probe
from models.enums import BackendName, Status
from models.recipe import Recipe, RecipeHeader, Rendered
from models.settings import Endpoint, Settings
from models.verdict import AnswerRow, BatchVerdict, Verdict
from sql.connection import Database
from tasks.execute import ClaimedItem, Stages, Tally, drain

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def recipe(name: str = "task", **header: Any) -> Recipe:
    values = {"name": name, "about": "a test", "answer_schema": SCHEMA, "passages": 0} | header
    return Recipe(RecipeHeader(**values), "system", "prompt", f"text of {name}", f"hash-{name}", f"{name}.md")


class InProcess:
    """A backend that answers from a function; counts what it was asked."""

    name = "openai"
    url = "test://here"

    def __init__(self, reply: Callable[[ModelRequest], Awaitable[str]]) -> None:
        self._reply = reply
        self.asked: list[int] = []
        self.warmed: list[str] = []  # models that were asked for a token before their first item
        self.in_flight = 0
        self.most_in_flight = 0

    async def probe(self, deadline: float) -> Probe:
        return Probe(True, "in this process")

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        if request.item_id == 0:
            self.warmed.append(request.model)
            return ModelAnswer("yes", request.model, "stop", 1, 1, 0.01)
        self.asked.append(request.item_id)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            text = await self._reply(request)
        finally:
            self.in_flight -= 1
        return ModelAnswer(text, request.model, "stop", 10, 5, 0.01)

    async def close(self) -> None:
        return None


async def no_recall(connection: Any, items: Sequence[ClaimedItem], limit: int) -> list[list[Passage]]:
    return [[] for _ in items]


def plain_prompt(
    recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None, *, share: float = 1.0
) -> Rendered:
    given = "".join(f"\n{passage.cite}: {passage.text}" for passage in passages)
    prompt = f"{item.title} {item.body}{given} {reason or ''}"
    return Rendered("system", prompt, f"prompt-{item.id}", tuple(passages), question=item.question)


async def accept_all(recipe: Recipe, rows: Sequence[AnswerRow]) -> BatchVerdict:
    return BatchVerdict(
        {row.item_id: Verdict(row.item_id, (), row.answer.text) for row in rows}, {"rows": len(rows)}
    )


async def no_split(
    connection: psycopg.AsyncConnection[Any], item_id: int, data: dict[str, Any] | None
) -> int:
    raise AssertionError("no recipe here splits")


STAGES = Stages(no_recall, plain_prompt, accept_all, no_split)


class World:
    """One board of `count` ready items, and drains over it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.endpoint = Endpoint(backend=BackendName.OPENAI, url="test://here", slots=4, call_timeout=20)

    def add(
        self, count: int, *, recipe: str = "task", priority: int = 2, board: str = "plan.md"
    ) -> list[int]:
        with self.database.connect() as connection:
            board_id = connection.execute(
                "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '')"
                " on conflict (source) do update set sha256 = '' returning id",
                [board],
            ).fetchone()
            assert board_id
            ids = [
                row[0]
                for row in connection.execute(
                    "insert into item (board_id, key, position, status, ready, recipe, priority)"
                    " select %s, gen_random_uuid(), n, 1, true, %s, %s from generate_series(1, %s) n returning id",
                    [board_id[0], recipe, priority, count],
                )
            ]
            connection.execute(
                "insert into item_source (item_id, kind, title, line, declared, content_hash)"
                " select id, 'task', 'item ' || id, id, 'todo', '' from unnest(%s::bigint[]) id",
                [ids],
            )
        return ids

    def statuses(self) -> dict[Status, int]:
        with self.database.connect() as connection:
            rows = connection.execute("select status, count(*) from item group by status").fetchall()
        return {Status(status): count for status, count in rows}

    def rows(self, query: str) -> list[TupleRow]:
        with self.database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    async def drain(
        self, backend: Backend, *recipes: Recipe, stages: Stages = STAGES, **options: Any
    ) -> Tally:
        known = {each.name: each for each in recipes or (recipe(),)}
        return await drain(
            self.database,
            backend,
            options.pop("endpoint", self.endpoint),
            model="test-model",
            recipes=known,
            stages=stages,
            settings=options.pop("settings", self.settings),
            trace_id=str(uuid.uuid4()),
            **options,
        )


@pytest.fixture
def world(database: Database) -> World:
    settings = Settings(batch_size=16, batch_seconds=0, heartbeat=5.0, retry_delay=0.0)
    return World(database, settings)


async def answered(request: ModelRequest) -> str:
    return orjson.dumps({"answer": f"answer to {request.item_id}"}).decode()
