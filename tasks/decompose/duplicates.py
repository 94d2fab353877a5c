"""The same work is done once. The database refuses a second item by the primary key of `work_key`.

A work is a recipe, a title, a body and the titles above it, a heading included: "Add tests" under two features are two
works. The board's own title and headings that name a state (lanes) are not in it. An item
claims its work in the transaction that gives it its recipe, whichever way it came in. Who claims a work that another
item claimed within the last `duplicate_days` is refused: it is not run, a finding names the other item, and what needs
it needs that one. A claim ends when its item leaves the board, becomes another work or is rejected before it was done
(penstock_release_work); those who were refused for it are then looked at again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from models.board import Finding
from models.enums import Severity, Status
from sql.statements import statement
from tasks.decompose.across import named
from tasks.decompose.graph import Node
from tasks.ingest.rows import normalised

Connection = psycopg.Connection[Any]


def fingerprint(recipe: str, title: str, body: str, above: Sequence[str]) -> uuid.UUID:
    """`above`: titles of what the item is part of, from the top down, with the heading that those stand under."""
    return _fingerprint(recipe, title, body, "\0".join(filter(None, map(normalised, above))))


def _fingerprint(recipe: str, title: str, body: str, above: str) -> uuid.UUID:
    lines = "\n".join(filter(None, (" ".join(line.split()) for line in body.splitlines()))) if body else ""
    work = "\0\0".join((recipe, normalised(title), lines, above))
    return uuid.UUID(bytes=hashlib.blake2b(work.encode(), digest_size=16).digest())


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that is not run, and the item that does its work."""

    item_id: int
    owner: int
    work: uuid.UUID


def free_refused(connection: Connection, board_id: int, days: int) -> dict[int, Refused]:
    """Let items of the board go that were refused for a work that nobody has claimed now; gives the others."""
    scope = {"board": board_id, "days": days}
    if connection.execute(statement("decompose.free_refused"), scope).rowcount:
        connection.execute(statement("decompose.wake_who_needs"), scope)
    rows = connection.execute(statement("decompose.refused"), scope)
    return {row[0]: Refused(*row) for row in rows}


def claim_works(
    connection: Connection,
    board_id: int,
    nodes: Sequence[Node],
    kinds: Mapping[int, str],
    before: Mapping[int, Refused],
    *,
    known: Sequence[str],
    folder: str | None,
    days: int,
) -> list[Finding]:
    """Claim the works of the items that are to get a recipe, or stand elsewhere now and so do another work. Say which
    are refused, and set their `original`.

    `kinds` has the recipes of open leaves by what they are, whether or not they are split first; `before` is from
    `free_refused`. The items are locked.
    """
    by_id = {node.id: node for node in nodes}
    works = _works([node for node in nodes if node.id in kinds], by_id, kinds) if days else {}
    moved = [each.item_id for each in before.values() if works.get(each.item_id, each.work) != each.work]
    if moved:
        connection.execute(statement("decompose.free_moved"), {"items": moved})
    for item_id in moved:
        by_id[item_id].status = Status.PENDING
    claimed = dict(connection.execute(statement("decompose.claimed"), {"board": board_id}).fetchall())
    asking = {
        node.id: works[node.id]
        for node in nodes
        if node.id in works
        and node.status in (Status.PENDING, Status.READY)
        and (node.recipe not in known or claimed.get(node.id, works[node.id]) != works[node.id])
    }
    other = [item_id for item_id, work in asking.items() if claimed.get(item_id, work) != work]
    if other:
        connection.execute(statement("ingest.release_work"), {"ids": other})
    refused = _refused(connection, asking, days) if asking else {}
    still = {
        item_id: each.owner for item_id, each in before.items() if item_id in kinds and item_id not in moved
    }
    owners = {owner: by_id[owner] for owner in (refused | still).values() if owner in by_id}
    owners |= named(connection, set((refused | still).values()) - set(owners), folder)
    findings: list[Finding] = []
    for item_id, owner in (refused | still).items():
        node = by_id[item_id]
        node.original = owners[owner]
        message = (
            f"{node.name} is the same work as {node.original.name}: it is not run, and what needs it waits for that "
            "one. Reword one of them if both are to be done."
        )
        findings.append(Finding("duplicate_work", Severity.WARNING, node.line, message))
    if refused or len(still) < len(before):
        connection.execute(
            statement("decompose.keep_duplicates"),
            {
                "board": board_id,
                "still": list(still),
                "items": list(refused),
                "fingerprints": [works[item_id] for item_id in refused],
            },
        )
        connection.execute(statement("decompose.wake_who_needs"), {"board": board_id})
    return findings


def _works(
    asking: Sequence[Node], by_id: Mapping[int, Node], kinds: Mapping[int, str]
) -> dict[int, uuid.UUID]:
    above: dict[int, str] = {}

    def under(node: Node) -> str:
        """Titles of what the node is part of, from the top down."""
        parent = by_id.get(node.parent_id) if node.parent_id is not None else None
        if parent is None:
            return normalised(node.section)
        if parent.id not in above:  # as deep as a board is: some 64 levels
            above[parent.id] = "\0".join(filter(None, (under(parent), normalised(parent.title))))
        return above[parent.id]

    return {node.id: _fingerprint(kinds[node.id], node.title, node.body, under(node)) for node in asking}


def _refused(connection: Connection, works: Mapping[int, uuid.UUID], days: int) -> dict[int, int]:
    """Items whose work is another's, and whose. In the board's order: of equal items the first does the work."""
    scope = {"items": list(works), "fingerprints": list(works.values()), "days": days}
    granted = {row[0] for row in connection.execute(statement("decompose.claim_works"), scope)}
    others = {item_id: work for item_id, work in works.items() if item_id not in granted}
    if not others:
        return {}
    scope = {"fingerprints": sorted(set(others.values()))}
    owners: dict[uuid.UUID, int] = dict(connection.execute(statement("decompose.owners"), scope).fetchall())
    return {item_id: owners[work] for item_id, work in others.items()}
