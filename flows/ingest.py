"""Ingest: files become boards with items and findings, and their text becomes memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run, task_run
from psycopg.rows import TupleRow

import sources
from models.enums import LaneName
from models.errors import SourceError
from models.settings import Settings, settings
from sql.connection import database
from sql.schema import prepare
from tasks.ingest import ingest_board
from tasks.ingest.gone import follow_rename, take_off_gone
from tasks.ingest.origins import contents, dialect_of, keep_revision
from tasks.lanes import set_boards
from tasks.places import shown
from tasks.remember import remember_board

__all__ = ["ingest"]

MOST_TASK_RUNS = 20
"""Prefect carries 60 task runs a second: a folder of a thousand files is read in this many groups."""


def _flow_name() -> str:
    board = (flow_run.parameters or {}).get("board") or []
    given = [board] if isinstance(board, str) else list(board)
    more = f" and {len(given) - 1} more" if len(given) > 1 else ""
    return f"ingest {Path(given[0]).name if given else ''}{more}"


def _task_name() -> str:
    names = [origin.name for origin in task_run.parameters["origins"]]
    return f"store {Path(names[0]).name}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


@flow(name="ingest", flow_run_name=_flow_name)
def ingest(
    board: str | list[str], dialect: str | None = None, lane: LaneName | None = None
) -> dict[str, Any]:
    """Read, parse and store boards (see sources.expand for what a path may be), and remember their text.

    What was ingested before and has not changed costs one look. A file of a folder that can't be read is said in
    `unreadable` and the rest goes on. A board whose file was renamed is known by its bytes; boards of the folders whose
    files are gone are emptied; `gone` says so. `lane`: who waits for their answers; None leaves it as it is. Raises
    SourceError when nothing can be read. Returns {"boards": one delta per board (tasks.ingest.Delta.as_json),
    "unreadable": sentences, "gone": sentences}.
    """
    logger = get_run_logger()
    given = [board] if isinstance(board, str) else board
    origins = sources.expand(given)
    size = -(-len(origins) // MOST_TASK_RUNS)
    boards: list[dict[str, Any]] = []
    unreadable: list[str] = []
    gone: list[str] = []
    for start in range(0, len(origins), size):
        stored = store(origins[start : start + size], dialect, lane)
        boards += stored["boards"]
        unreadable += stored["unreadable"]
        gone += stored["renamed"]
    for sentence in unreadable:
        logger.warning(sentence)
    if not boards:
        raise SourceError(" ".join(unreadable))
    folders = [os.path.realpath(path) for path in map(os.path.expanduser, given) if os.path.isdir(path)]
    gone += take_off([delta["board_id"] for delta in boards], folders)
    columns = ("source", "added", "changed", "moved", "removed", "status_changed", "unchanged")
    create_table_artifact(
        [{name: delta[name] for name in columns} | {"findings": len(delta["findings"])} for delta in boards],
        key="ingested-boards",
        description=f"{len(boards)} documents read, {sum(delta['added'] for delta in boards)} new items",
    )
    return {"boards": boards, "unreadable": unreadable, "gone": gone}


@task(
    name="take off",
    task_run_name="take off boards whose file is gone",
    tags=["ingest"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def take_off(boards: Sequence[int], folders: Sequence[str]) -> list[str]:
    """Empty boards whose file is gone: below these folders, and those whose items hold up the work of `boards`.

    Gives a sentence for each.
    """
    config = settings()
    with database(config) as db:
        prepare(db)
        with db.connect(autocommit=True) as connection:
            emptied = take_off_gone(
                connection, boards, [Path(each) for each in folders], inbox=_inbox(config)
            )
    return [each.sentence for each in emptied]


@task(name="store", task_run_name=_task_name, tags=["ingest"], cache_policy=NO_CACHE, persist_result=False)
def store(
    origins: Sequence[sources.Origin], dialect: str | None, lane: LaneName | None = None
) -> dict[str, Any]:
    """Parse and store some files, each in a transaction of its own."""
    config = settings()
    boards: list[dict[str, Any]] = []
    unreadable: list[str] = []
    renamed: list[str] = []
    with database(config) as db:
        prepare(db)
        for origin in origins:
            try:
                with db.connect() as connection:
                    boards.append(_keep(connection, config, origin, dialect, renamed, lane))
            except SourceError as error:
                unreadable.append(str(error))
    return {"boards": boards, "unreadable": unreadable, "renamed": renamed}


def _keep(
    connection: psycopg.Connection[TupleRow],
    config: Settings,
    origin: sources.Origin,
    dialect: str | None,
    renamed: list[str],
    lane: LaneName | None,
) -> dict[str, Any]:
    data = contents(connection, origin, config.max_source_bytes)
    parsed = sources.parse(data, origin.name, dialect_of(origin, dialect), config.max_source_bytes)
    source = origin.source(parsed.sha256)
    was = follow_rename(connection, source, parsed.sha256, inbox=_inbox(config)) if origin.path else None
    chosen = None if lane is None else lane.lane
    delta = ingest_board(connection, parsed, source=source, lane=chosen, zone=config.timezone)
    if chosen is not None:
        set_boards(connection, [delta.board_id], lane=chosen)
    keep_revision(connection, delta.board_id, origin.revision)
    connection.commit()
    if was is not None:
        renamed.append(f"{shown(was)} was renamed to {shown(source)}.")
    remember_board(connection, delta.board_id, parsed)
    return delta.as_json()


def _inbox(config: Settings) -> Path:
    """Where uploads are kept: Penstock's own copies, whose coming and going says nothing of the board."""
    return (config.home / "inbox").resolve()
