"""How fast a backlog is drained, what a call costs beside the model's own work, and what a kill costs.

`make bench NAME=execution` runs all parts, half an hour; `python -m bench.execution memory kills` prints single ones
and keeps nothing. Peers run in turn with Penstock; a ratio is taken within a round, and the median of all rounds.
"""

from __future__ import annotations

from importlib import import_module

from bench.harness import Figure

PARTS = ("at_once", "calls", "packing", "overhead", "memory", "kills")


def run(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for part in PARTS:
        figures += import_module(f"bench.execution.{part}").run(quick)
    return figures
