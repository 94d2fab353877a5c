"""A drain as a worker of a pool runs it: the flow `execute` in a process of its own, which may be killed at any time.

Arguments: a kind of backend and a board. Ends with 0 when nothing of the board is left to do.
"""

from __future__ import annotations

import asyncio
import sys

from deployments.parent import end_with_parent
from deployments.server import orchestrator
from models.settings import settings
from sql.connection import database


def main() -> None:
    end_with_parent(grace=0)
    backend, board = sys.argv[1], int(sys.argv[2])
    config = settings()
    with database(config) as db, orchestrator(config, db):
        from flows.execute import execute

        asyncio.run(execute(backend=backend, boards=[board]))


if __name__ == "__main__":
    main()
