"""A live bar over the items of a run, read from the database: the same whether this process executes or a pool."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import psycopg
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from interfaces.cli.render import console, shorten
from models.enums import SETTLED, Status
from models.errors import DatabaseError
from sql.connection import Database
from sql.statements import statement
from tasks.report import progress

INTERVAL = 0.5  # seconds between two looks
LONG_REST = 5.0  # seconds that are worth a line
ENDED = (*SETTLED, Status.WAITING, Status.FAILED)


class RunProgress:
    """Shows how a run goes on until the `with` block ends. Only looks: what it can't read it does not show."""

    def __init__(self, database: Database, run_id: uuid.UUID) -> None:
        self._database = database
        self._run_id = run_id
        self._stop = threading.Event()
        self._resting = False
        self._told_until = 0.0
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[items]}"),
            TextColumn("[green]{task.fields[done]} done[/] [yellow]{task.fields[waiting]} deferred[/]"),
            TimeElapsedColumn(),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None, items="", done=0, waiting=0)
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._bar.stop()

    def say(self, words: str) -> None:
        self._bar.update(self._task, description=words)

    def _doing(self, counts: Mapping[Status, int]) -> str:
        if counts.get(Status.RUNNING):
            return "working"
        return "waiting" if self._resting else "ordering"

    def _tell_rest(self, connection: psycopg.Connection[Any], boards: list[int]) -> None:
        """Once for each rest that is long: everything that is left was put off, until when, and why."""
        row = connection.execute(statement("report.resting"), {"boards": boards}).fetchone()
        self._resting = row is not None
        ends = time.monotonic() + row[0] if row is not None else 0.0
        if row is None or row[0] < LONG_REST or ends < self._told_until + LONG_REST:
            return
        self._told_until = ends
        why = f": {shorten(row[1], 200)}" if row[1] else ""
        console().print(
            Text(f"All that is left rests; the first is tried again in {row[0]:.0f} s{why}", "yellow")
        )

    def _watch(self) -> None:
        try:
            with self._database.connect(autocommit=True, application_name="penstock progress") as connection:
                while not self._stop.wait(INTERVAL):
                    row = connection.execute(statement("report.one_run"), {"id": self._run_id}).fetchone()
                    if not row or not row[4]:
                        continue
                    counts = progress(connection, row[4])
                    ended = sum(counts.get(status, 0) for status in ENDED)
                    if not counts.get(Status.RUNNING):
                        self._tell_rest(connection, row[4])
                    self._bar.update(
                        self._task,
                        description=self._doing(counts),
                        total=sum(counts.values()),
                        items=f"{ended}/{sum(counts.values())} items",
                        completed=ended,
                        done=counts.get(Status.DONE, 0),
                        waiting=counts.get(Status.WAITING, 0),
                    )
        except (psycopg.Error, DatabaseError):
            # The bar is a comfort; the run itself reports a database that went away.
            self._bar.update(self._task, description="working (progress can't be read)")
