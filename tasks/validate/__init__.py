"""The checks: is this answer good enough to become a result, and are these items good enough to be stored?

Importing this package imports neither pandas nor Great Expectations; `warm_up` begins that off the critical path.
"""

from __future__ import annotations

from tasks.validate.batch import validate_batch
from tasks.validate.columns import COLUMNS
from tasks.validate.engine import ENGINE
from tasks.validate.items import CodedCheck, RowFinding, TableVerdict, check_items, check_table

__all__ = [
    "COLUMNS",
    "CodedCheck",
    "RowFinding",
    "TableVerdict",
    "check_items",
    "check_table",
    "close",
    "validate_batch",
    "warm_up",
]


def warm_up() -> None:
    """Begin to import Great Expectations in its thread, and return at once."""
    ENGINE.warm_up()


def close() -> None:
    """End the thread after the work in hand. For tests and long-lived hosts; a process's end does it too."""
    ENGINE.close()
