"""Child processes: their environment, their restarts, their end."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from deployments.children import Child
from deployments.environment import as_environment
from deployments.processes import disk_hint, ended
from models.enums import BackendName
from models.settings import Endpoint, Settings

MODULE = """
import json, os, signal, sys, time
print("born", flush=True)
if os.environ.get("FAIL"):
    sys.exit("it hurts")
if os.environ.get("DEAF"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", os.environ["PENSTOCK_PARENT_PID"], flush=True)
time.sleep(60)
"""


def child(folder: Path, **environment: str) -> Child:
    (folder / "a_child.py").write_text(MODULE)
    given = {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"], **environment}
    return Child("The child", "a_child", given, folder / "child.log")


def wait_for(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_it_runs_and_stops(tmp_path: Path) -> None:
    each = child(tmp_path)
    each.start()
    pid = each.pid
    assert pid is not None
    wait_for(lambda: "ready" in each.said())
    assert each.said().endswith(str(os.getpid()))
    assert each.look() is None
    each.stop(10)
    assert not psutil.pid_exists(pid)
    assert each.look() is None  # stopped is stopped


def test_who_does_not_listen_is_killed(tmp_path: Path) -> None:
    each = child(tmp_path, DEAF="1")
    each.start()
    wait_for(lambda: "ready" in each.said())
    each.stop(0.2)
    assert each.pid is None


def test_who_ends_starts_again_and_later_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = child(tmp_path, FAIL="1")
    each.start()
    now = time.monotonic()
    said: list[str] = []
    pauses: list[float] = []
    for _ in range(8):
        wait_for(lambda: each.pid is None)
        line = each.look()
        assert line is not None
        said.append(line)
        pauses.append(each._pause)
        assert each.look() is None  # not before its pause is over
        now += each._pause
        monkeypatch.setattr("deployments.children.time.monotonic", lambda now=now: now + 1e6)
        assert each.look() == "The child started again"
        monkeypatch.setattr("deployments.children.time.monotonic", lambda now=now: now)
        each._started = now
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert "code 1" in said[0]
    assert "it hurts" in said[0]
    each.stop(5)


def test_settings_reach_a_child_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = Settings(
        home=tmp_path,
        database_url=SecretStr("postgresql://u:p%40w@h/d"),
        endpoints=[Endpoint(backend=BackendName.OPENAI, url="http://h/v1", api_key=SecretStr("k"), slots=7)],
        limits={"ollama": 3},
        sources=[tmp_path / "a", tmp_path / "б"],
        timezone="Europe/Belgrade",
        drain_interval=0.5,
    )
    variables = as_environment(given)
    assert "PENSTOCK_WEBHOOK_SECRET" not in variables
    assert json.loads(variables["PENSTOCK_LIMITS"]) == {"ollama": 3}
    for name in list(os.environ):
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert Settings() == given


def test_ended_does_not_wait_for_a_zombie_to_be_reaped() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], {})
    try:
        assert ended(psutil.Process(pid), 20)
    finally:
        os.waitpid(pid, 0)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    assert disk_hint(tmp_path, least=0) == ""
    assert f"The disk of {tmp_path} is full" in disk_hint(tmp_path, least=2**63)
