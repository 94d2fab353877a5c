"""Boards whose file is no longer there. One that was renamed keeps all that is known of it, another is emptied.

Only files are looked for: never what came from a repository, from GitHub, on standard input or by upload. What can't be
looked at (a folder without permission, a drive that is not there) is not taken for gone. An emptied board keeps its row
and its history; its `sha256` is '', which no version of a file has: when the file is back, it is read anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from models.board import ParsedBoard
from models.errors import InputError
from sql.statements import statement
from tasks.ingest.board import ingest_board
from tasks.places import shown
from tasks.remember import remember_board

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Emptied:
    """What was taken off with a board."""

    board_id: int
    source: str
    items: int  # those that stood on it
    reviews: int  # that were open

    @property
    def what(self) -> str:
        """`its 2 items were taken off, 1 open review was closed`"""
        items = {0: "it was taken off", 1: "its item was taken off"}
        said = items.get(self.items, f"its {self.items} items were taken off")
        if self.reviews:
            said += f", {self.reviews} open {'review was' if self.reviews == 1 else 'reviews were'} closed"
        return said

    @property
    def sentence(self) -> str:
        return f"{shown(self.source)} is gone: {self.what}."


def follow_rename(connection: Connection, source: str, sha256: str, *, inbox: Path) -> str | None:
    """Let the board of a file that is gone be that of `source`, a file with the same bytes that was never read before.

    Gives the old source. All ids stay, and with them answers, reviews and history; its text enters memory anew, under
    the new name. Part of the caller's transaction.
    """
    scope = {"source": source, "sha256": sha256}
    for board_id, old in connection.execute(statement("ingest.same_bytes"), scope).fetchall():
        if not _is_gone(old, inbox) or not _folder_near(old, 2):
            continue
        for name in sorted((old, source)):  # in one order, so that two who rename can't wait for one another
            connection.execute(statement("ingest.lock"), {"source": name})
        moved = connection.execute(statement("ingest.rename"), scope | {"board": board_id, "old": old})
        if moved.rowcount:
            connection.execute(statement("ingest.forget_place"), {"board": board_id})
            return str(old)
    return None


def take_off_gone(
    connection: Connection, boards: Sequence[int], folders: Sequence[Path], *, inbox: Path
) -> list[Emptied]:
    """Empty boards whose file is gone: those read from below `folders`, and those that hold up the work of `boards`.

    `boards` were just read. A board elsewhere holds work up when an item of these was refused as the same as one of its
    own; it is gone only where the folder that it was in is still there.
    """
    below = [str(folder).rstrip("/") + "/" for folder in folders]
    rows = connection.execute(
        statement("ingest.maybe_gone"), {"boards": list(boards), "folders": below}
    ).fetchall()
    return [
        empty_board(connection, board_id)
        for board_id, source in rows
        if _is_gone(source, inbox) and (source.startswith(tuple(below)) or _folder_near(source, 1))
    ]


def empty_board(connection: Connection, board_id: int) -> Emptied:
    """Take all items off a board, as if nothing stood on it any more, and its text out of memory.

    History is kept, open reviews are closed. Its works may be done by others, also those that were done: what was
    answered for a board that is gone is in nobody's report. One transaction. Raises InputError for an unknown board.
    """
    with connection.transaction():
        row = connection.execute(statement("ingest.to_empty"), {"board": board_id}).fetchone()
        if row is None:
            raise InputError(f"There is no board {board_id}. `penstock boards --all` lists them.")
        source, dialect, encoding, title, reviews = row
        nothing = ParsedBoard(source, dialect, encoding, "", title)
        delta = ingest_board(connection, nothing, source=source)
        connection.execute(statement("ingest.release_board"), {"board": board_id})
        remember_board(connection, board_id, nothing)
        return Emptied(board_id, source, delta.removed, reviews)


def _is_gone(source: str, inbox: Path) -> bool:
    # A backslash: the name has bytes that are no UTF-8, and what is stored is not the path.
    if not os.path.isabs(source) or "\\" in source or Path(source).is_relative_to(inbox):
        return False
    try:
        os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it can't be looked at, so nothing is known of it
        return False
    return False


def _folder_near(source: str, levels: int) -> bool:
    """Is the folder still there, or one up to so many levels above the file? Else a drive or another machine is."""
    return any(folder.is_dir() for folder in list(Path(source).parents)[:levels])
