"""Child processes of `penstock up` that are started again when they end, later each time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployments.parent import PARENT
from deployments.processes import last_lines, open_log

__all__ = ["Child"]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
STEADY_SECONDS = 60.0  # who ran that long starts again without a long pause


@dataclass
class Child:
    """One module run as a process (`python -m module`), with its environment and its log."""

    name: str  # for messages
    module: str
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _pause: float = FIRST_PAUSE
    _due: float = 0.0
    _log_start: int = 0

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        descriptor = open_log(self.log)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", self.module],
                env={**self.environment, PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C is for `up`, which stops its children in order
            )
        finally:
            os.close(descriptor)
        self._started = time.monotonic()

    def look(self) -> str | None:
        """Call it often: starts the process again when it ended and its pause is over. Returns what happened."""
        if self._process is None:
            if time.monotonic() < self._due:
                return None
            self.start()
            self.restarts += 1
            return f"{self.name} started again"
        code = self._process.poll()
        if code is None:
            return None
        now = time.monotonic()
        self._pause = (
            FIRST_PAUSE if now - self._started > STEADY_SECONDS else min(self._pause * 2, LONGEST_PAUSE)
        )
        self._due, self._process = now + self._pause, None
        return (
            f"{self.name} ended with code {code}; it starts again in {self._pause:.0f} s. "
            f"Its log {self.log} ends with: {self.said()}"
        )

    def said(self) -> str:
        """The last lines it logged since its last start."""
        return last_lines(self.log, start=self._log_start)

    def stop(self, timeout: float) -> None:
        """SIGTERM, and after `timeout` seconds SIGKILL. Does not start again."""
        process, self._process, self._due = self._process, None, float("inf")
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
