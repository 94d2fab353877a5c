"""`python -m bench.pressure [PART ...] [--quick]`: single figures of pressure, shown and not kept."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from bench.harness import show
from bench.pressure import PARTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pressure")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all without it")
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    options = parser.parse_args()
    missed = 0
    for part in options.parts or PARTS:
        figures = import_module(f"bench.pressure.{part}").run(options.quick)
        show(f"pressure: {part}", figures)
        missed += sum(figure.holds is False for figure in figures)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
