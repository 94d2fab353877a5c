"""What the figures of bench/pressure rest on: what is compared, how it is timed, what stands where nothing was."""

from __future__ import annotations

import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.pressure import makespan, peers
from bench.pressure.drivers.protocol import Order
from bench.pressure.makespan import MODELS, PLAIN, QUEUES, Track, bound
from bench.pressure.race import race

PLAIN_DRIVER = [sys.executable, "-m", "bench.pressure.drivers.plain"]
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==[\w.]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")


def work(items: int) -> Order:
    return Order("", makespan._work(items), 4, "", "", "")


def test_the_bound_is_that_of_the_issue() -> None:
    assert bound(2000) == pytest.approx(106.0)
    assert bound(2000, 0.05) == pytest.approx(31.0)


def test_the_work_is_the_same_each_time_and_mixed() -> None:
    first = makespan._work(300)
    assert first == makespan._work(300)
    assert Counter(model for model, _ in first) == dict.fromkeys(MODELS, 100)
    assert sum(one[0] != other[0] for one, other in pairwise(first)) > 150
    assert len({prompt for _, prompt in first} | {prompt for _, prompt in makespan._work(300, 1)}) == 600


def test_peers_are_pinned_by_hash_and_no_address_is_told() -> None:
    lines = peers.PINS.read_text(encoding="utf-8").splitlines()
    pins = [PIN.fullmatch(line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if pin is None][:3]
    assert {"procrastinate", "pgqueuer", "dbos"} <= {pin["name"] for pin in pins if pin}


def test_a_race_ends_with_the_work_and_the_server_has_counted(tmp_path: Path) -> None:
    server = {"slots": 4, "models": MODELS, "resident": 1, "latency": 0.01}
    outcome = race(PLAIN_DRIVER, work(24), server, tmp_path / "log", most_seconds=60)
    assert outcome.finished
    assert (outcome.items, outcome.answers) == (24, 24)
    assert outcome.wall == outcome.seconds >= 24 * 0.01 / 4
    assert outcome.loads == pytest.approx(100 * outcome.stats["loads"] / 24)
    assert outcome.cpu > 0


def test_what_is_stopped_is_extrapolated(tmp_path: Path) -> None:
    server = {"slots": 1, "models": MODELS, "latency": 0.05}
    outcome = race(PLAIN_DRIVER, work(2000), server, tmp_path / "log", most_seconds=1)
    assert not outcome.finished
    assert 0 < outcome.answers < 2000
    assert outcome.wall == pytest.approx(outcome.seconds * 2000 / outcome.answers)


def test_a_driver_that_fails_says_why(tmp_path: Path) -> None:
    wrong = Order("", [("absent:7b", "Say it")], 1, "", "", "")
    with pytest.raises(RuntimeError, match="404"):
        race(PLAIN_DRIVER, wrong, {"flavour": "ollama", "models": MODELS}, tmp_path / "log", most_seconds=60)


def test_a_peer_that_is_not_there_has_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> None:
        raise peers.NotInstalled(peers._short("ERROR: no such package at https://packages.example/simple"))

    monkeypatch.setattr(Track, "run", absent)
    track: Any = object.__new__(Track)
    for contender in (PLAIN, *QUEUES):
        (row,) = makespan._peer(track, contender, makespan._work(3), 1.0)
        assert contender.name in row.figure
        assert (row.goal, row.holds) == (None, None)
        assert "could not be installed" in row.unit
        assert "://" not in row.unit
