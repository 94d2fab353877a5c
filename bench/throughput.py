"""Items a second through the whole life cycle, durable, beside naive Prefect and a loop that stores nothing.

(a) A backend in this process that answers at once. Beside it naive Prefect (bench/naive.py): a task run per item.
(b) One HTTP call per item to the simulator without latency, which is a process of its own. Beside it a plain
    asyncio + httpx loop (bench/plain.py) with as many requests in flight and requests of the same size.

Inside Penstock's clock: parse the board's bytes, ingest (with its Great Expectations suite), decompose, lease, claim,
render, ask, parse and check the answer (schema, echo, Great Expectations), settle, advance; the flow run, a task run
per batch and the progress artifact. Every result is on disk when the clock stops. Outside: starting servers, imports,
memory (`recall` and `remember`) and the report. The board is one document of equal tasks; batches have 1,024 items
each, and in a last run the size that they have by default.

Peers run in turn with Penstock, one after the other; a ratio is taken within a round, and the median of all rounds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psutil

from bench.harness import Figure, at_least, say, told
from models.calls import Backend, ModelAnswer, ModelRequest, Probe
from models.enums import BackendName
from models.settings import Endpoint, Settings, settings
from sql.connection import Database, database
from sql.schema import prepare

IN_FLIGHT = 8
BATCH_SIZE = 2048
DEFAULT_SECONDS: float = Settings.model_fields["batch_seconds"].default
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


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a run took: items a second, and milliseconds of CPU an item in this process and in Postgres."""

    rate: float
    own: float
    postgres: float


@dataclasses.dataclass(frozen=True, slots=True)
class Bench:
    db: Database
    config: Settings
    environment: dict[str, str]  # of the Prefect server

    def penstock(self, name: str, items: int, endpoint: Endpoint, backend: Callable[[], Backend]) -> Cost:
        own, postgres = time.process_time(), self._postgres_seconds()
        rate = asyncio.run(_cycle(self.db, self.config, backend, endpoint, items, name))
        spent = time.process_time() - own, self._postgres_seconds() - postgres
        with self.db.connect() as connection:
            stored = connection.execute(
                "select count(*) from result r join item i on i.id = r.item_id join board b on b.id = i.board_id"
                " where b.source = %s",
                [f"bench:{name}"],
            ).fetchone()
        if stored != (items,):
            raise RuntimeError(f"{stored} results are stored of {items}")
        return Cost(rate, 1000 * spent[0] / items, 1000 * spent[1] / items)

    def calm(self) -> None:
        """Wait until the Prefect server has digested the events it was sent: less than a fifth of a core."""
        servers = [
            process
            for process in psutil.process_iter(["cmdline"])
            if "deployments.prefect_server" in (words := " ".join(process.info["cmdline"] or []))
            and str(self.config.home) in words
        ]
        for _ in range(60):
            if all(process.cpu_percent(0.5) < 20 for process in servers):
                return
        raise RuntimeError("the Prefect server was busy for half a minute after the run")

    def _postgres_seconds(self) -> float:
        """Of the whole server, other databases and processes that have ended included."""
        folder = str(self.config.home)
        seconds = 0.0
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "postgres" and folder in " ".join(process.info["cmdline"] or []):
                for each in [process, *process.children()]:
                    times = each.cpu_times()
                    seconds += times.user + times.system
                own = process.cpu_times()
                seconds += own.children_user + own.children_system
        return seconds


def run(quick: bool) -> list[Figure]:
    with _home() as home:
        os.environ |= {"PENSTOCK_BATCH_SIZE": str(BATCH_SIZE), "PENSTOCK_BATCH_SECONDS": "0"}
        settings.cache_clear()
        config = settings()
        (home / "recipes").mkdir(parents=True, exist_ok=True)
        (home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
        from deployments.server import orchestrator

        with database(config) as db:
            prepare(db)
            with db.connect() as connection:
                for name in ("fsync", "synchronous_commit", "full_page_writes"):
                    if connection.execute(f"show {name}").fetchone() != ("on",):
                        raise RuntimeError(f"{name} is off: results would not be durable")
            with orchestrator(config, db) as prefect:
                from interfaces.cli.quiet import quiet_prefect, tell_prefect

                quiet_prefect(config.home)
                bench = Bench(db, config, prefect.environment())
                try:
                    say(f"first use of everything; load {os.getloadavg()[0]:.1f}")
                    bench.penstock("warm", 200, _at_once(), AtOnce)
                    figures = [*_at_once_figures(bench, quick), *_http_figures(bench, quick)]
                finally:
                    tell_prefect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return [*figures, told("Penstock's process, most memory", peak / 2**20, "MB")]


def _at_once() -> Endpoint:
    return Endpoint(backend=BackendName.OPENAI, url=AtOnce.url, slots=256, model="bench")


def _at_once_figures(bench: Bench, quick: bool) -> list[Figure]:
    items, mapped, rounds = (6000, 150, 1) if quick else (20000, 500, 3)
    ours: list[Cost] = []
    sent: list[float] = []
    naive: list[float] = []
    for number in range(rounds):
        say(f"(a) round {number + 1}: {mapped} items by naive Prefect, {items} by Penstock; {_load()}")
        rates = _peer("bench.naive", str(mapped).encode(), bench.environment)
        sent.append(rates[0])
        naive.append(rates[1])
        bench.calm()  # what the server has left to do of one must not be in the clock of the other
        ours.append(bench.penstock(f"at-once-{number}", items, _at_once(), AtOnce))
        bench.calm()
        say(f"    {naive[-1]:.0f} ({sent[-1]:.0f} sent) and {ours[-1].rate:.0f} items/s")
    ratios = [cost.rate / rate for cost, rate in zip(ours, naive, strict=True)]
    to_sent = [cost.rate / rate for cost, rate in zip(ours, sent, strict=True)]
    return [
        told("(a) Penstock, whole life cycle", median(cost.rate for cost in ours), "items/s"),
        told("(a) naive Prefect .map, until its runs are recorded", median(naive), "items/s"),
        told("(a) naive Prefect .map, until its runs are sent, not recorded", median(sent), "items/s"),
        at_least("(a) Penstock / naive Prefect", median(ratios), "times", 20),
        told("(a) Penstock / naive Prefect, runs sent, not recorded", median(to_sent), "times"),
        told("(a) CPU of Penstock's process", median(cost.own for cost in ours), "ms/item"),
        told("(a) CPU of Postgres", median(cost.postgres for cost in ours), "ms/item"),
    ]


def _http_figures(bench: Bench, quick: bool) -> list[Figure]:
    from backends import simulator
    from backends.registry import make

    calls, rounds = (2000, 1) if quick else (8000, 5)
    ours: list[Cost] = []
    plain: list[float] = []
    with simulator.running(slots=IN_FLIGHT * 2, models=["bench"], latency=0.0) as server:
        remote = Endpoint(backend=BackendName.OPENAI, url=server.openai_url, slots=IN_FLIGHT, model="bench")
        order = {
            "url": f"{server.openai_url}/chat/completions",
            "calls": calls,
            "in_flight": IN_FLIGHT,
            "body": plain_body(bench.config),
        }
        bench.penstock("http-warm", 200, remote, lambda: make(remote))
        plain.append(_peer("bench.plain", orjson.dumps(order))[0])
        for number in range(rounds):
            say(f"(b) round {number + 1}: {calls} calls by Penstock, by a plain loop; {_load()}")
            ours.append(bench.penstock(f"http-{number}", calls, remote, lambda: make(remote)))
            plain.append(_peer("bench.plain", orjson.dumps(order))[0])
            say(f"    {ours[-1].rate:.0f} and {plain[-1]:.0f} items/s")
        say(f"(b) {calls} calls with batches of the default size; {_load()}")
        usual = dataclasses.replace(
            bench, config=bench.config.model_copy(update={"batch_seconds": DEFAULT_SECONDS})
        )
        default = usual.penstock("http-default", calls, remote, lambda: make(remote))
    # Each round against the mean of the plain loops right before and right after it.
    ratios = [
        cost.rate / ((before + after) / 2)
        for cost, before, after in zip(ours, plain[:-1], plain[1:], strict=True)
    ]
    flight = f"{IN_FLIGHT} in flight"
    return [
        told(f"(b) Penstock, {flight}, whole life cycle", median(cost.rate for cost in ours), "items/s"),
        told(f"(b) plain asyncio + httpx, {flight}, stores nothing", median(plain), "items/s"),
        at_least("(b) Penstock / plain loop", median(ratios), "times", 0.8),
        told("(b) CPU of Penstock's process", median(cost.own for cost in ours), "ms/item"),
        told("(b) CPU of Postgres", median(cost.postgres for cost in ours), "ms/item"),
        told("(b) Penstock with the default settings: batches that begin small", default.rate, "items/s"),
    ]


def board_bytes(name: str, items: int) -> bytes:
    lines = "\n".join(f"- [ ] Say what number {n:06} of {name} is" for n in range(items))
    return f"# {name}\n\n{lines}\n".encode()


def plain_body(config: Settings) -> dict[str, Any]:
    """The request that Penstock's `openai` backend makes of an item of this benchmark, for the plain loop."""
    import sources
    from tasks.recipes import load_recipes

    recipe = load_recipes(config)["bench"]
    schema = recipe.header.answer_schema
    title = sources.parse(board_bytes("http-0", 1), "http-0.md").items[-1].title
    return {
        "model": "bench",
        "max_tokens": recipe.header.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": recipe.header.temperature,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
        "messages": [
            {"role": "system", "content": f"Answer with JSON: {orjson.dumps(schema).decode()}"},
            {
                "role": "user",
                "content": f"<data 0123456789abcdef>\n{title}\n</data 0123456789abcdef>".replace(
                    "000000", "NUMBER"
                ),
            },
        ],
    }


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
    from prefect.events.worker import EventsWorker

    import sources
    from flows.execute import observed, stages
    from tasks.decompose import decompose_board
    from tasks.execute import drain
    from tasks.ingest import ingest_board
    from tasks.recipes import load_recipes

    data = board_bytes(name, items)

    @flow(name="bench")
    async def whole() -> None:
        recipes = load_recipes(config)

        def store() -> int:
            board = sources.parse(data, f"{name}.md")
            with db.connect() as connection:
                board_id = ingest_board(connection, board, source=f"bench:{name}").board_id
                decompose_board(connection, board_id, recipes)
            return board_id

        board_id = await asyncio.to_thread(store)
        server = backend()
        try:
            async with observed(endpoint.model or "") as run_batch:
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
                    run_batch=run_batch,
                )
        finally:
            await server.close()
        if tally.accepted != items:
            raise RuntimeError(f"{tally.accepted} of {items} were accepted: {tally}")

    started = time.perf_counter()
    await whole()
    await asyncio.to_thread(EventsWorker.drain_all)  # the Prefect server was told of every batch
    return items / (time.perf_counter() - started)


def _peer(module: str, order: bytes, environment: dict[str, str] | None = None) -> list[float]:
    """Run a peer in a process of its own; it prints its items a second."""
    done = subprocess.run(
        [sys.executable, "-m", module], input=order, env=environment, stdout=subprocess.PIPE, check=True
    )
    return [float(word) for word in done.stdout.split()]


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


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
