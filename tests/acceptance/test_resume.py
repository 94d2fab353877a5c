"""What dies in the middle of `penstock run`, and the same command again: nothing lost, nothing accepted twice, and
at most one batch paid twice."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest


@pytest.mark.timeout(200)
@pytest.mark.parametrize("long_run", [{"items": 500, "batch": 32, "latency": 0.02}], indirect=True)
def test_a_killed_run_goes_on_for_at_most_one_batch(long_run: Any) -> None:
    first = long_run.start()
    long_run.wait_for(long_run.items // 3)
    prefect, postgres = long_run.prefect(), long_run.postgres()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    assert prefect.is_running(), "they belong to no process group of a run"
    assert postgres.is_running()

    second = long_run.again()

    assert second.returncode == 0, second.stdout + second.stderr
    paid = long_run.paid()
    long_run.check_settled()
    extra = paid - long_run.items
    assert 0 <= extra <= long_run.batch, f"{extra} answers were paid twice; a batch is {long_run.batch}"
    assert not alive(prefect), "the second run attached to the server that was left, and stopped it"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("long_run", [{"items": 120, "batch": 8, "latency": 0.15}], indirect=True)
def test_what_dies_under_a_run_is_named_and_the_same_command_goes_on(long_run: Any) -> None:
    first = long_run.start()
    long_run.wait_for(16)
    first.send_signal(signal.SIGINT)
    assert long_run.ended() == 130
    one_sentence(long_run.said(), "Stopped.")
    with long_run.connected() as connection:
        query = "select (select count(*) from item where lease is not null), (select count(*) from lease)"
        assert connection.execute(query).fetchone() == (0, 0), "Ctrl-C gives back what was claimed"
        (written,) = connection.execute("select count(*) from attempt where outcome = 'accepted'").fetchone()
    assert long_run.paid() - written <= 8, (
        "what was answered is written; what was on its way, a slot each, is not"
    )

    long_run.start()
    long_run.wait_for(48)
    long_run.prefect().kill()
    assert long_run.ended() == 1
    one_sentence(long_run.said(), "Prefect")

    long_run.start()
    long_run.wait_for(80)
    long_run.postgres().kill()
    assert long_run.ended() == 1
    one_sentence(long_run.said(), "Postgres")

    last = long_run.again()

    assert last.returncode == 0, last.stdout + last.stderr
    long_run.check_settled()
    assert long_run.paid() <= long_run.items + 3 * long_run.batch


def one_sentence(said: str, about: str) -> None:
    """The last line is the error, in words; nothing before it is a traceback or a warning."""
    lines = [line for line in said.splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("penstock: ")]
    assert len(complaints) == 1, said
    assert about in complaints[0]
    assert "should not" not in complaints[0], "it is an error that Penstock knows"
    for sign in ("Traceback", "Warning", "Exception", " | ERROR"):
        assert sign not in said, said


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
