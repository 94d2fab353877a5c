"""How fast a backlog is drained, what a call costs beside the model's own work, and what a kill costs.

`make bench NAME=execution` runs `PARTS`; `python -m bench.execution memory kills` prints single figures, of `LONG`
too, and keeps nothing. Peers run in turn with Penstock; a ratio is taken within a round, and the median of all rounds.
"""

from __future__ import annotations

from importlib import import_module

from bench.harness import Figure

PARTS = ("at_once", "calls", "packing", "overhead")
LONG = ("memory", "kills")
"""By name only: nobody has run them in full yet, so the page of figures has none of theirs."""


def run(quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for part in PARTS:
        figures += import_module(f"bench.execution.{part}").run(quick)
    return figures
