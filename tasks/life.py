"""Signs of life: which process does a flow run, so that a run whose process died is known for certain.

Prefect calls a run Running until its process says otherwise, and a process that was killed says nothing. So each flow
run of ours signs a row when it begins, with its process as a lease knows its holder, and withdraws it at its end.
On the same machine a look at the process is certain, at once; from another one it is told by the silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from models.errors import DatabaseError
from sql.connection import Database
from sql.statements import statement
from tasks.execute import holder

__all__ = ["BEAT_SECONDS", "SILENT_AFTER", "Sign", "alive", "forget", "signs"]

BEAT_SECONDS = 60.0

SILENT_AFTER = timedelta(minutes=5)
"""A process of another machine that said nothing for so long, and holds no lease, is taken for dead."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sign:
    """Who does a flow run, when it was last heard of, and whether it holds the lease of an endpoint."""

    flow_run_id: str
    holder: str
    silent: timedelta
    leased: bool

    @property
    def dead(self) -> bool:
        """Certain on this machine. Elsewhere only after a long silence, and never while a lease is renewed."""
        return holder.is_dead(self.holder) or (
            self.silent > SILENT_AFTER and not self.leased and self.elsewhere
        )

    @property
    def elsewhere(self) -> bool:
        """Whether its process can't be seen from here."""
        return not holder.is_here(self.holder)


_signed: set[str] = set()
"""Flow runs that this process has signed for: their tasks open what they work on, too."""


@asynccontextmanager
async def alive(database: Database, flow_run_id: str | None) -> AsyncIterator[None]:
    """Sign that this process does that flow run, until the end of the body; nothing where there is no run."""
    if not flow_run_id:
        yield
        return
    if flow_run_id in _signed:
        yield  # who signed first takes the sign away
        return
    values = {"flow_run_id": flow_run_id, "holder": holder.this_process()}
    await _write(database, "life.sign", values)
    _signed.add(flow_run_id)
    beats = asyncio.create_task(_beat(database, values), name=f"signs of life of {flow_run_id}")
    try:
        yield
    finally:
        _signed.discard(flow_run_id)
        beats.cancel()
        await asyncio.wait([beats])
        try:
            await _write(database, "life.withdraw", values)
        except (psycopg.Error, DatabaseError) as error:  # it is ending, perhaps for this very reason
            log.info("The sign of life of %s stays until upkeep finds it: %s", flow_run_id, error)


async def _beat(database: Database, values: dict[str, str]) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        try:
            await _write(database, "life.sign", values)
        except (psycopg.Error, DatabaseError) as error:
            log.warning("No sign of life could be written (%s); the next one follows in a minute.", error)


async def _write(database: Database, name: str, values: dict[str, str]) -> None:
    connection = await database.aconnect(autocommit=True, application_name="penstock life")
    try:
        await connection.execute(statement(name), values)
    finally:
        await connection.close()


async def signs(connection: psycopg.AsyncConnection[Any]) -> dict[str, Sign]:
    """All of them, by flow run."""
    rows = await (await connection.execute(statement("life.signs"))).fetchall()
    return {row[0]: Sign(row[0], row[1], timedelta(seconds=row[2]), row[3]) for row in rows}


async def forget(connection: psycopg.AsyncConnection[Any], gone: Sequence[Sign]) -> None:
    """Take away the signs of processes that are no more."""
    if gone:
        values = {
            "flow_run_ids": [sign.flow_run_id for sign in gone],
            "holders": [sign.holder for sign in gone],
        }
        await connection.execute(statement("life.forget"), values)
