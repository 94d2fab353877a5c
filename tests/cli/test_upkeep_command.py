"""`penstock upkeep`: a run that was killed in a terminal is found, said and ended, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.simulator import running
from tests.cli.conftest import Penstock


@pytest.mark.timeout(180)
def test_a_killed_run_is_found_once(penstock: Penstock) -> None:
    def found(*options: str) -> list[str]:
        outcome = penstock("upkeep", "--json", *options)
        assert outcome.code == 0
        answer = json.loads(outcome.out)
        assert answer["dry_run"] is bool(options)
        return [line.split(":")[0] for line in answer["runs"]]

    penstock("upkeep")  # what other tests left
    board = penstock.write("killed.md", "# Plan\n\n- [ ] State the level of the killed basin\n")
    with running(load_seconds=300) as slow:
        endpoint = {"backend": "openai", "url": slow.openai_url, "model": "sim:small"}
        environment = {
            **os.environ,
            "PENSTOCK_BACKEND": "openai",
            "PENSTOCK_ENDPOINTS": json.dumps([endpoint]),
        }
        command = [str(Path(sys.executable).with_name("penstock")), "run", str(board)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 90
            while not slow.stats()["in_flight"]:
                assert process.poll() is None
                assert time.monotonic() < deadline, "it did not ask"
                time.sleep(0.1)
            assert found("--dry-run") == []
        finally:
            process.kill()
            process.wait()
    mine = ["drain openai", "run killed.md"]
    assert sorted(found("--dry-run")) == mine
    said = penstock("upkeep", "--dry-run").out
    assert "run killed.md: Its process ended in the middle of it." in said
    assert "2 runs had lost their process: would be put right." in said
    assert sorted(found()) == mine
    assert penstock("upkeep").out == "No run has lost its process, no slot is held by nobody.\n"
    with penstock.database.connect() as connection:  # other tests count what is ready
        connection.execute("delete from board where source = %s", [str(board)])
