"""The whole life of items, as the figures of throughput time it.

Inside Penstock's clock: parse the board's bytes, ingest (with its Great Expectations suite), decompose, lease, claim,
render, ask, parse and check the answer (schema, echo, Great Expectations), settle, advance; the flow run, a task run
per batch and the progress artifact. Every result is on disk when the clock stops. Outside: starting servers, imports,
memory (`recall` and `remember`) and the report. The board is one document of equal tasks; batches have half of
BATCH_SIZE items each.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.harness import say
from bench.pressure.scene import configure, place
from models.calls import Backend, ModelAnswer, ModelRequest, Probe
from models.enums import BackendName
from models.settings import Endpoint, Settings
from sql.connection import Database, database
from sql.schema import prepare

BATCH_SIZE = 4096
FIXED = {"batch_size": BATCH_SIZE, "batch_seconds": 0}
"""Batches of the same size from the first on."""

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


def at_once() -> Endpoint:
    return Endpoint(backend=BackendName.OPENAI, url=AtOnce.url, slots=256, model="bench")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took: items a second, and milliseconds of CPU an item of who did the work."""

    rate: float
    own: float
    postgres: float
    prefect: float


@dataclass(frozen=True, slots=True)
class Bench:
    db: Database
    config: Settings
    environment: dict[str, str]  # of the Prefect server

    def penstock(self, name: str, items: int, endpoint: Endpoint, backend: Callable[[], Backend]) -> Cost:
        """Run a board of so many items from its bytes to its results. Raises RuntimeError where one is missing."""
        before = self._seconds()
        rate = asyncio.run(_cycle(self, backend, endpoint, items, name))
        own, postgres, prefect = (
            1000 * (after - first) / items for after, first in zip(self._seconds(), before, strict=True)
        )
        with self.db.connect() as connection:
            stored = connection.execute(
                "select count(*) from result r join item i on i.id = r.item_id join board b on b.id = i.board_id"
                " where b.source = %s",
                [f"bench:{name}"],
            ).fetchone()
        if stored != (items,):
            raise RuntimeError(f"{stored} results are stored of {items}")
        return Cost(rate, own, postgres, prefect)

    def calm(self) -> None:
        """What is left to do of one must not be in the clock of the next: Postgres cleans up after what was written,
        and the Prefect server digests the events it was sent, until it takes less than a fifth of a core."""
        with self.db.connect(autocommit=True, statement_timeout=0) as connection:
            connection.execute("vacuum analyze")
        servers = self._prefect()
        for _ in range(60):
            if all(process.cpu_percent(0.5) < 20 for process in servers):
                return
        raise RuntimeError("the Prefect server was busy for half a minute after the run")

    def _seconds(self) -> tuple[float, float, float]:
        """Of CPU: this process, Postgres (other databases too) and the Prefect server."""
        return time.process_time(), self._postgres_seconds(), sum(map(_spent, self._prefect()))

    def _prefect(self) -> list[psutil.Process]:
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if "deployments.prefect_server" in (words := " ".join(process.info["cmdline"] or []))
            and str(self.config.home) in words
        ]

    def _postgres_seconds(self) -> float:
        """Processes that have ended included."""
        folder = str(self.config.home)
        seconds = 0.0
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "postgres" and folder in " ".join(process.info["cmdline"] or []):
                own = process.cpu_times()
                seconds += own.children_user + own.children_system
                seconds += sum(map(_spent, [process, *process.children()]))
        return seconds


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def bench(**values: object) -> Iterator[Bench]:
    """Postgres and a Prefect server in a place of their own, with these settings; nothing is left to import."""
    values = FIXED | values
    with place(**values) as home, database(configure()) as db:
        (home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
        config = configure()
        from deployments.server import orchestrator

        prepare(db)
        _durable(db)
        with orchestrator(config, db) as prefect:
            import flows.execute  # noqa: F401  it sets up Prefect's log, which is then taken off the terminal
            from interfaces.cli.quiet import quiet_prefect, tell_prefect

            before = logging.root.handlers[:]
            quiet_prefect(config.home)
            ready = Bench(db, config, prefect.environment())
            try:
                say(f"first use of everything; {load()}")
                ready.penstock("warm", 200, at_once(), AtOnce)
                yield ready
            finally:
                tell_prefect()
                for handler in [each for each in logging.root.handlers if each not in before]:
                    logging.root.removeHandler(handler)  # its folder goes now
                    handler.close()


def _durable(db: Database) -> None:
    with db.connect() as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            if connection.execute(f"show {name}").fetchone() != ("on",):
                raise RuntimeError(f"{name} is off: results would not be durable")


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def board_bytes(name: str, items: int) -> bytes:
    lines = "\n".join(f"- [ ] Say what number {n:06} of {name} is" for n in range(items))
    return f"# {name}\n\n{lines}\n".encode()


async def drained(
    db: Database, config: Settings, backend: Backend, endpoint: Endpoint, board: int, name: str
) -> int:
    """Within a flow: drain a board, each batch a task run. Gives how many items were accepted."""
    from flows.execute import observed, stages
    from tasks.execute import drain
    from tasks.recipes import load_recipes

    async with observed(endpoint.model or "") as run_batch:
        tally = await drain(
            db,
            backend,
            endpoint,
            model=endpoint.model or "",
            recipes=load_recipes(config),
            stages=stages(endpoint.context_tokens),
            settings=config,
            boards=[board],
            trace_id=name,
            run_batch=run_batch,
        )
    return tally.accepted


async def _cycle(
    own: Bench, backend: Callable[[], Backend], endpoint: Endpoint, items: int, name: str
) -> float:
    """Items a second from a board's bytes to the last written result."""
    from prefect import flow
    from prefect.events.worker import EventsWorker

    import sources
    from tasks.decompose import decompose_board
    from tasks.ingest import ingest_board
    from tasks.recipes import load_recipes

    data = board_bytes(name, items)

    def stored() -> int:
        board = sources.parse(data, f"{name}.md")
        with own.db.connect() as connection:
            number = ingest_board(connection, board, source=f"bench:{name}").board_id
            decompose_board(connection, number, load_recipes(own.config))
        return number

    @flow(name="bench")
    async def whole() -> None:
        number = await asyncio.to_thread(stored)
        server = backend()
        try:
            accepted = await drained(own.db, own.config, server, endpoint, number, name)
        finally:
            await server.close()
        if accepted != items:
            raise RuntimeError(f"{accepted} of {items} were accepted")

    started = time.perf_counter()
    await whole()
    await asyncio.to_thread(EventsWorker.drain_all)  # the Prefect server was told of every batch
    return items / (time.perf_counter() - started)
