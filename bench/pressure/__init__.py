"""How much of a GPU is used: makespan beside peers, waits, what a claim costs, and prompts that begin alike.

(Never more than it can take: bench/kills.py.)

A simulated model server is the judge: it counts by itself and believes no client. `make bench NAME=pressure` runs all
of it; `python -m bench.pressure makespan prefix` prints single figures and keeps nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not at run time: the drivers' environment has less than Penstock's
    from bench.harness import Figure

PARTS = ("makespan", "prefix", "starvation", "claims")


def run(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for part in PARTS:
        figures += import_module(f"bench.pressure.{part}").run(quick)
    return figures
