"""`penstock budgets`: used, reserved, limits, and who has to wait."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import psycopg
import pytest

from models.endpoint import Budget
from tasks.execute import budget as reserving
from tasks.execute.budget import Usage

ENDPOINTS = [
    {"backend": "openai", "url": "http://a/v1", "account": "lab"},
    {"backend": "openai", "url": "http://b/v1", "account": "lab"},
    {"backend": "ollama", "url": "http://c"},
]
BUDGETS = [
    {"account": "lab", "tokens_per_day": 1000, "requests_per_minute": 60, "usd_per_day": 0.5},
    {"account": "ollama http://c", "requests_per_day": 9},
]


def declared(zone: str = "UTC") -> dict[str, str]:
    return {
        "PENSTOCK_ENDPOINTS": orjson.dumps(ENDPOINTS).decode(),
        "PENSTOCK_BUDGETS": orjson.dumps(BUDGETS).decode(),
        "PENSTOCK_TIMEZONE": zone,
        "COLUMNS": "100",
    }


async def use(database: Any) -> None:
    """900 tokens used for $0.45, 40 reserved; nine requests of unknown cost; one account has to wait."""
    async with await database.aconnect(autocommit=True) as connection:
        await asks(connection)


async def asks(connection: psycopg.AsyncConnection) -> None:
    lab, local = (Budget.model_validate(each) for each in BUDGETS)
    day = reserving.today("UTC")
    first = await reserving.reserve(
        connection, lab, requests=2, tokens=450, usd=0.2, day=day, token=4711, now=None
    )
    await reserving.settle(connection, reserved=first.reserved, used=Usage(3, 900, 0.45), token=4711)
    await reserving.reserve(connection, lab, requests=1, tokens=40, usd=0.01, day=day, token=4711)
    more = await reserving.reserve(connection, local, requests=9, tokens=10, usd=None, day=day, token=4711)
    await reserving.settle(connection, reserved=more.reserved, used=Usage(9, 90, None), token=4711)
    await reserving.cool(connection, "elsewhere", 900, "too many\x1b[2J requests")


@pytest.fixture
def used(penstock: Any) -> Any:
    with penstock.database.connect() as connection:
        connection.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values ('openai http://a/v1', 'openai', 4711, 'here', now() + interval '1 h')"
        )
    asyncio.run(use(penstock.database))
    yield penstock
    with penstock.database.connect() as connection:
        connection.execute("truncate lease, account, spend, reservation")


def test_what_is_used_of_what_may_be(used: Any) -> None:
    shown, plain = used("budgets", "--json", env=declared()), used("budgets", env=declared())
    assert (shown.code, plain.code) == (0, 0)
    found = {each["account"]: each for each in orjson.loads(shown.out)}
    assert set(found) == {"lab", "ollama http://c", "elsewhere"}
    lab = found["lab"]
    assert lab["endpoints"] == ["openai http://a/v1", "openai http://b/v1"]
    limits = {each.pop("name"): each for each in lab["limits"]}
    assert limits["tokens_per_day"] == {"limit": 1000, "used": 900, "reserved": 40, "percent": 90}
    assert limits["usd_per_day"] == {
        "limit": 0.5,
        "used": pytest.approx(0.45),
        "reserved": pytest.approx(0.01),
        "percent": 90,
    }
    assert limits["requests_per_minute"]["limit"] == 60
    assert (lab["cooldown"], lab["unpriced"]) == (0, 0)
    local = found["ollama http://c"]
    assert local["limits"] == [
        {"name": "requests_per_day", "limit": 9, "used": 9, "reserved": 0, "percent": 100}
    ]
    assert local["unpriced"] == 9
    assert 890 < found["elsewhere"]["cooldown"] <= 900
    assert found["elsewhere"]["limits"] == []

    assert "1,000 tokens a day" in plain.out
    assert "$0.50 a day" in plain.out
    assert "the cost of 9 requests is not known" in plain.out
    assert "elsewhere is left alone for 15 min: too many [2J requests" in plain.out
    assert "\x1b[2J" not in plain.out


def test_a_minute_that_is_over_and_another_day_have_nothing_used(used: Any) -> None:
    with used.database.connect() as connection:
        connection.execute("update account set minute = minute - interval '1 minute'")
        connection.execute("update spend set day = day - 2")
        connection.execute("update reservation set day = day - 2")
        connection.execute("update account set cooldown_until = now()")
    found = orjson.loads(used("budgets", "--json", env=declared()).out)
    assert [each["account"] for each in found] == ["lab", "ollama http://c"]
    assert {limit["used"] for each in found for limit in each["limits"]} == {0}


def test_without_budgets_it_says_so(penstock: Any) -> None:
    assert orjson.loads(penstock("budgets", "--json").out) == []
    plain = penstock("budgets")
    assert plain.code == 0
    assert "[[budgets]]" in plain.out
