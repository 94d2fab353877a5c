"""The graph of a report's boards: small enough to be read inside it, and whole in a file beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from tasks.graph import MOST_SVG, Scope, mermaid, read, svg

MOST_IN_REPORT = 60
"""Items of the drawing inside the report. Of more only what is open is drawn, of more than that only what has parts."""


@dataclass(frozen=True, slots=True)
class Graph:
    mermaid: str
    svg: str


def draw(connection: psycopg.Connection[Any], boards: Sequence[int]) -> Graph | None:
    """The boards drawn; None where they have no items."""
    whole = read(connection, Scope(boards=boards, most=MOST_SVG))
    if not whole.counts():
        return None
    small = whole
    if len(whole) > MOST_IN_REPORT or whole.notes:
        small = read(connection, Scope(boards=boards, open=True, most=MOST_IN_REPORT))
        if not small.counts():  # all is settled: then what there was
            small = read(connection, Scope(boards=boards, most=MOST_IN_REPORT))
    return Graph(mermaid(small), svg(whole))
