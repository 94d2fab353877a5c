"""The door over real HTTP, a real database and a real Prefect server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from deployments.deploy import declared, deploy
from deployments.pools import ensure_pools, pools
from deployments.secrets import prepare_home
from deployments.server import Orchestrator
from interfaces.http import create_app
from models.settings import Settings
from sql.connection import Database

SECRET = SecretStr("a secret for the tests, 32 bytes")
NOW = 1_700_000_000.0


@dataclass
class Served:
    client: httpx.AsyncClient
    settings: Settings
    boards: Path
    database: Database

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRET.get_secret_value()}"}


@pytest.fixture
def door_settings(home: Path, tmp_path: Path) -> Settings:
    (tmp_path / "boards").mkdir()
    settings = Settings(
        home=home,
        backend="extractive",
        sources=[tmp_path / "boards"],
        max_source_bytes=2_000_000,
        drain_interval=0.1,
    )
    prepare_home(settings)
    return settings


@pytest.fixture(scope="package")
def deployed(prefect_server: Orchestrator) -> Orchestrator:
    """The session's Prefect server with the pools and deployments on it."""

    async def bring_in_line() -> None:
        async with get_client() as client:
            await ensure_pools(client, pools(Settings()))
            await deploy(client, declared(Settings()))

    asyncio.run(bring_in_line())
    return prefect_server


@pytest_asyncio.fixture
async def door(door_settings: Settings, database: Database, deployed: Orchestrator) -> AsyncIterator[Served]:
    app = create_app(door_settings, database, SECRET, clock=lambda: NOW, upkeep=False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=None, server_header=False))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client_:
            while not server.started:
                assert not task.done(), "the door did not start"
                await asyncio.sleep(0.01)
            yield Served(client_, door_settings, door_settings.sources[0], database)
        server.should_exit = True
        await task
