"""How a flow opens what it works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect.runtime import flow_run

from models.settings import Settings, settings
from sql.connection import Database, database
from sql.schema import prepare
from tasks.life import alive


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Settings, Database]]:
    """The settings and the database, ready to use; until the end this process is known to do the flow run.

    Starting an embedded server takes seconds: not on the loop.
    """
    config = settings()
    manager = database(config)
    db = await asyncio.to_thread(manager.__enter__)
    try:
        await asyncio.to_thread(prepare, db)
        async with alive(db, flow_run.id):
            yield config, db
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
