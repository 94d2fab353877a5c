"""The process of one flow run: `python -m deployments.flow_run`, started by a worker.

It is Prefect's engine with two things added: it ends with its worker, however that ended, and it works in the folder
that `penstock up` was started in, so that a relative path given to a run means what it meant there.
"""

from __future__ import annotations

import os
import runpy

from deployments.parent import end_with_parent

__all__ = ["FOLDER", "main"]

FOLDER = "PENSTOCK_FOLDER"
"""Environment variable: the working folder of flow runs."""


def main() -> None:
    end_with_parent()
    if folder := os.environ.get(FOLDER):
        os.chdir(folder)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
