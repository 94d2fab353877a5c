"""The whole of `up`, as a stranger starts it: embedded Postgres, Prefect, workers, door, all real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.deploy import declared
from deployments.processes import ended, living, read_note
from deployments.status import reached, status
from deployments.up import down, up
from models.errors import OrchestratorError
from models.settings import Settings
from sql.connection import database

BOARD = "# Plan\n\n- [x] done before\n"


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def ours(home: Path) -> list[psutil.Process]:
    """Every process that was started for this PENSTOCK_HOME, Postgres aside."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            started = process.environ().get("PENSTOCK_HOME") == str(home)
            line = process.info["cmdline"] or []
            if started and "-m" in line and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def shell(
    settings_env: Path, tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A plain shell's environment: an own PENSTOCK_HOME and ports, a HOME without Prefect's files."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PENSTOCK_PORT", str(unused_port))
    monkeypatch.setenv("PENSTOCK_PREFECT_PORT", "0")
    monkeypatch.setenv("PENSTOCK_BACKEND", "extractive")
    monkeypatch.setenv("PENSTOCK_CPU_LIMIT", "2")
    # As on a machine where another user ran Prefect before: that user's /tmp/runner_storage can't be used.
    (tmp_path / "tmp").mkdir(mode=0o777)
    (tmp_path / "tmp" / "runner_storage").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return dict(os.environ)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_state(config: Settings, run: str) -> str:
    found = [each for each in status(config).runs if each.id == run]
    return found[0].state if found else ""


@pytest.mark.timeout(400)
def test_up_works_survives_and_goes_down(shell: dict[str, str], settings_env: Path, tmp_path: Path) -> None:
    config = Settings()
    home = settings_env
    runs_log = home / "logs" / "flow-runs.log"
    said: list[str] = []
    first = up(config, detach=True, say=said.append)
    try:
        # What it offers is there, and one `up` is enough.
        assert any("pipeline/local" in line for line in said)
        assert up(config, say=said.append).already
        assert up(config, detach=True, say=said.append).pid == first.pid
        found = status(config)
        assert found.up.running
        assert found.door.running
        assert found.prefect.running
        assert {pool.name: pool.workers for pool in found.pools} == {pool.name: 1 for pool in found.pools}
        command_lines = " ".join(" ".join(process.cmdline()) for process in ours(home))
        secrets = json.loads((home / "secrets.json").read_text())
        for secret in secrets.values():
            assert secret not in command_lines
            assert not any(secret in path.read_text() for path in (home / "logs").glob("*.log"))

        # From a plain shell, with nothing but the profile that `up` wrote; the path is relative to where `up` started.
        profiles = tomllib.loads((tmp_path / ".prefect" / "profiles.toml").read_text())
        assert profiles["active"] == "penstock"
        (tmp_path / "plan.md").write_text(BOARD)
        prefect = Path(sys.executable).with_name("prefect")
        done = subprocess.run(
            [prefect, "deployment", "run", "pipeline/local", "-p", "board=plan.md", "--watch"],
            env=shell,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + runs_log.read_text()[-4000:]
        assert "Completed" in done.stdout

        # A worker process that dies is started again; the run that it had starts again with it.
        bearer = {"Authorization": f"Bearer {secrets['webhook_secret']}"}
        uploaded = httpx.post(f"{first.door_url}/boards?name=a.md", content=BOARD, headers=bearer, timeout=30)
        run = uploaded.json()["flow_run_id"]
        wait_for(lambda: run_state(config, run) == "Running", 60, "the run did not start")
        (worker,) = [each for each in ours(home) if "deployments.workers" in each.cmdline()]
        worker.kill()
        wait_for(
            lambda: run_state(config, run) == "Completed" or "Failed" in runs_log.read_text(),
            120,
            "the run did not start again",
        )
        assert run_state(config, run) == "Completed", runs_log.read_text()[-4000:]
        with database(config) as db, db.connect() as connection:
            twice = (
                "select item_id from attempt where outcome = 'accepted' group by item_id having count(*) > 1"
            )
            assert connection.execute(twice).fetchall() == []

        # `kill -9` of `up` leaves nothing behind, and the next one starts where it was: nothing to deploy.
        left = [each for each in ours(home) if each.pid != os.getpid()]
        os.kill(first.pid, signal.SIGKILL)
        for process in left:
            assert ended(process, 60), process.cmdline()
        assert not status(config).up.running
        del said[:]
        second = up(config, detach=True, say=said.append)
        assert second.pid != first.pid
        log = (home / "logs" / "up.log").read_text()
        assert log.count("deployed ") == len(declared(config))
        assert log.count("pools and deployments are as declared") == 1
    finally:
        assert down(config)
    assert not down(config)
    assert ours(home) == []
    assert reached(config) is None
    assert living(read_note(home / "run" / "up.json")) is None
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_taken_port_is_said_at_once(shell: dict[str, str], settings_env: Path, unused_port: int) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_port))
        taken.listen()
        with pytest.raises(OrchestratorError, match="Set PENSTOCK_PORT"):
            up(Settings(), say=lambda line: None)
        with pytest.raises(OrchestratorError, match="Set PENSTOCK_PORT"):
            up(Settings(), detach=True, say=lambda line: None)
    with pytest.raises(OrchestratorError, match="Set PENSTOCK_HOST"):
        up(Settings(host="192.0.2.7"), say=lambda line: None)  # a documentation address: no machine has it
    assert not (settings_env / "postgres").exists()


def test_status_of_nothing_starts_nothing(shell: dict[str, str], settings_env: Path) -> None:
    found = status(Settings())
    assert not found.up.running
    assert not found.postgres.running
    assert not found.prefect.running
    assert found.items is None
    assert not settings_env.exists()
    assert json.dumps(found.as_json(), default=str)
    assert not down(Settings())
