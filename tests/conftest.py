"""Fixtures for all tests: one real Postgres for the session, a fresh migrated database for each test.

def test_claim(database: Database) -> None: ...      # an empty Penstock database of its own, dropped after
def test_cli(settings_env: Path) -> None: ...        # no PENSTOCK_*, HOME and PENSTOCK_HOME temporary
def test_run(database_env: Database) -> None: ...    # both: settings() and child processes see this database
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from deployments.server import Orchestrator, orchestrator
from models.settings import Settings, settings
from sql.connection import Database
from sql.embedded import EmbeddedPostgres
from sql.schema import migrate

# Prefect reads its home when it is imported, before any fixture: no test may write into the developer's own.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="penstock-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

TEMPLATE = "penstock_template"
# Nothing in the session's cluster has to survive a power cut.
FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB", "autovacuum": "off"}
_numbers = itertools.count(1)

SLOWEST_FIRST = ("deployments", "acceptance", "cli", "doc_sync", "http", "execute")
"""Folders that start servers and processes. They begin, so that the workers of a parallel run end together."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly: the order within a folder's place stays random."""
    places = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        return places.get(item.path.relative_to(here).parts[0], len(places))

    items.sort(key=place)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder for the session that the server's user can walk to, also when root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-test-", dir=_in_memory()))
    folder.chmod(0o711)  # pytest's own tmp_path is closed to others
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cluster(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The session's Postgres, with a migrated template database."""
    with EmbeddedPostgres(open_folder / "session", FAST) as server:
        with _maintenance(server).connect(autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        migrate(_named(server, TEMPLATE))
        yield server


@pytest.fixture
def database(cluster: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, migrated, empty database."""
    yield from _fresh(cluster, TEMPLATE)


@pytest.fixture
def empty_database(cluster: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database without any schema."""
    yield from _fresh(cluster, "template1")


@pytest.fixture
def home(open_folder: Path) -> Iterator[Path]:
    """A PENSTOCK_HOME of this test's own; not made yet."""
    folder = open_folder / f"h{next(_numbers)}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings_env(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The process without settings from outside: gives PENSTOCK_HOME; HOME and working folder are temporary."""
    for name in list(os.environ):
        if name.startswith(("PENSTOCK_", "PG", "XDG_")) or (
            name.startswith("PREFECT_") and name != "PREFECT_HOME"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield home
    settings.cache_clear()


@pytest.fixture
def database_env(database: Database, settings_env: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """As `settings_env`, with PENSTOCK_DATABASE_URL naming this test's database."""
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", database.url)
    settings.cache_clear()
    return database


@pytest.fixture(scope="session")
def prefect_server(cluster: EmbeddedPostgres, open_folder: Path) -> Iterator[Orchestrator]:
    """The session's real Prefect server, on a free port; this process's Prefect client talks to it.

    Nobody works on deployments here. It is shared: a test names its flows, pools and deployments itself, and
    looks only at its own.
    """
    own = Settings(home=open_folder / "prefect", prefect_port=0)
    with orchestrator(own, _named(cluster, TEMPLATE)) as reached:
        yield reached


def _in_memory() -> str | None:
    """Memory instead of the disk, where there is plenty: each test copies a database of 8 MB."""
    try:
        state = os.statvfs("/dev/shm")
    except OSError:
        return None
    roomy = state.f_bavail * state.f_frsize > 2 * 1024**3
    return "/dev/shm" if roomy and not state.f_flag & os.ST_NOEXEC else None


def _fresh(server: EmbeddedPostgres, template: str) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    maintenance = _maintenance(server)
    with maintenance.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield _named(server, name)
    with maintenance.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _maintenance(server: EmbeddedPostgres) -> Database:
    return _named(server, "postgres")


def _named(server: EmbeddedPostgres, name: str) -> Database:
    return Database({"host": str(server.socket_folder), "user": "postgres", "dbname": name})
