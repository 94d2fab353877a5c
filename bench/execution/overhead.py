"""What a call costs beside the model's own work: CPU of Penstock's process over a board of 1,000 items, with the
default settings, so with batches that begin small; and what checks cost of that, in batches of 64.

The HTTP call itself is in it. What a plain loop (bench/execution/plain.py) takes for that call is told beside.
"""

from __future__ import annotations

import time
from statistics import median

from backends import simulator
from backends.registry import make
from bench.execution.calls import SIMULATOR, endpoint, plain
from bench.execution.cycle import Bench, Cost, bench, load
from bench.harness import Figure, say, told, under
from models.calls import ModelAnswer
from models.settings import Settings
from models.verdict import AnswerRow

ITEMS = 1000
BATCH = 64
GOAL = 2.0
CHECK_GOAL = 1.0
DEFAULTS = {name: Settings.model_fields[name].default for name in ("batch_size", "batch_seconds")}


def run(quick: bool) -> list[Figure]:
    with bench(**DEFAULTS) as own:
        return [*_calls(own, 1 if quick else 3), *_checks(own, 5 if quick else 30)]


def _calls(own: Bench, rounds: int) -> list[Figure]:
    costs: list[Cost] = []
    with simulator.running(**SIMULATOR) as server:
        remote = endpoint(server.openai_url)
        own.penstock("overhead-warm", ITEMS, remote, lambda: make(remote))
        loop = plain(own.config, server.openai_url, ITEMS)[1]
        for number in range(rounds):
            say(f"{ITEMS} items; {load()}")
            own.calm()
            costs.append(own.penstock(f"overhead-{number}", ITEMS, remote, lambda: make(remote)))
    return [
        under(
            f"CPU of Penstock's process, {ITEMS:,} items", median(cost.own for cost in costs), "ms/call", GOAL
        ),
        told("  of that, what a plain loop takes for the same call", loop, "ms/call"),
        told("  CPU of Postgres beside", median(cost.postgres for cost in costs), "ms/call"),
        told("  CPU of the Prefect server beside", median(cost.prefect for cost in costs), "ms/call"),
    ]


def _checks(own: Bench, batches: int) -> list[Figure]:
    """All layers of the benchmark's recipe (bench/validators.py measures one with passages)."""
    from tasks.recipes import load_recipes
    from tasks.validate.batch import check_rows
    from tasks.validate.engine import ENGINE, Engine

    recipe = load_recipes(own.config)["bench"]
    answer = ModelAnswer('{"answer": "here is a short answer"}', "bench", "stop", 20, 8, 0.0)

    def rows(first: int) -> list[AnswerRow]:
        numbers = range(first, first + BATCH)
        return [AnswerRow(n, f"Say what number {n:06} of checks is", answer, ()) for n in numbers]

    def spent(engine: Engine) -> float:
        began = time.thread_time()
        for number in range(batches):
            verdicts = check_rows(recipe, rows(1 + number * BATCH), engine).verdicts
            if not all(verdict.passed for verdict in verdicts.values()):
                raise RuntimeError("a good answer did not pass")
        return time.thread_time() - began

    seconds = ENGINE.submit(spent, ENGINE).result()
    name = f"CPU of the checks, batches of {BATCH}, three expectations"
    return [under(name, 1000 * seconds / (batches * BATCH), "ms/item", CHECK_GOAL)]
