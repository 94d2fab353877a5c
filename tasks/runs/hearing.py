"""Hearing what people want of a run, while it is under way: one look a second, on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from models.errors import DatabaseError, InputError
from models.run import Wish
from sql.connection import Database
from tasks.execute.halt import Halt
from tasks.runs.control import wished

__all__ = ["heard", "words"]

LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def heard(database: Database, run: uuid.UUID | None) -> AsyncIterator[Halt]:
    """What people want of this run, until the body ends; without a run never anything."""
    halt = Halt()
    if run is None:
        yield halt
        return
    listening = asyncio.create_task(_listen(database, run, halt), name=f"hear of run {run}")
    try:
        yield halt
    finally:
        listening.cancel()
        await asyncio.wait([listening])


async def _listen(database: Database, run: uuid.UUID, halt: Halt) -> None:
    while not halt.cancelled.is_set():
        with suppress(InputError):  # the run was forgotten: nobody can want anything of it
            try:
                connection = await database.aconnect(autocommit=True, application_name="penstock hearing")
                try:
                    while not halt.cancelled.is_set():
                        if (found := await wished(connection, run)) is not None:
                            halt.tell(found[0], words(run, *found))
                        await asyncio.sleep(LOOK_SECONDS)
                finally:
                    await connection.close()
            except (psycopg.Error, DatabaseError) as error:
                log.warning("Nothing can be heard of run %s (%s); another look follows.", run, error)
        await asyncio.sleep(LOOK_SECONDS)


def words(run: uuid.UUID, wish: Wish, by: str) -> str:
    who = f" by {by}" if by else ""
    return f"Run {str(run)[:8]} was {wish.state}{who}; `penstock runs resume {str(run)[:8]}` goes on with it."
