"""`penstock up`: everything that runs, started in order, watched, and stopped in order.

embedded Postgres -> schema -> Prefect server -> pools -> deployments -> workers -> HTTP door

Only one `up` per PENSTOCK_HOME: it holds run/up.lock and writes run/up.json (pid, addresses). The lock is the
kernel's, so a killed `up` leaves nothing that has to be cleaned: its children end by themselves within seconds, and
so does the Prefect server when nobody else uses it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import psutil

from deployments.children import Child
from deployments.deploy import declared, deploy
from deployments.environment import as_environment
from deployments.flow_run import FOLDER, LOG
from deployments.pools import ensure_pools, pools
from deployments.processes import disk_hint, ended, last_lines, living, open_log, read_note, write_note
from deployments.profile import NAME as PROFILE
from deployments.profile import profiles_path, write_profile
from deployments.secrets import load_secrets
from deployments.server import Orchestrator, orchestrator
from deployments.status import postgres
from models.errors import DatabaseError, OrchestratorError, PenstockError, SettingsError
from models.settings import Settings, settings
from sql.connection import database
from sql.schema import prepare

__all__ = ["Running", "down", "main", "up"]

READY_SECONDS = 60.0
DETACH_SECONDS = 240.0
STOP_SECONDS = 25.0  # a worker's flow runs get SIGTERM and some seconds to say so
LOOK_SECONDS = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Running:
    """What a running `up` offers."""

    pid: int
    ui_url: str
    api_url: str
    door_url: str
    home: Path
    own_server: bool = True  # False: the Prefect server of the setting prefect_api_url
    profile_active: bool = True  # whether a plain shell's Prefect reaches it as it is
    already: bool = False  # it ran before this call

    def lines(self) -> list[str]:
        """What a person wants to know, as rich markup."""
        kept = f"user [bold]penstock[/], password in {self.home / 'secrets.json'} (as [bold]penstock:<password>[/])"
        login = kept if self.own_server else "your own server, login as set in prefect_api_auth"
        found = [
            f"[bold]Prefect UI[/]   {self.ui_url}   {login}",
            f"[bold]Prefect API[/]  {self.api_url}",
            f"[bold]HTTP door[/]    {self.door_url}   (GET /status, POST /webhooks/board, POST /boards)",
            f"[bold]Logs[/]         {self.home / 'logs'}",
        ]
        use = "" if self.profile_active else f"   (first: [bold]prefect profile use {PROFILE}[/])"
        found.append(f"[bold]In a shell[/]   prefect deployment run 'pipeline/local' -p board=PLAN.md{use}")
        return found


class _Stop(BaseException):
    """A signal came while starting. Not an Exception: nothing may take it for a failure of its own."""


class _Signals:
    """SIGINT, SIGTERM and SIGHUP: while starting they unwind, while running they end the watch, then nothing."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.starting = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = not self.stop.is_set()
        self.stop.set()
        if self.starting and first:
            raise _Stop

    @contextmanager
    def handled(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def up(config: Settings, *, detach: bool = False, say: Say | None = None) -> Running:
    """Start everything and keep it running until SIGINT or SIGTERM; with `detach` in the background, returning
    when it is ready. Where one runs already: verify it and return at once, `already` set.

    `say` gets lines of rich markup. Call it from the main thread. Raises PenstockError with one sentence.
    """
    say = say or _console()
    home = config.home
    load_secrets(config)  # makes the folders
    with _only_one(home) as mine:
        if not mine:
            return _verified(config, say)
        if not detach:
            return _foreground(config, say)
    return _detached(config, say)


def down(config: Settings, *, timeout: float = 60.0) -> bool:
    """Stop a running `up` and wait until it is gone. False when none ran. Raises OrchestratorError."""
    process = living(read_note(config.home / "run" / "up.json"))
    if process is None:
        return False
    try:
        process.terminate()
    except psutil.AccessDenied:
        raise OrchestratorError(
            f"`penstock up` (pid {process.pid}) belongs to the user {process.username()}. Stop it as that user."
        ) from None
    except psutil.NoSuchProcess:
        return True
    if not ended(process, timeout):
        raise OrchestratorError(
            f"`penstock up` (pid {process.pid}) did not stop within {timeout:.0f} s. Its logs are in "
            f"{config.home / 'logs'}; `kill -9 {process.pid}` is safe: the rest then ends by itself."
        )
    return True


@contextmanager
def _only_one(home: Path) -> Iterator[bool]:
    descriptor = os.open(home / "run" / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _foreground(config: Settings, say: Say) -> Running:
    signals = _Signals()
    note = config.home / "run" / "up.json"
    with signals.handled():
        try:
            write_note(note, os.getpid(), ready=False)
            # Before this process points itself to its own server: what a plain shell reads.
            return _run(config, say, signals, note, profiles_path())
        except _Stop:
            say("Stopped while starting.")
            raise SystemExit(130) from None
        finally:
            note.unlink(missing_ok=True)


def _run(config: Settings, say: Say, signals: _Signals, note: Path, profiles: Path) -> Running:
    _free(config)
    say("Database ...")
    with database(config) as db:
        prepare(db)
        say("Prefect server ...")
        with orchestrator(config, db) as prefect:
            for line in asyncio.run(_bring_in_line(config)):
                say(f"  {line}")
            children = _children(config, prefect)
            try:
                for child in children:
                    say(f"{child.name} ...")
                    child.start()
                _wait_ready(config, children, signals)
                running = _running(config, prefect, profiles, say)
                write_note(
                    note,
                    running.pid,
                    ready=True,
                    ui_url=running.ui_url,
                    api_url=running.api_url,
                    door_url=running.door_url,
                    profile_active=running.profile_active,
                )
                for line in running.lines():
                    say(line)
                say("Everything runs. Ctrl-C or [bold]penstock down[/] stops it.")
                signals.starting = False
                _watch(config, prefect, children, signals, say)
            finally:
                signals.starting = False
                signals.stop.set()
                say("Stopping ...")
                for child in reversed(children):
                    child.stop(STOP_SECONDS)
    say("Stopped.")
    return running


def _watch(
    config: Settings, prefect: Orchestrator, children: list[Child], signals: _Signals, say: Say
) -> None:
    while not signals.stop.wait(LOOK_SECONDS):
        for child in children:
            if (line := child.look()) is not None:
                say(line)
        if not postgres(config).running:
            raise DatabaseError(
                f"The embedded Postgres ended.{disk_hint(config.home)} Its log is "
                f"{config.home / 'postgres' / 'server.log'}. Run `penstock up` again."
            )
        if prefect.started_here and living(read_note(config.home / "run" / "prefect.json")) is None:
            # Everything hangs on its address and password: a new start of all is simpler to trust than a repair.
            raise OrchestratorError(
                f"The Prefect server ended.{disk_hint(config.home)} Its log "
                f"{config.home / 'logs' / 'prefect-server.log'} ends with: "
                f"{last_lines(config.home / 'logs' / 'prefect-server.log')}. Run `penstock up` again."
            )


async def _bring_in_line(config: Settings) -> list[str]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        lines = await ensure_pools(client, pools(config))
        lines += [f"deployed {name}" for name in await deploy(client, declared(config))]
    return lines or ["pools and deployments are as declared"]


def _children(config: Settings, prefect: Orchestrator) -> list[Child]:
    logs = config.home / "logs"
    folder = Path.cwd()
    inner = config if config.sources else config.model_copy(update={"sources": [folder]})
    environment = {
        **prefect.environment(),
        **as_environment(inner),
        FOLDER: str(folder),
        LOG: str(logs / "flow-runs.log"),
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # how long a run waits for its worker to see it, at most
        "PREFECT_LOGGING_COLORS": "false",
        "PYTHONUNBUFFERED": "1",
    }
    return [
        Child("Workers", "deployments.workers", environment, logs / "workers.log"),
        Child("HTTP door", "interfaces.http", environment, logs / "http.log"),
    ]


def _wait_ready(config: Settings, children: list[Child], signals: _Signals) -> None:
    """The door answers that it is ready, and every pool's worker gave a sign of life."""
    deadline = time.monotonic() + READY_SECONDS
    problem = "it does not answer yet"
    door, workers = False, False
    while True:
        for child in children:
            if child.pid is None:
                raise OrchestratorError(
                    f"{child.name} ended while starting. Its log {child.log} ends with: {child.said()}."
                )
        if not door:
            door, problem = _door_ready(config)
        if door and not workers:
            workers, problem = asyncio.run(_workers_ready(config))
        if door and workers:
            return
        if time.monotonic() >= deadline:
            raise OrchestratorError(
                f"Not everything is ready after {READY_SECONDS:.0f} s: {problem}. "
                f"The logs are in {config.home / 'logs'}."
            )
        if signals.stop.wait(0.1):
            raise _Stop


def _door_ready(config: Settings) -> tuple[bool, str]:
    try:
        answer = httpx.get(f"{_door_url(config)}/ready", timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        return False, f"the HTTP door does not answer at {_door_url(config)} ({type(error).__name__})"
    return answer.status_code == 200, f"the HTTP door answers {answer.text[:200]}"


async def _workers_ready(config: Settings) -> tuple[bool, str]:
    from prefect.client.orchestration import get_client

    host = socket.gethostname()
    async with get_client() as client:
        for pool in pools(config):
            found = await client.read_workers_for_work_pool(pool.name, limit=200)
            if not any(worker.name == f"{pool.name} on {host}" for worker in found):
                return False, f"the worker of pool {pool.name} gave no sign of life"
    return True, ""


def _running(config: Settings, prefect: Orchestrator, profiles: Path, say: Say) -> Running:
    wanted = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    variables = {name: value for name, value in prefect.variables().items() if name in wanted}
    try:
        active = write_profile(profiles, variables).active
    except SettingsError as error:
        say(f"[yellow]{error}[/]")  # a convenience: nothing of ours depends on it
        active = False
    own = config.prefect_api_url is None
    return Running(
        os.getpid(),
        prefect.ui_url,
        prefect.api_url,
        _door_url(config),
        config.home,
        own,
        profile_active=active,
    )


def _door_url(config: Settings) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


def _free(config: Settings) -> None:
    """Say at once, not after half a minute, that the door's port is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            of_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            todo = (
                "Set PENSTOCK_PORT to a free one"
                if of_port
                else "Set PENSTOCK_HOST to an address of this machine"
            )
            raise OrchestratorError(
                f"The HTTP door can't listen on {config.host} port {config.port} ({error.strerror}). {todo}."
            ) from None


def _verified(config: Settings, say: Say) -> Running:
    """Wait until the `up` that runs is ready, and see that it answers."""
    deadline = time.monotonic() + DETACH_SECONDS
    path = config.home / "run" / "up.json"
    while True:
        note = read_note(path)
        process = living(note)
        if note is not None and process is not None and note.get("ready"):
            break
        if time.monotonic() >= deadline:
            raise OrchestratorError(
                f"Another `penstock up` holds {config.home / 'run' / 'up.lock'} and does not get ready. "
                "Stop it (`penstock down`) and run this again."
            )
        time.sleep(0.1)
    running = _from_note(config, note)
    try:
        answer = httpx.get(f"{running.door_url}/ready", timeout=10.0, trust_env=False)
        problem = "" if answer.status_code == 200 else answer.text[:300]
    except httpx.HTTPError as error:
        problem = f"its HTTP door does not answer ({type(error).__name__})"
    if problem:
        raise OrchestratorError(
            f"`penstock up` runs already (pid {running.pid}), but is not well: {problem}. The logs are in "
            f"{config.home / 'logs'}; `penstock down`, then `penstock up`, starts it anew."
        )
    say(f"Runs already (pid {running.pid}); nothing was changed.")
    for line in running.lines():
        say(line)
    return running


def _from_note(config: Settings, note: dict[str, Any]) -> Running:
    return Running(
        int(note["pid"]),
        str(note["ui_url"]),
        str(note["api_url"]),
        str(note["door_url"]),
        config.home,
        own_server=config.prefect_api_url is None,
        profile_active=bool(note.get("profile_active")),
        already=True,
    )


def _detached(config: Settings, say: Say) -> Running:
    log = config.home / "logs" / "up.log"
    start = log.stat().st_size if log.exists() else 0
    descriptor = open_log(log)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.up"],
            env={**os.environ, **as_environment(config)},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    threading.Thread(target=process.wait, name="reap-up", daemon=True).start()
    deadline = time.monotonic() + DETACH_SECONDS
    child = psutil.Process(process.pid)
    while True:
        note = read_note(config.home / "run" / "up.json")
        if note is not None and note.get("ready") and note.get("pid") == process.pid:
            running = replace(_from_note(config, note), already=False)
            for line in running.lines():
                say(line)
            say(f"Runs in the background (pid {running.pid}, log {log}); [bold]penstock down[/] stops it.")
            return running
        if ended(child, 0):
            if living(note) is not None:
                return _verified(config, say)  # another one was quicker
            raise OrchestratorError(f"It did not start: {last_lines(log, 1, start)}")
        if time.monotonic() >= deadline:
            process.terminate()
            raise OrchestratorError(f"It is not ready after {DETACH_SECONDS:.0f} s. Its log is {log}.")
        time.sleep(0.1)


def _console() -> Say:
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    return console.print


def main() -> None:
    """`python -m deployments.up`: the background process of `up(detach=True)`."""
    try:
        up(settings())
    except PenstockError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
