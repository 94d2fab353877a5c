"""The Prefect server's life: shared, authenticated, gone when the last user is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client

from deployments.prefect_server import abandoned, without_trgm
from deployments.processes import ended, last_lines, living, open_log, read_note, write_note
from deployments.secrets import load_secrets
from deployments.server import Orchestrator, _check_version, orchestrator
from models.errors import OrchestratorError
from models.settings import Settings
from sql.connection import Database


def test_the_server_answers_its_own_password_only(prefect_server: Orchestrator) -> None:
    with get_client(sync_client=True) as client:
        assert str(client.api_url).rstrip("/") == prefect_server.api_url
        assert client.hello().json() == "👋"
    for auth in (None, httpx.BasicAuth("penstock", "guess")):
        answer = httpx.post(f"{prefect_server.api_url}/flows/filter", json={}, auth=auth)
        assert answer.status_code == 401
    assert prefect_server.auth is not None
    assert prefect_server.auth not in repr(prefect_server)
    assert not prefect_server.has_workers


def test_a_foreign_shell_setting_does_not_reach_children(prefect_server: Orchestrator) -> None:
    base = {"PREFECT_API_URL": "http://elsewhere/api", "PREFECT_PROFILE": "other", "PATH": "/bin"}
    found = prefect_server.environment(base)
    assert found["PREFECT_API_URL"] == prefect_server.api_url
    assert "PREFECT_PROFILE" not in found
    assert found["PATH"] == "/bin"


SHARER = """
import os, signal, sys
from pathlib import Path
from models.settings import Settings
from sql.connection import Database
from deployments.server import orchestrator
with orchestrator(Settings(home=Path(sys.argv[1]), prefect_port=0), Database({"host": sys.argv[2],
        "user": "postgres", "dbname": sys.argv[3]})) as reached:
    print(reached.api_url, flush=True)
    signal.pause()
"""


def test_two_share_one_server_and_it_ends_after_both_were_killed(home: Path, database: Database) -> None:
    parameters = [str(home), database._parameters["host"], database.name]
    sharer = subprocess.Popen([sys.executable, "-c", SHARER, *parameters], stdout=subprocess.PIPE, text=True)
    assert sharer.stdout is not None
    url = sharer.stdout.readline().strip()
    note = home / "run" / "prefect.json"
    try:
        server = living(read_note(note))
        assert server is not None
        command = " ".join(server.cmdline())
        secrets = load_secrets(Settings(home=home))
        assert secrets.prefect_password.get_secret_value() not in command
        with orchestrator(Settings(home=home, prefect_port=0), database) as reached:
            assert reached.api_url == url  # attached, not another one
        assert not ended(server, 0)  # the other one still uses it
        with (
            pytest.raises(OrchestratorError, match="penstock down"),
            orchestrator(
                Settings(home=home, prefect_port=0), Database({**database._parameters, "dbname": "another"})
            ),
        ):
            pass
    finally:
        sharer.send_signal(signal.SIGKILL)
        sharer.wait()
        sharer.stdout.close()
    assert ended(server, 30), "a server without users must end by itself"
    assert living(read_note(note)) is None


def test_a_server_that_cannot_start_says_why(home: Path, database: Database) -> None:
    nowhere = Database({**database._parameters, "options": ""})
    nowhere.create_prefect_database = lambda: None  # type: ignore[method-assign]
    with (
        pytest.raises(OrchestratorError, match=r"ended while starting.*does not exist"),
        orchestrator(Settings(home=home, prefect_port=0), nowhere),
    ):
        pass
    assert living(read_note(home / "run" / "prefect.json")) is None


def test_an_own_server_that_is_not_there_is_one_sentence(home: Path, database: Database) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = Settings(home=home, prefect_api_url=f"http://me:secret-word@127.0.0.1:{port}/api")
    with pytest.raises(OrchestratorError) as caught, orchestrator(given, database):
        pass
    assert "does not answer" in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_an_own_server_with_a_wrong_password(
    home: Path, database: Database, prefect_server: Orchestrator
) -> None:
    given = Settings(home=home, prefect_api_url=prefect_server.api_url)
    with pytest.raises(OrchestratorError, match="PENSTOCK_PREFECT_API_AUTH"), orchestrator(given, database):
        pass


@pytest.mark.parametrize("found", ["3.6.27", "2.20.1", "3.5.0+7.gabc", "3.6"])
def test_an_old_prefect_is_refused(found: str) -> None:
    with pytest.raises(OrchestratorError, match=r"3\.6\.28 or newer"):
        _check_version(found, "It")


@pytest.mark.parametrize("found", ["3.6.28", "3.8.8", "4.0.0rc1", "3.10.0.dev2"])
def test_a_new_prefect_is_taken(found: str) -> None:
    _check_version(found, "It")


@pytest.mark.parametrize(
    ("statement", "becomes"),
    [
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm;", "SELECT 1"),
        (
            "CREATE INDEX CONCURRENTLY\n trgm_ix_flow_name\n ON flow USING gin (name gin_trgm_ops);",
            "CREATE INDEX CONCURRENTLY\n trgm_ix_flow_name\n ON flow USING hash (name);",
        ),
        ("DROP INDEX CONCURRENTLY trgm_ix_flow_name;", "DROP INDEX CONCURRENTLY trgm_ix_flow_name;"),
        ("SELECT 'pg' FROM flow", "SELECT 'pg' FROM flow"),
    ],
)
def test_migrations_do_without_trigrams(statement: str, becomes: str) -> None:
    assert without_trgm(statement) == becomes


def test_a_server_whose_home_was_removed_is_abandoned(tmp_path: Path) -> None:
    assert abandoned(tmp_path / "gone" / "boot", tmp_path / "gone" / "use")()


def test_abandoned_only_when_nobody_uses_it(tmp_path: Path) -> None:
    import fcntl

    boot, use = tmp_path / "boot", tmp_path / "use"
    ask = abandoned(boot, use)
    with use.open("w") as user:
        fcntl.flock(user, fcntl.LOCK_SH)
        assert not ask()
        with boot.open("w") as starter:  # a look that said no holds nothing
            fcntl.flock(starter, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert not ask()
    assert ask()
    with boot.open("w") as late, pytest.raises(BlockingIOError):
        fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_secrets_are_made_once_and_closed_to_others(home: Path) -> None:
    first = load_secrets(Settings(home=home))
    assert load_secrets(Settings(home=home)) == first
    assert (home / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert first.prefect_password.get_secret_value() not in repr(first)
    assert [path.name for path in home.glob("*secrets*")] == ["secrets.json"]
    given = load_secrets(Settings(home=home, webhook_secret="from the settings here"))
    assert given.webhook_secret.get_secret_value() == "from the settings here"
    (home / "secrets.json").write_text('{"prefect_password": 3}')
    with pytest.raises(OrchestratorError, match="Move it away"):
        load_secrets(Settings(home=home))


def test_a_note_of_a_pid_that_another_process_has_now_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_note(path, os.getpid(), port=7)
    note = read_note(path)
    assert note is not None
    assert note["port"] == 7
    assert living(note) == psutil.Process()
    assert living({**note, "created": note["created"] - 10}) is None
    path.write_text('{"pid": 1')
    assert read_note(path) is None
    assert living(None) is None


def test_a_log_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert last_lines(path) == "nothing"
    path.write_text("one\n\ntwo\n   ^^^^\nthree\nfour\n")
    assert last_lines(path) == "two | three | four"
    os.close(open_log(path))
    with path.open("r+b") as file:
        file.truncate(17 * 1024 * 1024)
    os.close(open_log(path))
    assert path.stat().st_size == 0
    assert (tmp_path / "a.log.1").exists()


def test_a_child_ends_when_its_parent_was_killed() -> None:
    child = (
        "import os, sys, time; from deployments.parent import end_with_parent; "
        "end_with_parent(interval=0.05); print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys; "
        "subprocess.run([sys.executable, '-c', sys.argv[1]],"
        " env={**os.environ, 'PENSTOCK_PARENT_PID': str(os.getpid())})"
    )
    started = subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    process = psutil.Process(int(started.stdout.readline()))
    started.kill()
    started.wait()
    started.stdout.close()
    before = time.monotonic()
    assert ended(process, 10)
    assert time.monotonic() - before < 10
