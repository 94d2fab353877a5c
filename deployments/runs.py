"""Start flow runs of deployments, and see that ready items and accepted deliveries get theirs."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import psycopg

from deployments.reconcile import Tidied, reconcile
from models.errors import OrchestratorError, PenstockError
from models.settings import Settings
from sql.connection import Database
from sql.statements import statement
from tasks.execute.reuse import expire
from tasks.recipes import load_recipes
from tasks.upkeep import (
    Delivery,
    PastDrain,
    Wanted,
    may_start,
    settle_delivery,
    unsettled_deliveries,
    wanted_drains,
)

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

__all__ = ["cancel_in_prefect", "keep_going", "look_once", "start_delivery", "start_run", "tidy"]

PIPELINE = "pipeline/local"
CANCEL_SECONDS = 10.0
HISTORY = 12  # runs that tell how often a backend failed in a row

logger = logging.getLogger("penstock.upkeep")


async def start_run(
    client: PrefectClient, deployment: str, parameters: dict[str, Any], *, key: str | None = None
) -> str:
    """Schedule a run of a deployment (`flow/name`) now and return its id.

    With a `key`, the same key starts one run, however often and by however many processes it is asked for.
    Raises OrchestratorError.
    """
    from prefect.exceptions import ObjectNotFound, PrefectException

    try:
        found = await client.read_deployment_by_name(deployment)
        run = await client.create_flow_run_from_deployment(
            found.id, parameters=parameters, idempotency_key=key
        )
    except ObjectNotFound:
        raise OrchestratorError(
            f"The Prefect server has no deployment {deployment!r}. Start `penstock up`, which makes it."
        ) from None
    except (httpx.HTTPError, PrefectException) as error:
        raise OrchestratorError(
            f"No run of {deployment} could be started: the Prefect server answers with {type(error).__name__}. "
            "See its log in PENSTOCK_HOME/logs."
        ) from error
    return str(run.id)


async def cancel_in_prefect(flow_run_id: str, words: str) -> None:
    """A flow run whose process was stopped by a person is cancelled and has not crashed, and so are those of its drains
    that no worker has begun. Those at work hear of it themselves.

    A server that is away is not waited for: upkeep finds what is left.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.exceptions import PrefectException
    from prefect.states import Cancelled

    parent = UUID(flow_run_id)
    unbegun = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])),
    )
    try:
        async with asyncio.timeout(CANCEL_SECONDS), get_client() as client:
            for run in [parent, *(each.id for each in await client.read_flow_runs(flow_run_filter=unbegun))]:
                await client.set_flow_run_state(run, Cancelled(message=words), force=run == parent)
    except (PrefectException, httpx.HTTPError, TimeoutError) as error:
        logger.warning("The run is cancelled, and Prefect could not be told (%s).", error)


async def start_delivery(client: PrefectClient, database: Database, delivery: Delivery) -> str:
    """Start the run of a recorded delivery, once, and note it. Returns the flow run's id."""
    if delivery.flow_run_id is not None:
        return delivery.flow_run_id
    run = await start_run(client, PIPELINE, delivery.parameters, key=f"delivery {delivery.id}")
    connection = await database.aconnect(autocommit=True)
    try:
        await settle_delivery(connection, delivery.id, run)
    finally:
        await connection.close()
    return run


async def keep_going(client: PrefectClient, database: Database, settings: Settings) -> None:
    """Look every `settings.drain_interval` seconds until cancelled; every `settings.upkeep_interval` also for runs that
    lost their process. What goes wrong is logged, and tried again.
    """
    from prefect.exceptions import PrefectException

    said = ""
    clock = asyncio.get_running_loop().time
    tidied = clock()
    while True:
        await asyncio.sleep(settings.drain_interval)
        try:
            async with asyncio.timeout(60):
                if clock() - tidied >= settings.upkeep_interval:
                    tidied = clock()
                    await tidy(client, database, settings)  # first: it makes room for the drains
                await look_once(client, database, settings)
            said = ""
        except (PenstockError, PrefectException, psycopg.Error, httpx.HTTPError, TimeoutError) as error:
            words = str(error) or type(error).__name__
            if words != said:  # a server that is down for an hour is one line, not 700
                logger.warning("Upkeep: %s", words)
            said = words


async def tidy(client: PrefectClient, database: Database, settings: Settings) -> Tidied:
    """One round of cleaning up, with a line in the log for each thing found and one for all."""
    found = await reconcile(client, database, settings)
    for line in found.lines:
        logger.warning("%s", line)
    if found.lines:
        logger.warning("%s", found.summary)
    connection = await database.aconnect(autocommit=True, application_name="penstock upkeep")
    try:
        await expire(connection, settings.cache_days)
    finally:
        await connection.close()
    return found


async def look_once(client: PrefectClient, database: Database, settings: Settings) -> list[str]:
    """Start the drains that ready items want and the runs that deliveries are owed. Returns what, in words."""
    started: list[str] = []
    problems: list[PenstockError] = []
    owed: list[Delivery] = []
    wanted: list[Wanted] = []
    connection = await database.aconnect(autocommit=True, application_name="penstock upkeep")
    try:
        owed = await unsettled_deliveries(connection)
        recipes = await asyncio.to_thread(load_recipes, settings)  # read each time: people edit them
        wanted = await wanted_drains(connection, settings, recipes)
    except PenstockError as error:
        problems.append(error)  # a wrong recipe or no server: what deliveries are owed needs neither
    finally:
        await connection.close()
    for delivery in owed:
        try:
            run = await start_delivery(client, database, delivery)
        except PenstockError as error:
            problems.append(error)  # the others are owed theirs all the same
        else:
            started.append(f"run {run} for the delivery {delivery.id}, which was accepted before a crash")
    for each in wanted:
        deployment = f"execute/{each.backend}"
        try:
            if may_start(await _past(client, deployment, database), datetime.now(UTC)):
                parameters = {"backend": each.backend, "boards": list(each.boards)}
                run = await start_run(
                    client, deployment, parameters | ({"spilled": True} if each.spilled else {})
                )
                started.append(
                    f"{deployment}: run {run} for {each.items} ready items. {each.spilled}".rstrip(". ")
                )
        except PenstockError as error:
            problems.append(error)
    for line in started:
        logger.info("%s", line)
    if problems:
        raise problems[0]
    return started


async def _past(client: PrefectClient, deployment: str, database: Database) -> list[PastDrain]:
    """The latest runs of a deployment, latest first."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
    )
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    try:
        found = await client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        raise OrchestratorError(
            f"The Prefect server has no deployment {deployment!r}. Start `penstock up`, which makes it."
        ) from None
    runs = await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=HISTORY,
    )
    connection = await database.aconnect(autocommit=True, application_name="penstock upkeep")
    try:
        ids = {"runs": [str(run.id) for run in runs]}
        rows = await (await connection.execute(statement("upkeep.working_runs"), ids)).fetchall()
    finally:
        await connection.close()
    worked = {row[0] for row in rows}
    return [
        PastDrain(
            str(run.state_type.value),
            run.start_time or run.expected_start_time or run.created or datetime.now(UTC),
            run.end_time,
            idle=run.state_type.value == "COMPLETED" and str(run.id) not in worked,
        )
        for run in runs
        if run.state_type is not None
    ]
