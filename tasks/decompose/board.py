"""Structure first: what is a container, what waits for what, which recipe does which leaf."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from models.board import Finding
from models.enums import SETTLED, Severity, Status
from models.errors import InputError
from sql.statements import statement
from tasks.decompose.graph import Graph, Node, Ring, build
from tasks.decompose.wishes import Wishes
from tasks.ingest import replace_findings
from tasks.recipes import Recipes

STAGE = "decompose"

Connection = psycopg.Connection[TupleRow]


@dataclass(slots=True)
class Decomposition:
    """What a board's structure came to."""

    board_id: int
    leaves: int = 0  # items that have no parts: only these are run
    containers: int = 0
    edges: int = 0
    cycles: int = 0
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        counts = ("board_id", "leaves", "containers", "edges", "cycles")
        return {name: getattr(self, name) for name in counts} | {
            "findings": [finding.as_json() for finding in self.findings]
        }


def decompose_board(
    connection: Connection, board_id: int, recipes: Recipes, wishes: Wishes | None = None
) -> Decomposition:
    """Give a board's open leaves their recipes and their needs, and make ready what needs nothing more.

    Items that have parts are containers: they are rolled up from their parts. An item needs what it names, what
    the items above it need, and the phases before its own. What runs or is done is left alone. The items of a
    ring are not ordered among themselves; one of them goes to a person, and the others wait for that decision.
    The same version of a board again writes nothing. One transaction. Raises InputError for an unknown board or
    too many needs, psycopg.Error; then nothing was changed.
    """
    wishes = wishes or Wishes()
    with connection.transaction():
        source, *_ = _board(connection, board_id)
        connection.execute(statement("ingest.lock"), {"source": source})
        _, sha256, decomposed = _board(connection, board_id)
        scope = {"board": board_id, "rollup": wishes.rollup, "approve": wishes.approve}
        connection.execute(statement("decompose.want_approval"), scope)
        wanted = connection.execute(statement("decompose.want_rollups"), scope)
        if sha256 == decomposed:
            if wanted.rowcount:
                connection.execute(statement("decompose.advance_board"), scope)
            return _same(connection, board_id, recipes)
        rows = connection.execute(statement("decompose.items"), {"board": board_id})
        nodes = [Node(*row) for row in rows]
        graph = build(nodes)
        graph.findings = _not_said_before(connection, board_id, graph.findings)
        for ring in graph.rings:
            ring.keeper = _keeper(ring)
            if ring.keeper is not None:
                graph.edges |= {(leaf.id, ring.keeper.id) for leaf in ring.leaves if leaf is not ring.keeper}
        _write(connection, board_id, graph, recipes)
        return Decomposition(
            board_id,
            leaves=sum(node.origin != "phase" for node in graph.leaves),
            containers=sum(node.origin != "phase" for node in nodes if node.children),
            edges=len(graph.edges),
            cycles=len(graph.rings),
            findings=graph.findings,
        )


def _not_said_before(connection: Connection, board_id: int, findings: list[Finding]) -> list[Finding]:
    """The parser names unknown ids of its dialect already."""
    said = connection.execute(statement("ingest.findings"), {"board": board_id, "stages": ["parse"]})
    lines = {line for code, _, line, _ in said if code == "unknown_need"}
    return [
        finding for finding in findings if finding.code != "unknown_dependency" or finding.line not in lines
    ]


def _board(connection: Connection, board_id: int) -> tuple[Any, ...]:
    row = connection.execute(statement("decompose.board"), {"board": board_id}).fetchone()
    if row is None:
        raise InputError(f"There is no board {board_id}. Ingest it first: `penstock run PATH`.")
    return row


def _same(connection: Connection, board_id: int, recipes: Recipes) -> Decomposition:
    scope = {"board": board_id, "stages": [STAGE], "known": list(recipes)}
    lost = connection.execute(statement("decompose.lost_recipes"), scope).fetchall()
    if lost:
        _assign(connection, dict(lost), recipes)
    findings = [
        Finding(code, Severity(level), line, message)
        for code, level, line, message in connection.execute(statement("ingest.findings"), scope)
    ]
    counts = connection.execute(statement("decompose.summary"), scope).fetchone()
    assert counts is not None
    leaves, containers, edges = counts
    cycles = sum(finding.code == "cycle" for finding in findings)
    return Decomposition(board_id, leaves, containers, edges, cycles, findings)


def _keeper(ring: Ring) -> Node | None:
    """The leaf that opens the ring: the one a person was asked about already, else the first that could start.

    None when nothing in the ring is left to do.
    """
    asked = [leaf for leaf in ring.leaves if leaf.asked]
    startable = [
        leaf for leaf in ring.leaves if leaf.status in (Status.PENDING, Status.READY, Status.WAITING)
    ]
    return next(iter([*asked, *startable]), None)


def _write(connection: Connection, board_id: int, graph: Graph, recipes: Recipes) -> None:
    keepers = [ring.keeper for ring in graph.rings if ring.keeper is not None]
    released = [node.id for node in graph.nodes if node.asked == "open" and node not in keepers]
    held = {
        ring.keeper.id: f"It waits for itself, through {ring.names}. Accept or write its result, let it be tried "
        "first (retry), or reject it; the others then go on."
        for ring in graph.rings
        if ring.keeper is not None and ring.keeper.asked is None
    }
    runnable = {
        node.id: node.kind
        for node in graph.nodes
        if node.open_leaf and node.origin != "phase" and node.status not in SETTLED
    }
    connection.execute(statement("decompose.lock_items"), {"ids": [*runnable, *released]})
    connection.execute(statement("decompose.release_rings"), {"ids": released})
    _assign(connection, runnable, recipes)
    edges = sorted(graph.edges)
    columns = {"board": board_id, "items": [edge[0] for edge in edges], "needs": [edge[1] for edge in edges]}
    connection.execute(statement("decompose.drop_needs"), columns)
    connection.execute(statement("decompose.add_needs"), columns)
    connection.execute(statement("decompose.hold_rings"), {"ids": list(held), "reasons": list(held.values())})
    replace_findings(connection, board_id, {STAGE: graph.findings})
    connection.execute(statement("decompose.mark_decomposed"), {"board": board_id})
    connection.execute(statement("decompose.advance_board"), {"board": board_id})


def _assign(connection: Connection, kinds: dict[int, str], recipes: Recipes) -> None:
    by_kind = {kind: recipes.for_kind(kind).name for kind in set(kinds.values())}
    connection.execute(
        statement("decompose.assign"),
        {"ids": list(kinds), "recipes": [by_kind[kind] for kind in kinds.values()], "known": list(recipes)},
    )
