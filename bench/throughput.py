"""Items a second through the whole life cycle, durable, beside naive Prefect and a loop that stores nothing.

(a) A backend in this process that answers at once: parse, ingest, decompose, claim, render, check with Great
    Expectations, write; one Prefect task run per batch. Beside it naive Prefect: `.map`, a task run per item.
(b) One HTTP call per item to the simulator with no latency, the same steps. Beside it a plain asyncio + httpx loop
    with the same number of requests in flight, which keeps nothing.

All in one run on one machine: embedded Postgres, one Prefect server, imports and first use before the clock starts.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson

from bench.harness import Figure, at_least, say, told
from models.calls import Backend, ModelAnswer, ModelRequest, Probe
from models.enums import BackendName
from models.settings import Endpoint, Settings, settings
from sql.connection import Database, database
from sql.schema import prepare

IN_FLIGHT = 8
RECIPE = """---
name: bench
about: A short answer with three checks.
kinds: ["*"]
grounding: none
passages: 0
answer_schema:
  type: object
  required: [answer]
  properties:
    answer: {type: string, minLength: 1}
checks:
  - expect: expect_column_values_to_be_between
    with: {column: length, min_value: 2, max_value: 2000}
    says: An answer has 2 to 2,000 characters.
  - expect: expect_column_values_to_not_be_null
    with: {column: text}
    says: There is an answer.
  - expect: expect_column_values_to_be_unique
    with: {column: item_id}
    says: One answer per item.
---
# System
Answer with JSON: {{ schema }}

# Prompt
<data {{ fence }}>
{{ item.title }}
</data {{ fence }}>
"""


class AtOnce:
    """A backend in this process that answers at once."""

    name = "openai"
    url = "bench://at-once"

    async def probe(self, deadline: float) -> Probe:
        return Probe(True, "in this process")

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        return ModelAnswer('{"answer": "here is a short answer"}', request.model, "stop", 20, 8, 0.0)

    async def close(self) -> None:
        return None


def run(quick: bool) -> list[Figure]:
    items, calls, mapped = (1500, 800, 150) if quick else (10000, 4000, 500)
    with _home() as home:
        os.environ["PENSTOCK_BATCH_SIZE"] = "2048"
        config = settings()
        (home / "recipes").mkdir(parents=True, exist_ok=True)
        (home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
        from deployments.server import orchestrator

        with database(config) as db:
            prepare(db)
            with orchestrator(config, db):
                return _measure(db, config, items, calls, mapped)


def _measure(db: Database, config: Settings, items: int, calls: int, mapped: int) -> list[Figure]:
    from backends import simulator
    from backends.registry import make
    from interfaces.cli.quiet import quiet_prefect

    endpoint = Endpoint(backend=BackendName.OPENAI, url="bench://at-once", slots=256, model="bench")
    quiet_prefect()
    say("first use (imports, Great Expectations, server) ...")
    asyncio.run(_cycle(db, config, AtOnce, endpoint, 200, "warm"))
    _naive(5)

    say(f"(a) {items} items, a backend that answers at once")
    penstock = asyncio.run(_cycle(db, config, AtOnce, endpoint, items, "at-once"))
    say(f"(a) naive Prefect, {mapped} items")
    naive = _naive(mapped)

    with simulator.running(slots=IN_FLIGHT * 2, models=["bench"], latency=0.0) as server:
        remote = Endpoint(backend=BackendName.OPENAI, url=server.openai_url, slots=IN_FLIGHT, model="bench")
        asyncio.run(_plain(server.openai_url, 200))
        say(f"(b) {calls} calls, plain loop, Penstock, plain loop")
        before = asyncio.run(_plain(server.openai_url, calls))
        ours = asyncio.run(_cycle(db, config, lambda: make(remote), remote, calls, "http"))
        after = asyncio.run(_plain(server.openai_url, calls))
    plain = (before + after) / 2
    return [
        told("(a) Penstock, whole life cycle", penstock, "items/s"),
        told("(a) naive Prefect .map", naive, "items/s"),
        at_least("(a) Penstock / naive Prefect", penstock / naive, "times", 20),
        told(f"(b) Penstock, {IN_FLIGHT} in flight, whole life cycle", ours, "items/s"),
        told(f"(b) plain asyncio + httpx, {IN_FLIGHT} in flight, stores nothing", plain, "items/s"),
        at_least("(b) Penstock / plain loop", ours / plain, "times", 0.8),
    ]


async def _cycle(
    db: Database,
    config: Settings,
    backend: Callable[[], Backend],
    endpoint: Endpoint,
    items: int,
    name: str,
) -> float:
    """Items a second from a board's bytes to the last written result."""
    from prefect import flow

    import sources
    from flows.execute import observed, stages
    from tasks.decompose import decompose_board
    from tasks.execute import drain
    from tasks.ingest import ingest_board
    from tasks.recipes import load_recipes

    recipes = load_recipes(config)
    lines = "\n".join(f"- [ ] Say what number {n} of {name} is" for n in range(items))
    data = f"# {name}\n\n{lines}\n".encode()

    @flow(name="bench")
    async def whole() -> float:
        started = time.perf_counter()

        def store() -> int:
            board = sources.parse(data, f"{name}.md")
            with db.connect() as connection:
                board_id = ingest_board(connection, board, source=f"bench:{name}").board_id
                decompose_board(connection, board_id, recipes)
            return board_id

        board_id = await asyncio.to_thread(store)
        server = backend()
        try:
            tally = await drain(
                db,
                server,
                endpoint,
                model=endpoint.model or "",
                recipes=recipes,
                stages=stages(endpoint.context_tokens),
                settings=config,
                boards=[board_id],
                trace_id=name,
                run_batch=await observed(endpoint.model or ""),
            )
        finally:
            await server.close()
        seconds = time.perf_counter() - started
        if tally.accepted != items:
            raise RuntimeError(f"{tally.accepted} of {items} were accepted: {tally}")
        return items / seconds

    return await whole()


def _naive(items: int) -> float:
    """Prefect as its tutorial has it: a mapped task, one task run per item."""
    from prefect import flow, task

    @task
    def answer(number: int) -> dict[str, str]:
        return {"answer": "here is a short answer"}

    @flow(name="naive")
    def naive() -> int:
        return len([future.result() for future in answer.map(list(range(items)))])

    started = time.perf_counter()
    if naive() != items:
        raise RuntimeError("naive Prefect lost items")
    return items / (time.perf_counter() - started)


async def _plain(url: str, calls: int) -> float:
    """The least that can be done: ask, parse, forget."""
    body = {
        "model": "bench",
        "messages": [{"role": "system", "content": "Answer with JSON."}, {"role": "user", "content": ""}],
        "max_tokens": 1024,
        "temperature": 0.0,
    }
    numbers = iter(range(calls))
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=IN_FLIGHT)) as client:

        async def work() -> None:
            for number in numbers:
                content = f"Say what number {number} is"
                messages = [body["messages"][0], {"role": "user", "content": content}]  # type: ignore[index]
                reply = await client.post(f"{url}/chat/completions", json=body | {"messages": messages})
                reply.raise_for_status()
                orjson.loads(reply.content)["choices"][0]["message"]["content"]

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return calls / (time.perf_counter() - started)


@contextmanager
def _home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    folder.chmod(0o711)  # Postgres runs as another user where root runs this
    os.environ |= {"PENSTOCK_HOME": str(folder / "home"), "PENSTOCK_PREFECT_PORT": "0"}
    settings.cache_clear()
    try:
        yield folder / "home"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
