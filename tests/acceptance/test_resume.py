"""`kill -9` in the middle of `penstock run`, then the same command: nothing lost, nothing accepted twice, and at most
one batch paid twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psycopg
import pytest

from backends import simulator
from models.settings import Settings
from sql.connection import database

ITEMS = 500
BATCH = 32
COMMAND = [sys.executable, "-c", "from interfaces.cli import main; main()"]


def write_board(folder: Path) -> Path:
    board = folder / "board"
    board.mkdir()
    lines = ["# Five hundred questions", ""]
    lines += [f"- [ ] State the level of basin {number}" for number in range(1, ITEMS + 1)]
    (board / "plan.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = "\n\n".join(
        f"## Basin {n}\n\nThe level of basin {n} is {n} metres above the sea." for n in range(1, 41)
    )
    (board / "levels.md").write_text(f"# Levels\n\n{text}\n", encoding="utf-8")
    return board


@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_for_at_most_one_batch(settings_env: Path, tmp_path: Path) -> None:
    board = write_board(tmp_path)
    with simulator.running(slots=8, latency=0.02) as server:
        environment = os.environ | {
            "PENSTOCK_HOME": str(settings_env),
            "PENSTOCK_BATCH_SIZE": str(BATCH),
            "PENSTOCK_PREFECT_PORT": "0",
            "PENSTOCK_ENDPOINTS": orjson.dumps(
                [{"backend": "openai", "url": server.openai_url, "slots": 8}]
            ).decode(),
        }
        command = [*COMMAND, "run", str(board), "--backend", "openai", "--out", str(tmp_path / "report")]
        with (tmp_path / "first.log").open("wb") as log:
            first = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            deadline = time.monotonic() + 120
            while paid_answers(server) < ITEMS // 3:
                assert first.poll() is None, (tmp_path / "first.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "first.log").read_text()
                time.sleep(0.02)
            os.killpg(first.pid, signal.SIGKILL)
            first.wait(10)
        paid_before = paid_answers(server)
        assert paid_before < ITEMS, "it was killed too late to say anything"

        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert second.returncode == 0, second.stdout + second.stderr
        paid = paid_answers(server)

        with database(Settings(home=settings_env)) as db, db.connect() as connection:
            check(connection)
    assert ITEMS <= paid <= ITEMS + BATCH, f"{paid - ITEMS} answers were paid twice; a batch is {BATCH}"


def paid_answers(server: simulator.Simulator) -> int:
    """Answers that the server finished: what a cloud would have billed."""
    return sum(server.stats()["answered"].values())


def check(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    one = connection.execute(
        "select count(*), count(distinct item_id) from result where superseded_at is null and accepted_by = 'checks'"
    ).fetchone()
    assert one == (ITEMS, ITEMS)
    assert connection.execute("select count(*) from result").fetchone() == (ITEMS,)
    statuses = connection.execute(
        "select status, count(*) from item where recipe is not null group by 1"
    ).fetchall()
    assert statuses == [(4, ITEMS)]
    assert connection.execute("select count(*) from lease").fetchone() == (0,)
