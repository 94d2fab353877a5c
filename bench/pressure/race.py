"""One driver on one simulated server, from "go" to "done" or until its time is over; the server counts."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from backends.simulator import running
from bench.pressure.drivers.protocol import Order

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Outcome:
    items: int  # that there were
    finished: bool  # False: it was stopped
    answers: int  # with those that nobody needed, as of a model that is warmed up
    seconds: float  # from "go" to "done", or until it was stopped
    cpu: float  # seconds of the driver and its children
    stats: Mapping[str, Any]  # the judge's

    @property
    def wall(self) -> float:
        """Seconds for all items; by the rate so far where it was stopped."""
        return self.seconds if self.finished else self.seconds * self.items / max(self.answers, 1)

    @property
    def loads(self) -> float:
        """Per 100 items."""
        return 100.0 * int(self.stats["loads"]) / self._done

    @property
    def milliseconds(self) -> float:
        """Of CPU for an item."""
        return 1000 * self.cpu / self._done

    @property
    def _done(self) -> int:
        return self.items if self.finished else max(self.answers, 1)


def race(
    command: Sequence[str],
    given: Order,
    server: Mapping[str, Any],
    log: Path,
    *,
    most_seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a driver over `given` (its url is filled in) on a new server. After `most_seconds` it is stopped.

    Raises RuntimeError, with the last lines of its log, for one that fails or loses items.
    """
    with running(**server) as simulator, log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            bufsize=0,  # or select would not see what is read already
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            order = asdict(given) | {"url": simulator.url}
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            _await(process, b"ready", START_SECONDS, log)
            used, began = _cpu(process.pid), time.perf_counter()
            process.stdin.write(b"go\n")
            process.stdin.flush()
            finished = _await(process, b"done", most_seconds, log)
            seconds, spent = time.perf_counter() - began, _cpu(process.pid) - used
            stats = simulator.stats()
            if finished and int(stats["answers"]) < len(given.work):
                raise RuntimeError(f"{command[-1]}: {stats['answers']} answers for {len(given.work)} items")
            if finished:
                process.stdin.close()
                process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdin.close()
            process.stdout.close()
        return Outcome(len(given.work), finished, int(stats["answers"]), seconds, spent, stats)


def _await(process: subprocess.Popen[bytes], word: bytes, seconds: float | None, log: Path) -> bool:
    """True when it said the word, False when the time was over first."""
    assert process.stdout is not None
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([process.stdout], [], [], wait)[0]:
            if word == b"ready":
                raise RuntimeError(f"{process.args!r} was not ready in {seconds:.0f} s. {_last(log)}")
            return False
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{process.args!r} ended with {process.wait()}. {_last(log)}")
        if line.strip() == word:
            return True


def _last(log: Path) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-4:])


def _cpu(pid: int) -> float:
    """Of the process, its children, and those of them that have ended."""
    seconds = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
        if process.pid == pid:
            seconds += times.children_user + times.children_system
    return seconds
