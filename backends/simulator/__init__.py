"""A simulated model server for tests and benchmarks: a real HTTP server process, never a source of results.

It speaks Ollama's API and OpenAI's over one engine with slots, model loads, token speed and faults. Every answer
is marked: the header `x-penstock-simulator`, and the word "simulated" in the text where the schema allows it.

    with running(slots=2, latency=0.05) as simulator:
        Endpoint(backend="ollama", url=simulator.url)            # or "openai" with simulator.openai_url
        simulator.script(["error503", "ok"])                     # the next requests, in order; then ok
        simulator.stats()["max_in_flight"]

`python -m backends.simulator --help` is the same by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

__all__ = ["Simulator", "running"]

STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator, from the side of a test."""

    url: str
    pid: int

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def stats(self) -> dict[str, Any]:
        """What it has counted since it started or was reset: see `engine.Stats`."""
        return self._call("/simulator/stats")

    def script(self, faults: Sequence[str]) -> None:
        """What happens to the next requests, in the order of their arrival: "ok" or a fault's name."""
        self._call("/simulator/faults", {"script": list(faults)})

    def rates(self, rates: Mapping[str, float]) -> None:
        """How often each fault happens from now on, as shares of 1; which prompts it hits depends on the seed."""
        self._call("/simulator/faults", {"rates": dict(rates)})

    def reset(self) -> None:
        """Forget the counts, the faults and the loaded models."""
        self._call("/simulator/reset", {})

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data=data), timeout=10) as reply:  # noqa: S310  its own http URL
            answer: dict[str, Any] = json.load(reply)
        return answer


@contextmanager
def running(**options: Any) -> Iterator[Simulator]:
    """A simulator process for the length of the block, on a free port of this machine.

    `options` are those of the command line with underscores: slots=4, models=["a", "b"], load_seconds=1.5,
    tokens_per_second=50.0, rates={"error500": 0.1}, script=["hang"] ... The process ends with the block; and when
    this process dies in whatever way, for it watches its standard input.
    """
    command = [sys.executable, "-m", "backends.simulator", "--until-stdin-closes", *_flags(options)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The simulator did not start: {' '.join(command)} ended with {process.wait()}."
            )
        yield Simulator(url=json.loads(line)["url"], pid=process.pid)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _flags(options: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            value = ",".join(f"{key}={share}" for key, share in value.items())
        elif not isinstance(value, str) and isinstance(value, Sequence):
            value = ",".join(value)
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags
