"""`penstock runs`: paused from elsewhere, resumed, cancelled in Prefect's UI, and asked again from a stage."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

from backends import simulator
from deployments.secrets import PREFECT_USER, load_secrets
from models.run import Wish
from models.settings import Settings
from tasks import runs

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ITEMS = 16


@contextmanager
def meanwhile(do: Callable[[], None]) -> Iterator[None]:
    """Do it beside the body; what it raises is raised after it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001  raised again below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(60)
    if failed:
        raise failed[0]


def listed(penstock: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(penstock("runs", "--json", "--limit", "5").out)
    return found


def write_board(penstock: Any) -> None:
    lines = [f"- [ ] State the level of well {number} of the run" for number in range(ITEMS)]
    penstock.write("wells/plan.md", "# Wells\n\n" + "\n".join(lines) + "\n")
    papers = [
        f"## Well {number}\n\nThe level of well {number} of the run is {number} metres.\n"
        for number in range(ITEMS)
    ]
    penstock.write("wells/levels.md", "# Levels\n\n" + "\n".join(papers))


def current(penstock: Any, done: int) -> tuple[uuid.UUID, str]:
    """The run that is under way and its flow run, once `done` items of its boards are done and some run."""
    give_up = time.monotonic() + 60
    query = (
        "select r.id, r.flow_run_id from run r where r.state = 'running' and r.wish is null and exists"
        " (select from item i where i.status = 2 and i.board_id = any(r.board_ids)) and (select count(*) from item i"
        " where i.status = 4 and i.board_id = any(r.board_ids)) >= %s"
    )
    while time.monotonic() < give_up:
        with penstock.database.connect(autocommit=True) as connection:
            row = connection.execute(query, [done]).fetchone()
        if row is not None:
            return row[0], row[1]
        time.sleep(0.05)
    raise AssertionError("no run came so far")


def pause(penstock: Any) -> None:
    run, _ = current(penstock, 1)

    async def want() -> None:
        connection = await penstock.database.aconnect(autocommit=True)
        try:
            await runs.want(connection, run, Wish.PAUSE, by="ana")
        finally:
            await connection.close()

    asyncio.run(want())


def cancel_in_ui(penstock: Any) -> None:
    """As its button does: the flow run is set to Cancelling. No worker started it, so no worker ends it."""
    _, flow_run = current(penstock, 2)
    secrets = load_secrets(Settings(home=penstock.home))
    port = orjson.loads((penstock.home / "run" / "prefect.json").read_bytes())["port"]
    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/flow_runs/{flow_run}/set_state",
        json={"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True},
        auth=(PREFECT_USER, secrets.prefect_password.get_secret_value()),
        timeout=20,
    )
    answer.raise_for_status()


def test_a_run_is_paused_resumed_cancelled_in_the_ui_and_asked_again(penstock: Any) -> None:
    write_board(penstock)
    with simulator.running(slots=2, latency=0.3) as server:
        endpoint = {"backend": "openai", "url": server.openai_url, "slots": 2}
        env = {
            "PENSTOCK_ENDPOINTS": orjson.dumps([endpoint]).decode(),
            "PENSTOCK_BACKEND": "openai",
            "PENSTOCK_BATCH_SIZE": "4",
        }
        with meanwhile(lambda: pause(penstock)):
            outcome = penstock("run", "wells", env=env)
        assert outcome.code == 3, outcome.out + outcome.err
        (row, *_) = listed(penstock)
        short = row["id"][:8]
        assert row["state"] == "paused"
        assert (
            f"The run was paused. {row['items']['ready']} items are still queued: penstock runs resume {short}"
            in (" ".join(outcome.out.split()))
        )
        assert row["items"]["done"] >= 1
        assert "running" not in row["items"], "what was sent has ended"
        assert penstock.count("select count(*) from lease") == 0
        assert f"of run {short}, paused by ana" in penstock("pause").out
        asked = sum(server.stats()["answered"].values())

        os.chdir(penstock.home)  # from another folder it means the same files
        with meanwhile(lambda: cancel_in_ui(penstock)):
            outcome = penstock("runs", "resume", short, env=env)
        assert outcome.code == 3, outcome.out + outcome.err
        assert "cancelled by the Prefect UI" in outcome.err
        (row, *_) = listed(penstock)
        assert (row["id"][:8], row["state"]) == (short, "cancelled")
        assert sum(server.stats()["answered"].values()) > asked
        assert (
            penstock.count("select count(*) from attempt where outcome not in ('accepted', 'deferred')") == 0
        )
        assert "cancelled" in penstock("runs", "show", short).out

        done = row["items"]["done"]
        would = penstock("runs", "rerun", "last", "--from", "execute", "--all", "--dry-run")
        assert f"{done} answered items are asked again." in would.out
        assert penstock.count("select count(*) from item where again") == 0
        before = sum(server.stats()["answered"].values())
        outcome = penstock("runs", "rerun", "last", "--from", "execute", "--all", env=env)
        assert outcome.code == 0, outcome.out + outcome.err
        assert sum(server.stats()["answered"].values()) == before + ITEMS
    (new, old, *_) = listed(penstock)
    assert (new["state"], new["items"], old["id"]) == ("settled", {"done": ITEMS}, row["id"])
    assert penstock.count("select count(*) from board where held_by is not null") == 0
    refused = penstock("runs", "pause", "last")
    assert refused.code == 2
    assert "has ended (settled)" in refused.err
    checked = penstock("runs", "rerun", "last", "--from", "validate", "--dry-run")
    assert "0 would not pass today." in checked.out
    assert "written again" in penstock("runs", "rerun", "last", "--from", "report", "--dry-run").out


def test_names_that_mean_no_run_or_several_are_refused(penstock: Any) -> None:
    for word, says in (("zz", "no run's id"), ("0f0f0f0f-0", "There is no run")):
        outcome = penstock("runs", "show", word)
        assert outcome.code == 2
        assert says in outcome.err
    wrong = penstock("runs", "rerun", "last", "--from", "report", "--all")
    assert wrong.code == 2
    assert "asks none" in wrong.err
