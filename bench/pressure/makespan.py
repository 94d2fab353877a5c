"""2,000 items on 3 models in random order; a server with 4 slots that keeps one model loaded and takes 2 s for a load.

The server is strictly first come, first served: with a request for another model at the head, those behind it wait for
the load, too. An answer takes 0.2 s. The bound is all answers side by side and a load for each model, the first one
too, for nothing is loaded at the start: 2,000 x 0.2 s / 4 + 3 x 2 s = 106 s. Once more with answers of 0.05 s, quicker
than a model's are: there the moment between an answer and the next request weighs four times as much.

Penstock is given the items as they are. Beside it a plain loop and durable queues (Postgres: the same server), with 8
requests in flight, so that the server always has the next one: as given, for a minute, by which the whole is
extrapolated; and sorted by model beforehand, as their user can do it, to the end.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.harness import Figure, at_most, say, told
from bench.pressure import peers
from bench.pressure.drivers.protocol import Order
from bench.pressure.race import Outcome, race
from bench.pressure.scene import place
from models.settings import settings
from sql.connection import Database, database
from sql.schema import prepare

MODELS = ("first:7b", "second:7b", "third:7b")
SLOTS, ANSWER_SECONDS, LOAD_SECONDS = 4, 0.2, 2.0
QUICK_ANSWER_SECONDS = 0.05
PEERS_IN_FLIGHT = 8
GOAL = 1.05
SEED = 4
SERVER = {
    "flavour": "ollama",
    "slots": SLOTS,
    "models": MODELS,
    "resident": 1,
    "load_seconds": LOAD_SECONDS,
    "latency": ANSWER_SECONDS,
}


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    module: str
    own_environment: bool = False  # it is installed beside Penstock, not with it
    in_flight: int = PEERS_IN_FLIGHT


PENSTOCK = Contender("Penstock", "penstock", in_flight=SLOTS)
PLAIN = Contender("asyncio + httpx, stores nothing", "plain")
QUEUES = (
    Contender("procrastinate", "on_procrastinate", True),
    Contender("pgqueuer", "on_pgqueuer", True),
    Contender("dbos, polling each 20 ms", "on_dbos", True),
    Contender("prefect .map", "on_prefect"),
)


@dataclass(slots=True)
class Track:
    db: Database
    environment: Mapping[str, str]  # of what uses the Prefect server
    runs: int = 0

    def run(
        self,
        contender: Contender,
        work: list[tuple[str, str]],
        most_seconds: float | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> Outcome:
        """Raises NotInstalled."""
        self.runs += 1
        python = peers.python() if contender.own_environment else sys.executable
        name = f"peer_{self.runs}"
        if contender.own_environment:
            with self.db.connect(autocommit=True) as connection:
                connection.execute(f"create database {name}".encode())
        conninfo = make_conninfo(self.db.dsn, dbname=name)
        given = Order("", work, contender.in_flight, conninfo, str(conninfo_to_dict(conninfo)["host"]), name)
        say(f"{contender.name}: {len(work)} items; load {os.getloadavg()[0]:.1f}")
        outcome = race(
            [python, "-m", f"bench.pressure.drivers.{contender.module}"],
            given,
            SERVER | {"latency": answer_seconds},
            settings().home / "logs" / f"driver-{self.runs}.log",
            most_seconds=most_seconds,
            environment=None if contender.own_environment else self.environment,
        )
        stats = outcome.stats
        say(
            f"    {outcome.answers} answers in {outcome.seconds:.1f} s, {stats['span_seconds']:.1f} s of them from "
            f"the first request to the last answer; slots busy for {stats['busy_seconds']:.1f} s, "
            f"{stats['loads']} loads"
        )
        return outcome


def run(quick: bool) -> list[Figure]:
    items, rounds, some_seconds = (120, 1, 6.0) if quick else (2000, 1, 30.0)
    work = _work(items)
    with place(), database(settings()) as db:
        prepare(db)
        from deployments.server import orchestrator

        with orchestrator(settings(), db) as prefect:
            track = Track(db, prefect.environment())
            ours = [track.run(PENSTOCK, _work(items))]
            quickly = track.run(PENSTOCK, _work(items, 9), answer_seconds=QUICK_ANSWER_SECONDS)
            figures: list[Figure] = []
            for contender in (PLAIN, *QUEUES):
                as_given = contender is PLAIN or not quick
                figures += _peer(track, contender, work, some_seconds if as_given else None)
                if len(ours) < rounds and contender in QUEUES:
                    ours.append(track.run(PENSTOCK, _work(items, len(ours))))
    with_quick_answers = told(
        f"  with answers of {QUICK_ANSWER_SECONDS:g} s",
        quickly.wall / bound(items, QUICK_ANSWER_SECONDS),
        f"x the bound; {quickly.loads:.3g} loads/100 items",
    )
    return [*_ours(ours, items, goals=not quick), with_quick_answers, *figures]


def _work(items: int, turn: int = 0) -> list[tuple[str, str]]:
    """As many of each model, in an order that is random and always the same; words of its own for each turn, for
    Penstock would not do the same work again."""
    about = f"turn {turn}"
    work = [(MODELS[n % len(MODELS)], f"Say what number {n:06} of {about} is") for n in range(items)]
    random.Random(SEED).shuffle(work)
    return work


def bound(items: int, answer_seconds: float = ANSWER_SECONDS) -> float:
    return items * answer_seconds / SLOTS + len(MODELS) * LOAD_SECONDS


def _ours(outcomes: list[Outcome], items: int, *, goals: bool) -> list[Figure]:
    middle = sorted(outcomes, key=lambda outcome: outcome.wall)[len(outcomes) // 2]
    most = max(int(outcome.stats["max_in_flight"]) for outcome in outcomes)
    limited = at_most if goals else lambda figure, value, unit, _: told(figure, value, unit)
    name = f"makespan of {items:,} items, as given: Penstock"
    # The first load is asked for by itself, before any request: the judge's span begins after it.
    on_server = (float(middle.stats["span_seconds"]) + LOAD_SECONDS) / bound(items)
    return [
        told("makespan: the lower bound", bound(items), "s"),
        limited(name, middle.wall / bound(items), _unit(middle), GOAL),
        told("  from its first load to its last answer", on_server, "x the bound"),
        at_most("  its most requests in flight", most, "", SLOTS),
    ]


def _peer(
    track: Track, contender: Contender, work: list[tuple[str, str]], seconds: float | None
) -> list[Figure]:
    """Its rows: sorted by model, and as given for so many seconds."""
    least = bound(len(work))
    figures = []
    try:
        if seconds is not None:
            given = track.run(contender, work, seconds)
            how = "" if given.finished else f", extrapolated from {given.answers} answers in {seconds:.0f} s"
            unit = f"x the bound{how}; {given.loads:.3g} loads/100 items"
            figures.append(told(f"  {contender.name}, as given", given.wall / least, unit))
        ordered = track.run(contender, sorted(work, key=lambda pair: MODELS.index(pair[0])))
    except peers.NotInstalled as error:
        return [told(f"  {contender.name}", 0, f"runs: it could not be installed here ({error})")]
    return [
        *figures,
        told(f"  {contender.name}, sorted by model", ordered.wall / least, _unit(ordered)),
    ]


def _unit(outcome: Outcome) -> str:
    return f"x the bound; {outcome.loads:.3g} loads/100 items; {outcome.milliseconds:.1f} ms CPU/item"
