"""Tables of work: numbered checks, plan rows with a status in words or signs, boards with a column for each state."""

from __future__ import annotations

import re

from sources import prd
from sources.document import Document
from sources.outline import Outline
from sources.structure import settle
from sources.tables import is_work, read_tables, status_column, work_items
from sources.walk import Grammar, walk

NAME = "checklist"

_TABLE = re.compile(r"^[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+\|", re.MULTILINE)


def score(document: Document) -> float:
    """0.6 when a table of the text holds work; a to-do list with a table beside it is read whole that way."""
    if not _TABLE.search(document.text):
        return 0.0
    tables = read_tables(document)
    if not any(map(is_work, tables)):
        return 0.0
    # A numbered table of requirements is what a requirements document consists of.
    return (
        0.6 if not prd.score(document) or any(status_column(table) is not None for table in tables) else 0.0
    )


def parse(document: Document) -> Outline:
    outline = walk(document, Grammar())
    rows = work_items(document, read_tables(document))
    outline.items = sorted([*outline.items, *rows], key=lambda item: (item.line, item.ordinal))
    settle(outline)
    return outline
