"""What a person wants of a run, as its flows obey it, and as Prefect's UI says it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
from prefect import Flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments.flow_runs import arun_deployment
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Cancelling

from models.errors import PenstockError, RunStopped
from models.run import Wish
from models.settings import settings
from sql.connection import Database, database
from tasks import runs
from tasks.execute import Halt

__all__ = ["cancelled_in_prefect", "check", "drain_in_pool", "own_id", "watched"]

POLL_SECONDS = 1.0

UI_SECONDS = 2.0
"""Between two looks whether somebody cancels this flow run in Prefect's UI."""

OBEY_SECONDS = 30.0
"""For a drain to stop by itself; then Prefect stops its process."""


def own_id(given: uuid.UUID | None) -> uuid.UUID:
    """The run's id: as given, or made from the flow run's, so that a flow run that starts again is the same run."""
    return given or _made_of(str(runtime.flow_run.id))


def _made_of(flow_run_id: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, flow_run_id)


@asynccontextmanager
async def watched(db: Database, run: uuid.UUID) -> AsyncIterator[Halt]:
    """What people want of this run, by our commands or by Prefect's UI."""
    async with runs.heard(db, run) as halt:
        looking = asyncio.create_task(
            _look_in_ui(db, run, str(runtime.flow_run.id)), name=f"see run {run} in the UI"
        )
        try:
            yield halt
        finally:
            looking.cancel()
            await asyncio.wait([looking])


async def check(db: Database, run: uuid.UUID) -> None:
    """Raises RunStopped where the run is to go no further."""
    connection = await db.aconnect(autocommit=True)
    try:
        found = await runs.wished(connection, run)
    finally:
        await connection.close()
    if found is not None:
        raise RunStopped(runs.words(run, *found))


async def _look_in_ui(db: Database, run: uuid.UUID, flow_run_id: str) -> None:
    """A flow run in a process that no worker started is not stopped by Prefect: it looks itself."""
    async with get_client() as client:
        while True:
            await asyncio.sleep(UI_SECONDS)
            try:
                found = await client.read_flow_run(uuid.UUID(flow_run_id))
            except (httpx.HTTPError, PrefectException):
                continue  # a server that is away says nothing; another look follows
            if found.state_type in (StateType.CANCELLING, StateType.CANCELLED):
                try:
                    await _cancel(db, run)
                except (psycopg.Error, PenstockError) as error:
                    get_run_logger().warning("The run could not be marked as cancelled: %s", error)
                    continue
                return


async def _cancel(db: Database, run: uuid.UUID) -> None:
    connection = await db.aconnect(autocommit=True)
    try:
        await runs.want(connection, run, Wish.CANCEL, by="the Prefect UI")
    finally:
        await connection.close()


async def drain_in_pool(db: Database, run: uuid.UUID, deployment: str, parameters: dict[str, Any]) -> FlowRun:
    """Run a deployment to its end. When the run is stopped it is not begun, or stops by itself, or is stopped.

    Raises RunStopped when the drain was cancelled, in whatever way; the run is then, too.
    """
    started = await arun_deployment(deployment, parameters=parameters | {"run_id": str(run)}, timeout=0)
    clock = asyncio.get_running_loop().time
    since: float | None = None
    asked = False
    async with runs.heard(db, run) as halt, get_client() as client:
        while True:
            found = await client.read_flow_run(started.id)
            if found.state is not None and found.state.is_final():
                break
            if halt.wish is not None:
                since = clock() if since is None else since
                begun = found.state_type is StateType.RUNNING
                late = halt.wish is Wish.CANCEL and clock() - since > OBEY_SECONDS
                if not asked and (not begun or late):
                    asked = True
                    ending: State[Any] = (
                        Cancelling(message=halt.words) if begun else Cancelled(message=halt.words)
                    )
                    await client.set_flow_run_state(started.id, ending)
            await asyncio.sleep(POLL_SECONDS)
    if found.state is not None and found.state.is_cancelled():
        if halt.wish is None:
            await _cancel(db, run)  # somebody cancelled the drain alone: the run can't go on without it
        await check(db, run)
    return found


async def cancelled_in_prefect(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """As on_cancellation hook of the pipeline: Prefect has stopped its process, and the run is cancelled."""
    given = (flow_run.parameters or {}).get("run_id")
    number = uuid.UUID(str(given)) if given else _made_of(str(flow_run.id))
    manager = database(settings())
    db = await asyncio.to_thread(manager.__enter__)
    try:
        connection = await db.aconnect(autocommit=True)
        try:
            await runs.stopped_here(connection, number, by="the Prefect UI")
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
