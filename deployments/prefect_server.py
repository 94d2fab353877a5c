"""The process of the Prefect server: `python -m deployments.prefect_server --fd N --use-lock FILE --boot-lock FILE`.

Different from `prefect server start` in three things: it takes over a socket that already listens (no port is
lost between choosing and binding it), it ends by itself when nobody uses it any more, and it runs on a Postgres
without pg_trgm, which the embedded one does not have.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

__all__ = ["abandoned", "main", "without_trgm"]

LOOK_SECONDS = 3.0

_CREATE_EXTENSION = re.compile(r"^\s*create\s+extension\b[^;]*\bpg_trgm\b[^;]*;?\s*$", re.IGNORECASE)
_TRGM_INDEX = re.compile(r"\busing\s+gin\s*\(\s*(\w+)\s+gin_trgm_ops\s*\)", re.IGNORECASE)


def without_trgm(statement: str) -> str:
    """A migration's statement, without pg_trgm: a hash index in place of the trigram one.

    Prefect makes those indexes only to search names by a piece of them. Without, such a search reads the table:
    slower, the same answer. The index keeps its name, which later migrations may drop.
    """
    if "trgm" not in statement:
        return statement
    if _CREATE_EXTENSION.match(statement):
        return "SELECT 1"
    return _TRGM_INDEX.sub(r"USING hash (\1)", statement)


def _rewrite(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> tuple[str, Any]:
    return without_trgm(statement), parameters


def abandoned(boot: Path, use: Path) -> Callable[[], bool]:
    """Tells whether no process uses the server any more. After it said yes, nobody can start another one.

    The locks are those of sql.shared_process: users hold `use` shared, a starter holds `boot`. Both are kept
    once they were had, until this process has ended.
    """

    def ask() -> bool:
        held: list[int] = []
        for path in (boot, use):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                return True  # PENSTOCK_HOME was removed under us: nobody can find this server any more
            held.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                for each in held:
                    os.close(each)
                return False
        return True

    return ask


def _end_when(is_abandoned: Callable[[], bool]) -> None:
    while not is_abandoned():
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deployments.prefect_server")
    parser.add_argument("--fd", type=int, required=True, help="a listening socket")
    parser.add_argument("--boot-lock", type=Path, required=True)
    parser.add_argument("--use-lock", type=Path, required=True)
    parser.add_argument("--without-trgm", action="store_true", help="the Postgres has no pg_trgm")
    given = parser.parse_args()

    watch = abandoned(given.boot_lock, given.use_lock)
    threading.Thread(target=_end_when, args=(watch,), name="watch-users", daemon=True).start()

    if given.without_trgm:
        sqlalchemy.event.listen(Engine, "before_cursor_execute", _rewrite, retval=True)

    import uvicorn
    from prefect.server.api.server import create_app

    listener = socket.socket(fileno=given.fd)
    config = uvicorn.Config(
        create_app(final=True),
        log_level="warning",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,  # workers and browsers hold websockets open for ever
        lifespan="on",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
