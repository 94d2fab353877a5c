"""`make bench`: run all benchmarks, or one with NAME=x; QUICK=1 keeps each to a minute (`pressure` and
`execution`: three to five)."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.docs import refresh
from bench.harness import keep, show

NAMES = ("cli", "demo", "reading", "lint", "graph", "lists", "execution", "pressure", "kills", "validators")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--name", choices=NAMES, help="one benchmark; all without it")
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    options = parser.parse_args()
    missed = 0
    for name in [options.name] if options.name else NAMES:
        figures = importlib.import_module(f"bench.{name}").run(options.quick)
        show(name, figures)
        sys.stdout.write(f"kept in {keep(name, figures, options.quick)}\n")
        if not options.quick:
            refresh()
        missed += sum(figure.holds is False for figure in figures)
    if missed:
        sys.stdout.write(f"{missed} figures miss their goal.\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
