"""Memory of a drain's process at a backlog of 1,000 to 1,000,000 items, all of which it does.

Each drain is a process of its own (bench/execution/drained.py): the flow with a task run per batch, checks, every
answer written, and a backend inside it that answers at once. Its resident memory is read twice a second while it works.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import psycopg

from bench.execution.cycle import FIXED, RECIPE, load
from bench.harness import Figure, say, under
from bench.pressure.race import ROOT
from bench.pressure.scene import board, place, settled
from models.settings import settings
from sql.connection import database
from sql.schema import prepare

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)
GOAL, FLAT = 400.0, 1.3
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    most: float  # MB
    end: float
    seconds: float


def run(quick: bool) -> list[Figure]:
    sizes = QUICK_SIZES if quick else SIZES
    seen: dict[int, Seen] = {}
    with place(**FIXED) as home, database(settings()) as db:
        (home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
        prepare(db)
        from deployments.server import orchestrator

        with orchestrator(settings(), db) as prefect:
            for size in sizes:
                with db.connect(autocommit=True, statement_timeout=0) as connection:
                    number = _filled(connection, size)
                    say(f"{size:,} items; {load()}")
                    seen[size] = _drained(number, prefect.environment())
                    counts = settled(connection, number)
                    if counts != (size,) * 3:
                        raise RuntimeError(f"{counts} items, done, accepted answers instead of {size} each")
                say(f"    {seen[size].most:.0f} MB at most, {size / seen[size].seconds:.0f} items/s")
    first, last = min(sizes), max(sizes)
    limited = [
        under(f"memory of a drain, {size:,} items, at most", one.most, _unit(size, one), GOAL)
        for size, one in seen.items()
    ]
    ratio = seen[last].most / seen[first].most
    return [*limited, under(f"  {last:,} items / {first:,} items", ratio, "times", FLAT)]


def _unit(size: int, one: Seen) -> str:
    return f"MB; {one.end:.0f} MB in the end; {size / one.seconds:,.0f} items/s with its start"


def _drained(number: int, environment: dict[str, str]) -> Seen:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.execution.drained", str(number)], cwd=ROOT, env=environment
    )
    most = end = 0.0
    try:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            end = watched.memory_info().rss / 2**20 or end  # nothing of one that has just ended
            most = max(most, end)
            time.sleep(LOOK_SECONDS)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"the drain ended with {process.returncode}")
    return Seen(most, end, time.monotonic() - began)


def _filled(connection: psycopg.Connection[object], size: int) -> int:
    """A board of so many ready items."""
    number = board(connection, f"memory of {size}")
    connection.execute(
        "with new as ("
        "  insert into item (board_id, key, position, status, ready, recipe, length)"
        "  select %(board)s, gen_random_uuid(), n, 1, true, 'bench', 6 from generate_series(1, %(size)s) n"
        "  returning id, position)"
        " insert into item_source (item_id, kind, title, line, declared, content_hash)"
        " select id, 'task', format('Say what number %%s of %%s is', lpad(position::text, 7, '0'), %(size)s), position,"
        "        'todo', ''"
        "   from new",
        {"board": number, "size": size},
    )
    connection.execute("vacuum analyze item, item_source")
    return number
