"""How long a person waits for `penstock --help`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import Figure, told, under


def run(quick: bool) -> list[Figure]:
    command = [str(Path(sys.executable).with_name("penstock")), "--help"]
    seconds = []
    for _ in range(5 if quick else 20):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return [
        under("penstock --help, median", statistics.median(seconds), "s", 0.5),
        told("penstock --help, slowest", max(seconds), "s"),
    ]
