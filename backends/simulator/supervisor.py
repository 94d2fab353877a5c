"""A simulator that dies and comes back: this process starts it again, and holds its port, which refuses meanwhile.

What the judge has counted, and what is left of the script, goes from the process that dies to the next one; a
process that is killed from outside takes it along.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from backends.simulator.engine import Engine
from backends.simulator.judge import Judge, count
from backends.simulator.server import bound, url_of

DIED = 137
"""The exit code of a process whose memory ran out, as of one that the kernel killed."""


def supervise(
    arguments: Sequence[str], host: str, port: int, seconds: float, ready: Callable[[str], None]
) -> None:
    """Run `python -m backends.simulator` with these arguments, again and again. Never returns."""
    held = bound(host, port, shared=True)  # bound and not listening: connections to it are refused
    url = url_of(held)
    command = [sys.executable, "-m", "backends.simulator", *arguments]
    command += ["--supervised", "--host", host, "--port", url.rpartition(":")[2]]
    child: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        if child is not None:
            child.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    state, told = b"{}", False
    while True:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(state + b"\n")
        child.stdin.flush()  # it stays open: when this process dies, the child sees its end
        if not child.stdout.readline():
            sys.exit(child.wait() or 1)
        if not told:
            ready(url)
            told = True
        state = child.stdout.readline().strip() or b"{}"
        child.wait()
        time.sleep(seconds)


def supervised(engine: Engine) -> None:
    """In the child: take over what the one before has left, and leave it to the next."""
    state = json.loads(sys.stdin.buffer.readline())
    if state:
        engine.take_over(Judge.restored(state["judge"]))
        engine.faults.set(script=state["script"], rates=state["rates"])
        engine.models = tuple(state["models"])

    def die() -> None:
        judge = engine.judge
        for _ in range(judge.total.in_flight):
            count(judge.outcomes, "died")
        left: dict[str, Any] = {
            "judge": judge.dump(),
            "script": list(engine.faults.script),
            "rates": engine.faults.rates,
            "models": list(engine.models),
        }
        sys.stdout.write(json.dumps(left) + "\n")
        sys.stdout.flush()
        os._exit(DIED)

    engine.die = die


def end_with_stdin() -> None:
    """Whoever started this is gone or done. There is nothing to save: end at once, hung requests and all."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
