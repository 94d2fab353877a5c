"""What is stored, looked at: lists of items, one item with all about it, boards. Writes nothing."""

from tasks.items.boards import board_case, board_rows, matching
from tasks.items.listing import count, find, stream, totals
from tasks.items.one import item_case, item_id

__all__ = [
    "board_case",
    "board_rows",
    "count",
    "find",
    "item_case",
    "item_id",
    "matching",
    "stream",
    "totals",
]
