"""`penstock run` where the backend's only server is away, or goes away in the middle: said, reported, and by policy."""

from __future__ import annotations

import json
import socket

from backends.simulator import running
from tests.cli.conftest import Penstock

POLICY = {"PENSTOCK_SPILL": '{"openai": "extractive"}'}
SAID = "openai can't be used, so extractive takes its work, as the setting spill says."


def endpoint(url: str) -> dict[str, str]:
    declared = {"backend": "openai", "url": url, "model": "sim:small", "slots": 1}
    return {"PENSTOCK_BACKEND": "openai", "PENSTOCK_ENDPOINTS": json.dumps([declared])}


def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def flat(text: str) -> str:
    return " ".join(text.split())


def used(penstock: Penstock, board: object) -> set[str]:
    """The backends that were asked for the items of the board."""
    with penstock.database.connect() as connection:
        rows = connection.execute(
            "select distinct b.backend from attempt a join batch b on b.id = a.batch_id join item i on i.id = a.item_id"
            " join board p on p.id = i.board_id where p.source = %s",
            [str(board)],
        ).fetchall()
    return {row[0] for row in rows}


def test_a_run_whose_backend_is_away_goes_on_with_the_other(penstock: Penstock, plan: str) -> None:
    without = penstock("run", plan, env=endpoint(nowhere()))
    assert without.code == 1
    assert "No openai server can be used" in flat(without.err)
    dry = penstock("run", "--dry-run", plan, env=endpoint(nowhere()) | POLICY)
    assert SAID in flat(dry.out)
    assert "By extractive at" in flat(dry.out)
    outcome = penstock("run", plan, env=endpoint(nowhere()) | POLICY)
    assert outcome.code == 3  # as with `extractive`: one item is for a person
    assert SAID in flat(outcome.out)
    report = (penstock.folder / "penstock-report" / "report.md").read_text()
    assert SAID in report
    assert "Answered by `extractive`" in report
    with penstock.database.connect() as connection:
        row = connection.execute(
            "select backend, params ->> 'spilled_from' from run order by started_at desc limit 1"
        ).fetchone()
    assert row == ("extractive", "openai")
    # It is back: nothing of the spill is left.
    board = penstock.write("back.md", "# Plan\n\n- [ ] Say whether the server is back\n")
    with running() as simulator:
        again = penstock("run", str(board), env=endpoint(simulator.openai_url) | POLICY)
    assert SAID not in flat(again.out)
    assert used(penstock, board) == {"openai"}


def test_a_server_that_goes_away_in_the_middle_is_followed_by_the_other(penstock: Penstock) -> None:
    items = "".join(f"- [ ] State the level of basin {n} in the middle\n" for n in range(9))
    board = penstock.write("middle.md", f"# Plan\n\n{items}")
    with running(restart_seconds=600) as simulator:
        simulator.script(["ok"] * 3 + ["out_of_memory"])  # it dies of it
        outcome = penstock("run", str(board), env=endpoint(simulator.openai_url) | POLICY)
    assert outcome.code == 3
    assert SAID in flat(outcome.out)
    assert used(penstock, board) == {"openai", "extractive"}
