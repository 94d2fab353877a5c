"""A drain that does nothing but send provider batches; as a program too, so that it can be killed.

python -m tests.execute.provider_drain CONNINFO KIND URL DIES     DIES: never, before, after (it sent)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backends.registry import make
from models.calls import Batches, BatchReply, HasBatches, ModelAnswer, ModelRequest, Passage
from models.endpoint import Endpoint
from models.recipe import Recipe, RecipeHeader, Rendered
from sql.connection import Database
from tasks.execute.lease import endpoint_lease
from tasks.execute.policy import Next
from tasks.execute.provider_batch import Waits, run_provider_batches
from tasks.execute.provider_rows import Prepared
from tasks.execute.store import Store
from tasks.execute.work import Batch, ClaimedItem, Report, Tally

QUICK = Waits(first=0.02, most=0.1, grace=0.0, hold=0.1)
RECIPE = Recipe(RecipeHeader(name="task", about="a test"), "", "", "text", "hash-task", "task.md")
PASSAGE = Passage("docs/ops.md:1", "It starts at 02:30 and is\0kept \ud800.", 0.5)

Change = Callable[[Batches], Batches]


def prompt(item: ClaimedItem) -> str:
    return (
        f"Question {item.id}: when does it start?\n\n[[docs/ops.md:1]]\nIt starts at 02:30 UTC and is kept.\n"
    )


async def drain(
    database: Database,
    endpoint: Endpoint,
    batches: Batches,
    *,
    waits: Waits = QUICK,
    seen: Callable[[Batch, Sequence[Rendered], Sequence[BatchReply]], Awaitable[None]] | None = None,
    **options: Any,
) -> Tally:
    """One drain of the endpoint, from its lease to the end; every answer is accepted."""
    connection = await database.aconnect(autocommit=True)
    try:
        async with endpoint_lease(
            lambda: database.aconnect(autocommit=True),
            backend=endpoint.backend,
            url=endpoint.url,
            model="sim:small",
            heartbeat=options.pop("heartbeat", 5.0),
        ) as lease:
            assert lease is not None
            store = Store(connection, lease.token)

            async def claim(size: int) -> Batch | None:
                batch: Batch | None = await store.query(lambda c: _claim(c, lease.token, endpoint, size))
                return batch

            async def prepare(batch: Batch) -> Prepared:
                rendered = [Rendered("system", prompt(i), f"prompt-{i.id}", (PASSAGE,)) for i in batch.items]
                return Prepared(batch, tuple(rendered), frozenset())

            async def settle(
                batch: Batch, rendered: Sequence[Rendered], replies: Sequence[BatchReply]
            ) -> Tally:
                if seen is not None:
                    await seen(batch, rendered, replies)
                reports = [
                    _report(item, prompt, reply)
                    for item, prompt, reply in zip(batch.items, rendered, replies, strict=True)
                ]
                return await store.settle(
                    batch, reports, recipe=RECIPE, validation={}, trace_id="t", on_split=_no_split
                )

            return await run_provider_batches(
                batches,
                endpoint,
                lease,
                query=store.query,
                claim=claim,
                prepare=prepare,
                request=_request,
                settle=settle,
                give_back=store.give_back,
                recipes=options.pop("recipes", ["task"]),
                waits=waits,
                **options,
            )
    finally:
        await connection.close()


def _request(batch: Batch, item: ClaimedItem, rendered: Rendered) -> ModelRequest:
    return ModelRequest(
        item.id, batch.model, rendered.system, rendered.prompt, item.question, rendered.passages
    )


def _report(item: ClaimedItem, prompt: Rendered, reply: BatchReply) -> Report:
    if isinstance(reply, ModelAnswer):
        return Report(item, prompt.prompt_hash, Next("accepted"), reply, text=reply.text)
    charged = reply.error_type.charged
    then = Next("retry", charged=1) if charged else Next("returned")
    return Report(item, prompt.prompt_hash, then, reply.partial, reply.error_type, str(reply))


async def _no_split(connection: Any, item_id: int, data: Any) -> int:
    raise AssertionError("no recipe here splits")


async def _claim(
    connection: psycopg.AsyncConnection[Any], token: int, endpoint: Endpoint, size: int
) -> Batch | None:
    """As execute.claim, without its order."""
    cursor = await connection.execute(
        "with chosen as (select id from item where ready and run_after <= now() order by id limit %(size)s"
        " for update skip locked), claimed as (update item i set status = 2, ready = false, tries = tries + 1,"
        " lease = %(token)s from chosen where i.id = chosen.id returning i.*)"
        " select c.id, c.board_id, c.recipe, c.model, c.attempts, c.tries, s.kind, s.ext_id, s.title, s.body,"
        " s.line, s.labels, b.source, b.title, null, null from claimed c join item_source s on s.item_id = c.id"
        " join board b on b.id = c.board_id order by c.id",
        {"size": size, "token": token},
    )
    items = tuple(ClaimedItem(*row) for row in await cursor.fetchall())
    if not items:
        return None
    await connection.execute(
        "insert into recipe (hash, name, text) values ('hash-task', 'task', '') on conflict do nothing"
    )
    cursor = await connection.execute(
        "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
        " values (%s, %s, %s, 'sim:small', 'task', 'hash-task', %s) returning id",
        [token, endpoint.backend, endpoint.url, len(items)],
    )
    row = await cursor.fetchone()
    assert row is not None
    return Batch(row[0], "task", "sim:small", items)


class Dying:
    """Batches whose process is killed before or after one was sent."""

    def __init__(self, real: Batches, when: str) -> None:
        self._real = real
        self._when = when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def submit(self, requests: Sequence[ModelRequest], deadline: float, *, label: str) -> str:
        if self._when == "after":
            await self._real.submit(requests, deadline, label=label)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives")


async def main(conninfo: str, kind: str, url: str, dies: str) -> None:
    database = Database({name: str(value) for name, value in conninfo_to_dict(conninfo).items()})
    endpoint = Endpoint(backend=kind, url=url, batch_items=10, batches=True)
    backend = make(endpoint)
    assert isinstance(backend, HasBatches)
    batches: Any = backend.batches if dies == "never" else Dying(backend.batches, dies)
    await drain(database, endpoint, batches, waits=Waits())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
