"""Who holds a lease, in words that let another process on the same machine see that the holder is dead.

Waiting for a lease to lapse costs three missed beats. A process that was killed on this very machine can be seen
to be gone: its sockets are closed, so nothing of it is in flight any more, and its lease may be taken at once.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import psutil


@cache
def _machine() -> str:
    """Host, boot and pid namespace: pids may be compared only where all three are the same."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    boot_id = boot.read_text().strip() if boot.exists() else str(int(psutil.boot_time()))
    pids = os.readlink(namespace) if namespace.is_symlink() else "-"
    return f"{platform.node()} {boot_id} {pids}"


def this_process() -> str:
    """`<host> <boot> <pid namespace> <pid> <start time>`; the start time guards against a reused pid."""
    return f"{_machine()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_here(holder: str) -> bool:
    """Whether it is a process of this machine, as far as this process can see processes."""
    machine, _, pid = holder.rpartition(" ")[0].rpartition(" ")
    return machine == _machine() and pid.isdigit()


def is_dead(holder: str) -> bool:
    """True only when it is certain: same machine, and that process is no more. Anything unknown is alive."""
    if not is_here(holder):
        return False
    before, _, rest = holder.rpartition(" ")
    pid = before.rpartition(" ")[2]
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" != rest or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
