"""Events that people automate on: when they are sent, that they hold nobody up, and an automation that obeys one."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events import EventTrigger
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.events.worker import EventsWorker

from deployments.server import Orchestrator
from flows import events
from models.run import RunState
from tasks.execute import Batch, ClaimedItem, Tally

# Prefect's client leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def item(number: int) -> ClaimedItem:
    return ClaimedItem(number, 7, "task", None, 0, 1, "task", None, "t", "", 1, {}, "/a.md", "", None, None)


BATCH = Batch(5, "task", "m", tuple(item(number) for number in range(4)))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def emit(event: str, resource: dict[str, str], **more: Any) -> None:
        found.append({"event": event, "resource": resource, **more})

    monkeypatch.setattr(events, "emit_event", emit)
    return found


def test_a_batch_is_told_only_when_all_of_it_failed_and_not_more_than_once_a_minute(
    sent: list[dict[str, Any]],
) -> None:
    now = 0.0
    watch = events.Batches("openai", clock=lambda: now)
    for tally in (Tally(accepted=1, returned=3), Tally(deferred=4), Tally(retry=3), Tally(kept=4)):
        watch.ended(BATCH, tally)
    assert sent == []
    for now in (1.0, 2.0, 30.0, 61.0):  # noqa: B007  the clock that `watch` reads
        watch.ended(BATCH, Tally(returned=3, retry=1))
    assert [each["event"] for each in sent] == ["penstock.batch.failed"] * 2
    assert [each["payload"]["batches_unsaid"] for each in sent] == [0, 2]
    assert sent[0]["resource"]["prefect.resource.id"] == "penstock.backend.openai"
    assert sent[0]["related"] == [
        {"prefect.resource.id": "penstock.board.7", "prefect.resource.role": "board"}
    ]


def test_deferrals_are_told_in_bulk_and_runs_with_their_state(sent: list[dict[str, Any]]) -> None:
    events.items_deferred("ollama", Tally(deferred=events.BULK - 1), [1])
    assert sent == []
    events.items_deferred("ollama", Tally(deferred=events.BULK), [1])
    events.drained("ollama", Tally(accepted=3, batches=1), None)
    run = uuid.uuid4()
    events.run_ended(run, RunState.WAITING, list(range(1, 500)), "ollama", {"waiting": 3})
    assert [each["event"] for each in sent] == [
        "penstock.items.deferred",
        "penstock.backlog.drained",
        "penstock.run.waiting",
    ]
    assert sent[2]["resource"]["prefect.resource.id"] == f"penstock.run.{run}"
    assert len(sent[2]["related"]) < 100, "Prefect refuses more"
    assert sent[2]["payload"] == {"waiting": 3, "boards": "499 boards"}


def test_nothing_waits_or_fails_for_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("too large")

    monkeypatch.setattr(events, "emit_event", broken)
    before = time.monotonic()
    events.drained("ollama", Tally(batches=1), [1])
    assert time.monotonic() - before < 1


@flow(name="told-by-an-event")
def told() -> None:
    """Never run here: nobody works on the test server's deployments."""


async def test_an_automation_obeys_an_event(prefect_server: Orchestrator) -> None:
    """As docs/operations.md shows it: when a run has ended with something for a person, a deployment is run."""
    async with get_client() as client:
        flow_id = await client.create_flow_from_name(told.name)
        deployment = await client.create_deployment(flow_id=flow_id, name=f"event-{uuid.uuid4().hex[:8]}")
        mine = f"penstock.run.{uuid.uuid4()}"
        automation = await client.create_automation(
            AutomationCore(
                name=f"told {mine}",
                trigger=EventTrigger(
                    expect={"penstock.run.waiting"},
                    match={"prefect.resource.id": mine},
                    posture=Posture.Reactive,
                    threshold=1,
                ),
                actions=[RunDeployment(deployment_id=deployment)],
            )
        )
        which = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        found: list[Any] = []
        try:
            async with asyncio.timeout(60):
                while not found:  # the server needs a moment until it knows the automation
                    run = uuid.UUID(mine.removeprefix("penstock.run."))
                    events.run_ended(run, RunState.WAITING, [1], "ollama", {"waiting": 3})
                    await asyncio.sleep(1)
                    found = await client.read_flow_runs(deployment_filter=which)
        finally:
            await client.delete_automation(automation)
            EventsWorker.drain_all(timeout=5)
    assert found[0].state_type is not None
    assert found[0].deployment_id == deployment
