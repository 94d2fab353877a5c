"""A long `penstock run` in a process of its own, against the simulator, that tests can kill parts of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import psycopg
import pytest
from psycopg.rows import TupleRow

from backends import simulator
from models.settings import Settings
from sql.connection import database

COMMAND = [sys.executable, "-c", "from interfaces.cli import main; main()"]
START_SECONDS = 120


def write_board(folder: Path, items: int) -> Path:
    board = folder / "board"
    board.mkdir()
    lines = ["# Many questions", ""]
    lines += [f"- [ ] State the level of basin {number}" for number in range(1, items + 1)]
    (board / "plan.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = "\n\n".join(
        f"## Basin {n}\n\nThe level of basin {n} is {n} metres above the sea." for n in range(1, 41)
    )
    (board / "levels.md").write_text(f"# Levels\n\n{text}\n", encoding="utf-8")
    return board


@dataclass
class LongRun:
    """`start`, `wait_for` some answers, break something, `ended`, `again`."""

    home: Path
    folder: Path
    items: int
    batch: int
    server: simulator.Simulator
    environment: dict[str, str] = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.board = write_board(self.folder, self.items)
        self.log = self.folder / "run.log"
        self.command = [*COMMAND, "run", str(self.board), "--backend", "openai"]
        endpoint = {"backend": "openai", "url": self.server.openai_url, "slots": 8}
        self.environment = os.environ | {
            "PENSTOCK_HOME": str(self.home),
            "PENSTOCK_BATCH_SIZE": str(self.batch),
            "PENSTOCK_PREFECT_PORT": "0",
            "PENSTOCK_HEARTBEAT": "2",
            "PENSTOCK_ENDPOINTS": orjson.dumps([endpoint]).decode(),
        }

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        return self.process

    def wait_for(self, answers: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while self.paid() < answers:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        assert self.paid() < self.items, "it was too late to say anything"

    def ended(self, within: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(within)

    def again(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            cwd=self.folder,
            check=False,
        )

    def said(self) -> str:
        return self.log.read_text()

    def paid(self) -> int:
        """Answers that the server finished: what a cloud would have billed."""
        return sum(self.server.stats()["answered"].values())

    def prefect(self) -> psutil.Process:
        return psutil.Process(orjson.loads((self.home / "run" / "prefect.json").read_bytes())["pid"])

    def postgres(self) -> psutil.Process:
        (file,) = self.home.glob("*/**/postmaster.pid")
        return psutil.Process(int(file.read_text().splitlines()[0]))

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[TupleRow]]:
        with database(Settings(home=self.home)) as db, db.connect() as connection:
            yield connection

    def check_settled(self) -> None:
        """Every item is done, by one result each, and nothing is held."""
        with self.connected() as connection:
            results = connection.execute(
                "select count(*), count(distinct item_id), count(*) filter (where superseded_at is null) from result"
            ).fetchone()
            statuses = connection.execute(
                "select status, count(*) from item where recipe is not null group by 1"
            ).fetchall()
            leases = connection.execute("select count(*) from lease").fetchone()
            running = connection.execute("select count(*) from item where lease is not null").fetchone()
        assert results == (self.items,) * 3
        assert statuses == [(4, self.items)]
        assert leases == (0,)
        assert running == (0,)


@pytest.fixture
def long_run(settings_env: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LongRun]:
    """Parametrise indirectly with {"items", "batch", "latency"}."""
    wanted: dict[str, float] = request.param
    with simulator.running(slots=8, latency=wanted["latency"]) as server:
        run = LongRun(settings_env, tmp_path, int(wanted["items"]), int(wanted["batch"]), server)
        yield run
        if run.process is not None and run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait(10)
