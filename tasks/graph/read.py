"""Read a graph out of the database: all of some boards, what is open, or what is around one item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from models.errors import InputError
from models.items import State
from sql.statements import statement
from tasks.graph.model import Arrow, BoardBox, Box, Drawing
from tasks.graph.shape import fold, join, nest
from tasks.places import shown

Connection = psycopg.Connection[Any]

MOST_READ = 20_000
"""Items that are read one by one. Of more, only those with parts are, and the database counts the others."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is drawn. `boards`: ids; None: all."""

    boards: Sequence[int] | None = None
    open: bool = False  # without what is settled
    around: int | None = None  # only what this item waits for and what waits for it
    depth: int = 1  # so many needs away
    collapse: bool = False  # only items with parts
    most: int | None = None  # boxes; more are folded. None: as many as there are

    @property
    def parameters(self) -> dict[str, Any]:
        return {"boards": None if self.boards is None else list(self.boards), "open": self.open, "ids": None}


def read(connection: Connection, scope: Scope) -> Drawing:
    """The drawing. Raises InputError when the item that it is to be around is not there."""
    if scope.around is not None:
        return _around(connection, scope, scope.around)
    row = connection.execute(statement("graph.count"), scope.parameters).fetchone()
    total = int(row[0]) if row else 0
    if total > MOST_READ and (scope.most is not None or scope.collapse):
        drawing = _containers(connection, scope)
        fold(drawing, scope.most or MOST_READ)
    else:
        drawing = _items(connection, scope.parameters, lift=True)
        if scope.collapse or (scope.most is not None and total > scope.most):
            fold(drawing, scope.most or MOST_READ)
    if scope.open:
        drawing.notes.append("What is settled is not drawn.")
    return drawing


def _items(connection: Connection, parameters: dict[str, Any], *, lift: bool) -> Drawing:
    boxes = [_box(row) for row in connection.execute(statement("graph.items"), parameters)]
    drawing = _on_boards(connection, {box.board_id for box in boxes})
    by_id = nest(boxes, drawing)
    needs = connection.execute(statement("graph.needs"), parameters).fetchall()
    drawing.arrows = join(by_id, needs, lift=lift)
    return drawing


def _containers(connection: Connection, scope: Scope) -> Drawing:
    boxes = [_box(row) for row in connection.execute(statement("graph.containers"), scope.parameters)]
    # Of an item without parts: what is pending although it is to be run waits for something.
    leaves = connection.execute(statement("graph.leaves"), scope.parameters).fetchall()
    drawing = _on_boards(connection, {box.board_id for box in boxes} | {row[0] for row in leaves})
    by_id = nest(boxes, drawing)
    boards = {board.id: board for board in drawing.boards}
    for board_id, parent_id, *state, number in leaves:
        into = by_id.get(parent_id) if parent_id is not None else None
        (into or boards[board_id]).folded[State.of(*state)] += number
    for item_id, needs_id, settled in connection.execute(
        statement("graph.container_needs"), scope.parameters
    ):
        if item_id in by_id and needs_id in by_id:
            drawing.arrows.append(Arrow(by_id[needs_id], by_id[item_id], settled))
    return drawing


def _around(connection: Connection, scope: Scope, item: int) -> Drawing:
    """The item and its parts, `depth` needs away in both directions, and what all these are part of."""
    most = scope.most or MOST_READ
    ids = {item, *_ids(connection, "graph.below", [item], most)}
    edge = ids
    for _ in range(scope.depth):
        edge = set(_ids(connection, "graph.around", sorted(edge), most)) - ids
        ids |= edge
    parameters = scope.parameters | {
        "boards": None,
        "ids": [*ids, *_ids(connection, "graph.above", sorted(ids), most)],
    }
    drawing = _items(connection, parameters | {"open": False}, lift=False)
    by_id = {box.id: box for box in drawing.walk()}
    if item not in by_id:
        raise InputError(
            f"There is no item {item} on a board. `penstock items` lists them with their numbers."
        )
    by_id[item].asked = True
    _count_others(connection, by_id)
    drawing.notes.append(
        f"Around {by_id[item].name!r}, {scope.depth} {'need' if scope.depth == 1 else 'needs'} away."
    )
    if scope.collapse or len(by_id) > most:
        fold(drawing, most)
    return drawing


def _count_others(connection: Connection, by_id: dict[int, Box]) -> None:
    """What else is part of the boxes, as numbers."""
    parts = connection.execute(statement("graph.parts"), {"ids": list(by_id)})
    for parent_id, *state, number in parts:
        by_id[parent_id].folded[State.of(*state)] += number
    for box in by_id.values():
        for part in box.parts:
            if not part.container:
                box.folded[part.state] -= 1
        box.folded = +box.folded


def _ids(connection: Connection, name: str, ids: Sequence[int], most: int) -> list[int]:
    return [row[0] for row in connection.execute(statement(name), {"ids": list(ids), "most": most})]


def _on_boards(connection: Connection, boards: set[int]) -> Drawing:
    rows = connection.execute(statement("graph.boards"), {"boards": sorted(boards)})
    return Drawing([BoardBox(board_id, shown(source), title) for board_id, source, title in rows])


def _box(row: Sequence[Any]) -> Box:
    item_id, board_id, parent_id, status, runs, ext_id, kind, title, line, declared, *flags = row
    blocked, container, refused = flags
    return Box(
        id=item_id,
        board_id=board_id,
        parent_id=parent_id,
        state=State.of(status, blocked, declared, refused),
        runs=runs,
        ext_id=ext_id,
        kind=kind,
        title=title,
        line=line,
        declared=declared,
        container=container,
    )
