"""Needs across boards: an id that is not on the item's own board is looked for on the boards of its folder.

Some tools keep a file per task, and plans name the tasks of the plan beside them. What is found is a need like any
other. What is not is kept in `wanted`: when a board changes, those that want its ids, or wanted them, are decomposed
again (`look_again`). So are boards whose ring was opened by cutting a need, when another board's needs change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import Any

import psycopg

from models.enums import Declared
from sql.statements import statement
from tasks.decompose.graph import Graph, Node, unknown

Connection = psycopg.Connection[Any]


def found_abroad(
    connection: Connection, board_id: int, folder: str | None, nodes: Sequence[Node]
) -> dict[str, list[Node]]:
    """The items of other boards that unknown ids of this board mean, by the id in lower case.

    Of each other board the first item with the id; where another item does its work, or that of a part of it, that
    one as well.
    """
    references = unknown(nodes)
    if folder is None or not references:
        return {}
    rows = connection.execute(
        statement("decompose.elsewhere"),
        {"board": board_id, "folder": folder, "references": sorted(references)},
    ).fetchall()
    own = {node.id: node for node in nodes}
    ids = {item_id for _, item_id, others in rows for item_id in (item_id, *others)}
    met = own | named(connection, ids - set(own), folder)
    found: dict[str, list[Node]] = defaultdict(list)
    for reference, item_id, others in rows:
        met[item_id].instead = tuple(met[other] for other in others)
        found[reference].append(met[item_id])
    return dict(found)


def named(connection: Connection, ids: Collection[int], folder: str | None) -> dict[int, Node]:
    """Items of other boards as ends of needs: they have a name and a place, and no needs of their own here."""
    if not ids:
        return {}
    rows = connection.execute(statement("decompose.named"), {"ids": sorted(ids)})
    return {
        item_id: Node(
            id=item_id,
            parent_id=None,
            position=position,
            status=status,
            kind=kind,
            ext_id=ext_id,
            title=title,
            line=line,
            declared=Declared.TODO,
            needs=[],
            phase_order=None,
            origin="abroad",
            asked=None,
            board=PurePath(source).name if folder is not None and theirs == folder else source,
        )
        for item_id, position, status, kind, ext_id, title, line, source, theirs in rows
    }


def edges_beyond(connection: Connection, board_id: int, needed: Collection[int]) -> list[tuple[int, int]]:
    """Edges among items of other boards by which what this board needs may lead back to it.

    `needed` are items of other boards. From an item to what it needs, from a container to its parts.
    """
    if not needed:
        return []
    rows = connection.execute(
        statement("decompose.edges_beyond"), {"board": board_id, "needed": sorted(needed)}
    )
    return [(item, need) for item, need in rows]


def keep_wanted(
    connection: Connection, board_id: int, folder: str | None, graph: Graph, abroad: dict[str, list[Node]]
) -> None:
    """Put down which ids this board looked for elsewhere, and mark the boards that look for its own."""
    if folder is None:
        return
    items: list[int] = []
    references: list[str] = []
    needs: list[int | None] = []
    for item_id, reference in sorted(set(graph.unknown)):
        found: Sequence[Node | None] = abroad.get(reference) or [None]
        for need in found:
            items.append(item_id)
            references.append(reference)
            needs.append(need.id if need is not None else None)
    scope = {"board": board_id, "folder": folder}
    connection.execute(statement("decompose.drop_wanted"), scope)
    if items:
        connection.execute(
            statement("decompose.add_wanted"),
            scope | {"items": items, "references": references, "needs": needs},
        )
    connection.execute(statement("decompose.wake_who_wants"), scope)


def keep_links(connection: Connection, board_id: int, graph: Graph, *, changed: bool) -> None:
    """Which boards this one needs, right before its frontier moves. `changed`: its needs are others than before."""
    needed = {need for _, need in graph.edges if need in graph.abroad}
    cut = {need for _, need in graph.cut if need in graph.abroad}
    scope = {"board": board_id, "needed": sorted(needed | cut), "cut": sorted(cut)}
    if needed or cut:
        new = connection.execute(statement("decompose.new_links"), scope).fetchone()
        if new is not None and new[0]:
            connection.execute(statement("decompose.lock_links"))
    connection.execute(statement("decompose.keep_links"), scope)
    if changed:
        connection.execute(statement("decompose.wake_rings"), scope)
