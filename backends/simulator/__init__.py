"""A simulated model server for tests and benchmarks: real HTTP on a real port, never a source of results.

It speaks Ollama's, OpenAI's, Anthropic's and Gemini's protocols over one engine with slots, model loads, memory,
speed and faults. Every answer is marked: the header `x-penstock-simulator`, and the word "simulated" in the text
where the schema allows it.

    with running(slots=2, latency=0.05) as simulator:            # a process of its own, ready in a third of a second
        Endpoint(backend="ollama", url=simulator.url)            # or "openai" with simulator.openai_url
        simulator.script(["error503", "ok"])                     # the next requests, in order; then ok
        simulator.stats()["max_in_flight"]

    async with inside(slots=2) as simulator:                     # in this event loop, ready at once
        simulator.engine

In virtual time, without HTTP: `clock.virtually` and `engine.Engine`. `python -m backends.simulator --help` says all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from backends.simulator.engine import Engine

__all__ = ["Inside", "Simulator", "inside", "running"]

STOP_SECONDS = 3.0

Ask = Callable[[str, "dict[str, Any] | None"], dict[str, Any]]
"""A path of the judge's endpoint and what is posted there, to what it answers."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator, from the side of a test."""

    url: str
    pid: int  # with restart_seconds that of the supervisor; stats() has the one that serves
    ask: Ask

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def stats(self) -> dict[str, Any]:
        """What it has counted since it started or was reset: see `judge.Judge`."""
        return self.ask("/simulator/stats", None)

    def script(self, faults: Sequence[str]) -> None:
        """What happens to the next requests, in the order of their arrival: "ok" or a fault's name."""
        self.ask("/simulator/faults", {"script": list(faults)})

    def rates(self, rates: Mapping[str, float]) -> None:
        """How often each fault happens from now on, as shares of 1; which prompts it hits depends on the seed."""
        self.ask("/simulator/faults", {"rates": dict(rates)})

    def models(self, names: Sequence[str]) -> None:
        """From now on it has these models, perhaps none; until the next reset."""
        self.ask("/simulator/models", {"models": list(names)})

    def reset(self) -> None:
        """Forget the counts, the faults and the loaded models."""
        self.ask("/simulator/reset", {})


@dataclass(frozen=True, slots=True)
class Inside(Simulator):
    """A simulator in this event loop."""

    engine: Engine


def _asking(url: str) -> Ask:
    def ask(path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(url + path, data=data), timeout=10) as reply:  # noqa: S310  its own http URL
            answer: dict[str, Any] = json.load(reply)
        return answer

    return ask


@asynccontextmanager
async def inside(**options: Any) -> AsyncIterator[Inside]:
    """A simulator in this event loop, on a free port, for the length of the block. Options as of `running`."""
    from backends.simulator.app import App
    from backends.simulator.arguments import options_of, parser
    from backends.simulator.engine import Engine
    from backends.simulator.server import Server, bound, url_of

    engine = Engine(options_of(parser().parse_args(_flags(options))))
    app = App(engine)

    def ask(path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        page = app.control(path, body)
        if page is None:
            raise LookupError(path)
        return page

    listener = bound("127.0.0.1", 0)
    server = Server(app, listener)
    await server.open()
    try:
        yield Inside(url_of(listener), 0, ask, engine)
    finally:
        await server.close()


@contextmanager
def running(**options: Any) -> Iterator[Simulator]:
    """A simulator process for the length of the block, on a free port of this machine.

    `options` are those of the command line with underscores: slots=4, models=["a", "b"], load_seconds=1.5,
    tokens_per_second={"a": 50, "b": 10}, rates={"error500": 0.1}, script=["hang"] ... The process
    ends with the block; and when this process dies in whatever way, for it watches its standard input.
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
        url = json.loads(line)["url"]
        yield Simulator(url, process.pid, _asking(url))
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
            value = ",".join(map(str, value))
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags
