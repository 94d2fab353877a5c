"""Why ready work is not begun although its server answers: quiet hours, a budget that is used up, an open breaker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg

from models.endpoint import Endpoint
from models.settings import Settings
from tasks.quiet import quiet
from tasks.spill import left_alone, used_up

__all__ = ["held"]


async def held(
    connection: psycopg.AsyncConnection[Any], settings: Settings, backend: str, now: datetime | None = None
) -> list[str]:
    """A sentence for each declared endpoint of `backend` that is left alone now; of those that share an account one.

    Pauses are not in it: whoever shows these shows those too (tasks/pause.py).
    """
    found: list[str] = []
    for endpoint in settings.endpoints:
        if endpoint.backend == backend:
            why = (
                _quiet(settings, endpoint, now or datetime.now(UTC))
                or await left_alone(connection, endpoint)
                or await used_up(connection, settings, endpoint)
            )
            if why is not None:
                found.append(why if why.endswith(".") else f"{why}.")
    return list(dict.fromkeys(found))


def _quiet(settings: Settings, endpoint: Endpoint, now: datetime) -> str | None:
    if not (seconds := quiet(endpoint.quiet, settings.timezone, now)):
        return None
    minutes = max(1, round(seconds / 60))
    left = f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
    return f"{endpoint.resource} has quiet hours ({endpoint.quiet}, {settings.timezone}) for {left} more."
