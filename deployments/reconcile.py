"""Runs whose process died and slots that nobody uses: found in the Prefect server, and put right.

Prefect calls a run Running until its process says otherwise, and counts it in its pool's limit as long. A process that
was killed together with its worker says nothing. Which process does a run is known from its sign of life
(tasks/life.py); what can't be known is left alone, so a run that only waits for a lease, or for a person, is too.

Three kinds of slots can leak there: a work pool's (they are its runs that are Pending or Running: free once these have
ended), those of a deployment's or tag's limit, and those of a global limit that flows of others take (a counter).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from deployments.pools import CPU, pools
from models.settings import Settings
from models.words import counted
from sql.connection import Database
from tasks.life import SILENT_AFTER, Sign, forget, signs
from tasks.runs import interrupt

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun
    from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

__all__ = ["Tidied", "end", "ending", "reconcile"]

MOST_STARTS = 3  # a run that takes its worker down with it is not started for ever
PAGE = 200
SETTLE_SECONDS = 2.0
"""What a process or its worker sent with its last breath arrives before its run is ended for it."""

SLOT_AFTER = timedelta(minutes=10)
"""A limit whose slots were taken or given back since is left alone: twice as long as Prefect's leases of slots."""

logger = logging.getLogger("penstock.upkeep")


@dataclass(frozen=True)
class Tidied:
    """What was found and put right; with `dry_run` what would be."""

    dry_run: bool = False
    runs: list[str] = field(default_factory=list)  # sentences
    slots: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [*self.runs, *self.slots]

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return {"dry_run": self.dry_run, "runs": self.runs, "slots": self.slots, "summary": self.summary}

    @property
    def summary(self) -> str:
        """One line for people."""
        if not self.lines:
            return "No run has lost its process, no slot is held by nobody."
        found = [
            counted(len(self.runs), "run had lost its process", "runs had lost their process"),
            counted(
                len(self.slots), "limit had slots that nobody holds", "limits had slots that nobody holds"
            ),
        ]
        words = ", ".join(line for line, some in zip(found, (self.runs, self.slots), strict=True) if some)
        return f"{words[0].upper()}{words[1:]}: {'would be put right' if self.dry_run else 'put right'}."


async def reconcile(
    client: PrefectClient,
    database: Database,
    settings: Settings,
    *,
    dry_run: bool = False,
    settle: float = SETTLE_SECONDS,
    slot_after: timedelta = SLOT_AFTER,
) -> Tidied:
    """Look once. It changes nothing that is alive, and a second look right after it finds nothing."""
    found = Tidied(dry_run)
    connection = await database.aconnect(autocommit=True, application_name="penstock upkeep")
    try:
        known = await signs(connection)
        runs = await _unfinished(client, settings, known)
        dead = [run for run in runs if _dead(run, known.get(str(run.id)), settings)]
        if dead and not dry_run:
            await asyncio.sleep(settle)
            again = await signs(connection)
            dead = [run for run in dead if _dead(run, again.get(str(run.id)), settings)]
        kept = {str(run.id) for run in runs}
        for run in dead:
            words = _words(run)
            if dry_run or await end(client, run, ending(run, words)):
                found.runs.append(f"{run.name}: {words}")
                kept.discard(str(run.id))
        if not dry_run:  # a run that ends takes its sign away, unless it is killed, or has no database
            await forget(connection, [sign for name, sign in known.items() if sign.dead and name not in kept])
            for number, state in await interrupt(connection):
                logger.warning("Run %s lost its process: it is %s.", number, state)
    finally:
        await connection.close()
    found.slots.extend(await _slots(client, settings, dry_run, slot_after))
    return found


def ending(run: FlowRun, message: str) -> State[Any]:
    """The state of a run whose process is gone.

    What computes on pool cpu starts again, for its steps change nothing that is done already; a drain has crashed,
    since its pipeline or upkeep starts another. What a person was cancelling is cancelled.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed, Scheduled

    if run.state_type is StateType.CANCELLING:
        return Cancelled(message=message)
    if run.work_pool_name == CPU and run.run_count < MOST_STARTS:
        again: State[Any] = Scheduled(message=f"{message} It starts again.")
        return again
    return Crashed(message=message)


def _words(run: FlowRun) -> str:
    return (
        "No process was ever started for it."
        if run.state is not None and run.state.is_pending()
        else "Its process ended in the middle of it."
    )


async def end(client: PrefectClient, run: FlowRun, state: State[Any]) -> bool:
    """Set the state, unless the run has moved on since it was read as `run`. Its task runs end with it."""
    from prefect.client.schemas.responses import SetStateStatus
    from prefect.exceptions import ObjectNotFound

    try:
        now = await client.read_flow_run(run.id)
    except ObjectNotFound:
        return False
    if now.state_id != run.state_id:
        return False
    # Not forced: the server itself refuses to let a run crash that has ended.
    result = await client.set_flow_run_state(run.id, state)
    if result.status is not SetStateStatus.ACCEPT:
        return False
    await _end_tasks(client, run)
    return True


async def _end_tasks(client: PrefectClient, run: FlowRun) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.states import Crashed

    for task in await _tasks(client, FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))):
        await client.set_task_run_state(task.id, Crashed(message="The process of its flow run ended."))


async def _unfinished(client: PrefectClient, settings: Settings, known: Mapping[str, Sign]) -> list[FlowRun]:
    """The runs of our pools, and those that signed, which the server holds for begun."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterId,
        FlowRunFilterState,
        WorkPoolFilter,
        WorkPoolFilterName,
    )

    names = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool.name for pool in pools(settings)]))
    found = await _runs(client, FlowRunFilter(state=_begun(FlowRunFilterState)), names)
    signed = [UUID(name) for name in known]
    for start in range(0, len(signed), PAGE):
        those = FlowRunFilterId(any_=signed[start : start + PAGE])
        found += await _runs(client, FlowRunFilter(state=_begun(FlowRunFilterState), id=those))
    return list({run.id: run for run in found}.values())


def _begun(kind: Any) -> Any:
    """A filter for what has a process, or should have: of flow runs or task runs."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    types = getattr(filters, f"{kind.__name__}Type")
    return kind(type=types(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]))


async def _runs(
    client: PrefectClient, which: Any, pool: Any = None, deployment: Any = None, most: int | None = None
) -> list[FlowRun]:
    found: list[FlowRun] = []
    while most is None or len(found) < most:
        page = await client.read_flow_runs(
            flow_run_filter=which,
            work_pool_filter=pool,
            deployment_filter=deployment,
            limit=PAGE if most is None else min(PAGE, most),
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            break
    return found


async def _tasks(client: PrefectClient, flow_run: Any = None, tag: str | None = None) -> list[TaskRun]:
    """Task runs that the server holds for begun."""
    from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterState, TaskRunFilterTags

    which = TaskRunFilter(state=_begun(TaskRunFilterState))
    if tag is not None:
        which.tags = TaskRunFilterTags(all_=[tag])
    found: list[TaskRun] = []
    while page := await client.read_task_runs(
        flow_run_filter=flow_run, task_run_filter=which, limit=PAGE, offset=len(found)
    ):
        found += page
    return found


def _dead(run: FlowRun, sign: Sign | None, settings: Settings) -> bool:
    """Whether the run's process is gone for certain, or for so long that nobody waits for it any more."""
    if sign is not None:
        return sign.dead
    if run.state is None:
        return False
    if run.state.is_pending():  # its process signs within seconds
        return datetime.now(UTC) - run.state.timestamp > SILENT_AFTER
    if settings.prefect_api_url is not None or not (run.infrastructure_pid or "").isdigit():
        return False  # on another machine, perhaps; or it is no run of a worker of ours
    return _other_process(int(run.infrastructure_pid or "0"), run)


def _other_process(pid: int, run: FlowRun) -> bool:
    """Whether the process that a worker started for the run is no more: none has its pid, or one that began later."""
    try:
        process = psutil.Process(pid)
        began = datetime.fromtimestamp(process.create_time(), UTC)
        ended = process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
    return ended or (run.start_time is not None and began > run.start_time + timedelta(seconds=1))


async def _slots(client: PrefectClient, settings: Settings, dry_run: bool, after: timedelta) -> list[str]:
    """Give back the slots of limits that no run holds. Of a server of somebody's own, only what runs there is known."""
    own = settings.prefect_api_url is None
    said = []
    for limit in await _limits(client):
        if not limit.active_slots or not limit.active or limit.slot_decay_per_second:
            continue  # those of a rate limit come back by themselves
        if limit.updated is None or datetime.now(UTC) - limit.updated < after:
            continue
        held = await _held(client, limit, own)
        leaked = limit.active_slots - held
        if leaked <= 0:
            continue
        now = await client.read_global_concurrency_limit_by_name(limit.name)
        if (now.active_slots, now.updated) != (limit.active_slots, limit.updated):
            continue  # somebody uses it
        if not dry_run:
            # Taken off, not set to a number: what a run takes at this very moment stays counted.
            await client.request(  # without a time that they were held: release_concurrency_slots needs one
                "POST", "/v2/concurrency_limits/decrement", json={"names": [limit.name], "slots": leaked}
            )
        said.append(
            f"the limit {limit.name}: {counted(leaked, 'slot is', 'slots are')} counted of {limit.limit} that no run "
            f"holds"
        )
    return said


async def _limits(client: PrefectClient) -> list[GlobalConcurrencyLimitResponse]:
    found: list[GlobalConcurrencyLimitResponse] = []
    while page := await client.read_global_concurrency_limits(limit=PAGE, offset=len(found)):
        found += page
    return found


async def _held(client: PrefectClient, limit: GlobalConcurrencyLimitResponse, own: bool) -> int:
    """How many of its slots may be in use: as many as can be known, all where nothing can."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
    )

    begun = FlowRunFilter(state=_begun(FlowRunFilterState))
    kind, _, name = limit.name.partition(":")
    if kind == "deployment" and name:
        try:
            which = DeploymentFilter(id=DeploymentFilterId(any_=[UUID(name)]))
        except ValueError:
            return limit.active_slots
        return len(await _runs(client, begun, deployment=which))
    if kind == "tag" and name:
        return len(await _at_work(client, begun, name))
    # Which run holds a slot of any other limit the server does not say. While nothing runs, none does.
    if own and not await _runs(client, begun, most=1) and not await _at_work(client, begun):
        return 0
    return limit.active_slots


async def _at_work(client: PrefectClient, begun: Any, tag: str | None = None) -> list[TaskRun]:
    """Task runs that have begun, alone or in flow runs that have not ended."""
    alone = [task for task in await _tasks(client, tag=tag) if task.flow_run_id is None]
    return alone + await _tasks(client, begun, tag)
