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
