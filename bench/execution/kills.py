"""SIGKILL at random while a board is worked on: of drains, of the worker, of the Prefect server and of Postgres.

One simulated server behind three endpoints. Two drains are processes of their own; the third is a flow run of the
deployment `execute/openai`, made by the pools' worker, and dies with it. What was killed, or ended because of it, is
started again at once, as whoever runs Penstock does (`penstock up`, systemd, a person). Postgres has its own crash
recovery each time; fsync, full_page_writes and synchronous_commit are on.

In the end each item is settled once, however often it was asked. What was answered more than that was paid twice: at
most what a drain has claimed and not written, which is looked up before each kill.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextvars import copy_context
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import psycopg

from backends.simulator import Simulator, running
from bench.execution.cycle import load
from bench.execution.warm import Warm
from bench.harness import Figure, at_least, at_most, say, told
from bench.pressure.in_flight import free_port
from bench.pressure.race import ROOT
from bench.pressure.scene import Item, add, board, configure, place, settled
from deployments.processes import living, read_note
from deployments.server import Orchestrator, PrefectServer, orchestrator
from models.errors import DatabaseError
from models.settings import settings
from sql.connection import Database, database
from sql.schema import prepare

ITEMS, QUICK_ITEMS = 5000, 300
KILLS = {"drain": 110, "prefect": 40, "postgres": 30, "worker": 20}
QUICK_KILLS = {"drain": 5, "prefect": 2, "postgres": 2, "worker": 1}
EVERY_SECONDS = 1.6  # on the average, at least
BATCH_SIZE = 16
SLOTS = 4  # of each endpoint
ANSWER_TOKENS, DECODE = 20, 40  # half a second
PATIENCE = 240.0
TOGETHER_SECONDS = 20.0  # until something else is killed
SEED = 11
DEPLOYMENT = "execute/openai"
MODEL = "one:7b"


@dataclass(slots=True)
class Scene:
    """What works on the board, and starts again when it ended."""

    db: Database
    prefect: Orchestrator
    board: int
    warm: Warm
    logs: Path
    drains: dict[int, ForkServerProcess] = field(default_factory=dict)
    worker: subprocess.Popen[bytes] | None = None
    reviving: threading.Thread | None = None
    ended: int = 0  # drains and workers that ended, killed or not

    def keep_up(self) -> None:
        for number in range(2):
            known = self.drains.get(number)
            if known is None or not known.is_alive():
                self.ended += known is not None
                self.drains[number] = self.warm.start("ollama", self.board)
        if self.worker is None or self.worker.poll() is not None:
            self.ended += self.worker is not None
            self.worker = self._start_worker()
        self._revive()

    def _start_worker(self) -> subprocess.Popen[bytes]:
        environment = self.prefect.environment() | {"PREFECT_WORKER_QUERY_SECONDS": "1"}
        with (self.logs / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "deployments.workers"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
            )

    def _revive(self) -> None:
        """The Prefect server, beside the rest: it takes seconds to start. And a flow run for the worker to do."""
        if self.reviving is None or not self.reviving.is_alive():
            # With the context, in which Prefect's settings are.
            self.reviving = threading.Thread(target=copy_context().run, args=[self._serve], daemon=True)
            self.reviving.start()

    def _serve(self) -> None:
        try:
            with PrefectServer(settings(), self.db):
                asyncio.run(_wanted(self.board))
        except Exception as error:  # noqa: BLE001  whatever is killed meanwhile: the next look tries again
            with (self.logs / "revived.log").open("a", encoding="utf-8") as log:
                log.write(f"{type(error).__name__}: {error}\n")
        time.sleep(0.5)

    def end(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
        for process in self.drains.values():
            process.kill()
            process.join()
        if self.reviving is not None:
            self.reviving.join()


def run(quick: bool) -> list[Figure]:
    items, wanted = (QUICK_ITEMS, QUICK_KILLS) if quick else (ITEMS, KILLS)
    simulated: dict[str, Any] = {
        "slots": 3 * SLOTS,
        "models": [MODEL],
        "tokens_per_second": DECODE,
        "decode_crowding": 0,
        "answer_tokens": str(ANSWER_TOKENS),
    }
    values = {"prefect_port": free_port(), "heartbeat": 3.0, "batch_size": BATCH_SIZE, "batch_seconds": 0}
    with place(**values), running(**simulated) as simulator:
        _declare(simulator)
        with database(settings()) as db:
            prepare(db)
            with orchestrator(settings(), db) as prefect:
                asyncio.run(_deployed())
                with db.connect(autocommit=True) as connection:
                    number = board(connection, "kills")
                    add(connection, number, [Item(f"Say what number {n:05} is") for n in range(items)])
                logs = settings().home / "logs"
                scene = Scene(db, prefect, number, Warm(logs / "drains.log"), logs)
                try:
                    killed, most = _killing(scene, wanted, items)
                    _finish(scene)
                finally:
                    scene.end()
                return _figures(
                    scene, simulator, killed, most, items, None if quick else sum(wanted.values())
                )


def _declare(simulator: Simulator) -> None:
    """One server, three names."""
    other = simulator.url.replace("127.0.0.1", "localhost")
    places = [("ollama", simulator.url), ("ollama", other), ("openai", simulator.openai_url)]
    configure(
        endpoints=[
            {"backend": backend, "url": url, "slots": SLOTS, "model": MODEL} for backend, url in places
        ]
    )


async def _deployed() -> None:
    from prefect.client.orchestration import get_client

    from deployments.deploy import declared, deploy
    from deployments.pools import ensure_pools, pools

    async with get_client() as client:
        await ensure_pools(client, pools(settings()))
        await deploy(client, [each for each in declared(settings()) if each.full_name == DEPLOYMENT])


async def _wanted(number: int) -> None:
    """A run of the deployment, where none waits or runs."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    from deployments.runs import start_run

    unfinished = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(DEPLOYMENT)
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id={"any_": [deployment.id]},
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
            )
        )
        if not runs:
            await start_run(client, DEPLOYMENT, {"backend": "openai", "boards": [number]})


def _killing(scene: Scene, wanted: dict[str, int], items: int) -> tuple[Counter[str], int]:
    """How many of each were killed; and the most that one drain had claimed and not written at a kill."""
    chance = random.Random(SEED)
    order = [kind for kind, count in wanted.items() for _ in range(count)]
    chance.shuffle(order)
    killed: Counter[str] = Counter()
    most = 0
    total = len(order)
    say(f"{total} kills over {items:,} items; {load()}")
    while order:
        share = (total - len(order) + 1) / total
        _work(scene, EVERY_SECONDS * chance.uniform(0.5, 1.5), until=share * items)
        kind, victim = _victim(scene, order, chance)
        most = max([most, *(count for _, count in _held(scene))])
        victim.send_signal(signal.SIGKILL)
        if kind == "postgres":
            with database(settings()):  # starts it again; the benchmark has it open already, so it stays
                pass
        order.remove(kind)
        killed[kind] += 1
        if sum(killed.values()) % 20 == 0:
            say(f"    {sum(killed.values())} kills, {_done(scene)} of {items:,} items done; {load()}")
    return killed, most


def _finish(scene: Scene) -> None:
    deadline = time.monotonic() + PATIENCE
    while (done := _done(scene)) < (items := _counts(scene)[0]):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{done} of {items} items are done {PATIENCE:.0f} s after the last kill")
        _work(scene, 0.5, until=items)


def _work(scene: Scene, seconds: float, *, until: float) -> None:
    """For so long, or until so many items are done."""
    deadline = time.monotonic() + seconds
    while True:
        scene.keep_up()
        if time.monotonic() >= deadline or _done(scene) >= until:
            return
        time.sleep(0.2)


def _victim(scene: Scene, order: list[str], chance: random.Random) -> tuple[str, psutil.Process]:
    """The next kind of which one is at work, and that one; where that takes long, one that is alive."""
    began = time.monotonic()
    while True:
        busy = {pid for pid, count in _held(scene) if count}
        late = time.monotonic() - began > TOGETHER_SECONDS
        for kind in dict.fromkeys(order):
            if found := _alive(scene, kind, busy, late):
                return kind, chance.choice(found)
        if time.monotonic() - began > PATIENCE:
            raise RuntimeError(
                f"nothing that could be killed was alive for {PATIENCE:.0f} s; see {scene.logs}"
            )
        _work(scene, 0.1, until=ITEMS)


def _alive(scene: Scene, kind: str, busy: set[int], late: bool) -> list[psutil.Process]:
    """Those of a kind that are at work, or beside whom drains are."""
    worker = psutil.Process(scene.worker.pid) if scene.worker and scene.worker.poll() is None else None
    try:
        runs = worker.children(recursive=True) if worker else []
    except psutil.NoSuchProcess:
        runs = []
    works = any(run.pid in busy for run in runs)
    if kind == "drain":
        own = [psutil.Process(each.pid) for each in scene.drains.values() if each.is_alive() and each.pid]
        return [each for each in [*own, *runs] if late or each.pid in busy]
    if kind == "worker":
        return [worker] if worker and (works or late) else []
    if not busy and not late:
        return []
    process = (
        living(read_note(settings().home / "run" / "prefect.json")) if kind == "prefect" else _postmaster()
    )
    return [process] if process else []


def _postmaster() -> psutil.Process | None:
    try:
        lines = (settings().home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
        return psutil.Process(int(lines[0]))
    except (FileNotFoundError, psutil.NoSuchProcess, IndexError):
        return None


def _held(scene: Scene) -> list[tuple[int, int]]:
    """Whoever holds a lease, by pid, with how many items it has claimed and not written."""
    rows = _asked(
        scene,
        "select l.holder, count(i.id) from lease l left join item i on i.lease = l.token and i.status = 2"
        " where l.expires_at > now() group by l.resource, l.holder",
    )
    return [
        (int(holder.rsplit(" ", 2)[-2]), count) for holder, count in rows
    ]  # as tasks/execute/holder.py has it


def _done(scene: Scene) -> int:
    return _counts(scene)[1]


def _counts(scene: Scene) -> tuple[int, int]:
    ((items, done),) = _asked(scene, "select count(*), count(*) filter (where status = 4) from item")
    return int(items), int(done)


def _asked(scene: Scene, query: str) -> list[Any]:
    """Of Postgres, which may just be starting again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with scene.db.connect(autocommit=True) as connection:
                return connection.execute(query).fetchall()
        except (DatabaseError, psycopg.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _figures(
    scene: Scene, simulator: Simulator, killed: Counter[str], most: int, items: int, goal: int | None
) -> list[Figure]:
    stats = simulator.stats()
    with scene.db.connect() as connection:
        counts = settled(connection, scene.board)
        row = connection.execute(
            "select (select count(*) from result where superseded_at is null),"
            "       (select coalesce(sum(completion_tokens), 0) from attempt where outcome = 'accepted')"
        ).fetchone()
    assert row is not None
    results, paid = int(row[0]), int(row[1])
    total = sum(killed.values())
    names = {
        "drain": "a drain",
        "prefect": "the Prefect server",
        "postgres": "Postgres",
        "worker": "the worker",
    }
    kinds = ", ".join(f"{killed[kind]} of {name}" for kind, name in names.items())
    answers, tokens = int(stats["answers"]), int(stats["tokens_out"])
    return [
        told("kills", total, kinds) if goal is None else at_least("kills", total, kinds, goal),
        at_least("  items settled", min(counts[1], results), f"of {items:,}", items),
        at_most("  items accepted twice", counts[2] - counts[1], "", 0),
        at_most("  claimed and not written by one drain at a kill, at most", most, "items", BATCH_SIZE),
        at_most(
            "  answers paid twice, for a kill", (answers - items) / total, f"of {answers - items}", BATCH_SIZE
        ),
        told("  tokens written that no result has, for a kill", (tokens - paid) / total, "tokens"),
        told("  drains and workers that ended because of them", scene.ended, ""),
    ]
