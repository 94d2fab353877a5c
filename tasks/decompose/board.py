"""Structure first: what is a container, what waits for what, which recipe does which leaf."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from models.board import Finding
from models.enums import SETTLED, Severity, Status
from models.errors import InputError
from models.words import quoted
from sql.deadlocks import again_after_deadlock
from sql.statements import statement
from tasks.decompose.across import edges_beyond, found_abroad, keep_links, keep_wanted
from tasks.decompose.duplicates import claim_works, free_refused
from tasks.decompose.graph import Graph, Node, Ring, build
from tasks.decompose.prd import left_out_finding
from tasks.decompose.structural import DOCUMENT, split_new_items
from tasks.decompose.wishes import Wishes
from tasks.ingest import replace_findings
from tasks.recipes import Recipes

STAGE = "decompose"
ROUNDS = 8
"""How often boards are looked at again in one call: each round is for what the one before changed on other boards."""

Connection = psycopg.Connection[TupleRow]


@dataclass(slots=True)
class Decomposition:
    """What a board's structure came to."""

    board_id: int
    leaves: int = 0  # items that have no parts: only these are run
    containers: int = 0
    edges: int = 0
    cycles: int = 0
    split: int = 0  # items that were split now, by their own structure
    parts: int = 0  # into so many
    plans: int = 0  # splits that wait for approval since now
    changed: bool = field(default=False, compare=False)  # there was something to do
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        counts = ("board_id", "leaves", "containers", "edges", "cycles", "split", "parts", "plans")
        return {name: getattr(self, name) for name in counts} | {
            "findings": [finding.as_json() for finding in self.findings]
        }


@again_after_deadlock
def decompose_board(
    connection: Connection, board_id: int, recipes: Recipes, wishes: Wishes | None = None
) -> Decomposition:
    """Give a board's open leaves their recipes and their needs, and make ready what needs nothing more.

    Items that have parts are containers: they are rolled up from their parts. An item needs what it names, what
    the items above it need, and the phases before its own. What runs or is done is left alone. The items of a
    ring are not ordered among themselves; one of them goes to a person, and the others wait for that decision.
    An id that is not on the board means the item of another board of the folder that has it. An item whose work
    another does already, wherever that stands, is not run; what needs it needs that one.
    The same version of a board again writes nothing, unless something on another board changed what it comes to. One
    transaction. Raises InputError for an unknown board or too many needs, psycopg.Error; then nothing was changed.
    """
    wishes = wishes or Wishes()
    with connection.transaction():
        source, *_ = _board(connection, board_id)
        connection.execute(statement("ingest.lock"), {"source": source})
        scope = {"board": board_id, "rollup": wishes.rollup, "approve": wishes.approve}
        connection.execute(statement("decompose.want_approval"), scope)
        wanted = connection.execute(statement("decompose.want_rollups"), scope)
        if not _changed(connection, board_id, recipes):
            if wanted.rowcount:
                connection.execute(statement("decompose.advance_board"), scope)
            return _same(connection, board_id)
        connection.execute(statement("decompose.lock"))
        connection.execute(statement("decompose.take_look_again"), scope)
        *_, folder = _board(connection, board_id)
        refused = free_refused(connection, board_id, wishes.duplicate_days)
        splits = split_new_items(connection, board_id, recipes, wishes)
        nodes = [Node(*row) for row in connection.execute(statement("decompose.items"), scope)]
        kinds, misnamed = _recipes(nodes, refused, recipes)
        asked = [node.id for node in nodes if node.asked == "open"]
        connection.execute(statement("decompose.lock_items"), {"ids": [*kinds, *asked]})
        duplicates = claim_works(
            connection,
            board_id,
            nodes,
            kinds,
            refused,
            known=list(recipes),
            folder=folder,
            days=wishes.duplicate_days,
        )
        abroad = found_abroad(connection, board_id, folder, nodes)
        own = {node.id for node in nodes}
        needed = {
            need.id
            for node in [*itertools.chain(*abroad.values()), *nodes]
            for need in (node, *node.instead, node.original)
            if need is not None and need.id not in own
        }
        graph = build(nodes, abroad=abroad, beyond=edges_beyond(connection, board_id, needed))
        _forget_unknown(connection, board_id, graph, abroad)
        graph.findings = _not_said_before(connection, board_id, [*graph.findings, *duplicates, *misnamed])
        if wishes.split_above and any(node.origin == DOCUMENT for node in nodes):
            graph.findings += _left_out(connection, board_id)
        for ring in graph.rings:
            ring.keeper = _keeper(ring)
            if ring.keeper is not None:
                graph.edges |= {(leaf.id, ring.keeper.id) for leaf in ring.leaves if leaf is not ring.keeper}
        keep_wanted(connection, board_id, folder, graph, abroad)
        # A work is what an item is, whether or not it is split first: so this is not in what is claimed.
        chosen = kinds | {item_id: name for item_id, name in splits.recipes.items() if item_id in kinds}
        _write(connection, board_id, graph, chosen, list(recipes))
        return Decomposition(
            board_id,
            leaves=sum(node.origin != "phase" for node in graph.leaves),
            containers=sum(node.origin != "phase" for node in nodes if node.children),
            edges=len(graph.edges),
            cycles=len(graph.rings),
            split=splits.items,
            parts=splits.parts,
            plans=splits.plans,
            changed=True,
            findings=graph.findings,
        )


def decompose_boards(
    connection: Connection, boards: Sequence[int], recipes: Recipes, wishes: Wishes | None = None
) -> list[Decomposition]:
    """`decompose_board` for each, then for every board that has to be looked at again, now or since earlier.

    Each in a transaction of its own: the connection commits by itself. What a further round would change waits for
    the next call.
    """
    wishes = wishes or Wishes()
    found = {board: decompose_board(connection, board, recipes, wishes) for board in boards}
    given_up: set[int] = set()
    for _ in range(ROUNDS):
        rows = connection.execute(statement("decompose.boards_to_look_at")).fetchall()
        again = [(board, approve) for board, approve in rows if board not in given_up]
        if not again:
            break
        for board, approve in again:
            theirs = wishes if board in boards else dataclasses.replace(wishes, approve=approve)
            try:
                found[board] = decompose_board(connection, board, recipes, theirs)
            except InputError:
                if board in boards:
                    raise
                given_up.add(board)  # too many needs: whoever runs that board is told, and it stays marked
    return [found[board] for board in boards]


def _changed(connection: Connection, board_id: int, recipes: Recipes) -> bool:
    """Is there anything to do: a new version of the board, something on another board, a recipe that is gone?"""
    _, sha256, decomposed, _ = _board(connection, board_id)
    if sha256 != decomposed:
        return True
    scope = {"board": board_id, "known": list(recipes)}
    again = connection.execute(statement("decompose.marked"), scope).fetchone()
    lost = connection.execute(statement("decompose.lost_recipes"), scope).fetchone()
    return bool((again and again[0]) or (lost and lost[0]))


def _recipes(
    nodes: Sequence[Node], refused: Collection[int], recipes: Recipes
) -> tuple[dict[int, str], list[Finding]]:
    """What does an open leaf, by its kind or by the name that it gives: one not settled, or skipped because another
    does its work. With what is said of names that are none."""
    parents = {node.parent_id for node in nodes}
    chosen: dict[int, str] = {}
    findings: list[Finding] = []
    for node in nodes:
        if (
            node.id in parents
            or not node.open_leaf
            or node.origin == "phase"
            or (node.status in SETTLED and node.id not in refused)
        ):
            continue
        chosen[node.id] = recipes.for_kind(node.kind).name
        name = (node.named or "").strip().lower()
        if name and recipes.may_be_named(name):
            chosen[node.id] = name
        elif name:
            known = ", ".join(each for each in sorted(recipes) if recipes.may_be_named(each))
            message = (
                f"{node.name} names the recipe {quoted(name)}, which it can't have: it is done as its kind is, by "
                f"{chosen[node.id]}. There are {known}."
            )
            findings.append(Finding("unknown_recipe", Severity.WARNING, node.line, message))
    return chosen, findings


def _forget_unknown(
    connection: Connection, board_id: int, graph: Graph, abroad: Mapping[str, Sequence[Node]]
) -> None:
    """The parser knows one file: what it did not find may be on another board."""
    line = {node.id: node.line for node in graph.nodes}
    met = {line[item_id] for item_id, reference in graph.unknown if reference in abroad}
    met -= {line[item_id] for item_id, reference in graph.unknown if reference not in abroad}
    if met:
        connection.execute(statement("decompose.forget_unknown"), {"board": board_id, "lines": sorted(met)})


def _left_out(connection: Connection, board_id: int) -> list[Finding]:
    rows = connection.execute(statement("decompose.documents"), {"board": board_id, "origin": DOCUMENT})
    return [finding for (text,) in rows if (finding := left_out_finding(text)) is not None]


def _not_said_before(connection: Connection, board_id: int, findings: list[Finding]) -> list[Finding]:
    """The parser names unknown ids of its dialect already."""
    said = connection.execute(statement("ingest.findings"), {"board": board_id, "stages": ["parse"]})
    lines = {line for code, _, line, _ in said if code == "unknown_dependency"}
    return [
        finding for finding in findings if finding.code != "unknown_dependency" or finding.line not in lines
    ]


def _board(connection: Connection, board_id: int) -> tuple[Any, ...]:
    row = connection.execute(statement("decompose.board"), {"board": board_id}).fetchone()
    if row is None:
        raise InputError(f"There is no board {board_id}. Ingest it first: `penstock run PATH`.")
    return row


def _same(connection: Connection, board_id: int) -> Decomposition:
    scope = {"board": board_id, "stages": [STAGE]}
    findings = [
        Finding(code, Severity(level), line, message)
        for code, level, line, message in connection.execute(statement("ingest.findings"), scope)
    ]
    counts = connection.execute(statement("decompose.summary"), scope).fetchone()
    assert counts is not None
    leaves, containers, edges = counts
    cycles = sum(finding.code == "cycle" for finding in findings)
    return Decomposition(board_id, leaves, containers, edges, cycles, findings=findings)


def _keeper(ring: Ring) -> Node | None:
    """The leaf that opens the ring: the one a person was asked about already, else the first that could start.

    None when nothing in the ring is left to do.
    """
    asked = [leaf for leaf in ring.leaves if leaf.asked]
    startable = [
        leaf for leaf in ring.leaves if leaf.status in (Status.PENDING, Status.READY, Status.WAITING)
    ]
    return next(iter([*asked, *startable]), None)


def _write(
    connection: Connection, board_id: int, graph: Graph, chosen: Mapping[int, str], known: list[str]
) -> None:
    keepers = [ring.keeper for ring in graph.rings if ring.keeper is not None]
    released = [node.id for node in graph.nodes if node.asked == "open" and node not in keepers]
    held = {
        ring.keeper.id: f"It waits for itself, through {ring.names}. Accept or write its result, let it be tried "
        "first (retry), or reject it; the others then go on."
        for ring in graph.rings
        if ring.keeper is not None and ring.keeper.asked is None
    }
    connection.execute(statement("decompose.release_rings"), {"ids": released})
    edges = sorted(graph.edges)
    columns = {"board": board_id, "items": [edge[0] for edge in edges], "needs": [edge[1] for edge in edges]}
    dropped = connection.execute(statement("decompose.drop_needs"), columns)
    added = connection.execute(statement("decompose.add_needs"), columns)
    replace_findings(connection, board_id, {STAGE: graph.findings})
    connection.execute(statement("decompose.mark_decomposed"), {"board": board_id})
    keep_links(connection, board_id, graph, changed=bool(dropped.rowcount or added.rowcount))
    runnable = [node.id for node in graph.nodes if node.id in chosen and node.open_leaf]
    connection.execute(statement("decompose.lock_frontier"), {"board": board_id})
    connection.execute(
        statement("decompose.assign"),
        {
            "ids": runnable,
            "recipes": [chosen[item_id] for item_id in runnable],
            "held": [item_id in held for item_id in runnable],
            "known": known,
        },
    )
    connection.execute(statement("decompose.hold_rings"), {"ids": list(held), "reasons": list(held.values())})
    connection.execute(statement("decompose.advance_board"), {"board": board_id})
