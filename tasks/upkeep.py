"""Upkeep: what has to be started because nobody works on it, and deliveries that start one run each.

Decisions only; starting a run is for deployments/runs.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg

from backends.registry import choose
from models.errors import BackendUnavailable, PenstockError, SettingsError
from models.recipe import Recipe
from models.settings import Settings
from sql.statements import statement
from tasks import spill
from tasks.pause import paused, quiet

__all__ = [
    "Delivery",
    "PastDrain",
    "Wanted",
    "known_delivery",
    "may_start",
    "record_delivery",
    "settle_delivery",
    "unsettled_deliveries",
    "wanted_drains",
]

SILENT_AFTER = timedelta(minutes=5)
"""A drain that runs that long without a lease is taken for dead. Before its lease it only looks for its server."""

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=15)
IDLE_PAUSE = timedelta(minutes=1)
ACTIVE = frozenset({"SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"})
FAILED = frozenset({"FAILED", "CRASHED"})
CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backend with claimable items that no drain works on, and the boards they stand on.

    The drain takes these boards only: the others' items are for another backend.
    """

    backend: str
    items: int
    boards: tuple[int, ...] = field(default=(), compare=False)
    spilled: str = field(default="", compare=False)
    """Why it takes the work of another backend, in a sentence; then it leaves what its recipes may not do."""


@dataclass(frozen=True, slots=True)
class Work:
    """Claimable items of one board and recipe; `backend` None: nobody has chosen yet."""

    backend: str | None
    board: int
    recipe: str
    items: int
    named: bool = False  # the items say their backend themselves


@dataclass(frozen=True, slots=True)
class PastDrain:
    """A flow run of `execute/<backend>`: Prefect's state type, when it was started (or is due) and when it ended."""

    state: str
    started: datetime
    ended: datetime | None = None
    idle: bool = False  # it ended in order and had claimed nothing


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook delivery as it is stored: the parameters of its run, and the run once it exists."""

    id: str
    parameters: dict[str, Any]
    flow_run_id: str | None = None


async def wanted_drains(
    connection: psycopg.AsyncConnection[Any], settings: Settings, recipes: Mapping[str, Recipe]
) -> list[Wanted]:
    """The backends with claimable items and no live lease, by name.

    Items that no backend was chosen for go to the one in the settings; with `auto`, to the one that answers now.
    Where none does, the others are wanted all the same; raises BackendUnavailable when there is nothing else to do.
    Work of a backend that can't be used goes to the one that the setting spill names (tasks/spill.py), until it can.
    Items of a recipe that their backend may not do, nor any fallback of it, want no drain: it would take none of them.
    """
    rows = await (await connection.execute(statement("upkeep.wanted_drains"))).fetchall()
    placed = [Work(*row) for row in rows]
    problem: PenstockError | None = None
    if any(work.backend is None for work in placed):
        try:
            endpoint, _ = await choose(settings, settings.backend)
        except PenstockError as error:
            problem = error
        else:
            backend = str(endpoint.backend)
            cursor = await connection.execute(statement("upkeep.live_lease"), {"backend": backend})
            busy = await cursor.fetchone()
            if busy is None or not busy[0]:
                placed = [replace(work, backend=work.backend or backend) for work in placed]
    found: dict[str, list[Work]] = defaultdict(list)
    for work in placed:
        if work.backend is not None and _can(work.backend, work.recipe, recipes):
            found[work.backend].append(work)
    for backend in list(found):
        if await _rests(connection, settings, backend):
            del found[backend]
    if problem is not None and not found:
        raise problem
    moved = [
        await _spill(connection, settings, recipes, backend, found)
        for backend in sorted(found)
        if backend in settings.spill
    ]
    return sorted(
        [_wanted(backend, some) for backend, some in found.items() if some]
        + [each for each in moved if each],
        key=lambda wanted: (wanted.backend, wanted.spilled),
    )


async def _rests(connection: psycopg.AsyncConnection[Any], settings: Settings, backend: str) -> bool:
    """Whether all declared endpoints of a backend are paused, or have quiet hours: a drain would only leave."""
    endpoints = [endpoint for endpoint in settings.endpoints if endpoint.backend == backend]
    for endpoint in endpoints:
        if quiet(endpoint.quiet, settings.timezone, datetime.now(UTC)):
            continue
        device = settings.device(endpoint).name
        stopped = await paused(connection, resource=endpoint.resource, backend=backend, device=device)
        if stopped.whole is None:
            return False
    return bool(endpoints)


def _wanted(backend: str, some: Sequence[Work], spilled: str = "") -> Wanted:
    boards = tuple(sorted({work.board for work in some}))
    return Wanted(backend, sum(work.items for work in some), boards, spilled)


async def _spill(
    connection: psycopg.AsyncConnection[Any],
    settings: Settings,
    recipes: Mapping[str, Recipe],
    backend: str,
    found: dict[str, list[Work]],
) -> Wanted | None:
    """Take out of `found` what another backend is to do while this one can't; None where it can, or nobody else may."""
    most = max((recipe.header.max_tokens for recipe in recipes.values()), default=spill.MAX_TOKENS)

    async def obstacle(name: str) -> str | None:
        try:
            await spill.usable(settings, name, connection, max_tokens=most, patience=0.0)
        except BackendUnavailable as error:
            return str(error)
        except SettingsError:
            # Described wrongly: a drain of the wanted one says so, and no other one is to take its work.
            return None if name == backend else f"{name} is described wrongly."
        return None

    other, reasons = await spill.first_usable(spill.line(backend, settings.spill), obstacle)
    if other is None or other == backend:
        return None
    mine = [w for w in found[backend] if not w.named and spill.allows(recipes.get(w.recipe), other)]
    found[backend] = [work for work in found[backend] if work not in mine]
    cursor = await connection.execute(statement("upkeep.live_lease"), {"backend": other})
    busy = await cursor.fetchone()
    if not mine or (busy is not None and busy[0]):
        return None  # a drain of the other one is at work: when it ends there is another look
    return _wanted(other, mine, spill.spilled(backend, other, reasons[0]))


def _can(backend: str, name: str, recipes: Mapping[str, Recipe]) -> bool:
    """Whether a drain of this backend takes items of this recipe: as it is, or as what it falls back to."""
    at: str | None = name
    while at is not None and at in recipes:
        header = recipes[at].header
        if not header.backends or backend in header.backends:
            return True
        at = header.fallback
    return at is not None  # a recipe that is gone: the drain gives its items another


def may_start(past: Sequence[PastDrain], now: datetime) -> bool:
    """Whether another drain of a backend without a live lease may be started. `past`: its runs, latest first.

    No, while one is due or on its way. After failures in a row only after a pause that doubles with each, from 10
    seconds to 15 minutes: a server that is down is asked seldom, and every answer is a run that people see. After runs
    that found nothing they may do (a paused model, a breaker), a minute at most: that may end at any time. A run that a
    person cancelled pauses as long as possible: it was meant.
    """
    for run in past:
        if run.state in ACTIVE and (run.state != "RUNNING" or now - run.started < SILENT_AFTER):
            return False
    ended = [run for run in past if run.state not in ACTIVE]
    if not ended:
        return True
    last = ended[0].ended or ended[0].started
    if ended[0].state == CANCELLED:
        return now - last >= LONGEST_PAUSE
    idle = ended[0].idle
    vain = next(
        (n for n, run in enumerate(ended) if not (run.idle if idle else run.state in FAILED)), len(ended)
    )
    if not vain:
        return True
    pause: timedelta = min(FIRST_PAUSE * 2 ** min(vain - 1, 16), IDLE_PAUSE if idle else LONGEST_PAUSE)
    return now - last >= pause


async def known_delivery(connection: psycopg.AsyncConnection[Any], delivery_id: str) -> Delivery | None:
    """The delivery of that id, if it was accepted before."""
    cursor = await connection.execute(statement("upkeep.delivery"), {"id": delivery_id})
    row = await cursor.fetchone()
    return None if row is None else Delivery(delivery_id, row[0], row[1])


async def record_delivery(
    connection: psycopg.AsyncConnection[Any], delivery: Delivery, source: str
) -> Delivery:
    """Store it durably and return what is stored: that of the first one where the id was seen before.

    The connection has to be in autocommit: only then is it on disk when this returns.
    """
    parameters = orjson.dumps(delivery.parameters).decode()
    await connection.execute(
        statement("upkeep.record_delivery"),
        {"id": delivery.id, "source": source, "parameters": parameters},
    )
    stored = await known_delivery(connection, delivery.id)
    assert stored is not None
    return stored


async def settle_delivery(
    connection: psycopg.AsyncConnection[Any], delivery_id: str, flow_run_id: str
) -> None:
    """Note the run that a delivery started."""
    await connection.execute(
        statement("upkeep.settle_delivery"), {"id": delivery_id, "flow_run_id": flow_run_id}
    )


async def unsettled_deliveries(connection: psycopg.AsyncConnection[Any], age: float = 30.0) -> list[Delivery]:
    """Deliveries accepted more than `age` seconds ago whose run was never noted."""
    cursor = await connection.execute(statement("upkeep.unsettled_deliveries"), {"age": age})
    return [Delivery(row[0], row[1]) for row in await cursor.fetchall()]
