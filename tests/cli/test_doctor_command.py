"""`penstock doctor`: one line for each finding, exit codes, JSON."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from backends import simulator


@pytest.fixture
def nowhere() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def declared(*endpoints: dict[str, Any], **more: Any) -> dict[str, str]:
    given = {"PENSTOCK_ENDPOINTS": orjson.dumps(endpoints).decode(), "PENSTOCK_BACKEND": "auto"}
    return given | {f"PENSTOCK_{name.upper()}": orjson.dumps(value).decode() for name, value in more.items()}


def test_a_finding_is_a_line_and_an_error_ends_with_1(penstock: Any, nowhere: str) -> None:
    env = declared({"backend": "ollama", "url": nowhere, "api_key": "sk-very-secret"})
    shown = penstock("doctor", env=env)
    assert shown.code == 1
    lines = [line for line in shown.out.splitlines() if line.startswith("error ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error ollama {nowhere}: Nothing listens on port ")
    assert lines[0].endswith("[nothing_listens]")
    assert shown.out.splitlines()[-1].startswith("Declared are 1 endpoint and 0 devices: 1 error")
    assert "sk-very-secret" not in shown.out + shown.err
    assert shown.err == ""  # what is waited for is told on a terminal alone


def test_warnings_end_with_0_unless_strict(penstock: Any) -> None:
    with simulator.running(flavour="ollama", models=["m"]) as server:
        env = declared({"backend": "ollama", "url": server.url, "model": "m"})
        shown = penstock("doctor", "--ask", env=env)
        strict = penstock("doctor", "--strict", env=env)
    assert (shown.code, strict.code) == (0, 1), shown.out
    assert "[simulated]" in shown.out


def test_settings_that_can_not_be_used_end_with_2(penstock: Any) -> None:
    assert penstock("doctor", env={"PENSTOCK_ENDPOINTS": '[{"backend": "nothing"}]'}).code == 2


def test_as_json(penstock: Any, nowhere: str) -> None:
    with simulator.running(flavour="llama", models=["m"], slots=2) as server:
        env = declared(
            {"backend": "openai", "url": server.openai_url, "model": "m", "slots": 9},
            {"backend": "ollama", "url": nowhere},
        )
        shown = penstock("doctor", "--ask", "--json", env=env)
    assert shown.code == 1
    found = orjson.loads(shown.out)
    by_code = {each["code"]: each for each in found["findings"]}
    assert set(by_code) >= {"slots_too_many", "nothing_listens", "device_undeclared", "simulated"}
    assert set(by_code["slots_too_many"]) == {"code", "severity", "place", "what", "do"}
    llama = next(each for each in found["endpoints"] if each["backend"] == "openai" and each["declared"])
    assert (llama["road"], llama["probe"]["slots"], llama["asked"]["error"]) == ("open", 2, "")
    assert found["house"]["database"] == ""


def test_on_a_terminal_it_says_what_is_well(penstock: Any) -> None:
    from interfaces.cli.render import console

    with simulator.running(flavour="ollama", models=["m"]) as server:
        env = declared({"backend": "ollama", "url": server.url, "model": "m"})
        penstock.monkeypatch.setenv("FORCE_COLOR", "1")
        penstock.monkeypatch.setenv("COLUMNS", "80")
        console.cache_clear()
        shown = penstock("doctor", env=env)
    console.cache_clear()
    assert shown.code == 0
    assert "\x1b[" in shown.out
