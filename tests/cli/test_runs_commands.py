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

ITEMS = 40


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


def prefect(penstock: Any, path: str, body: dict[str, Any]) -> Any:
    """A call to the API of the server that the commands here use."""
    secrets = load_secrets(Settings(home=penstock.home))
    port = orjson.loads((penstock.home / "run" / "prefect.json").read_bytes())["port"]
    auth = (PREFECT_USER, secrets.prefect_password.get_secret_value())
    answer = httpx.post(f"http://127.0.0.1:{port}/api/{path}", json=body, auth=auth, timeout=20)
    answer.raise_for_status()
    return answer.json()


def cancel_in_ui(penstock: Any) -> None:
    """As its button does: the flow run is set to Cancelling. No worker started it, so no worker ends it."""
    _, flow_run = current(penstock, 2)
    state = {"type": "CANCELLING", "name": "Cancelling"}
    prefect(penstock, f"flow_runs/{flow_run}/set_state", {"state": state, "force": True})


def events_of(penstock: Any, run: str) -> list[str]:
    """Names of the events of a run, the latest first. The server stores what it gets once a second."""
    which = {"resource": {"id": [f"penstock.run.{run}"]}, "order": "DESC"}
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        found = prefect(penstock, "events/filter", {"filter": which})["events"]
        if found:
            break
        time.sleep(0.2)
    return [each["event"] for each in found]


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
        charged = (
            "select count(*) from attempt a join item i on i.id = a.item_id join board b on b.id = i.board_id"
            " where b.source like %s and a.outcome not in ('accepted', 'deferred')"
        )
        assert penstock.count(charged, f"{penstock.folder}/%") == 0
        assert "cancelled" in penstock("runs", "show", short).out

        done = row["items"]["done"]
        would = penstock("runs", "rerun", "last", "--from", "execute", "--all", "--dry-run")
        assert f"{done} answered items are asked again." in would.out
        assert f"{row['items']['ready']} items that are ready now would run, too." in would.out
        asked_again = (
            "select count(*) from item i join board b on b.id = i.board_id where again and b.source like %s"
        )
        assert penstock.count(asked_again, f"{penstock.folder}/%") == 0
        before = sum(server.stats()["answered"].values())
        outcome = penstock("runs", "rerun", "last", "--from", "execute", "--all", env=env)
        assert outcome.code == 0, outcome.out + outcome.err
        assert sum(server.stats()["answered"].values()) == before + ITEMS
    (new, old, *_) = listed(penstock)
    assert (new["state"], new["items"], old["id"]) == ("settled", {"done": ITEMS}, row["id"])
    held = "select count(*) from board where held_by is not null and source like %s"
    assert penstock.count(held, f"{penstock.folder}/%") == 0
    refused = penstock("runs", "pause", "last")
    assert refused.code == 2
    assert "has ended (settled)" in refused.err
    assert events_of(penstock, new["id"]) == ["penstock.run.settled"]
    assert sorted(events_of(penstock, row["id"])) == ["penstock.run.cancelled", "penstock.run.paused"]
    parent = {
        "flow_runs": {"parent_flow_run_id": {"any_": [new["flow_run_id"]]}, "name": {"like_": "drain openai"}}
    }
    (drain,) = prefect(penstock, "flow_runs/filter", parent)
    batches = prefect(penstock, "task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [drain["id"]]}}})
    asked = penstock.count("select count(*) from batch where flow_run_id = %s", drain["id"])
    assert sum("batch" in each["name"] for each in batches) == asked, "a task run per batch"
    made = prefect(penstock, "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [drain["id"]]}}})
    assert {each["key"] for each in made} == {"drain-progress", "drain-openai"}, "artifacts per drain"
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
