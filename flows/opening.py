"""How a flow opens what it works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.settings import Settings, settings
from sql.connection import Database, database
from sql.schema import prepare


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Settings, Database]]:
    """The settings and the database, ready to use. Starting an embedded server takes seconds: not on the loop."""
    config = settings()
    manager = database(config)
    db = await asyncio.to_thread(manager.__enter__)
    try:
        await asyncio.to_thread(prepare, db)
        yield config, db
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
