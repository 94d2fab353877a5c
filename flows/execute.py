"""Execute: one flow run is one drain of one endpoint; one task run is one batch."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import acreate_progress_artifact, acreate_table_artifact, aupdate_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from backends.registry import choices, make
from flows.events import Batches, drained, items_deferred
from flows.opening import opened
from flows.remember import remember_accepted
from models.calls import ModelAnswer, ModelRequest, Passage
from models.enums import BackendName
from models.errors import RunStopped
from models.recipe import Recipe, Rendered
from sql.connection import Database
from sql.statements import statement
from tasks import runs, validate
from tasks.decompose import apply_split, split_problems
from tasks.decompose.complexity import Complexity
from tasks.execute import Batch, ClaimedItem, Drain, RunBatch, Seat, Stages, Tally, adopt, drain_any
from tasks.files import files_for_items
from tasks.recipes import Recipes, load_recipes, render
from tasks.remember import recall_for_items
from tasks.spill import kept
from tasks.tokens import Meter, weight

__all__ = ["execute", "observed", "stages"]

PROGRESS_SECONDS = 1.0
"""Least time between two updates of the progress artifact: each is a count and a call to the Prefect server."""

PROGRESS_SHARE = 20
"""And so many times as long as one takes: a count of 400,000 items takes a tenth of a second."""


def stages(
    context_tokens: int | None,
    recipes: Mapping[str, Recipe] | None = None,
    split_parts: int = 8,
    *,
    model: str = "",
    home: Path | None = None,
) -> Stages:
    """The neighbours of a drain, wired: recall from memory, render the recipe, validate, split.

    `context_tokens`: of its endpoint, None where it has no limit. `model`: asked where neither item nor recipe names
    one. `home`: PENSTOCK_HOME; None: no files are read.
    """
    meter = Meter()
    approving = frozenset(name for name, recipe in (recipes or {}).items() if recipe.header.approve)

    def rendered(
        recipe: Recipe,
        item: ClaimedItem,
        passages: Sequence[Passage],
        reason: str | None,
        *,
        share: float = 1.0,
    ) -> Rendered:
        parts = Complexity(item.complexity).parts(split_parts) if recipe.header.splits else None
        return render(
            recipe,
            item,
            passages,
            reason,
            context_tokens=context_tokens,
            parts=parts,
            share=share,
            per_token=meter.per_token(item.model or recipe.header.model or model),
        )

    def learn(request: ModelRequest, answer: ModelAnswer) -> None:
        sent = weight(request.system) + weight(request.prompt)
        meter.learn(request.model, sent, answer.prompt_tokens, request.context_tokens)

    async def split(connection: Any, item_id: int, data: dict[str, Any] | None) -> int:
        return await apply_split(connection, item_id, data, approving=approving)

    return Stages(
        recall=recall_for_items,
        render=rendered,
        validate=validate.validate_batch,
        on_split=split,
        check_splits=split_problems,
        learn=learn,
        files=None if home is None else partial(files_for_items, home=home),
    )


@flow(name="execute", flow_run_name="drain {backend}", validate_parameters=True)
async def execute(
    backend: str = "auto",
    boards: list[int] | None = None,
    spilled: bool = False,
    by_person: bool = False,
    run_id: uuid.UUID | None = None,
) -> dict[str, Any] | State[Any]:
    """Drain the ready items of `boards` (all boards when None) on a server of this backend.

    `spilled`: it takes the work of another backend, and leaves to that one what its own recipes may not do.
    `by_person`: somebody waits; a model that is left alone after failures is tried once at once.
    `run_id`: the run that it is a part of; when that is paused it lets end what was sent, when it is cancelled it gives
    that up and ends as cancelled.
    Returns the counts. Fails with BackendUnavailable when no such server answers or it stops answering; accepted
    answers are kept and the rest stays queued.
    """
    logger = get_run_logger()
    async with opened() as (config, db), AsyncExitStack() as stack:
        recipes = load_recipes(config)
        seats: list[Seat] = []
        for endpoint, probe in await choices(config, backend):
            model = endpoint.model or ""
            logger.info(
                "Backend %s at %s: %s. Model %s.", endpoint.backend, endpoint.url, probe.detail, model
            )
            server = make(endpoint)
            stack.push_async_callback(server.close)
            context = None if endpoint.backend == BackendName.EXTRACTIVE else endpoint.context_tokens
            neighbours = stages(context, recipes, config.split_parts, model=model, home=config.home)
            seats.append(Seat(server, endpoint, model, neighbours, probe))
        await _adopt(db, recipes)
        halt = await stack.enter_async_context(runs.heard(db, run_id))
        kind, urls = seats[0].endpoint.backend, ", ".join(seat.endpoint.url for seat in seats)
        models = ", ".join(dict.fromkeys(seat.model for seat in seats))
        watch = Batches(kind)
        async with observed(models, watch.ended, lambda: halt.wish is None) as run_batch:
            try:
                tally = await drain_any(
                    db,
                    seats,
                    recipes=kept(recipes, seats[0].endpoint.backend) if spilled else recipes,
                    settings=config,
                    boards=boards,
                    trace_id=flow_run.id or "",
                    run_batch=run_batch,
                    on_wait=logger.info,
                    by_person=by_person,
                    halt=halt,
                )
            except RunStopped as error:
                return Cancelled(message=str(error))
        if tally.accepted:
            await remember_accepted()
        await _summary(kind, models, tally)
        items_deferred(kind, tally, boards)
        if tally.batches and not await _left(db, boards):
            drained(kind, tally, boards)
    return {"backend": kind, "endpoint": urls, "model": models} | tally.as_json()


async def _left(db: Database, boards: list[int] | None) -> bool:
    """Whether anything is ready or running on these boards, whoever may do it."""
    connection = await db.aconnect(autocommit=True)
    try:
        row = await (await connection.execute(statement("upkeep.backlog"), {"boards": boards})).fetchone()
    finally:
        await connection.close()
    return bool(row and row[0])


async def _adopt(db: Database, recipes: Recipes) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        if count := await adopt(connection, list(recipes), lambda kind: recipes.for_kind(kind).name):
            get_run_logger().warning(
                "%d items had a recipe that is gone; the one for their kind does them.", count
            )
    finally:
        await connection.close()


@asynccontextmanager
async def observed(
    model: str,
    ended: Callable[[Batch, Tally], None] | None = None,
    complete: Callable[[], bool] = lambda: True,
) -> AsyncIterator[RunBatch]:
    """Each batch as a task run, and a progress artifact over the drain's scope.

    `ended` hears of each batch. `complete`: whether the drain, once it has ended in order, has left nothing.
    """
    progress = await acreate_progress_artifact(
        0.0, key="drain-progress", description=f"Items settled by {model}"
    )
    clock = asyncio.get_running_loop().time
    settled, due = 0, clock() + PROGRESS_SECONDS

    begun: dict[int, tuple[Drain, Batch]] = {}

    # Made once: Prefect keeps every task that it ever saw, and with it what it closes over. And only plain values are
    # parameters: it walks through what it is given and stores it.
    @task(
        name="batch",
        task_run_name="{recipe}: {items} items on {model} (batch {batch_id})",
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    async def run_batch(batch_id: int, recipe: str, model: str, items: int) -> Tally:
        work, batch = begun.pop(batch_id)
        return await work.run_batch(batch)

    async def run(work: Drain, batch: Batch) -> Tally:
        nonlocal settled, due
        validate.warm_up()  # its import takes seconds: it runs while the model answers
        begun[batch.id] = work, batch
        tally = await run_batch(batch.id, batch.recipe, batch.model, len(batch.items))
        settled += tally.settled
        if ended is not None:
            ended(batch, tally)
        # Not after each batch: the next one is claimed only when this returns.
        if (began := clock()) >= due:
            due = began + PROGRESS_SECONDS
            outlook = await work.store.outlook(work.scope)
            total = settled + outlook.now + outlook.later + outlook.running
            await aupdate_progress_artifact(progress, 100.0 * settled / max(total, 1))
            due += PROGRESS_SHARE * (clock() - began)
        return tally

    yield run
    if complete():
        await aupdate_progress_artifact(progress, 100.0)


async def _summary(backend: str, model: str, tally: Tally) -> None:
    rows = [{"what": name, "count": count} for name, count in tally.as_json().items() if name != "simulated"]
    label = " (simulated)" if tally.simulated else ""
    await acreate_table_artifact(
        rows, key=f"drain-{backend}", description=f"Drain of {backend}, {model}{label}"
    )
