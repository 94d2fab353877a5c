"""What the server need not read again, because prompts that begin alike come one after the other.

Items of many parents, each with a text of about 700 tokens that stands at the beginning of all its items' prompts,
stored in random order. The server remembers the last 4,096 tokens of prompts that it has read. Penstock drains them in
its order; then the very same requests are sent once more in random order, to the server as it was at the start, by as
many workers as there are slots.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

from backends.registry import make
from backends.simulator import running
from bench.harness import Figure, say, told
from bench.pressure.drive import drained, watched
from bench.pressure.scene import Item, add, board, place
from models.calls import ModelRequest
from models.enums import BackendName
from models.settings import Endpoint, settings
from sql.connection import database
from sql.schema import prepare

MODEL = "one:7b"
SLOTS = 4
SHARED_WORDS = 300
CACHE_TOKENS = 4096
PREFILL, DECODE = 10_000, 400  # tokens a second
SEED = 5


def run(quick: bool) -> list[Figure]:
    parents, each = (12, 12) if quick else (40, 16)
    server = {
        "flavour": "ollama",
        "slots": SLOTS,
        "models": [MODEL],
        "cache_tokens": CACHE_TOKENS,
        "prefill_per_second": PREFILL,
        "tokens_per_second": DECODE,
    }
    with place(), database(settings()) as db, running(**server) as simulator:
        prepare(db)
        with db.connect() as connection:
            board_id = board(connection, "prefix")
            texts = [Item(_text(number)) for number in range(parents)]
            ids = add(connection, board_id, texts, recipe=None)
            items = [Item(f"Say what part {n} of {p} is", MODEL, p) for p in ids for n in range(each)]
            random.Random(SEED).shuffle(items)
            known = set(add(connection, board_id, items))
        place_ = Endpoint(backend=BackendName.OLLAMA, url=simulator.url, slots=SLOTS, model=MODEL)
        say(f"{len(items)} items of {parents} parents; load {os.getloadavg()[0]:.1f}")

        async def ordered() -> Sequence[ModelRequest]:
            backend, sent = watched(place_)
            try:
                accepted = await drained(db, settings(), place_, backend, [board_id])
            finally:
                await backend.close()
            if accepted != len(items):
                raise RuntimeError(f"{accepted} of {len(items)} items were accepted")
            return [
                request for request in sent.requests if request.item_id in known
            ]  # without a model's warm-up

        requests = asyncio.run(ordered())
        ours = simulator.stats()
        simulator.reset()
        asyncio.run(_shuffled(place_, requests))
        random_ = simulator.stats()
    name = f"{len(items)} items of {parents} parents"
    return [
        told(f"prompt tokens from the cache, {name}, in Penstock's order", _share(ours), "%"),
        told("  the same requests in random order", _share(random_), "%"),
        told(
            "  tokens that the server had to read, random / Penstock's", _read(random_) / _read(ours), "times"
        ),
    ]


def _text(number: int) -> str:
    """Words that no other parent has in this order."""
    words = random.Random(number)
    return " ".join(f"word{words.randrange(10_000)}" for _ in range(SHARED_WORDS))


async def _shuffled(endpoint: Endpoint, requests: Sequence[ModelRequest]) -> None:
    mixed = list(requests)
    random.Random(SEED + 1).shuffle(mixed)
    backend = make(endpoint)
    numbers = iter(mixed)

    async def work() -> None:
        for request in numbers:
            await backend.answer(request, asyncio.get_running_loop().time() + 60)

    try:
        await asyncio.gather(*(work() for _ in range(SLOTS)))
    finally:
        await backend.close()


def _share(stats: dict[str, Any]) -> float:
    return 100.0 * float(stats["cached_tokens"]) / float(stats["tokens_in"])


def _read(stats: dict[str, Any]) -> float:
    return float(stats["tokens_in"]) - float(stats["cached_tokens"])
