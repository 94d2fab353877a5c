"""`penstock run` where the backend's only server is away, or goes away in the middle: said, reported, and by policy."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime

from backends.simulator import running
from sql.statements import statement
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


def test_what_may_not_be_asked_now_is_said(penstock: Penstock) -> None:
    """Quiet hours and a used-up budget fail nothing, so a run that leaves work says itself why."""
    board = str(penstock.write("held.md", "# Plan\n\n- [ ] Elect a lock keeper\n- [ ] Paint the lock gate\n"))
    with running(models="sim:small") as server:
        one = {"backend": "openai", "url": server.openai_url, "model": "sim:small", "slots": 1}

        def run(**more: object) -> tuple[int, str]:
            declared = {"PENSTOCK_ENDPOINTS": json.dumps([one | {"account": server.url} | more])}
            budget = {"account": server.url, "requests_per_day": 1}
            outcome = penstock(
                "run",
                board,
                "--backend",
                "openai",
                env=declared | {"PENSTOCK_BUDGETS": json.dumps([budget]), "PENSTOCK_MAX_ATTEMPTS": "1"},
            )
            return outcome.code, flat(outcome.out)

        hour = datetime.now(UTC).hour
        code, said = run(quiet=f"{hour:02}:00-{(hour + 2) % 24:02}:00")
        assert code == 3
        assert "2 items are still queued. What may not be asked now:" in said
        assert f"openai {server.openai_url} has quiet hours" in said
        assert "Nothing was left to do" not in said
        code, said = run()
        assert code == 3
        assert "1 item is still queued. What may not be asked now:" in said
        assert "has used 1 of 1 requests a day" in said
        assert "When that is over, run the same command again." in said
        assert server.stats()["requests"] == 1


def test_a_long_rest_is_seen_when_nothing_else_can_be_done(penstock: Penstock) -> None:
    board = str(penstock.write("rest.md", "# Plan\n\n- [ ] Elect a sluice keeper\n- [ ] Paint the sluice\n"))
    hour = datetime.now(UTC).hour
    with running(models="sim:small") as server:
        one = {"backend": "openai", "url": server.openai_url, "model": "sim:small"}
        quiet = [one | {"quiet": f"{hour:02}:00-{(hour + 2) % 24:02}:00"}]
        assert (
            penstock("run", board, "--backend", "openai", env={"PENSTOCK_ENDPOINTS": json.dumps(quiet)}).code
            == 3
        )
    with penstock.database.connect() as connection:
        scope = {"boards": [penstock.count("select id from board where source = %s", board)]}

        def resting() -> tuple[float, str | None] | None:
            return connection.execute(statement("report.resting"), scope).fetchone()

        def put_off(seconds: int, item: str) -> None:
            connection.execute(
                f"update item set run_after = now() + {seconds} * interval '1 second'"
                f" where board_id = %(board)s and ready and {item}".encode(),
                {"board": scope["boards"][0]},
            )

        assert resting() is None
        put_off(60, "position = (select min(position) from item where board_id = %(board)s and ready)")
        assert resting() is None, "the other one may be asked"
        put_off(90, "run_after <= now()")
        row = resting()
        assert row is not None
        assert 50 < row[0] <= 60
