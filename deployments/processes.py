"""Child processes and the files that say which of them run: identified by pid and start time, never by pid alone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["disk_hint", "ended", "last_lines", "living", "open_log", "read_note", "write_note"]

LEAST_DISK = 64 * 1024 * 1024
LARGEST_LOG = 16 * 1024 * 1024


def write_note(path: Path, pid: int, **values: Any) -> None:
    """Record a process with what else is worth knowing of it. The file is complete or not there, mode 0600."""
    content = {"pid": pid, "created": psutil.Process(pid).create_time(), **values}
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    os.replace(name, path)


def read_note(path: Path) -> dict[str, Any] | None:
    """What `write_note` wrote, or None where there is none or it can't be read as one."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def living(note: Mapping[str, Any] | None) -> psutil.Process | None:
    """The process of a note if it is still that one: a pid that was given to another process does not count."""
    if note is None:
        return None
    try:
        process = psutil.Process(int(note["pid"]))
        same = abs(process.create_time() - float(note["created"])) < 0.05
        alive = same and process.status() != psutil.STATUS_ZOMBIE
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None
    return process if alive else None


def ended(process: psutil.Process, timeout: float) -> bool:
    """Wait until it has ended, at most `timeout` seconds. A zombie has ended, whoever has to reap it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def open_log(path: Path) -> int:
    """A descriptor to append to the log; one that grew large is put aside first, so there are at most two."""
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def last_lines(path: Path, count: int = 3, start: int = 0) -> str:
    """The last non-empty lines of a log, joined by " | ", from byte `start` on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~\n")]
    return " | ".join(lines[-count:]) or "nothing"


def disk_hint(folder: Path, least: int = LEAST_DISK) -> str:
    """A sentence, with a space before it, where the folder's disk has less than `least` bytes left; else nothing.

    A server on a full disk ends with a dozen lines about SQL, and the reason is in none of the last ones.
    """
    free = shutil.disk_usage(folder).free
    return f" The disk of {folder} is full ({free >> 20} MiB left): make room." if free < least else ""
