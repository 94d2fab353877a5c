"""One HTTP call per item to the simulator without latency, which is a process of its own.

Beside Penstock a plain asyncio + httpx loop (bench/execution/plain.py) with as many requests in flight and requests of
the same size, and durable queues (bench/pressure/drivers): a message or row per item, the same streamed request for
each, a worker with as many at once as its library has it. Their clock runs from the first item queued to the last
answer read; what they were told is durable, their answers they keep nowhere.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import Any

import orjson
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import sources
from backends import simulator
from backends.registry import make
from bench.execution.cycle import Bench, Cost, bench, board_bytes, load
from bench.harness import Figure, at_least, say, told
from bench.pressure import peers
from bench.pressure.drivers.protocol import Order
from bench.pressure.race import race
from models.enums import BackendName
from models.settings import Endpoint, Settings

IN_FLIGHT = 8
SIMULATOR: dict[str, Any] = {"slots": IN_FLIGHT * 2, "models": ["bench"], "latency": 0.0}
DURABLE = {
    "dramatiq": "Dramatiq, Redis",
    "dramatiq_postgres": "Dramatiq, Postgres",
    "pgqueuer": "PgQueuer",
    "celery": "Celery, Redis",
    "procrastinate": "procrastinate",
}
PEER_SECONDS = 120.0


def run(quick: bool) -> list[Figure]:
    with bench() as own:
        return [*_beside_plain(own, quick), *_beside_queues(own, quick)]


def endpoint(url: str) -> Endpoint:
    return Endpoint(backend=BackendName.OPENAI, url=url, slots=IN_FLIGHT, model="bench")


def plain(config: Settings, url: str, calls: int) -> tuple[float, float]:
    """Calls a second of a plain loop, and milliseconds of CPU a call."""
    order = {
        "url": f"{url}/chat/completions",
        "calls": calls,
        "in_flight": IN_FLIGHT,
        "body": plain_body(config),
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.execution.plain"],
        input=orjson.dumps(order),
        stdout=subprocess.PIPE,
        check=True,
    )
    rate, cpu = (float(word) for word in done.stdout.split())
    return rate, cpu


def _beside_plain(own: Bench, quick: bool) -> list[Figure]:
    calls, rounds = (2000, 1) if quick else (8000, 5)
    ours: list[Cost] = []
    loops: list[tuple[float, float]] = []
    with simulator.running(**SIMULATOR) as server:
        remote = endpoint(server.openai_url)
        own.penstock("http-warm", 200, remote, lambda: make(remote))
        loops.append(plain(own.config, server.openai_url, calls))
        for number in range(rounds):
            say(f"round {number + 1}: {calls} calls by Penstock, by a plain loop; {load()}")
            ours.append(own.penstock(f"http-{number}", calls, remote, lambda: make(remote)))
            loops.append(plain(own.config, server.openai_url, calls))
            say(f"    {ours[-1].rate:.0f} and {loops[-1][0]:.0f} items/s")
    # Each round against the mean of the plain loops right before and right after it.
    ratios = [
        cost.rate / ((before + after) / 2)
        for cost, (before, _), (after, _) in zip(ours, loops[:-1], loops[1:], strict=True)
    ]
    flight = f"{IN_FLIGHT} in flight"
    return [
        told(
            f"(b) Penstock, a call each, {flight}, whole life cycle",
            median(cost.rate for cost in ours),
            "items/s",
        ),
        told(
            f"(b) plain asyncio + httpx, {flight}, stores nothing",
            median(rate for rate, _ in loops),
            "items/s",
        ),
        at_least("(b) Penstock / plain loop", median(ratios), "times", 0.95),
        told("(b) CPU of Penstock's process", median(cost.own for cost in ours), "ms/item"),
        told("(b) CPU of Postgres", median(cost.postgres for cost in ours), "ms/item"),
        told("(b) CPU of the plain loop", median(cpu for _, cpu in loops), "ms/item"),
    ]


def _beside_queues(own: Bench, quick: bool) -> list[Figure]:
    """Each queue between two runs of Penstock, which it is compared with."""
    items = 300 if quick else 3000
    chat = plain_body(own.config)
    chat = {name: value for name, value in chat.items() if name != "model"} | {
        "messages": chat["messages"][:1]
    }
    ours = [_again(own, items, 0)]
    rows: list[Figure] = []
    ratios: dict[str, float] = {}
    for number, (module, name) in enumerate(DURABLE.items(), 1):
        try:
            rate, cpu = _queue(own, module, number, items, chat)
        except peers.NotInstalled as error:
            rows.append(told(f"(b) {name}", 0, f"runs: it could not be installed here ({error})"))
            continue
        ours.append(_again(own, items, number))
        ratios[name] = (ours[-2] + ours[-1]) / 2 / rate
        rows.append(
            told(f"(b) {name}", rate, f"items/s; {cpu:.2f} ms CPU/item; Penstock {ratios[name]:.2f} times")
        )
    if not ratios:
        return rows
    best = min(ratios, key=ratios.__getitem__)
    return [*rows, at_least(f"(b) Penstock / the best durable peer ({best})", ratios[best], "times", 1.5)]


def _again(own: Bench, items: int, number: int) -> float:
    with simulator.running(**SIMULATOR) as server:
        remote = endpoint(server.openai_url)
        return own.penstock(f"beside-{number}", items, remote, lambda: make(remote)).rate


def _queue(own: Bench, module: str, number: int, items: int, chat: dict[str, Any]) -> tuple[float, float]:
    """Items a second of a durable queue, and milliseconds of CPU an item in its process. Raises NotInstalled."""
    name = f"peer_{number}"
    python = peers.python()
    with own.db.connect(autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    conninfo = make_conninfo(own.db.dsn, dbname=name)
    work = [("bench", prompt_of(f"Say what number {n:06} of peer-{number} is")) for n in range(items)]
    given = Order("", work, IN_FLIGHT, conninfo, str(conninfo_to_dict(conninfo)["host"]), name, chat)
    say(f"{module}: {items} items; {load()}")
    outcome = race(
        [python, "-m", f"bench.pressure.drivers.on_{module}"],
        given,
        SIMULATOR,
        own.config.home / "logs" / f"peer-{module}.log",
        most_seconds=PEER_SECONDS,
    )
    rate = items / outcome.wall
    say(f"    {rate:.0f} items/s")
    return rate, outcome.milliseconds


def prompt_of(title: str) -> str:
    """As the benchmark's recipe renders it."""
    return f"<data 0123456789abcdef>\n{title}\n</data 0123456789abcdef>"


def plain_body(config: Settings) -> dict[str, Any]:
    """The request that Penstock's `openai` backend makes of an item of this benchmark, with NUMBER for its number."""
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
            {"role": "user", "content": prompt_of(title.replace("000000", "NUMBER"))},
        ],
    }
