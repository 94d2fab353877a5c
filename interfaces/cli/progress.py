"""A live bar over the items of a run, read from the database: the same whether this process executes or a pool."""

from __future__ import annotations

import threading
import uuid
from types import TracebackType

import psycopg
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from interfaces.cli.render import console
from models.enums import SETTLED, Status
from models.errors import DatabaseError
from sql.connection import Database
from sql.statements import statement
from tasks.report import progress

INTERVAL = 0.5  # seconds between two looks
ENDED = (*SETTLED, Status.WAITING, Status.FAILED)


class RunProgress:
    """Shows how a run goes on until the `with` block ends. Only looks: what it can't read it does not show."""

    def __init__(self, database: Database, run_id: uuid.UUID) -> None:
        self._database = database
        self._run_id = run_id
        self._stop = threading.Event()
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

    def _watch(self) -> None:
        try:
            with self._database.connect(autocommit=True, application_name="penstock progress") as connection:
                while not self._stop.wait(INTERVAL):
                    row = connection.execute(statement("report.one_run"), {"id": self._run_id}).fetchone()
                    if not row or not row[4]:
                        continue
                    counts = progress(connection, row[4])
                    ended = sum(counts.get(status, 0) for status in ENDED)
                    self._bar.update(
                        self._task,
                        description="working" if counts.get(Status.RUNNING) else "ordering",
                        total=sum(counts.values()),
                        items=f"{ended}/{sum(counts.values())} items",
                        completed=ended,
                        done=counts.get(Status.DONE, 0),
                        waiting=counts.get(Status.WAITING, 0),
                    )
        except (psycopg.Error, DatabaseError):
            # The bar is a comfort; the run itself reports a database that went away.
            self._bar.update(self._task, description="working (progress can't be read)")
