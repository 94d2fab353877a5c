"""The flow on a real Prefect server: run name, result, artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from deployments.server import Orchestrator
from flows.doc_sync import doc_sync
from sql.connection import Database

if TYPE_CHECKING:
    from tests.doc_sync.conftest import Repo


@pytest.fixture
def drained(prefect_server: Orchestrator) -> Iterator[None]:
    """When the test ends the server has what the runs logged, and the threads that sent it are gone."""
    yield
    APILogWorker.drain_all()
    EventsWorker.drain_all()


@pytest.mark.usefixtures("drained")
def test_the_flow_reads_the_setting_and_leaves_artifacts(
    project: Repo, database_env: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.settings import settings

    assert doc_sync()["state"] == "not_configured"
    monkeypatch.setenv("PENSTOCK_DOCS_REPO", str(project.path))
    settings.cache_clear()
    project.commit("Guide", **{"docs/guide.md": "Call `load_board`.\n"})
    project.commit("Rename", **{"app/loader.py": "def f():\n    return 1\n"})
    state = doc_sync(return_state=True)
    result = state.result()
    assert (result["state"], [found["document"] for found in result["proposals"]]) == (
        "synced",
        ["docs/guide.md"],
    )
    assert doc_sync()["state"] == "unchanged"
    with get_client(sync_client=True) as client:
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        assert client.read_flow_run(run_id).name == "docs of project"
        # a test of another flow may leave artifacts too: only this run's are looked at
        by_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        artifacts = {found.key: str(found.data) for found in client.read_artifacts(artifact_filter=by_run)}
        assert "docs/guide.md" in artifacts["doc-sync-proposals"]
        assert "`load_board` was removed" in artifacts["doc-sync"]
    with database_env.connect() as connection:
        assert connection.execute("select title from review").fetchall() == [
            ("docs/guide.md: `load_board` was removed",)
        ]
