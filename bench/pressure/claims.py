"""What a claim costs at a backlog of 10,000, 100,000 and 1,000,000 ready items.

The boards grow with the backlog: 250 of 40 items, 2,500 of 400 at the largest. Each board has one of 4 models, and
some are for one of two kinds of backend alone; its items have one of 3 recipes and of 5 priorities, mostly the usual
ones, and half of them share a parent with others. They became ready within the last 20 minutes, so that some groups
have waited for longer than `max_wait`.

Timed is what a drain does for a batch: the look at all groups, the choice, the claim and its commit, by `Store.claim`
and `Order`, 16 items at a time. Claims are made one after the other and kept, so each finds
what the ones before it left behind. Then the same for runs of 5 and of 100 boards.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import psycopg

from bench.harness import Figure, at_most, say, told, under
from bench.pressure.scene import place
from models.enums import BackendName
from models.settings import settings
from sql.connection import Database, database
from sql.schema import prepare
from sql.statements import statement
from tasks.execute.order import Group, Order
from tasks.execute.store import Scope, Store, Wish

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (10_000, 100_000)
CLAIMS, LEAST = 60, 5
TOKEN = 1
CLAIM = 16
"""Items a claim: a batch of a server that answers a few items a second. Larger ones cost less an item."""

RECIPES = ("bench", "check", "plan")
FLAT = 2.0


def run(quick: bool) -> list[Figure]:
    with place(), database(settings()) as db:
        prepare(db)
        with db.connect(autocommit=True, statement_timeout=0) as connection:
            _prepared(connection)
            costs: dict[int, float] = {}
            figures: list[Figure] = []
            for size in QUICK_SIZES if quick else SIZES:
                _fill(connection, size)
                say(f"{size:,} ready items; load {os.getloadavg()[0]:.1f}")
                boards = [int(row[0]) for row in connection.execute("select id from board order by id")]
                everything = asyncio.run(_cost(db, None))
                few, many = (
                    asyncio.run(_cost(db, boards[first : first + n])) for first, n in ((0, 5), (5, 100))
                )
                costs[size] = everything.each
                limited = (
                    under if size == SIZES[-1] else lambda figure, value, unit, _: told(figure, value, unit)
                )
                figures += [
                    limited(f"a claim, {size:,} items ready", everything.each, everything.unit, 1),
                    told("  the slowest", everything.slowest, "ms"),
                    limited("  of 5 boards alone", few.each, few.unit, 1),
                    limited("  of 100 boards alone", many.each, many.unit, 1),
                ]
    first, last = min(costs), max(costs)
    name, ratio = f"a claim, {last:,} ready / {first:,} ready", costs[last] / costs[first]
    return [*figures, told(name, ratio, "times") if quick else at_most(name, ratio, "times", FLAT)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of some claims."""

    milliseconds: list[float]
    items: int

    @property
    def each(self) -> float:
        """Milliseconds for an item: all claims together, so that a small batch counts as what it is."""
        return sum(self.milliseconds) / self.items

    @property
    def slowest(self) -> float:
        return max(self.milliseconds)

    @property
    def unit(self) -> str:
        count = len(self.milliseconds)
        return f"ms/item, {self.items / count:.0f} items a claim, {median(self.milliseconds):.1f} ms each"


async def _cost(db: Database, boards: Sequence[int] | None) -> Cost:
    config = settings()
    connection = await db.aconnect(autocommit=True)
    try:
        store = Store(connection, TOKEN)
        order = Order(config.max_wait, "small:1b")
        scope = Scope(BackendName.OLLAMA, RECIPES, None if boards is None else tuple(boards))
        size = CLAIM
        chosen: list[Wish] = []
        after = -1

        def choose(groups: list[Group]) -> Wish | None:
            choice = order.choose(groups, time.monotonic())
            if choice is None:
                return None
            aged = (size + 1) // 2 if choice.aged else 0
            wish = Wish(choice.group, size, aged, order.patience(choice.group), after)
            chosen.append(wish)
            return wish

        def describe(recipe: str, model: str | None) -> dict[str, Any]:
            return {
                "backend": scope.backend,
                "endpoint": "bench",
                "model": model or "small:1b",
                "recipe": recipe,
                "recipe_hash": recipe,
                "hash": recipe,
                "name": recipe,
                "text": "",
                "flow_run_id": "",
            }

        times: list[float] = []
        items = 0
        for number in range(CLAIMS + 1):
            began = time.perf_counter()
            batch = await store.claim(scope, frozenset(), choose, describe)
            spent = 1000 * (time.perf_counter() - began)
            if batch is None and number > LEAST:
                break
            if batch is None:
                raise RuntimeError(f"nothing was claimed after {items} items")
            order.took(chosen[-1].group, time.monotonic())
            after = max((item.board_id for item in batch.items), key=lambda one: (one <= after, one))
            if number:  # the first one on a new connection is not counted
                times.append(spent)
                items += len(batch.items)
        return Cost(times, items)
    finally:
        await connection.close()


def _prepared(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "insert into lease (resource, backend, token, holder, expires_at)"
        " values ('bench', 'ollama', %s, 'nobody', now() + interval '1 day')",
        [TOKEN],
    )
    for name in RECIPES:
        connection.execute(statement("execute.keep_recipe"), {"hash": name, "name": name, "text": ""})


def _fill(connection: psycopg.Connection[Any], size: int) -> None:
    boards = round(2.5 * size**0.5)
    connection.execute("truncate board cascade")
    connection.execute(
        "insert into board (source, dialect, encoding, sha256)"
        " select 'bench:' || n, 'gfm', 'utf-8', '' from generate_series(1, %s) n",
        [boards],
    )
    connection.execute(
        "with place as materialized (select id, row_number() over (order by id) - 1 as nth from board)"
        " insert into item (board_id, key, position, status, ready, recipe, model, backend, priority, parent_id,"
        "                   length, run_after)"
        " select p.id, gen_random_uuid(), n, 1, true,"
        "        (array['check', 'plan', 'bench', 'bench', 'bench', 'bench', 'bench', 'bench', 'bench', 'bench'])"
        "          [1 + abs(hashint8(n + 1) %% 10)],"
        "        (array[null, 'small:1b', 'middle:8b', 'large:32b'])[1 + abs(hashint8(p.nth) %% 4)],"
        "        (array['ollama', 'openai', null, null, null, null, null, null])[1 + abs(hashint8(p.nth + 1) %% 8)],"
        "        (array[0, 1, 2, 2, 2, 2, 2, 2, 3, 4])[1 + abs(hashint8(n + 2) %% 10)],"
        "        case when n %% 2 = 0 then p.id * 100 + n / 2 %% 10 end, abs(hashint8(n + 3) %% 12),"
        "        now() - abs(hashint8(n + 4) %% 1200) * interval '1 second'"
        "   from generate_series(1::bigint, %(size)s::bigint) n"
        "   join place p on p.nth = abs(hashint8(n) %% %(boards)s)",
        {"size": size, "boards": boards},
    )
    # Or each row's reference is looked for by reading all items: the table was as good as empty when that was planned.
    connection.execute("analyze item")
    connection.execute("discard plans")
    connection.execute(
        "insert into item_source (item_id, kind, title, line, declared, content_hash)"
        " select id, 'task', 'Do number ' || id, position, 'todo', '' from item"
    )
    connection.execute("vacuum analyze")
