"""`penstock backends`: kinds, endpoints, health, who works on them."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest

from backends import simulator


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def declared(*endpoints: dict[str, Any]) -> dict[str, str]:
    return {"PENSTOCK_ENDPOINTS": orjson.dumps(endpoints).decode()}


def test_everything_there_is_with_its_drain(penstock: Any, nowhere: str) -> None:
    with simulator.running() as server:
        endpoints = (
            {"backend": "ollama", "url": f"{server.url}/", "slots": 3},
            {"backend": "openai", "url": nowhere, "model": "m", "api_key": "sk-very-secret"},
            {"backend": "openai", "url": "ftp://h/v1"},
            {"backend": "anthropic", "api_key_env": "NOT_SET_HERE"},
        )
        with penstock.database.connect() as connection:
            connection.execute(
                "insert into lease (resource, backend, token, holder, model, expires_at)"
                " values (%s, 'ollama', 77, 'here', 'sim:small', now() + interval '1 minute')",
                [f"ollama {server.url}"],
            )
        shown = penstock("backends", "--json", env=declared(*endpoints))
        plain = penstock("backends", env=declared(*endpoints))
    with penstock.database.connect() as connection:
        connection.execute("delete from lease where token = 77")
    assert (shown.code, plain.code) == (0, 0)
    assert "sk-very-secret" not in shown.out + plain.out
    found = orjson.loads(shown.out)
    assert {"name": "poll", "origin": "penstock"} in found["kinds"]
    ours = [each for each in found["endpoints"] if each["declared"]]
    by_place = {each["url"]: each for each in ours}
    assert len(by_place) == len(endpoints)
    served = by_place[f"{server.url}/"]
    assert served["probe"]["reachable"]
    assert [model["name"] for model in served["probe"]["models"]] == ["sim:small", "sim:large"]
    assert (served["lease"]["model"], served["lease"]["items"], served["slots"]) == ("sim:small", 0, 3)
    assert not by_place[nowhere]["probe"]["reachable"]
    assert "no URL" in by_place["ftp://h/v1"]["probe"]["detail"]
    assert "NOT_SET_HERE" in by_place["https://api.anthropic.com"]["probe"]["detail"]
    assert "Without an endpoint, and so not used: gemini, command, poll." in " ".join(plain.out.split())
    assert "0 items since" in " ".join(plain.out.split())


def test_a_declared_model_that_is_missing_is_said(penstock: Any) -> None:
    with simulator.running() as server:
        wrong = declared({"backend": "ollama", "url": server.url, "model": "nope"})
        shown = penstock("backends", env=wrong)
    assert shown.code == 0
    assert "takes nothing:" in " ".join(shown.out.split())
    assert "nope" in shown.out


ROWS = """
insert into lease (resource, backend, token, holder, model, device, want, expires_at)
  values (%(resource)s, 'ollama', 78, 'here', 'sim:small', 'gpu', 3, now() + interval '1 minute');
insert into seat (device, number, token) values ('gpu', 1, 78), ('gpu', 2, 78), ('gpu', 3, null);
insert into endpoint (resource, backend, url, device, slots, allowed, held_until, reason)
  values (%(resource)s, 'ollama', 'x', 'gpu', 4, 2.5, now() + interval '2 minutes', 'it ran out of memory');
insert into model_state (resource, model, load_seconds, item_seconds, failures, open_until, error)
  values (%(resource)s, 'sim:small', 12.5, 2.0, 0, null, null),
         (%(resource)s, 'sim:large', null, null, 3, now() + interval '5 minutes', 'it broke off');
insert into residency (resource, model, device, memory, state, token)
  values (%(resource)s, 'sim:small', 'gpu', 6, 'loaded', 78);
insert into account (name, cooldown_until, reason) values ('team', now() + interval '1 minute', 'too many requests');
insert into spend (account, day, requests, tokens, usd) values ('team', (now() at time zone 'UTC')::date, 7, 1234, 1.5);
insert into pause (kind, name, reason) values ('backend', 'gemini', 'the bill');
"""
GONE = """
delete from lease where token = 78; delete from seat where device = 'gpu'; delete from endpoint;
delete from model_state; delete from residency; delete from account; delete from spend; delete from pause;
"""


@pytest.fixture
def known(penstock: Any) -> Any:
    """A server of which the database knows everything; gives its endpoint."""
    with simulator.running(flavour="ollama") as server:
        with penstock.database.connect() as connection:
            for each in ROWS.split(";")[:-1]:
                connection.execute(each, {"resource": f"ollama {server.url}"})
        yield {
            "backend": "ollama",
            "url": server.url,
            "slots": 4,
            "model": "sim:small",
            "device": "gpu",
            "account": "team",
        }
        with penstock.database.connect() as connection:
            connection.execute(GONE)


def with_devices(*endpoints: dict[str, Any]) -> dict[str, str]:
    return declared(*endpoints) | {
        "PENSTOCK_DEVICES": '[{"name": "gpu", "slots": 3, "memory": 24}]',
        "PENSTOCK_BUDGETS": '[{"account": "team", "tokens_per_day": 5000}]',
        "PENSTOCK_BACKEND": "auto",
    }


def test_all_that_the_database_knows(penstock: Any, known: dict[str, Any], plan: str) -> None:
    gemini = {"backend": "gemini", "url": "http://127.0.0.1:9/v1beta"}
    env = with_devices(known, gemini)
    before = orjson.loads(penstock("backends", "--json", env=env).out)["endpoints"][0]["queue"]["due"]
    with penstock.database.connect() as connection:
        board = connection.execute(
            "insert into board (source, dialect, encoding, sha256) values ('queue', 'checklist', 'utf-8', 'x')"
            " returning id"
        ).fetchone()
        connection.execute(
            "insert into item (board_id, key, position, status, ready, recipe, run_after)"
            " select %s, gen_random_uuid(), n, 1, true, 'task', now() + case when n > 10 then interval '1 hour' else"
            " interval '0' end from generate_series(1, 13) n",
            [board[0]],
        )
    try:
        found = orjson.loads(penstock("backends", "--json", env=env).out)
        penstock.monkeypatch.setenv("COLUMNS", "200")
        plain = penstock("backends", env=env).out
        with penstock.database.connect() as connection:
            connection.execute("insert into pause (kind, name) values ('board', 'queue')")
        paused = orjson.loads(penstock("backends", "--json", env=env).out)
    finally:
        with penstock.database.connect() as connection:
            connection.execute("delete from board where source = 'queue'")
    ours, other = (each for each in found["endpoints"] if each["declared"])
    assert (ours["allowed"], ours["slots"]) == (2.5, 4)
    assert (ours["lease"]["seats"], ours["lease"]["want"], ours["lease"]["device"]) == (2, 3, "gpu")
    assert (ours["queue"]["due"], ours["queue"]["later"]) == (before + 10, 3)
    assert ours["queue"]["eta"] == pytest.approx((before + 10) * 2.0 / 2.5)
    assert [(each["model"], each["open"], each["residency"]) for each in ours["models"]] == [
        ("sim:large", True, None),
        ("sim:small", False, "loaded"),
    ]
    assert [each["name"] for each in other["pauses"]] == ["gemini"]
    assert other["queue"]["eta"] is None
    assert found["devices"] == [
        {
            "name": "gpu",
            "slots": 3,
            "taken": 2,
            "memory": 24,
            "used": 6,
            "endpoints": [f"ollama {known['url']}"],
        }
    ]
    (account,) = found["accounts"]
    assert (account["requests"], account["tokens"], account["tokens_per_day"]) == (7, 1234, 5000)
    assert paused["endpoints"][0]["queue"]["due"] == before
    assert paused["endpoints"][0]["queue"]["paused"] == 13
    for words in (
        "2 of 4",
        "breaker of sim:large open until",
        "2 of gpu's seats",
        "held until",
        "loaded, 6 GiB",
        "12.5 s",
        "6 of 24 GiB",
        "1,234 of 5,000",
        "Paused: backend gemini: the bill",
    ):
        assert words in plain, plain


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_into_the_terminal(penstock: Any, known: dict[str, Any], columns: int) -> None:
    penstock.monkeypatch.setenv("COLUMNS", str(columns))
    shown = penstock("backends", env=with_devices(known)).out
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert known["url"] in shown  # in one piece


def test_spans_of_time_are_told_as_people_do() -> None:
    from interfaces.cli.backend_views import eta

    told = [eta(seconds) for seconds in (None, 0, 45, 89, 600, 3600 * 5, 3600 * 5 + 1800, 3600 * 52)]
    assert told == ["unknown", "0 s", "45 s", "89 s", "10 min", "5 h", "5 h 30 min", "2 d 4 h"]
