"""Odd settings, and the rest of the installation: a real database, files and a Prefect server that is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.doctor import Diagnosis, Facts, House, judge
from deployments.doctor.looking import house
from deployments.server import Orchestrator
from models.endpoint import Endpoint
from models.enums import Severity
from models.settings import Settings
from sql.connection import Database

from .conftest import Declare, codes, of, page, saying

OLLAMA = {"backend": "ollama", "url": "http://127.0.0.1:1"}
CLOUD = {
    "backend": "openai",
    "url": "https://api.example.org/v1",
    "api_key": "sk-test-secret",
    "account": "a",
}


def at(settings: Settings, **values: Any) -> Diagnosis:
    return judge(Facts(settings, (), house=replace(House(), **values)))


# --- settings -----------------------------------------------------------------------------------------------


def test_quiet_hours_that_leave_nothing(declare: Declare) -> None:
    for hours, odd in (
        ("18:30-18:00", True),
        ("08:00-18:00", False),
        ("00:00-23:59", True),
        ("22:00-07:00", False),
    ):
        found = at(declare(OLLAMA | {"quiet": hours}))
        assert ("quiet_odd" in codes(found)) is odd, hours


def test_budgets_that_limit_nothing_or_can_never_be_counted(declare: Declare) -> None:
    def found(budget: dict[str, Any], **endpoint: Any) -> Diagnosis:
        return at(declare(CLOUD | endpoint, budgets=[{"account": "a"} | budget]))

    assert "limits nothing" in of(found({}), "budget_odd").what
    assert "tokens_per_minute is 1000" in of(found({"tokens_per_minute": 1000}), "budget_odd").what
    assert (
        "the first never counts"
        in of(found({"requests_per_minute": 9, "requests_per_day": 5}), "budget_odd").what
    )
    priced = {"model": "m", "models": {"m": {"price": {"input": 3, "output": 15}}}}
    assert of(found({"usd_per_day": 5}, model="m"), "price_missing").severity is Severity.ERROR
    assert codes(found({"usd_per_day": 5}, **priced)) == {"no_model_server"}
    assert "price_missing" in codes(found({"usd_per_day": 5}, **(priced | {"model": "n"})))


def test_batches_of_a_server_that_is_no_provider(declare: Declare) -> None:
    vllm = {"backend": "openai", "url": "http://gpu-1:8000/v1", "model": "m"}
    assert "/v1/batches" in of(at(declare(vllm | {"batches": True})), "batches_odd").what
    assert "batches_odd" not in codes(at(declare(vllm)))
    assert "batches_odd" not in codes(at(declare(CLOUD | {"batches": True})))


def test_a_key_without_a_budget(declare: Declare) -> None:
    trouble = of(at(declare(CLOUD)), "no_budget")
    assert trouble.severity is Severity.INFO
    assert 'account = "a"' in trouble.do
    assert "no_budget" not in codes(at(declare(CLOUD, budgets=[{"account": "a", "tokens_per_day": 10**6}])))
    assert "no_budget" not in codes(at(declare(OLLAMA)))


@pytest.mark.parametrize(
    ("spill", "words"),
    [
        ({"ollama": "ollama"}, "from itself"),
        ({"openai": "ollama"}, "no openai endpoint"),
        ({"ollama": "gemini"}, "no gemini endpoint"),
        ({"ollama": "extractive"}, ""),
    ],
)
def test_spill_that_leads_nowhere(declare: Declare, spill: dict[str, str], words: str) -> None:
    found = at(declare(OLLAMA, spill=spill))
    if words:
        assert words in of(found, "spill_odd").what
    else:
        assert "spill_odd" not in codes(found)


def test_limits_above_the_endpoints_and_a_backend_that_is_not_there(declare: Declare) -> None:
    assert of(at(declare(OLLAMA, limits={"ollama": 3})), "limit_odd").severity is Severity.INFO
    assert "limit_odd" not in codes(at(declare(OLLAMA, limits={"ollama": 1})))
    assert "'gemini'" in of(at(declare(OLLAMA, backend="gemini")), "backend_missing").what
    assert "extractive" in of(at(declare(backend="auto")), "no_model_server").what


# --- installation -------------------------------------------------------------------------------------------


def test_a_database_that_is_well(database_env: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    seen = house(settings)
    assert (seen.database, seen.database_place) == ("", database_env.place)
    assert seen.skew is not None
    assert abs(seen.skew) < 2
    assert codes(judge(Facts(settings, (), house=seen))) <= {"no_model_server", "disk_full"}


def test_a_database_without_its_schema_and_one_that_is_not_there(
    empty_database: Database, settings_env: Path, tmp_path: Path, nowhere: int
) -> None:
    for url, words in (
        (empty_database.url, "schema"),
        (f"postgresql://u:very-secret@127.0.0.1:{nowhere}/x", "Can't connect to Postgres"),
    ):
        settings = Settings.model_validate({"home": tmp_path, "database_url": url})
        found = of(judge(Facts(settings, (), house=house(settings))), "database")
        assert words in found.what
        assert found.do
        assert "very-secret" not in found.line()


def test_clocks_that_are_apart(declare: Declare) -> None:
    settings = declare()
    assert "clock_skew" not in codes(at(settings, skew=0.4))
    assert of(at(settings, skew=-4.0), "clock_skew").severity is Severity.WARNING
    assert "20 s ahead of" in of(at(settings, skew=20.0), "clock_skew").what


def test_the_time_zone_counts_where_something_goes_by_it(declare: Declare) -> None:
    apart = {"offset_here": 2.0, "offset_settings": 0.0}
    quiet = OLLAMA | {"quiet": "08:00-18:00"}
    assert "2 h ahead" in of(at(declare(quiet), **apart), "timezone_default").what
    assert "timezone_default" not in codes(at(declare(OLLAMA), **apart))
    assert "timezone_default" not in codes(at(declare(quiet, timezone="UTC"), **apart))
    assert "timezone_default" not in codes(at(declare(quiet), offset_here=0.0, offset_settings=0.0))


def test_offsets_are_those_of_now(settings_env: Path, tmp_path: Path) -> None:
    seen = house(Settings(home=tmp_path, timezone="Asia/Kolkata"))
    assert seen.offset_settings == 5.5
    here = datetime.now().astimezone().utcoffset()
    assert here is not None
    assert seen.offset_here == here.total_seconds() / 3600


async def test_a_prefect_server_that_is_none(declare: Declare) -> None:
    import asyncio

    async with saying(page("404 Not Found", "{}")) as url:
        settings = declare(prefect_api_url=f"{url}/api")
        seen = await asyncio.to_thread(house, settings)
    assert "is no Prefect server" in of(judge(Facts(settings, (), house=seen)), "prefect").what


def test_a_prefect_server_that_is_well(prefect_server: Orchestrator, declare: Declare) -> None:
    settings = declare(prefect_api_url=prefect_server.api_url, prefect_api_auth=prefect_server.auth)
    assert house(settings).prefect == ""
    wrong = declare(prefect_api_url=prefect_server.api_url, prefect_api_auth="penstock:wrong")
    assert "refuses the user" in house(wrong).prefect


def test_a_password_in_clear(declare: Declare) -> None:
    for url, said in (("http://prefect.example.org/api", True), ("https://prefect.example.org/api", False)):
        found = at(declare(prefect_api_url=url, prefect_api_auth="u:p"))
        assert ("key_in_clear" in codes(found)) is said


def test_a_home_that_is_full_and_one_that_is_no_folder(declare: Declare) -> None:
    settings = declare()
    assert of(at(settings, free=2**29), "disk_full").severity is Severity.ERROR
    assert of(at(settings, free=3 * 2**30), "disk_full").severity is Severity.WARNING
    assert "disk_full" not in codes(at(settings, free=2**40))
    assert (
        "can't be written"
        in of(at(settings, home_problem="/x can't be written to"), "home_not_writable").what
    )


def test_secrets_in_a_file_that_others_read(
    settings_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('[[endpoints]]\nbackend = "anthropic"\napi_key = "sk-test-secret"\n')
    for mode, said in ((0o644, True), (0o600, False)):
        file.chmod(mode)
        settings = Settings(home=tmp_path)
        found = judge(Facts(settings, (), house=house(settings)))
        assert ("secrets_readable" in codes(found)) is said
    assert Endpoint.model_validate(CLOUD).key() == "sk-test-secret"
