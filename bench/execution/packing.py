"""Eight items in one request, beside a request for each.

Alignment: the built-in recipe `task` with `pack: 8`, over items that have a passage of their own; every request of the
simulator has one fault of packs. An answer is aligned when the result that is stored is what its own item's passage
says. What is saved: requests and tokens as the simulator counts them, prompts of the same recipe. Throughput: as in
cycle.py, by the simulator without latency, and by two that take time: a GPU, and a service far away.

Without latency four times as many a second were hoped for, and are out of reach: what an item costs besides its
request (claim, prompt, checks, results on disk) and the events by which its answer's tokens come are more than a
quarter of what it costs with one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from backends import simulator
from backends.registry import make
from backends.simulator.packs import FAULTS
from bench.execution.calls import IN_FLIGHT, SIMULATOR, endpoint
from bench.execution.cycle import FIXED, Bench, bench, load
from bench.execution.cycle import RECIPE as SHORT
from bench.harness import Figure, at_least, say, told
from bench.pressure.scene import Item, add, board, configure, place
from models.calls import Passage
from models.endpoint import Endpoint
from models.recipe import Recipe
from sql.connection import Database, database
from sql.schema import prepare
from tasks.execute import ClaimedItem, Stages, drain
from tasks.prompts import render
from tasks.recipes import BUILT_IN, load_recipes
from tasks.validate import validate_batch

PACK = 8
ITEMS = 64
PLACES = (
    "mill",
    "lock",
    "weir",
    "sluice",
    "turbine",
    "spillway",
    "tailrace",
    "forebay",
    "intake",
    "gate",
    "valve",
)
FAULTY = (*FAULTS, "truncated")
GPU: dict[str, Any] = SIMULATOR | {
    "slots": IN_FLIGHT,
    "prefill_per_second": 4000,
    "tokens_per_second": 80,
}
"""A small GPU: the tokens of an answer are all that counts, and a pack has more of them (ids and seals)."""
PROVIDER: dict[str, Any] = GPU | {"latency": 0.5, "decode_crowding": 0.0, "prefill_crowding": 0.0}
"""A service: half a second for each request, and nobody slows anybody down."""


def run(quick: bool) -> list[Figure]:
    return [*_alignment(), *_throughput(quick)]


# --- whose answer it is, and what is saved ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    db: Database
    server: simulator.Simulator
    endpoint: Endpoint

    def drained(self, name: str, recipe: Recipe, fault: str = "") -> tuple[int, int]:
        """Of a board of ITEMS: answers that are their own item's, and all."""
        self.server.reset()
        if fault in FAULTS:
            self.server.rates({fault: 1.0})
        elif fault:  # who is asked alone would have it, too
            self.server.script([fault] * (ITEMS // PACK))
        with self.db.connect() as connection:
            items = [
                Item(title=f"Tell the tone of the {_place(n)}", model="", parent=None) for n in range(ITEMS)
            ]
            number = board(connection, name)
            ids = add(connection, number, items)
            # Each fault is to be seen in all of its packs: the record of the one before says nothing of it.
            connection.execute("delete from packing")
            connection.execute("delete from pause")
        accepted = asyncio.run(self._drain(recipe, number, name))
        if accepted != ITEMS:
            raise RuntimeError(f"{accepted} of {ITEMS} items were accepted with {fault or 'no fault'}")
        with self.db.connect() as connection:
            rows = connection.execute(
                "select item_id, text from result where item_id = any(%s)", [ids]
            ).fetchall()
        first = ids[0]
        return sum(text == f"Simulated: {_tone(item - first)}" for item, text in rows), len(rows)

    async def _drain(self, recipe: Recipe, number: int, name: str) -> int:
        async def own_passage(
            connection: Any, items: Sequence[ClaimedItem], limit: int
        ) -> list[list[Passage]]:
            return [[Passage(f"tones.md:{item.line}", _tone(item.line - 1))] for item in items]

        async def no_split(connection: Any, item_id: int, data: dict[str, Any] | None) -> int:
            raise RuntimeError("nothing here is to be split")

        server = make(self.endpoint)
        try:
            tally = await drain(
                self.db,
                server,
                self.endpoint,
                model="bench",
                recipes={recipe.name: recipe},
                stages=Stages(own_passage, render, validate_batch, no_split),
                settings=configure(),
                boards=[number],
                trace_id=name,
            )
        finally:
            await server.close()
        return tally.accepted


def _place(number: int) -> str:
    return f"{PLACES[number % len(PLACES)]} {7000 + number}"


def _tone(number: int) -> str:
    return f"The {_place(number)} is painted in tone {40000 + number}."


@contextmanager
def _scene() -> Iterator[tuple[Place, Recipe, Recipe]]:
    """With the recipe that packs, and the same that does not."""
    text = (BUILT_IN / "task.md").read_text(encoding="utf-8").replace("name: task", "name: bench")
    text = text.replace('kinds: ["*"]', "kinds: []").replace("max_tokens: 1024", "max_tokens: 400")
    packed = text.replace("max_tokens: 400", f"max_tokens: 400\npack: {PACK}")
    with (
        place(**FIXED, cache_days=0) as home,
        database(configure()) as db,
        simulator.running(**SIMULATOR) as server,
    ):
        prepare(db)
        recipes = []
        for each in (packed, text):
            (home / "recipes" / "bench.md").write_text(each, encoding="utf-8")
            recipes.append(load_recipes(configure())["bench"])
        yield Place(db, server, endpoint(server.openai_url)), recipes[0], recipes[1]


def _alignment() -> list[Figure]:
    own = every = 0
    again: list[float] = []
    with _scene() as (scene, packed, each_alone):
        scene.drained("warm", each_alone)
        alone = _costs(scene, "alone", each_alone)
        together = _costs(scene, "packed", packed)
        for fault in FAULTY:
            mine, all_of_them = scene.drained(fault, packed, fault)
            asked = sum(scene.server.stats()["answered"].values())
            say(f"{fault}: {mine} of {all_of_them} are their own item's, {asked} requests")
            own, every = own + mine, every + all_of_them
            again.append(asked - ITEMS / PACK)
    return [
        at_least(f"(c) aligned, {len(FAULTY)} faults in every pack", 100 * own / every, "%", 100),
        told("(c) requests saved without faults", 100 * (1 - together[0] / alone[0]), "%"),
        told("(c) prompt tokens saved without faults", 100 * (1 - together[1] / alone[1]), "%"),
        told("(c) more answer tokens without faults: ids and seals", 100 * (together[2] / alone[2] - 1), "%"),
        told(
            f"(c) asked again alone, of {PACK} in a pack with a fault", PACK * median(again) / ITEMS, "items"
        ),
    ]


def _costs(scene: Place, name: str, recipe: Recipe) -> tuple[int, int, int]:
    """Requests, prompt tokens, answer tokens."""
    own, every = scene.drained(name, recipe)
    if own != every:
        raise RuntimeError(f"{own} of {every} answers are their own item's, without any fault")
    stats = scene.server.stats()
    return sum(stats["answered"].values()), stats["tokens_in"], stats["tokens_out"]


# --- how many a second --------------------------------------------------------------------------------------


def _throughput(quick: bool) -> list[Figure]:
    calls, rounds = (2000, 1) if quick else (8000, 3)
    with bench() as own:
        with simulator.running(**SIMULATOR) as server:
            at_once = [
                _both(own, endpoint(server.openai_url), calls, f"zero-{number}") for number in range(rounds)
            ]
        ratios = {}
        for name, options in (("small GPU", GPU), ("service, 0.5 s a request", PROVIDER)):
            with simulator.running(**options) as server:
                alone, packed = _both(own, endpoint(server.openai_url), 320 if quick else 960, name)
                ratios[name] = packed / alone
    return [
        told("(c) a request each, without latency", median(alone for alone, _ in at_once), "items/s"),
        told(f"(c) {PACK} a request, without latency", median(packed for _, packed in at_once), "items/s"),
        at_least(
            f"(c) {PACK} a request / a request each, without latency",
            median(packed / alone for alone, packed in at_once),
            "times",
            4,
        ),
        *(
            told(f"(c) {PACK} a request / a request each, {name}", ratio, "times")
            for name, ratio in ratios.items()
        ),
    ]


def _both(own: Bench, remote: Endpoint, items: int, name: str) -> tuple[float, float]:
    """Items a second with a request each, and with PACK in one."""
    alone = _rate(own, remote, items, f"{name}-alone", SHORT)
    packing = SHORT.replace("passages: 0\n", f"passages: 0\nmax_tokens: 100\npack: {PACK}\n")
    packed = _rate(own, remote, items, f"{name}-packed", packing)
    say(f"{name}: {alone:.0f} and {packed:.0f} items/s; {load()}")
    return alone, packed


def _rate(own: Bench, remote: Endpoint, items: int, name: str, recipe: str) -> float:
    (own.config.home / "recipes" / "bench.md").write_text(recipe, encoding="utf-8")
    return own.penstock(name, items, remote, lambda: make(remote)).rate
