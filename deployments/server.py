"""The Prefect server: started on loopback over the same Postgres, shared by all processes of a PENSTOCK_HOME.

    with database(settings) as db, orchestrator(settings, db) as prefect:
        ...                                 # this process's Prefect client talks to that server
        prefect.has_workers                 # does `penstock up` run the deployments' workers?

The first to come starts it, the others attach, the last to leave stops it; when all were killed it ends by itself
within seconds. Files below PENSTOCK_HOME: run/prefect.{boot,use}.lock, run/prefect.json (pid, port),
logs/prefect-server.log, prefect/ (its PREFECT_HOME: the user's own ~/.prefect is never touched).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from deployments.processes import disk_hint, ended, last_lines, living, open_log, read_note, write_note
from deployments.secrets import PREFECT_USER, load_secrets
from models.errors import OrchestratorError
from models.settings import Settings
from sql.connection import Database
from sql.shared_process import SharedProcess

__all__ = ["Orchestrator", "PrefectServer", "orchestrator"]

OLDEST = (
    3,
    6,
    28,
)  # older servers let unauthenticated requests in (CVE-2026-3514, CVE-2026-7722, -7723, -7724)
START_SECONDS = 120.0  # 3 to 5 on an idle machine; the first start makes 300 tables and indexes
EVENT_RETENTION = "P7D"  # ISO 8601; events are the largest table of the server


@dataclass(frozen=True)
class Orchestrator:
    """How to reach the Prefect server."""

    api_url: str
    auth: str | None = field(repr=False)  # user:password
    home: Path  # PREFECT_HOME of everything that Penstock runs
    settings: Settings = field(repr=False)
    started_here: bool = True  # False: a server of the user's own, by settings.prefect_api_url

    @property
    def ui_url(self) -> str:
        return self.api_url.removesuffix("/api")

    def variables(self) -> dict[str, str]:
        """The PREFECT_* environment of a process that uses this server. Holds the password."""
        found = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "DO_NOT_TRACK": "1",
        }
        if self.auth is not None:
            found["PREFECT_API_AUTH_STRING"] = self.auth
        return found

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """A child's whole environment: `base` (default: this process's) without foreign Prefect settings."""
        return {**_without_prefect(os.environ if base is None else base), **self.variables()}

    @property
    def has_workers(self) -> bool:
        """Whether `penstock up` is running and ready on this PENSTOCK_HOME, so that deployments are worked on."""
        note = read_note(self.settings.home / "run" / "up.json")
        return bool(note and note.get("ready")) and living(note) is not None


@contextmanager
def orchestrator(settings: Settings, database: Database) -> Iterator[Orchestrator]:
    """The Prefect server of these settings, ready; inside, this process's Prefect settings point to it.

    Raises OrchestratorError with one sentence on what to do.
    """
    _check_version(version("prefect"), "The installed Prefect")
    if settings.prefect_api_url is not None:
        given = settings.prefect_api_auth
        auth = given.get_secret_value() if given is not None else None
        load_secrets(settings)  # makes PENSTOCK_HOME and its folders
        own = Orchestrator(
            settings.prefect_api_url.rstrip("/"),
            auth,
            settings.home / "prefect",
            settings,
            started_here=False,
        )
        with _client_settings(own):
            check_access(own, time.monotonic() + 30)
            yield own
        return
    with PrefectServer(settings, database) as server, _client_settings(server.reached):
        yield server.reached


class PrefectServer:
    """One user's handle on the shared Prefect server. `open` starts or attaches, `close` leaves."""

    def __init__(
        self, settings: Settings, database: Database, *, start_timeout: float = START_SECONDS
    ) -> None:
        self._settings = settings
        self._database = database
        self._run = settings.home / "run"
        self._log = settings.home / "logs" / "prefect-server.log"
        self._note = self._run / "prefect.json"
        self._start_timeout = start_timeout
        self._shared: SharedProcess | None = None
        self._reached: Orchestrator | None = None

    @property
    def reached(self) -> Orchestrator:
        """How to reach it. Only while open."""
        if self._reached is None:
            raise RuntimeError("the Prefect server is not open")
        return self._reached

    def open(self) -> None:
        """Start the server, or attach to the one that runs, and wait until it answers. Raises OrchestratorError."""
        self._secrets = load_secrets(self._settings)
        shared = SharedProcess(
            self._run, "prefect", start=self._start, stop=self._stop, error=OrchestratorError
        )
        shared.open(timeout=self._start_timeout + 30)
        self._shared = shared

    def close(self) -> None:
        """Leave. The last one to leave stops the server."""
        shared, self._shared, self._reached = self._shared, None, None
        if shared is not None:
            shared.close(timeout=self._start_timeout + 30)

    def __enter__(self) -> PrefectServer:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Everything below runs while the boot lock is held.

    def _start(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        note = read_note(self._note)
        process = living(note)
        if note is not None and process is not None:
            if note.get("database") != self._database.place:
                raise OrchestratorError(
                    f"A Prefect server over the database {note.get('database')} is running for {self._settings.home}; "
                    f"this process was told to use {self._database.place}. Run `penstock down` first, "
                    "or give each database a PENSTOCK_HOME of its own."
                )
            reached = self._orchestrator(int(note["port"]))
            self._wait(reached, process, deadline, int(note.get("log_start", 0)))
        else:
            reached = self._boot(deadline)
        self._reached = reached

    def _boot(self, deadline: float) -> Orchestrator:
        self._database.create_prefect_database()
        with self._database.connect(autocommit=True) as connection:
            query = "select 1 from pg_available_extensions where name = 'pg_trgm'"
            has_trgm = connection.execute(query).fetchone() is not None
        with _listener(self._settings.prefect_port) as listener:
            port = int(listener.getsockname()[1])
            reached = self._orchestrator(port)
            log_start = self._log.stat().st_size if self._log.exists() else 0
            log = open_log(self._log)
            try:
                process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                    self._command(listener.fileno(), has_trgm),
                    env=self._environment(reached),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._settings.home,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,  # Ctrl-C in a terminal is for its users, who then stop it in order
                )
            finally:
                os.close(log)
        try:
            write_note(self._note, process.pid, port=port, database=self._database.place, log_start=log_start)
            # It may outlive this process's use of it; whenever it ends, it is reaped and leaves no zombie.
            threading.Thread(target=process.wait, name="reap-prefect", daemon=True).start()
            import prefect  # noqa: F401 - takes seconds: while the server starts, not after it

            self._wait(reached, psutil.Process(process.pid), deadline, log_start)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return reached

    def _command(self, descriptor: int, has_trgm: bool) -> list[str]:
        return [
            sys.executable,
            "-m",
            "deployments.prefect_server",
            f"--fd={descriptor}",
            f"--boot-lock={self._run / 'prefect.boot.lock'}",
            f"--use-lock={self._run / 'prefect.use.lock'}",
            *([] if has_trgm else ["--without-trgm"]),
        ]

    def _environment(self, reached: Orchestrator) -> dict[str, str]:
        origins = ",".join({reached.ui_url, reached.ui_url.replace("127.0.0.1", "localhost")})
        return {
            **reached.environment(),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._database.prefect_url,
            "PREFECT_SERVER_API_AUTH_STRING": self._secrets.prefect_auth,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins,
            "PREFECT_SERVER_UI_API_URL": reached.api_url,
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self._settings.home / "prefect" / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": EVENT_RETENTION,
            # In memory, the default, they are gone when the server ends, and their slots are counted for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            # Runs older than its 90 days go too; a run's outcome is in Penstock's own tables.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            # All services stay on: the scheduler starts the nightly run, the recorder and the persister fill the UI,
            # the foreman and late runs show a dead worker. Those that nothing waits for look less often.
            "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "30",
            "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "30",
            "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
            "PYTHONUNBUFFERED": "1",
        }

    def _orchestrator(self, port: int) -> Orchestrator:
        return Orchestrator(
            f"http://127.0.0.1:{port}/api",
            self._secrets.prefect_auth,
            self._settings.home / "prefect",
            self._settings,
        )

    def _wait(self, reached: Orchestrator, process: psutil.Process, deadline: float, log_start: int) -> None:
        says = f"Its log {self._log} ends with"
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while True:
                if ended(process, 0):
                    raise OrchestratorError(
                        f"The Prefect server ended while starting.{disk_hint(self._log.parent)} "
                        f"{says}: {last_lines(self._log, start=log_start)}."
                    )
                try:
                    if client.get(f"{reached.api_url}/health").status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                if time.monotonic() >= deadline:
                    raise OrchestratorError(
                        f"The Prefect server (pid {process.pid}) did not answer at {reached.api_url} within "
                        f"{self._start_timeout:.0f} s. {says}: {last_lines(self._log, start=log_start)}. "
                        "End that process and run this again."
                    )
                time.sleep(0.05)
        check_access(reached, deadline)

    def _stop(self) -> None:
        process = living(read_note(self._note))
        if process is not None:
            process.terminate()
            if not ended(process, 15):
                process.kill()
                ended(process, 5)
        self._note.unlink(missing_ok=True)


@contextmanager
def _client_settings(reached: Orchestrator) -> Iterator[None]:
    """Point this process's Prefect at the server: by environment for later imports and children, and at once."""
    variables = reached.variables()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        from prefect.settings import temporary_settings

        updates = {
            "home": reached.home,
            "api.url": reached.api_url,
            "api.auth_string": reached.auth,
            "server.ephemeral.enabled": False,
            "logging.to_api.when_missing_flow": "ignore",
        }
        with temporary_settings(updates=updates):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def check_access(reached: Orchestrator, deadline: float) -> None:
    """One authenticated call: the password is right and the server new enough."""
    user, _, password = (reached.auth or "").partition(":")
    auth = httpx.BasicAuth(user, password) if reached.auth is not None else None
    timeout = max(1.0, min(30.0, deadline - time.monotonic()))
    try:
        answer = httpx.get(
            f"{reached.api_url}/admin/version", auth=auth, timeout=timeout, trust_env=not reached.started_here
        )
    except httpx.HTTPError as error:
        raise OrchestratorError(
            f"The Prefect server at {_shown(reached.api_url)} does not answer ({type(error).__name__}). "
            "Check PENSTOCK_PREFECT_API_URL, and that it runs and can be reached from here."
        ) from None
    if answer.status_code in (401, 403) and reached.started_here:
        raise OrchestratorError(
            f"The Prefect server at {reached.api_url} was started with another password than "
            f"{reached.home.parent / 'secrets.json'} has now. Stop what uses it (`penstock down`) and run this again."
        )
    if answer.status_code in (401, 403):
        raise OrchestratorError(
            f"The Prefect server at {_shown(reached.api_url)} refuses the user {user or PREFECT_USER!r} "
            f"({answer.status_code}). Set PENSTOCK_PREFECT_API_AUTH to its user:password."
        )
    if answer.status_code != 200:
        raise OrchestratorError(
            f"What answers at {_shown(reached.api_url)} is no Prefect server (status {answer.status_code} for "
            "/admin/version). Check the address; it ends with /api."
        )
    _check_version(str(answer.json()), f"The Prefect server at {_shown(reached.api_url)}")


def _check_version(found: str, who: str) -> None:
    digits = found.split("+")[0].split(".")[:3]
    numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in digits)
    if numbers < OLDEST:
        raise OrchestratorError(
            f"{who} is version {found}, which lets unauthenticated requests in. "
            f"Use {'.'.join(map(str, OLDEST))} or newer."
        )


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return url if parts.username is None else url.replace(parts.netloc, parts.netloc.rpartition("@")[2])


def _without_prefect(base: Mapping[str, str]) -> dict[str, str]:
    """A shell's own Prefect settings (another server, a profile) are not meant for Penstock's processes."""
    kept = "PREFECT_LOGGING_"
    return {k: v for k, v in base.items() if not k.startswith("PREFECT_") or k.startswith(kept)}


@contextmanager
def _listener(wanted: int) -> Iterator[socket.socket]:
    """A listening socket on loopback: on the wanted port, or any free one where something else has that."""
    for port in dict.fromkeys((wanted, 0)):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
            continue
        with listener:
            yield listener
        return
    raise OrchestratorError(
        "No port on 127.0.0.1 can be listened on. Check the system's limits and firewall."
    )
