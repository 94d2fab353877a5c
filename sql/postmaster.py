"""The processes of a Postgres cluster: which one is the server, is it ready, and how it is ended.

What postmaster.pid says is a claim: the number in it may be a process that died, that nobody reaped, or that has
nothing to do with Postgres. A process counts only when it is a living postgres that works in our data folder.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil

__all__ = ["Postmaster"]


class Postmaster:
    """The server over one data folder, seen from outside. Holds nothing."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._pid_file = data / "postmaster.pid"

    def living(self) -> psutil.Process | None:
        """The server's process, if it runs."""
        try:
            process = psutil.Process(int(self._lines()[0]))
        except (IndexError, ValueError, OverflowError, psutil.Error):
            return None
        return process if self._runs(process) else None

    def ready_at(self) -> Path | None:
        """The folder of its socket, once it takes connections."""
        lines = self._lines()
        return Path(lines[4]) if len(lines) >= 8 and lines[7].strip() == "ready" else None

    def stop(self) -> None:
        """As `pg_ctl stop -m fast`, without needing the binaries or the server's user."""
        if (server := self.living()) is None:
            return
        _signal(server, signal.SIGINT)
        if not self._ended([server], timeout=60):
            _signal(server, signal.SIGQUIT)  # it recovers from its log at the next start
            self._ended([server], timeout=10)

    def clear_remains(self) -> None:
        """End what a killed server left: workers that still run, and a pid file that names nobody.

        Postgres itself refuses to start while a process with that number exists, whatever it is now; and where
        nobody reaps, the killed server's own number stays for ever.
        """
        remains = [process for process in psutil.process_iter() if self._runs(process)]
        for number in (signal.SIGQUIT, signal.SIGKILL):
            for process in remains:
                _signal(process, number)
            if self._ended(remains, timeout=5):
                break
        self._pid_file.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        try:
            return self._pid_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _ended(self, processes: list[psutil.Process], *, timeout: float) -> bool:
        # Not psutil's wait: where nobody reaps, a zombie would count as alive.
        deadline = time.monotonic() + timeout
        while any(self._runs(process) for process in processes):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def _runs(self, process: psutil.Process) -> bool:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            # Postgres changes to its data folder; another cluster's processes have another one.
            return process.name().startswith("postgres") and Path(process.cwd()) == self._data.resolve()
        except (psutil.Error, OSError):
            return False  # gone meanwhile, or another user's and so not ours


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
