"""The flow on a real Prefect server: run name, result, artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler

from deployments.server import Orchestrator
from flows.doc_sync import doc_sync
from sql.connection import Database

if TYPE_CHECKING:
    from tests.doc_sync.conftest import Repo


@pytest.fixture
def drained(prefect_server: Orchestrator) -> Iterator[None]:
    """What the run logged and told has reached the server, and the threads that sent it are gone, when the test ends."""
    yield
    APILogHandler.flush()
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
    table = Artifact.get("doc-sync-proposals")
    assert table is not None
    assert "docs/guide.md" in str(table.data)
    with get_client(sync_client=True) as client:
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        assert client.read_flow_run(run_id).name == "docs of project"
    with database_env.connect() as connection:
        assert connection.execute("select title from review").fetchall() == [
            ("docs/guide.md: `load_board` was removed",)
        ]
