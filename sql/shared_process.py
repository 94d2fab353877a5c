"""A crash-proof count of the processes that share one background server.

Two lock files beside each other, held by `flock`, which the kernel drops when a process ends in any way:

- `<name>.boot.lock`, exclusive: only one process at a time starts or stops the server.
- `<name>.use.lock`, shared: everyone who uses the server holds it. Whoever leaves and then gets it
  exclusively was the last one, and stops the server.

A `kill -9` of a user (or a SIGTERM that Python does not handle) therefore never leaves a wrong count. It may
leave the server running without users; the next process attaches to it and stops it when it leaves.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ServiceError

__all__ = ["SharedProcess"]

POLL_SECONDS = 0.02


class SharedProcess:
    """One user's handle on a server that several processes share.

    `start` must make the server usable and be idempotent: attach when it runs, start it when not. `stop` must
    stop it. Both run while the boot lock is held, so they never race with another process's. `error` is the
    type raised when the locks can't be had; it says which file.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        start: Callable[[], None],
        stop: Callable[[], None],
        error: type[ServiceError] = ServiceError,
    ) -> None:
        self._boot_path = folder / f"{name}.boot.lock"
        self._use_path = folder / f"{name}.use.lock"
        self._name = name
        self._start = start
        self._stop = stop
        self._error = error
        self._use: int | None = None
        self._owner = 0

    def open(self, timeout: float = 330.0) -> None:
        """Start the server or attach to it, and count as a user of it until `close` or death.

        `timeout` bounds the wait for another process that is starting or stopping the server, in seconds.
        """
        if self._use is not None:
            raise RuntimeError(f"{self._name} is open already")
        deadline = time.monotonic() + timeout
        with self._boot(deadline):
            use = self._open_file(self._use_path)
            try:
                self._lock(use, fcntl.LOCK_SH, self._use_path, deadline)
                self._start()
            except BaseException:
                os.close(use)
                raise
        self._use, self._owner = use, os.getpid()
        atexit.register(self.close)

    def close(self, timeout: float = 330.0) -> None:
        """Leave; the last one to leave stops the server. Closing twice, or in a forked child, does nothing."""
        use, self._use = self._use, None
        if use is None:
            return
        if os.getpid() != self._owner:
            os.close(use)  # a fork shares the lock with its parent: unlocking here would unlock there
            return
        atexit.unregister(self.close)
        try:
            with self._boot(time.monotonic() + timeout):
                if self._was_last(use):
                    self._stop()
        finally:
            os.close(use)

    @staticmethod
    def _was_last(use: int) -> bool:
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextmanager
    def _boot(self, deadline: float) -> Iterator[None]:
        boot = self._open_file(self._boot_path)
        try:
            self._lock(boot, fcntl.LOCK_EX, self._boot_path, deadline)
            yield
        finally:
            os.close(boot)

    def _open_file(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error(
                f"The lock file {path} can't be opened ({error.strerror}). "
                "Make its folder writable for this user, or set PENSTOCK_HOME to a folder that is."
            ) from None

    def _lock(self, descriptor: int, mode: int, path: Path, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise self._error(
                        f"Another process has been starting or stopping {self._name} for too long: it holds "
                        f"{path}. See who (`lsof {path}`), end that process, and run this again."
                    ) from None
                time.sleep(POLL_SECONDS)
            except OSError as error:
                raise self._error(
                    f"{path} can't be locked ({error.strerror}): its file system has no flock. "
                    "Set PENSTOCK_HOME to a folder on a local disk."
                ) from None
