"""Boards to decompose again, because of something on another board or a decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from models.settings import Settings
from sql.connection import Database
from sql.statements import statement
from tasks.decompose.board import decompose_boards
from tasks.decompose.wishes import Wishes
from tasks.recipes import load_recipes


def look_again(database: Database, config: Settings) -> int:
    """Decompose what is marked, outside of any run; gives how many more items are ready. Mostly nothing is."""
    with database.connect(autocommit=True) as connection:
        boards = [row[0] for row in connection.execute(statement("decompose.boards_to_look_at"))]
        if not boards:
            return 0
        before = _ready(connection, boards)
        decompose_boards(connection, [], load_recipes(config), Wishes.of(config))
        return max(0, _ready(connection, boards) - before)


def _ready(connection: psycopg.Connection[Any], boards: Sequence[int]) -> int:
    row = connection.execute(statement("decompose.count_ready"), {"boards": list(boards)}).fetchone()
    return int(row[0]) if row else 0
