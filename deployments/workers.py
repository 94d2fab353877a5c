"""The workers of all pools in one process: `python -m deployments.workers`, started and watched by `penstock up`.

Eight workers in eight processes would be 700 MB and a slow start; in one event loop they share the import, and each
flow run is a process of its own anyway. SIGTERM stops them in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from deployments.flow_run import FOLDER
from deployments.parent import PARENT, end_with_parent
from deployments.pools import pools
from deployments.reconcile import ending
from models.settings import Settings, settings

__all__ = ["main", "recover_runs"]

UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]

logger = logging.getLogger("penstock.workers")


class FlowRunProcess(ProcessJobConfiguration):
    """How a flow run's process is started: see deployments.flow_run."""

    def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
        self.stream_output = False  # it writes its own log
        # Before the base prepares: it remembers whether a command was given.
        if self.command is None:
            self.command = f'"{sys.executable}" -m deployments.flow_run'
        super().prepare_for_flow_run(*args, **kwargs)


async def recover_runs(settings: Settings) -> list[str]:
    """Deal with the runs whose process died with the last workers. Call it before new workers start.

    All flow runs of our pools are processes of one set of workers, which end with it; so whatever the server calls
    running now is dead (deployments.reconcile.ending says what becomes of it). Returns what was done, in words.
    """
    done: list[str] = []
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
            ),
            work_pool_filter=WorkPoolFilter(
                name=WorkPoolFilterName(any_=[pool.name for pool in pools(settings)])
            ),
            limit=200,
        )
        for run in runs:
            state = ending(run, "Its worker ended in the middle of it.")
            await client.set_flow_run_state(run.id, state, force=True)
            done.append(f"{run.name}: {'starts again' if state.is_scheduled() else f'ended as {state.name}'}")
    return done


async def run_workers(config: Settings) -> None:
    """Work on all pools until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if config.prefect_api_url is None:  # on another server other machines' workers may be at it
        for line in await recover_runs(config):
            logger.warning("%s", line)
    async with asyncio.TaskGroup() as group:
        host = socket.gethostname()
        tasks = [
            group.create_task(_work(pool.name, f"{pool.name} on {host}"), name=pool.name)
            for pool in pools(config)
        ]
        ended = group.create_task(stop.wait())
        # A worker that returns or raises ends the process: the supervisor starts all of them anew.
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        ended.cancel()
    if not stop.is_set():
        raise SystemExit("a worker ended by itself")


async def _work(pool: str, name: str) -> None:
    worker = ProcessWorker(work_pool_name=pool, name=name, create_pool_if_not_found=False)
    worker.job_configuration = FlowRunProcess
    await worker.start(printer=logger.info)


def own_scratch(home: Path) -> None:
    """Let this process keep its temporary files below PENSTOCK_HOME, where only this user gets to; empty at first.

    Prefect's runner makes /tmp/runner_storage, which then belongs to the first user of a machine and keeps all
    others' workers from starting; and it leaves a folder there for each flow run.
    """
    scratch = home / "run" / "workers"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    tempfile.tempdir = str(scratch)  # of this process alone: flow runs keep the user's TMPDIR


def main() -> None:
    end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ.setdefault(FOLDER, os.getcwd())
    os.environ[PARENT] = str(os.getpid())  # for the flow runs' processes: they end with this one
    config = settings()
    own_scratch(config.home)
    asyncio.run(run_workers(config))


if __name__ == "__main__":
    main()
