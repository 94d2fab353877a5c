"""A drain in a process of its own, with a backend inside it that answers at once. Argument: a board."""

from __future__ import annotations

import asyncio
import sys

from bench.execution.cycle import AtOnce, at_once, drained
from models.settings import settings
from sql.connection import database


def main() -> None:
    from prefect import flow

    from interfaces.cli.quiet import quiet_prefect, tell_prefect

    number = int(sys.argv[1])
    config = settings()
    quiet_prefect(config.home)

    @flow(name="bench")
    async def whole() -> None:
        with database(config) as db:
            await drained(db, config, AtOnce(), at_once(), number, f"memory of {number}")

    asyncio.run(whole())
    tell_prefect()


if __name__ == "__main__":
    main()
