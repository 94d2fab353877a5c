"""Two backends on one GPU with memory for one model, drained by two processes: both finish, whoever is killed.

The judge is a simulated server for each, and what both have loaded together is looked at all the time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.simulator import Simulator, running
from models.endpoint import Device, Endpoint, ModelSpec
from models.enums import Status
from models.settings import Settings

from .conftest import World

ROOT = Path(__file__).parents[2]
SLOTS = 2
MEMORY = 20.0  # GiB; each model takes 14
EACH = 80
MAX_WAIT = 1.5  # seconds


@dataclass
class Pair:
    world: World
    servers: dict[str, Simulator]
    settings: Settings
    in_flight: int = 0  # on both, the most that was seen
    memory: float = 0.0  # GiB reserved or taken on the device, the most that was seen
    busy: set[str] = field(default_factory=set)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, backend: str) -> None:
        arguments = [self.world.database.dsn, backend, "1", self.settings.model_dump_json()]
        command = [sys.executable, "-m", "tests.execute.device_drain", *arguments]
        self.running[backend] = subprocess.Popen(command, cwd=ROOT)

    def done(self, backend: str) -> int:
        query = f"select count(*) from item where status = 4 and backend = '{backend}'"
        return int(self.world.rows(query)[0][0])

    async def look(self) -> None:
        """At both servers, one right after the other: a switch takes longer than that."""
        stats = [await asyncio.to_thread(server.stats) for server in self.servers.values()]
        self.in_flight = max(self.in_flight, sum(one["in_flight"] for one in stats))
        self.busy |= {name for name, one in zip(self.servers, stats, strict=True) if one["in_flight"]}
        taken = self.world.rows("select coalesce(sum(memory), 0) from residency where state <> 'wanted'")
        self.memory = max(self.memory, float(taken[0][0]))

    async def until(self, holds: Callable[[], Any], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await self.look()

    def kill(self, backend: str) -> None:
        self.running[backend].kill()
        self.running[backend].wait()

    async def end(self, seconds: float) -> None:
        await self.until(lambda: all(one.poll() is not None for one in self.running.values()), seconds)
        assert [one.returncode for one in self.running.values()] == [0, 0]
        assert self.world.statuses() == {Status.DONE: 2 * EACH}
        assert self.world.rows("select count(*) from result") == [(2 * EACH,)], "each once"
        assert self.in_flight <= SLOTS
        assert self.memory <= MEMORY
        for server in self.servers.values():
            stats = server.stats()
            assert stats["max_in_flight"] <= SLOTS
            assert (stats["unloads_of_busy"], stats["evictions_of_busy"]) == (0, 0)
        assert self.world.rows("select count(*) from seat where token is not null") == [(0,)]


@contextmanager
def pair(world: World) -> Iterator[Pair]:
    """Two servers that would take more at once; items of both backends in turn."""
    items = world.add(2 * EACH)
    with world.database.connect() as connection:
        connection.execute(
            "update item set backend = case when id %% 2 = 0 then 'ollama' else 'openai' end where id = any(%s)",
            [items],
        )
    values: dict[str, Any] = {"slots": 8, "load_seconds": 0.3, "latency": 0.05, "resident": 0}
    with (
        running(flavour="ollama", models=["a"], model_memory=14, **values) as one,
        running(flavour="vllm", models=["b"], model_memory=14, **values) as other,
    ):
        settings = Settings(
            devices=[Device(name="gpu", slots=SLOTS, memory=MEMORY)],
            endpoints=[
                Endpoint(
                    backend=kind,
                    url=url,
                    device="gpu",
                    slots=SLOTS,
                    model=model,
                    models={model: ModelSpec(memory=14)},
                )
                for kind, url, model in (("ollama", one.url, "a"), ("openai", other.openai_url, "b"))
            ],
            max_wait=MAX_WAIT,
            batch_size=8,
            heartbeat=1.0,
            retry_delay=0.1,
            watch_host=False,
        )
        made = Pair(world, {"ollama": one, "openai": other}, settings)
        try:
            yield made
        finally:
            for process in made.running.values():
                process.kill()
                process.wait()


async def test_two_models_that_fit_one_at_a_time_take_turns_and_both_finish(world: World) -> None:
    with pair(world) as both:
        both.start("ollama")
        both.start("openai")
        await both.until(lambda: min(both.done("ollama"), both.done("openai")) > 0, 20)
        assert min(EACH - both.done("ollama"), EACH - both.done("openai")) > 0, (
            "nobody waited for the other's end"
        )
        await both.end(30)


async def test_who_is_killed_goes_on_and_nobody_sends_in_its_place(world: World) -> None:
    with pair(world) as both:
        both.start("ollama")
        both.start("openai")
        await both.until(lambda: len(both.busy) == 1, 15)
        first = both.busy.copy().pop()
        await both.until(lambda: both.done(first) > 10, 10)
        both.kill(first)  # at work
        both.start(first)
        second = ({"ollama", "openai"} - {first}).pop()
        await both.until(lambda: both.done(second) > 0, 20)
        both.kill(second)
        both.start(second)
        await both.end(40)
        paid = sum(server.stats()["answers"] for server in both.servers.values())
        assert paid <= 2 * EACH + 2 * both.settings.batch_size + 8, (
            "a kill costs a batch at most; a load, a token"
        )
