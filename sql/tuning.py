"""The settings of the embedded server, sized to the machine. Written anew each time the server starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

__all__ = ["managed_conf", "memory_bytes"]

MIB = 1024 * 1024


def managed_conf(socket_folder: Path, overrides: Mapping[str, str] | None = None) -> str:
    """The text of managed.conf. `ALTER SYSTEM` still wins over it: Postgres reads its own file last."""
    memory = memory_bytes()
    values = {
        "listen_addresses": "",  # no TCP: the socket's folder is what decides who gets in
        "port": "5432",
        "unix_socket_directories": str(socket_folder),
        "max_connections": "100",
        # Holds the HNSW index of some 500,000 nodes; touched lazily, so an idle server stays small.
        "shared_buffers": _megabytes(memory // 8, 128, 2048),
        "maintenance_work_mem": _megabytes(memory // 16, 64, 512),
        "work_mem": "16MB",
        "dynamic_shared_memory_type": _dynamic_memory(),
        "wal_compression": "pglz",  # the wheel is built without lz4 and zstd
        "max_wal_size": "1GB",  # bounds the recovery after a crash to seconds
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_cost_delay": "0",
        "idle_in_transaction_session_timeout": "10min",
        "log_line_prefix": "%m [%p] %a ",
        "log_timezone": "UTC",
        "timezone": "UTC",
        **(overrides or {}),
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()]
    return "\n".join(
        ["# Written by Penstock at each start. Use ALTER SYSTEM for settings of your own.", *lines, ""]
    )


def memory_bytes() -> int:
    """What this process may use: the machine's memory, or its control group's limit if that is less."""
    total = int(psutil.virtual_memory().total)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total


def _megabytes(wanted: int, least: int, most: int) -> str:
    return f"{min(max(wanted // MIB, least), most)}MB"


def _dynamic_memory() -> str:
    """Containers give /dev/shm 64 MB, in which a parallel index build fails; files work everywhere."""
    try:
        state = os.statvfs("/dev/shm")  # noqa: S108 - the mount's size is asked, nothing is written
    except OSError:
        return "posix"
    return "posix" if state.f_bavail * state.f_frsize >= 1024 * MIB else "mmap"
