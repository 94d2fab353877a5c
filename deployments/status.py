"""What runs and what waits: one value for `penstock status`, `GET /status` and `/ready`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from deployments.pools import pools
from deployments.processes import living, read_note
from deployments.secrets import load_secrets
from deployments.server import Orchestrator
from models.enums import Status as ItemStatus
from models.errors import PenstockError
from models.pause import Pause
from models.settings import Settings
from sql.connection import Database, database
from sql.statements import statement
from tasks.pause import in_force

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

__all__ = ["Lease", "Part", "PoolStatus", "RunStatus", "Status", "postgres", "reached", "status"]

RECENT = 10
BEAT_SECONDS = 30  # Prefect's heartbeat of a worker; offline after three missed


@dataclass(frozen=True)
class Part:
    """A part of the installation. `detail` is a clause for a person: where it is, or why it is not there."""

    running: bool
    detail: str


@dataclass(frozen=True)
class PoolStatus:
    name: str
    limit: int
    workers: int = 0  # that gave a sign of life in the last 90 seconds
    last_heartbeat: datetime | None = None


@dataclass(frozen=True)
class Lease:
    """An endpoint that a drain works on now."""

    resource: str
    backend: str
    model: str | None
    since: datetime
    until: datetime


@dataclass(frozen=True)
class RunStatus:
    """A recent flow run."""

    id: str
    name: str
    pool: str | None
    state: str
    started: datetime | None
    seconds: float
    url: str


@dataclass(frozen=True)
class Status:
    """`items`, `reviews` are None where the database could not be asked (`problem` says why) or is not there yet."""

    home: Path
    up: Part
    postgres: Part
    prefect: Part
    door: Part
    pools: list[PoolStatus] = field(default_factory=list)
    items: dict[str, int] | None = None
    reviews: int | None = None
    leases: list[Lease] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    runs: list[RunStatus] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return asdict(self) | {"home": str(self.home)}


def status(settings: Settings, given: Database | None = None) -> Status:
    """Look at everything; starts no server that would stay. Never raises for a part that is not there.

    `given`: a database that is open already. Without it an embedded Postgres that does not run is started for the
    moment of looking, and only if it was ever started before.
    """
    note = read_note(settings.home / "run" / "up.json")
    process = living(note)
    up = (
        Part(True, f"pid {process.pid}, {'ready' if note and note.get('ready') else 'starting'}")
        if process is not None
        else Part(False, "not running; start it with `penstock up`")
    )
    door = _door(str(note["door_url"])) if process is not None and note and note.get("door_url") else None
    found = Status(
        home=settings.home,
        up=up,
        postgres=postgres(settings),
        prefect=Part(False, "not running"),
        door=door or Part(False, "not running; `penstock up` opens it"),
        pools=[PoolStatus(pool.name, pool.limit) for pool in pools(settings)],
    )
    found = _with_work(found, settings, given)
    return _with_prefect(found, settings)


def reached(settings: Settings) -> Orchestrator | None:
    """How to reach the Prefect server that runs, or None. Starts nothing."""
    home = settings.home / "prefect"
    if settings.prefect_api_url is not None:
        auth = settings.prefect_api_auth
        value = auth.get_secret_value() if auth is not None else None
        return Orchestrator(settings.prefect_api_url.rstrip("/"), value, home, settings, started_here=False)
    note = read_note(settings.home / "run" / "prefect.json")
    if note is None or living(note) is None:
        return None
    auth_string = load_secrets(settings).prefect_auth
    return Orchestrator(f"http://127.0.0.1:{note['port']}/api", auth_string, home, settings)


def postgres(settings: Settings) -> Part:
    """Whether the embedded Postgres runs; one given by URL is taken to."""
    if settings.database_url is not None:
        return Part(True, "PENSTOCK_DATABASE_URL")
    try:
        pid = int((settings.home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
        if psutil.Process(pid).name().startswith("postgres"):
            return Part(True, f"embedded, pid {pid}")
    except (OSError, ValueError, IndexError, psutil.Error):
        pass
    return Part(False, "embedded, not running; it runs while something of Penstock does")


def _door(url: str) -> Part:
    try:
        answer = httpx.get(f"{url}/health", timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        return Part(False, f"does not answer at {url} ({type(error).__name__})")
    return Part(answer.status_code == 200, f"{url} answers {answer.status_code}")


@contextmanager
def _opened(settings: Settings, given: Database | None) -> Iterator[Database | None]:
    if given is not None:
        yield given
    elif settings.database_url is None and not (settings.home / "postgres" / "data").exists():
        yield None
    else:
        with database(settings) as found:
            yield found


def _with_work(found: Status, settings: Settings, given: Database | None) -> Status:
    from sql.schema import check

    try:
        with _opened(settings, given) as opened:
            if opened is None:
                return found
            check(opened)
            with opened.connect(autocommit=True, statement_timeout=20) as connection:
                counts = connection.execute(statement("status.items")).fetchall()
                reviews = connection.execute(statement("status.reviews")).fetchone()
                leases = connection.execute(statement("status.leases")).fetchall()
                pauses = in_force(connection)
    except PenstockError as error:
        return replace(found, postgres=Part(False, str(error)))
    by_status: dict[int, int] = dict(counts)
    return replace(
        found,
        items={each.label: by_status.get(each.value, 0) for each in ItemStatus},
        reviews=int(reviews[0]) if reviews else 0,
        leases=[Lease(*row) for row in leases],
        pauses=pauses,
    )


def _with_prefect(found: Status, settings: Settings) -> Status:
    try:
        server = reached(settings)
    except PenstockError as error:
        return replace(found, prefect=Part(False, str(error)))
    if server is None:
        return found
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.exceptions import PrefectException

    before = time.monotonic()
    try:
        with SyncPrefectClient(
            server.api_url, auth_string=server.auth, httpx_settings={"timeout": 10.0}
        ) as client:
            workers = [_pool(client, pool) for pool in found.pools]
            runs = _runs(client, server.ui_url)
    except (httpx.HTTPError, PrefectException) as error:
        words = f"does not answer at {server.api_url} ({type(error).__name__})"
        return replace(found, prefect=Part(False, words))
    words = f"{server.ui_url} answers in {(time.monotonic() - before) * 1000:.0f} ms"
    return replace(found, prefect=Part(True, words), pools=workers, runs=runs)


def _pool(client: SyncPrefectClient, pool: PoolStatus) -> PoolStatus:
    found = client.read_workers_for_work_pool(pool.name, limit=200)
    beats = [worker.last_heartbeat_time for worker in found if worker.last_heartbeat_time is not None]
    now = datetime.now(UTC)
    alive = sum((now - beat).total_seconds() < 3 * BEAT_SECONDS for beat in beats)
    return PoolStatus(pool.name, pool.limit, alive, max(beats, default=None))


def _runs(client: SyncPrefectClient, ui_url: str) -> list[RunStatus]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime
    from prefect.client.schemas.sorting import FlowRunSort

    started = FlowRunFilter(start_time=FlowRunFilterStartTime(is_null_=False))
    rows = client.read_flow_runs(flow_run_filter=started, sort=FlowRunSort.START_TIME_DESC, limit=RECENT)
    return [
        RunStatus(
            id=str(row.id),
            name=row.name,
            pool=str(row.work_pool_name) if row.work_pool_name else None,
            state=row.state_name or "",
            started=row.start_time,
            seconds=row.estimated_run_time.total_seconds(),
            url=f"{ui_url}/runs/flow-run/{row.id}",
        )
        for row in rows
    ]
