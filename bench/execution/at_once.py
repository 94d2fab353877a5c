"""A backend in this process that answers at once: what Penstock itself takes.

Beside it naive Prefect (bench/execution/naive.py), a task run per item, and the raw limit of Postgres
(bench/execution/raw.py), the same rows by bare statements. Its own process and Postgres
work at the same time, on two cores.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from bench.execution import raw
from bench.execution.cycle import BATCH_SIZE, AtOnce, Bench, Cost, at_once, bench, load
from bench.harness import Figure, at_least, say, told


def run(quick: bool) -> list[Figure]:
    with bench() as own:
        return _figures(own, quick)


def _figures(own: Bench, quick: bool) -> list[Figure]:
    items, mapped, rounds = (6000, 150, 1) if quick else (40000, 500, 3)
    ours: list[Cost] = []
    sent: list[float] = []
    naive: list[float] = []
    bare: list[float] = []
    for number in range(rounds):
        say(
            f"round {number + 1}: {mapped} items by naive Prefect, {items} by Penstock, {items} bare; {load()}"
        )
        done, recorded = _naive(own, mapped)
        sent.append(done)
        naive.append(recorded)
        own.calm()
        before = raw.rate(own.db, f"before-{number}", items, BATCH_SIZE // 2)
        own.calm()
        ours.append(own.penstock(f"at-once-{number}", items, at_once(), AtOnce))
        own.calm()
        bare.append((before + raw.rate(own.db, f"after-{number}", items, BATCH_SIZE // 2)) / 2)
        say(f"    {naive[-1]:.0f} ({sent[-1]:.0f} sent), {ours[-1].rate:.0f} and {bare[-1]:.0f} items/s")
    ratios = [cost.rate / rate for cost, rate in zip(ours, naive, strict=True)]
    to_sent = [cost.rate / rate for cost, rate in zip(ours, sent, strict=True)]
    to_raw = [100 * cost.rate / rate for cost, rate in zip(ours, bare, strict=True)]
    return [
        told(
            "(a) Penstock, answers at once, whole life cycle", median(cost.rate for cost in ours), "items/s"
        ),
        told("(a) naive Prefect .map, until its runs are recorded", median(naive), "items/s"),
        told("(a) naive Prefect .map, until its runs are sent, not recorded", median(sent), "items/s"),
        told("(a) the same rows by bare SQL, batches of the same size", median(bare), "items/s"),
        at_least("(a) Penstock / naive Prefect", median(ratios), "times", 50),
        told("(a) Penstock / naive Prefect, runs sent, not recorded", median(to_sent), "times"),
        at_least("(a) Penstock / bare SQL", median(to_raw), "%", 50),
        told("(a) CPU of Penstock's process", median(cost.own for cost in ours), "ms/item"),
        told("(a) CPU of Postgres", median(cost.postgres for cost in ours), "ms/item"),
    ]


def _naive(own: Bench, items: int) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.execution.naive"],
        input=str(items).encode(),
        env=own.environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    sent, recorded = (float(word) for word in done.stdout.split())
    return sent, recorded
