"""A flow in this process, from its start to one sentence: what dies under it is noticed and named."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx
import psycopg
from prefect.exceptions import CancelledRun, PrefectException, TerminationSignal

from interfaces.cli import app
from interfaces.cli.quiet import quiet_prefect, tell_prefect
from models.errors import DatabaseError, OrchestratorError, PenstockError, RunStopped
from tasks.execute.stopping import stop

if TYPE_CHECKING:
    from deployments.server import Orchestrator
    from sql.connection import Database

T = TypeVar("T")

LOOK_SECONDS = 1.0
STOP_SECONDS = 10
KEPT = "What was accepted is kept: run the same command again."


def run_flow(flow: Coroutine[Any, Any, T], prefect: Orchestrator, database: Database) -> T:
    """Run a flow's coroutine to its end and give its result.

    Prefect's client retries for minutes against a server that is gone, and reports a lost database as a status 500:
    both are told as what they are. Raises PenstockError, RunStopped among them where somebody cancelled the run, and
    KeyboardInterrupt on Ctrl-C; items are given back.
    """
    quiet_prefect(prefect.settings.home)
    try:
        result = asyncio.run(_watched(flow, prefect))
    except CancelledRun as cancelled:
        tell_prefect()
        raise RunStopped(str(cancelled)) from cancelled
    except (psycopg.Error, httpx.HTTPError, PrefectException, PenstockError) as error:
        told = _told(error, prefect, database)
        if isinstance(told, OrchestratorError | DatabaseError):
            app.abandon_threads = True
        else:
            tell_prefect()
        if told is error:
            raise
        raise told from error
    except TerminationSignal:  # what Prefect makes of SIGTERM: it stops in order, as with Ctrl-C
        tell_prefect()
        raise KeyboardInterrupt from None
    except BaseException:
        tell_prefect()
        raise
    tell_prefect()
    return result


async def _watched(flow: Coroutine[Any, Any, T], prefect: Orchestrator) -> T:
    work = asyncio.ensure_future(flow)
    if not prefect.started_here:
        return await work  # a server of somebody's own may well come back while Prefect's client retries
    gone = asyncio.create_task(_gone(prefect.api_url), name="watch the Prefect server")
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await _stop(work)
            raise OrchestratorError(
                f"The Prefect server at {prefect.ui_url} went away during the run. {KEPT}"
            )
        return work.result()
    except asyncio.CancelledError:
        if not work.done():
            stop(work)
            await asyncio.wait({work}, timeout=STOP_SECONDS)
        raise
    finally:
        gone.cancel()


async def _gone(api_url: str) -> None:
    """Returns when nobody listens there any more. A server that is only slow still listens."""
    place = urlsplit(api_url)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                _, writer = await asyncio.open_connection(place.hostname, place.port)
        except ConnectionError:
            return
        except TimeoutError:
            continue
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _stop(work: asyncio.Future[Any]) -> None:
    """End it although its engine waits for the server between retries: each cancel ends one wait."""
    for _ in range(STOP_SECONDS):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        done, _ = await asyncio.wait({work}, timeout=1.0)
        if done:
            return


def _told(error: Exception, prefect: Orchestrator, database: Database) -> PenstockError:
    try:
        database.connect().close()
    except DatabaseError:
        return DatabaseError(f"Postgres at {database.place} went away during the run. {KEPT}")
    if isinstance(error, PenstockError):
        return error
    words = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseError(f"Postgres at {database.place} failed during the run: {words}. {KEPT}")
    if isinstance(error, psycopg.Error):
        raise error  # a statement of ours is wrong: that is no sentence for a user
    return OrchestratorError(f"The Prefect server at {prefect.ui_url} failed during the run: {words}. {KEPT}")
