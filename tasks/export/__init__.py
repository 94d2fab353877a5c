"""Partial results at any time: one row for each input row of a board, in its order, as of one moment."""

from tasks.export.encoding import chunks
from tasks.export.files import written
from tasks.export.reading import named, rows

__all__ = ["chunks", "named", "rows", "written"]
