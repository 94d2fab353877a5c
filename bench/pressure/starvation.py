"""A model that always has work, and items of two others that come now and then: how long does anybody wait?

The server keeps one model loaded, and a load takes a second. A feeder sees to it that 64 items of the first model are
always ready; items of the other two come at random, one to three at a time. An item waits from the moment when it may
be claimed until its request is sent, by the clock of the database and of this process, which are one. The bound is
what Penstock promises: `max_wait` (5 s here), one batch, and one load with the call that warms it up.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from backends.simulator import running
from bench.harness import Figure, at_most, say, told
from bench.pressure.drive import drained, watched
from bench.pressure.scene import Item, add, board, configure, place
from models.enums import BackendName
from models.settings import Endpoint, settings
from sql.connection import Database, database
from sql.schema import prepare

BUSY, RARE = "busy:7b", ("rare:7b", "seldom:7b")
SLOTS, ANSWER_SECONDS, LOAD_SECONDS, MAX_WAIT = 4, 0.05, 1.0, 5.0
AHEAD = 64
MEAN_SECONDS = 6.0
LOOK_SECONDS = 0.1
SEED = 6


@dataclass(slots=True)
class Feeder:
    """Puts items in, in a thread of its own, until it is stopped."""

    db: Database
    board_id: int
    models: dict[int, str] = field(default_factory=dict)  # by item
    begun: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def feed(self) -> None:
        try:
            with self.db.connect(autocommit=True) as connection:
                self._feed(connection)
        finally:
            self.begun.set()  # whoever waits for it goes on, and hears of the error

    def _feed(self, connection: psycopg.Connection[Any]) -> None:
        chance = random.Random(SEED)
        due = {model: time.monotonic() + chance.expovariate(1 / MEAN_SECONDS) for model in RARE}
        while not self.stop.wait(LOOK_SECONDS):
            row = connection.execute(
                "select count(*) from item where ready and model = %s and board_id = %s",
                [BUSY, self.board_id],
            ).fetchone()
            assert row is not None
            self._add(connection, BUSY, AHEAD - int(row[0]))
            self.begun.set()
            for model, when in due.items():
                if time.monotonic() >= when:
                    self._add(connection, model, chance.randint(1, 3))
                    due[model] = time.monotonic() + chance.expovariate(1 / MEAN_SECONDS)

    def _add(self, connection: psycopg.Connection[Any], model: str, count: int) -> None:
        first = len(self.models)
        items = [Item(f"Say what number {first + number:06} is", model) for number in range(count)]
        if items:
            self.models |= dict.fromkeys(add(connection, self.board_id, items), model)


def run(quick: bool) -> list[Figure]:
    seconds = 20.0 if quick else 90.0
    server = {
        "flavour": "ollama",
        "slots": SLOTS,
        "models": [BUSY, *RARE],
        "resident": 1,
        "load_seconds": LOAD_SECONDS,
        "latency": ANSWER_SECONDS,
    }
    with place(max_wait=MAX_WAIT), database(settings()) as db, running(**server) as simulator:
        prepare(db)
        with db.connect() as connection:
            board_id, first = board(connection, "starvation"), board(connection, "first use")
            add(connection, first, [Item(f"Say what the {n}th use is", BUSY) for n in range(SLOTS)])
        config = configure()
        endpoint = Endpoint(
            backend=BackendName.OLLAMA, url=simulator.url, slots=SLOTS, model=BUSY, resident=1
        )
        feeder = Feeder(db, board_id)
        say(f"{seconds:.0f} s of work for three models; load {os.getloadavg()[0]:.1f}")

        async def going() -> dict[int, float]:
            backend, sent = watched(endpoint)
            await drained(db, config, endpoint, backend, [first])  # imports, and the busy model is loaded
            feeding = asyncio.create_task(asyncio.to_thread(feeder.feed))
            asyncio.get_running_loop().call_later(seconds, feeder.stop.set)
            try:
                await asyncio.to_thread(feeder.begun.wait)
                accepted = await drained(db, config, endpoint, backend, [board_id])
            finally:
                feeder.stop.set()
                await feeding
                await backend.close()
            if accepted != len(feeder.models):
                raise RuntimeError(f"{accepted} of {len(feeder.models)} items were accepted")
            return sent.at

        sent = asyncio.run(going())
        stats = simulator.stats()
        with db.connect() as connection:
            waits = _waits(connection, board_id, sent)
    batch = config.batch_seconds
    load = LOAD_SECONDS + ANSWER_SECONDS  # and the call that warms it up
    bound = MAX_WAIT + batch + load
    rare = [waits[item] for item, model in feeder.models.items() if model != BUSY]
    busy = [waits[item] for item, model in feeder.models.items() if model == BUSY]
    return [
        at_most(
            f"longest wait of any item: max_wait {MAX_WAIT:g} s, a batch {batch:g} s, a load {load:g} s",
            max(waits.values()),
            "s",
            bound,
        ),
        told(f"  of {len(rare)} items that came now and then: the longest", max(rare), "s"),
        told(f"  of {len(busy)} items of the model that always has work: the longest", max(busy), "s"),
        told("  loads per 100 items", 100.0 * stats["loads"] / len(waits), ""),
    ]


def _waits(connection: psycopg.Connection[Any], board_id: int, sent: dict[int, float]) -> dict[int, float]:
    """`run_after` is when an item became ready: nothing here is put off."""
    rows = connection.execute(
        "select id, extract(epoch from run_after)::float8 from item where board_id = %s", [board_id]
    ).fetchall()
    return {item: max(0.0, sent[item] - ready) for item, ready in rows}
