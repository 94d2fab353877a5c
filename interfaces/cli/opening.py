"""How a command opens the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.settings import Settings
    from sql.connection import Database


@contextmanager
def opened(config: Settings | None = None) -> Iterator[tuple[Settings, Database]]:
    """The settings and the database, its schema checked. An embedded server is started or attached to."""
    from models.settings import settings
    from sql.connection import database
    from sql.schema import prepare

    config = config or settings()
    with database(config) as db:
        prepare(db)
        yield config, db
