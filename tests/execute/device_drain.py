"""A drain of one declared endpoint, as a program: so that it can be killed.

python -m tests.execute.device_drain CONNINFO BACKEND BOARD SETTINGS     SETTINGS: JSON, as models.settings has them
"""

from __future__ import annotations

import asyncio
import sys

from psycopg.conninfo import conninfo_to_dict

from backends.registry import make
from models.settings import Settings
from sql.connection import Database
from tasks.execute import Seat, drain_any

from .conftest import STAGES, recipe


async def main(conninfo: str, kind: str, board: str, text: str) -> None:
    database = Database({name: str(value) for name, value in conninfo_to_dict(conninfo).items()})
    settings = Settings.model_validate_json(text)
    seats = [
        Seat(make(endpoint), endpoint, endpoint.model or "", STAGES)
        for endpoint in settings.endpoints
        if endpoint.backend == kind
    ]
    try:
        await drain_any(
            database,
            seats,
            recipes={"task": recipe()},
            settings=settings,
            trace_id=kind,
            boards=[int(board)],
        )
    finally:
        for seat in seats:
            await seat.backend.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
