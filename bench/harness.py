"""What a benchmark gives back and how it is shown and kept.

A benchmark is a module of this folder with `def run(quick: bool) -> list[Figure]`. Ratios are taken within one run
on one machine; a figure in the docs comes from bench/results/<name>.json and carries its command.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PEERS = Path(__file__).parent / ".peers"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `goal` in words, for example ">= 20"; None where it is only told."""

    figure: str
    value: float
    unit: str
    goal: str | None = None
    holds: bool | None = None


def at_least(figure: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(figure, value, unit, f">= {goal:g}", value >= goal)


def under(figure: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(figure, value, unit, f"< {goal:g}", value < goal)


def at_most(figure: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(figure, value, unit, f"<= {goal:g}", value <= goal)


def told(figure: str, value: float, unit: str) -> Figure:
    return Figure(figure, value, unit)


def show(name: str, figures: list[Figure]) -> None:
    table = Table(title=f"bench {name}", title_justify="left")
    for column in ("Figure", "Value", "Unit", "Goal", "Holds"):
        table.add_column(column, justify="right" if column == "Value" else "left")
    for one in figures:
        holds = "" if one.holds is None else "yes" if one.holds else "NO"
        table.add_row(one.figure, f"{one.value:,.2f}", one.unit, one.goal or "", holds)
    Console(width=max(100, Console().width)).print(table)


def keep(name: str, figures: list[Figure], quick: bool) -> Path:
    """Write bench/results/<name>.json (<name>.quick.json where shortened): rows {figure, value, unit, goal, holds,
    command}."""
    RESULTS.mkdir(exist_ok=True)
    command = f"make bench NAME={name}" + (" QUICK=1" if quick else "")
    rows = [asdict(one) | {"value": round(one.value, 4), "command": command} for one in figures]
    path = RESULTS / f"{name}{'.quick' if quick else ''}.json"
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load_at_end": round(os.getloadavg()[0], 1),
    }
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return path


def say(words: str) -> None:
    sys.stderr.write(f"  {words}\n")


def alone(package: str, parts: Sequence[str]) -> int:
    """`python -m bench.PACKAGE [PART ...] [--quick]`: figures of single parts, shown and not kept."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{package}")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="all without it")
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    options = parser.parse_args()
    missed = 0
    for part in options.parts or parts:
        figures = import_module(f"bench.{package}.{part}").run(options.quick)
        show(f"{package}: {part}", figures)
        missed += sum(figure.holds is False for figure in figures)
    return 1 if missed else 0
