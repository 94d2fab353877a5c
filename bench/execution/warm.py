"""Drains as processes of their own that begin in a moment: forked from one that has imported everything already.

A cold one takes seconds of CPU to import Prefect and Great Expectations, and two hundred kills ask for as many drains.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from multiprocessing.context import ForkServerProcess
from pathlib import Path

HEAVY = ["great_expectations", "flows.execute", "backends.registry", "deployments.server"]


class Warm:
    """Begin it when the environment is as the drains are to have it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(HEAVY)

    def start(self, backend: str, board: int) -> ForkServerProcess:
        """The flow `execute` on a board, as a worker of a pool runs it."""
        process = self._context.Process(target=_drain, args=(str(self._log), backend, board), daemon=True)
        process.start()
        return process


def _drain(log: str, backend: str, board: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from deployments.server import orchestrator
    from flows.execute import execute
    from models.settings import settings
    from sql.connection import database

    config = settings()
    with database(config) as db, orchestrator(config, db):
        asyncio.run(execute(backend=backend, boards=[board]))
