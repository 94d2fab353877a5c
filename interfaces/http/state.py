"""How it is: /health, /ready, /status, /metrics."""

from __future__ import annotations

import asyncio

import psycopg
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from deployments.metrics import Metrics
from deployments.status import status
from interfaces.http.door import Authorised, Door, TheDoor, json
from models.errors import PenstockError

router = APIRouter()

READY_SECONDS = 5.0


@router.get("/health")
async def health() -> Response:
    return json({"status": "ok"})


@router.get("/ready")
async def ready(door: TheDoor) -> Response:
    problems = [words for words in await asyncio.gather(_database(door), _prefect(door)) if words]
    if problems:
        return json({"error": {"code": "not_ready", "message": " ".join(problems)}}, 503)
    return json({"status": "ready"})


@router.get("/status", dependencies=[Authorised])
async def whole_status(door: TheDoor) -> Response:
    found = await asyncio.to_thread(status, door.settings, door.database)
    return json(found.as_json())


@router.get("/metrics", dependencies=[Authorised])
async def metrics(door: TheDoor) -> Response:
    """In Prometheus' text format; its `authorization: {credentials_file: ...}` sends the token."""

    def gather() -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Metrics(door.settings, door.database))
        return generate_latest(registry)

    return Response(await asyncio.to_thread(gather), media_type=CONTENT_TYPE_LATEST)


async def _database(door: Door) -> str:
    try:
        async with asyncio.timeout(READY_SECONDS):
            connection = await door.database.aconnect(autocommit=True)
            try:
                await connection.execute("select 1 from item limit 1")
            finally:
                await connection.close()
    except (PenstockError, psycopg.Error) as error:
        return f"The database does not work: {str(error).splitlines()[0]}"
    except TimeoutError:
        return f"The database does not answer within {READY_SECONDS:.0f} s."
    return ""


async def _prefect(door: Door) -> str:
    from httpx import HTTPError
    from prefect.exceptions import PrefectException

    try:
        async with asyncio.timeout(READY_SECONDS):
            await door.prefect.read_work_pools(limit=1)  # with the password, and down to its database
    except (HTTPError, PrefectException, TimeoutError) as error:
        return f"The Prefect server does not answer ({type(error).__name__})."
    return ""
