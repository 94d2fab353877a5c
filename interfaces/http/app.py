"""The HTTP door's application. A door: it parses, authorises, calls, renders.

    GET  /health            the process lives
    GET  /ready             database and Prefect answer, else 503 with words
    GET  /status            what runs and what waits                          bearer
    GET  /metrics           the same and more, for Prometheus                 bearer
    POST /webhooks/board    {"board": path or name, "text": optional}         signed
    POST /webhooks/github   GitHub's events `issues` and `sub_issues`         signed by GitHub
    POST /boards            a board's content, raw with ?name= or a form      bearer
    POST /boards/github/{owner}/{name}   issues as `gh` or the API lists them bearer
    GET  /export            what came of boards so far, as a download         bearer
    GET  /reviews           what waits for a person                           bearer
    POST /reviews/{id}      {"decision", "text", "note", "by"}                bearer

The webhook secret signs and is the bearer token. Errors are {"error": {"code", "message"}}.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.middleware.trustedhost import TrustedHostMiddleware

from deployments.runs import keep_going
from interfaces.http import boards, errors, exports, github, reviews, state
from interfaces.http.door import Door
from interfaces.http.middleware import OneLength, SecurityHeaders
from models.settings import Settings
from sql.connection import Database

__all__ = ["create_app"]

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound
"""Addresses by which a server listens on all of a machine's."""

logger = logging.getLogger("penstock.http")


def create_app(
    settings: Settings,
    database: Database,
    secret: SecretStr,
    *,
    clock: Callable[[], float] = time.time,
    upkeep: bool = True,
) -> FastAPI:
    """The door over an open database; Prefect is reached by this process's Prefect settings.

    `clock`: Unix seconds, for signatures. `upkeep`: whether it starts drains for ready items (deployments.runs).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            app.state.door = Door(settings, database, secret, clock, client)
            if not upkeep:
                yield
                return
            task = asyncio.create_task(keep_going(client, database, settings), name="upkeep")
            task.add_done_callback(_end_of_upkeep)
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    app = FastAPI(title="Penstock", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    errors.install(app)
    # A page that a browser was made to take for this host (DNS rebinding) is refused by its name. Who opens the door
    # to the network is asked for by names that can't be known here; the token is asked for all the same.
    own = f"[{settings.host}]" if ":" in settings.host else settings.host  # as a Host header writes IPv6
    hosts = {"*"} if settings.host in WILDCARDS else {own, "127.0.0.1", "localhost", "[::1]"}
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts), www_redirect=False)
    app.add_middleware(OneLength)
    app.add_middleware(SecurityHeaders)
    for router in (state.router, boards.router, github.router, exports.router, reviews.router):
        app.include_router(router)
    return app


def _end_of_upkeep(task: asyncio.Task[None]) -> None:
    """A door whose upkeep died looks well and starts nothing: end, and be started again by the supervisor."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("Upkeep ended; the door ends with it", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
