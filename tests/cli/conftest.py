"""The real command line in this process, over one Postgres and one Prefect server that all tests here share.

def test_x(penstock: Penstock) -> None:
    outcome = penstock("run", "plan.md", stdin=b"...", env={"PENSTOCK_BACKEND": "extractive"})
    outcome.code, outcome.out, outcome.err
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.server import PrefectServer
from interfaces.cli import main
from interfaces.cli.render import console
from models.settings import Settings, settings
from sql.connection import Database
from sql.connection import database as open_database
from sql.schema import prepare


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("penstock: ")]


@dataclass
class Penstock:
    """Calls `penstock ...` as its console script does, errors and exit codes included."""

    folder: Path
    home: Path
    database: Database
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        code: int | str | None = 0
        with self.monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["penstock", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            settings.cache_clear()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    code = end.code
            settings.cache_clear()
        said = Outcome(int(code or 0), out.getvalue(), err.getvalue())
        for sign in ("Traceback", "Something went wrong that should not", "Warning:", "| ERROR"):
            assert sign not in said.out + said.err, said.out + said.err
        return said

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def count(self, query: str, *values: object) -> int:
        with self.database.connect() as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture(scope="session")
def shared_home(open_folder: Path) -> Iterator[tuple[Path, Database]]:
    home = open_folder / "cli"
    config = Settings(home=home, prefect_port=0)
    with open_database(config) as database:
        prepare(database)
        with PrefectServer(config, database):
            yield home, database
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def penstock(
    shared_home: tuple[Path, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Penstock]:
    for name in list(os.environ):
        if name.startswith(("PENSTOCK_", "PG")):
            monkeypatch.delenv(name)
    home, database = shared_home
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    monkeypatch.setenv("PENSTOCK_PREFECT_PORT", "0")
    monkeypatch.setenv("PENSTOCK_BACKEND", "extractive")
    monkeypatch.setenv("PENSTOCK_RETRY_DELAY", "0")
    monkeypatch.setenv(
        "PENSTOCK_DUPLICATE_DAYS", "0"
    )  # the database is shared, and tests write the same items
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    handlers, raising = list(logging.root.handlers), logging.raiseExceptions
    console.cache_clear()
    yield Penstock(tmp_path, home, database, monkeypatch)
    with database.connect(autocommit=True) as connection:  # work that is left would be the next test's
        connection.execute("truncate board, batch, run, review, lease cascade")
    for handler in [each for each in logging.root.handlers if each not in handlers]:
        logging.root.removeHandler(handler)
        handler.close()
    logging.raiseExceptions = raising
    settings.cache_clear()
    with warnings.catch_warnings():
        # Prefect's client leaves sockets to the collector, a pair per flow run.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


_numbers = itertools.count(200)


@pytest.fixture
def plan(penstock: Penstock) -> str:
    """A board with one item that its documents answer, one ticked, and one that nothing answers.

    The basin's number is this test's own: memory is shared, and an earlier test's answer would be cited.
    """
    basin = next(_numbers)
    penstock.write(
        "work/plan.md",
        f"# Plan of the basin\n\n- [ ] State the level of basin {basin}\n- [x] Paint the fence\n"
        "- [ ] Choose the colour of the gate\n",
    )
    penstock.write("work/levels.md", f"# Levels\n\nThe level of basin {basin} is 212 metres above the sea.\n")
    return "work"
