"""The flow `validate`: what would change and the figures as artifacts; changes only when asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from deployments.server import Orchestrator
from flows.validate import validate
from models.enums import Status
from models.settings import settings
from sql.connection import Database

from .kept import Kept

# Prefect's client leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RECIPE = """---
name: mine
about: A test.
grounding: none
checks:
  - expect: expect_column_values_to_be_between
    with: {column: words, min_value: 3}
    says: An answer has three words at least.
---
# System
x
# Prompt
x
"""


async def run(**parameters: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The flow's result, and its artifacts by key."""
    state: State[Any] = await validate(**parameters, return_state=True)
    said = await state.result()
    assert state.state_details.flow_run_id is not None
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
            ),
            sort=ArtifactSort.KEY_ASC,
        )
    return said, {str(each.key): json.loads(str(each.data)) for each in found}


@pytest.fixture
def drained(prefect_server: Orchestrator) -> Iterator[None]:
    """When the test ends the server has what the runs logged, and the threads that sent it are gone."""
    yield
    APILogWorker.drain_all()
    EventsWorker.drain_all()


@pytest.mark.usefixtures("drained")
def test_it_shows_what_would_change_and_changes_it_when_asked(database_env: Database) -> None:
    kept = Kept(database_env)
    folder = settings().home / "recipes"
    folder.mkdir(parents=True)
    (folder / "mine.md").write_text(RECIPE, encoding="utf-8")
    bad = kept.accepted("How deep is it?", "Deep.")
    kept.accepted("Which pump feeds it?", "Pump seven feeds it.")
    failure = {"layer": "rules", "check": "words", "error_type": "rule", "message": "Too short."}
    kept.attempt(kept.item("other"), kept.batch(), "x", "retry", error_type="rule", checks=[failure])

    said, artifacts = asyncio.run(run())
    assert (said["checked"], said["would_fail"]) == (2, 1)
    assert "superseded" not in said
    [row] = artifacts["validation-of-results"]
    assert (row["item"], row["what"]) == (bad, "would not pass")
    [figures] = artifacts["validation-statistics"]
    assert (figures["check"], figures["model"], figures["failed"], figures["of"]) == ("words", "m", 1, 3)
    assert kept.status(bad) is Status.DONE

    said, _ = asyncio.run(run(boards=[kept.board], recipe="mine", apply=True))
    assert (said["superseded"], said["left"]) == (1, 0)
    assert kept.status(bad) is Status.WAITING
    said, artifacts = asyncio.run(run())
    assert (said["checked"], said["would_fail"]) == (1, 0)
    assert artifacts["validation-of-results"][0]["why"] == "every stored result passes today"
