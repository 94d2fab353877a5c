"""The process of one flow run: `python -m deployments.flow_run`, started by a worker.

It is Prefect's engine with three things added: it ends with its worker, however that ended; it works in the folder
that `penstock up` was started in, so that a relative path given to a run means what it meant there; and it logs to a
file of its own, not into a pipe to the worker.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from deployments.parent import end_with_parent
from deployments.processes import open_log

__all__ = ["FOLDER", "LOG", "main"]

FOLDER = "PENSTOCK_FOLDER"
"""Environment variable: the working folder of flow runs."""

LOG = "PENSTOCK_RUNS_LOG"
"""Environment variable: the file that flow runs log to."""


def main() -> None:
    # Without a word: a run that reports its own crash would not be started again by the next workers.
    end_with_parent(grace=0)
    if log := os.environ.get(LOG):
        # A pipe breaks when the worker is killed; rich, by which Prefect logs, then exits, and the run would report
        # a crash where it has to be started again.
        descriptor = open_log(Path(log))
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    if folder := os.environ.get(FOLDER):
        os.chdir(folder)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
