"""Councils whose drain is killed in the middle: who answered is not asked again, and each question is decided once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backends import simulator
from backends.simulator import Simulator
from models.settings import Settings

from .test_splits import Pipeline, pipeline, recipes  # noqa: F401

ROOT = Path(__file__).parents[2]
QUESTIONS = 4
MEMBERS = 3
BATCH = 4  # all that a drain may have claimed and not written
KILLS = 2
BOARD = "# Board\n" + "".join(
    f"[ ] T AB-{number} — CONSULT — is basin {number} to be drained before the {number}th flood? [recipe:: council]\n"
    for number in range(1, QUESTIONS + 1)
)


def answers(server: Simulator) -> int:
    return int(sum(server.stats()["answered"].values()))


def test_a_killed_council_goes_on_where_it_was(pipeline: Pipeline) -> None:  # noqa: F811
    pipeline.ingest(BOARD)
    settings = Settings(batch_size=BATCH, heartbeat=1.0, retry_delay=0.0, watch_host=False)
    answered = "select count(*) from attempt where outcome = 'accepted'"
    with simulator.running(flavour="ollama", models=["sim:small"], latency=0.1, slots=8) as server:
        arguments = [
            pipeline.database.dsn,
            server.url,
            ",".join(map(str, pipeline.boards)),
            settings.model_dump_json(),
        ]
        command = [sys.executable, "-m", "tests.execute.council_drain", *arguments]
        for kill in range(KILLS + 1):
            process = subprocess.Popen(command, cwd=ROOT)
            try:
                if kill == KILLS:
                    assert process.wait(60) == 0
                    break
                enough = answers(server) + 5
                while answers(server) < enough:
                    assert process.poll() is None, "it ended before it was killed"
            finally:
                process.kill()
                process.wait()
        stats = server.stats()
    asked = QUESTIONS * (MEMBERS + 1)
    assert pipeline.rows(answered) == [(asked,)]
    assert (
        pipeline.rows("select item_id from attempt where outcome = 'accepted' group by 1 having count(*) > 1")
        == []
    )
    assert pipeline.rows("select count(*), count(distinct item_id) from decision_record") == [
        (QUESTIONS, QUESTIONS)
    ]
    assert pipeline.rows("select distinct calls from decision_record") == [(MEMBERS + 1,)]
    # What was in flight when a drain died is asked again, and nothing else.
    again = sum(times - 1 for times in stats["answered"].values())
    assert again <= KILLS * BATCH
    assert stats["requests"] <= asked + KILLS * BATCH + (KILLS + 1)  # and a token of each to load the model
    left = pipeline.rows("select count(*) from item where status not in (4, 6, 7)")
    assert left == [(0,)]
