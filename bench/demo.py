"""How long the installed `penstock demo` takes, from nothing: own PENSTOCK_HOME, fresh database, fresh Prefect."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Figure, told, under


def run(quick: bool) -> list[Figure]:
    penstock = str(Path(sys.executable).with_name("penstock"))
    home = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    home.chmod(0o711)  # Postgres runs as another user where root runs this
    seconds = []
    try:
        for _ in range(1 if quick else 2):
            environment = os.environ | {"PENSTOCK_HOME": str(home / "home"), "PENSTOCK_PREFECT_PORT": "0"}
            started = time.perf_counter()
            subprocess.run(
                [penstock, "demo", "--out", str(home / "report")],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(time.perf_counter() - started)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    figures = [under("penstock demo, first time", seconds[0], "s", 60)]
    return figures + [told("penstock demo, again", again, "s") for again in seconds[1:]]
