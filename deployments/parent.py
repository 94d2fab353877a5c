"""A child process ends soon after its parent, however the parent ended.

A supervisor that is killed with SIGKILL can't end its children, so each child watches: it is re-parented when
its parent dies. Works on Linux and macOS; a look a second costs nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time

__all__ = ["PARENT", "end_with_parent"]

PARENT = "PENSTOCK_PARENT_PID"
"""Environment variable: the pid that the parent had when it started the child."""

GRACE_SECONDS = 15.0


def end_with_parent(interval: float = 1.0, grace: float = GRACE_SECONDS) -> None:
    """Watch the parent in a thread: when it is gone, SIGTERM to this process, and after `grace` seconds SIGKILL;
    with a grace of 0 SIGKILL at once.

    Does nothing where the parent did not ask for it by setting `PENSTOCK_PARENT_PID`. The variable is taken
    out of the environment, so that it does not reach grandchildren.
    """
    given = os.environ.pop(PARENT, None)
    if given is None:
        return
    parent = int(given)
    threading.Thread(target=_watch, args=(parent, interval, grace), name="watch-parent", daemon=True).start()


def _watch(parent: int, interval: float, grace: float) -> None:
    while os.getppid() == parent:
        time.sleep(interval)
    if grace > 0:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)
