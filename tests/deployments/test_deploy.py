"""Pools and deployments are as declared, and a second time nothing changes."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

from deployments.deploy import Declared, declared, deploy, project_root
from deployments.pools import Pool, ensure_pools, pools
from deployments.runs import start_run
from deployments.server import Orchestrator
from models.enums import BackendName
from models.errors import OrchestratorError, SettingsError
from models.settings import Endpoint, Settings


def test_every_backend_has_its_pool_and_its_drain() -> None:
    found = {each.full_name: each for each in declared(Settings())}
    steps = {"pipeline/local", "ingest/local", "decompose/local", "validate/local", "review/local"}
    drains = {f"execute/{backend}" for backend in BackendName}
    assert set(found) == steps | drains | {"doc_sync/nightly"}
    for backend in BackendName:
        drain = found[f"execute/{backend}"]
        assert (drain.pool, drain.parameters) == (backend, {"backend": backend})
    assert {found[name].pool for name in [*steps, "doc_sync/nightly"]} == {"cpu"}
    known = {pool.name for pool in pools(Settings())}
    assert known == {each.pool for each in found.values()}
    assert all(each.description and "penstock" in each.tags for each in found.values())


def test_the_schedule_comes_from_the_settings() -> None:
    def schedule(settings: Settings) -> dict[str, str]:
        (each,) = [each for each in declared(settings) if each.function == "doc_sync"]
        (only,) = each.schedules
        return only

    assert schedule(Settings()) == {"cron": "30 2 * * *", "timezone": "UTC", "slug": "nightly"}
    given = schedule(Settings(nightly_cron="0 4 * * 1-5", timezone="Europe/Belgrade"))
    assert (given["cron"], given["timezone"]) == ("0 4 * * 1-5", "Europe/Belgrade")


def test_limits_come_from_the_settings() -> None:
    two = [Endpoint(backend=BackendName.OLLAMA, url=f"http://127.0.0.1:{port}") for port in (1, 2)]
    found = {pool.name: pool.limit for pool in pools(Settings(endpoints=two, limits={"mlx": 5}, cpu_limit=3))}
    assert (found["ollama"], found["mlx"], found["gemini"], found["cpu"]) == (2, 5, 1, 3)


@pytest.mark.parametrize(
    "text",
    [
        "deployments: [",
        "other: 1",
        "deployments: [{name: a, entrypoint: 'flows/x.py', work_pool: {name: cpu}}]",
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="Correct it"):
        declared(Settings(), path)


async def test_pools_are_made_once_and_corrected(prefect_server: Orchestrator) -> None:
    name = f"pool-{uuid.uuid4().hex[:8]}"
    async with get_client() as client:
        wanted = [Pool(name, 2, "for a test")]
        assert await ensure_pools(client, wanted) == [f"pool {name} made, limit 2"]
        made = await client.read_work_pool(name)
        assert await ensure_pools(client, wanted) == []
        assert (await client.read_work_pool(name)).updated == made.updated
        assert await ensure_pools(client, [Pool(name, 3, "for a test")]) == [f"pool {name}: limit 2 is now 3"]
        assert (await client.read_work_pool(name)).concurrency_limit == 3


async def test_a_pool_of_another_type_is_said(prefect_server: Orchestrator) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate

    name = f"pool-{uuid.uuid4().hex[:8]}"
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=name, type="docker"))
        with pytest.raises(OrchestratorError, match="prefect work-pool delete"):
            await ensure_pools(client, [Pool(name, 1, "")])


async def test_deploying_again_changes_nothing(prefect_server: Orchestrator) -> None:
    settings = Settings()
    wanted = declared(settings)
    async with get_client() as client:
        await ensure_pools(client, pools(settings))
        await deploy(client, wanted)
        before = {each.id: each for each in await client.read_deployments()}
        assert await deploy(client, wanted) == []
        assert {each.id: each for each in await client.read_deployments()} == before
        pipeline = await client.read_deployment_by_name("pipeline/local")
        assert "board" in (pipeline.parameter_openapi_schema or {})["properties"]
        assert pipeline.enforce_parameter_schema
        changed = [replace(each, description="new") if each.name == "nightly" else each for each in wanted]
        assert await deploy(client, changed) == ["doc_sync/nightly"]
        nightly = await client.read_deployment_by_name("doc_sync/nightly")
        assert nightly.description == "new"
        assert len(nightly.schedules) == 1
        assert {each.id for each in await client.read_deployments()} == set(before)


async def test_a_schedule_makes_runs(prefect_server: Orchestrator) -> None:
    """Not a matter of course: with another SQLAlchemy the server takes the schedule and makes no run."""
    nightly = [each for each in declared(Settings(timezone="Europe/Berlin")) if each.name == "nightly"]
    async with get_client() as client:
        await ensure_pools(client, pools(Settings()))
        await deploy(client, nightly)
        found = await client.read_deployment_by_name("doc_sync/nightly")
        own = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
        deadline = time.monotonic() + 60
        while not (runs := await client.read_flow_runs(deployment_filter=own)):
            assert time.monotonic() < deadline, "the scheduler made no run"
            await asyncio.sleep(0.2)
    due = min(run.expected_start_time for run in runs if run.expected_start_time is not None)
    assert (due.minute, due.hour) in {(30, 0), (30, 1)}  # 02:30 in Berlin, by UTC: summer, winter


async def test_a_wrong_cron_names_the_setting(prefect_server: Orchestrator) -> None:
    wanted = [each for each in declared(Settings(nightly_cron="every night")) if each.name == "nightly"]
    async with get_client() as client:
        with pytest.raises(SettingsError, match="PENSTOCK_NIGHTLY_CRON"):
            await deploy(client, wanted)


@pytest.mark.parametrize(
    ("module", "function", "words"),
    [("flows.nowhere", "nothing", "is not there"), ("flows.execute", "stages", "no flow named 'stages'")],
)
async def test_a_declaration_without_a_flow_is_said(
    prefect_server: Orchestrator, module: str, function: str, words: str
) -> None:
    async with get_client() as client:
        with pytest.raises(OrchestratorError, match=words):
            await deploy(client, [Declared("local", module, function, "cpu")])


def test_a_changed_flow_file_is_another_version(tmp_path: Path) -> None:
    each = Declared("local", "flows.a", "a", "cpu", schedules=({"cron": "* * * * *"},))
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.py").write_text("1")
    first = each.version(tmp_path)
    assert each.version(tmp_path) == first
    (tmp_path / "flows" / "a.py").write_text("2")
    assert each.version(tmp_path) != first
    assert (project_root() / "flows").is_dir()


async def test_one_key_starts_one_run(prefect_server: Orchestrator) -> None:
    async with get_client() as client:
        await ensure_pools(client, pools(Settings()))
        await deploy(client, declared(Settings()))
        key = uuid.uuid4().hex
        runs = await asyncio.gather(
            *(start_run(client, "pipeline/local", {"board": "a.md"}, key=key) for _ in range(8))
        )
        assert len(set(runs)) == 1
        with pytest.raises(OrchestratorError, match="penstock up"):
            await start_run(client, "pipeline/nowhere", {})
