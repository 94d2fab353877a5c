"""Requests in flight on one device while whoever sends them is killed.

One simulated server stands for a GPU behind three endpoints of two kinds of backend, `ollama` and `openai`, so that one
judge counts all that is on the device. For each limit of 1 to 8: the device may take so many requests, each endpoint
says that it may, too, and three drains work, each in a process of its own as a worker starts it (the flow `execute`).
Every few seconds, when at least two of them are at work, one that is, or the Prefect server, is killed with SIGKILL and
started again at once. After the last kill the drains finish their work.

The server takes more at once than the limit, so that nothing there keeps to it. In the end each item is settled once,
however often it was asked; what was answered more than that was paid twice.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from backends.simulator import Simulator, running
from bench.harness import Figure, at_least, at_most, say, told
from bench.pressure.race import ROOT
from bench.pressure.scene import Item, add, board, configure, place, settled
from deployments.parent import PARENT
from deployments.processes import living, read_note
from deployments.server import PrefectServer
from models.settings import settings
from sql.connection import Database, database
from sql.schema import prepare

LIMITS = range(1, 9)
KILLS = 13  # for each limit
QUICK_LIMITS, QUICK_KILLS = (3,), 4
LEAST_KILLS = 100
EVERY_SECONDS = 2.0  # at least, on the average
SERVER_EACH = 4  # kills: then the Prefect server
TOGETHER_SECONDS = 15.0  # until one drain at work is enough
PATIENCE = 240.0  # seconds for a drain to begin, and for what is left after the last kill
MODEL = "one:7b"
ROOM = 16  # what the server takes at once
ANSWER_TOKENS, DECODE = 20, 60  # a third of a second
SEED = 7


@dataclass(slots=True)
class Drains:
    """Three processes; those that end in order, or are killed, are started again while there is work."""

    board_id: int
    log: Path
    running: dict[int, tuple[str, subprocess.Popen[bytes]]] = field(default_factory=dict)
    starts: int = 0

    def keep_up(self) -> None:
        for number, backend in enumerate(("ollama", "ollama", "openai")):
            known = self.running.get(number)
            if known is None or known[1].poll() is not None:
                self.running[number] = backend, self._start(backend)

    def _start(self, backend: str) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.pressure.drivers.drain", backend, str(self.board_id)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, PARENT: str(os.getpid())},
            )

    def pids(self) -> dict[int, subprocess.Popen[bytes]]:
        return {process.pid: process for _, process in self.running.values() if process.poll() is None}

    def end(self) -> None:
        for process in self.pids().values():
            process.kill()
            process.wait()


@dataclass(slots=True)
class Round:
    """What became of one limit."""

    limit: int
    kills: int
    server_kills: int
    stats: dict[str, Any]
    counts: tuple[int, int, int]  # items, done, accepted attempts
    results: int
    tokens_paid: int  # of the accepted answers


def run(quick: bool) -> list[Figure]:
    limits = QUICK_LIMITS if quick else LIMITS
    kills = QUICK_KILLS if quick else KILLS
    with place(prefect_port=free_port(), heartbeat=3.0, batch_size=16), database(settings()) as db:
        prepare(db)
        with _prefect(db):
            rounds = [_round(db, limit, kills) for limit in limits]
    figures = [
        at_most(
            f"limit {each.limit}, most requests in flight", int(each.stats["max_in_flight"]), "", each.limit
        )
        for each in rounds
    ]
    killed = sum(each.kills for each in rounds)
    items = sum(each.counts[0] for each in rounds)
    once = sum(min(each.counts[1], each.results) for each in rounds)
    twice = sum(each.counts[2] - each.counts[0] for each in rounds)
    answers = sum(int(each.stats["answers"]) for each in rounds)
    wasted = sum(int(each.stats["tokens_out"]) - each.tokens_paid for each in rounds)
    servers = sum(each.server_kills for each in rounds)
    name, unit = "  kills of drains and of the Prefect server", f"in all, {servers} of them the server"
    return [
        *figures,
        told(name, killed, unit) if quick else at_least(name, killed, unit, LEAST_KILLS),
        at_least("  items settled", once, f"of {items:,}", items),
        at_most("  items accepted twice", twice, "", 0),
        told("  answers paid beyond one for each item", answers - items, f"of {answers:,}"),
        told("  tokens written that no result has, for a kill", wasted / max(killed, 1), "tokens"),
    ]


def _round(db: Database, limit: int, kills: int) -> Round:
    options: dict[str, Any] = {
        "slots": ROOM,
        "models": [MODEL],
        "tokens_per_second": DECODE,
        "decode_crowding": 0,
        "answer_tokens": str(ANSWER_TOKENS),
    }
    with running(**options) as simulator, db.connect(autocommit=True) as connection:
        _declare(simulator, limit)
        board_id = board(connection, f"limit {limit}")
        drains = Drains(board_id, settings().home / "logs" / "drains.log")
        chance = random.Random(SEED + limit)
        killed = servers = 0
        say(f"limit {limit}: {kills} kills; load {os.getloadavg()[0]:.1f}")
        try:
            while killed < kills:
                _enough(connection, board_id, limit)
                _work(drains, EVERY_SECONDS * chance.uniform(0.5, 1.5))
                at_work = _at_work(connection, drains)
                if (killed + 1) % SERVER_EACH == 0 and _kill_server():
                    servers += 1
                else:
                    _kill(chance.choice(at_work))
                killed += 1
            deadline = time.monotonic() + PATIENCE
            while _left(connection, board_id) and time.monotonic() < deadline:
                _work(drains, 0.5)
        finally:
            drains.end()
        stats = simulator.stats()
        counts = settled(connection, board_id)
        row = connection.execute(
            "select (select count(*) from result r join item i on i.id = r.item_id"
            "         where i.board_id = %(board)s and r.superseded_at is null),"
            "       (select coalesce(sum(completion_tokens), 0) from attempt a join item i on i.id = a.item_id"
            "         where i.board_id = %(board)s and a.outcome = 'accepted')",
            {"board": board_id},
        ).fetchone()
        assert row is not None
    say(f"    {killed} kills, most in flight {stats['max_in_flight']}, {counts[1]} of {counts[0]} items done")
    return Round(limit, killed, servers, stats, counts, int(row[0]), int(row[1]))


def _declare(simulator: Simulator, limit: int) -> None:
    """One server, three names: what counts is their device."""
    other = simulator.url.replace("127.0.0.1", "localhost")
    places = [
        ("ollama", simulator.url),
        ("ollama", other),
        ("openai", simulator.openai_url),
    ]
    configure(
        devices=[{"name": "gpu", "slots": limit}],
        endpoints=[
            {"backend": backend, "url": url, "slots": limit, "model": MODEL, "device": "gpu"}
            for backend, url in places
        ],
    )


def _enough(connection: psycopg.Connection[Any], board_id: int, limit: int) -> None:
    """Work for some 15 s at the device's limit: a drain that is killed had something to do."""
    items, done, _ = settled(connection, board_id)
    wanted = 15 * limit * DECODE // ANSWER_TOKENS
    numbers = range(items, items + wanted - (items - done))
    if numbers:
        add(connection, board_id, [Item(f"Say what number {number:05} of {limit} is") for number in numbers])


def _left(connection: psycopg.Connection[Any], board_id: int) -> int:
    items, done, _ = settled(connection, board_id)
    return items - done


def _work(drains: Drains, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        drains.keep_up()
        if (left := deadline - time.monotonic()) <= 0:
            return
        time.sleep(min(0.2, left))


def _at_work(connection: psycopg.Connection[Any], drains: Drains) -> list[subprocess.Popen[bytes]]:
    """Two at least that hold an endpoint, and so may have requests in flight; one where that takes long."""
    began = time.monotonic()
    while True:
        rows = connection.execute("select holder from lease where expires_at > now()").fetchall()
        pids = [int(holder.rsplit(" ", 2)[-2]) for (holder,) in rows]  # as tasks/execute/holder.py writes it
        alive = drains.pids()
        found = [alive[pid] for pid in pids if pid in alive]
        waited = time.monotonic() - began
        if len(found) >= 2 or (found and waited > TOGETHER_SECONDS):
            return found
        if waited > PATIENCE:
            raise RuntimeError(f"no drain took an endpoint in {waited:.0f} s; see {drains.log}")
        _work(drains, 0.1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _kill_server() -> bool:
    process = living(read_note(settings().home / "run" / "prefect.json"))
    if process is None:
        return False
    process.send_signal(signal.SIGKILL)
    return True


@contextmanager
def _prefect(db: Database) -> Iterator[None]:
    """The benchmark is a user of the Prefect server all the time, so that nobody stops it; whoever comes after a kill
    starts it again, as each process of Penstock's does."""
    with PrefectServer(settings(), db):
        yield


def free_port() -> int:
    """The server comes back where it was, as that of `penstock up` does."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
