"""What an item waits for: its own needs, those of what it is part of, and the phases before its own. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from models.board import Finding
from models.enums import Declared, Severity
from models.errors import InputError

MAX_EDGES = 2_000_000
SHOWN = 12  # members of a ring that a message names
FEW_PAIRS = 20_000  # up to here, seeing that there is no ring is cheaper than loading scipy


@dataclass(slots=True, eq=False)
class Node:
    """One item that is on the board, or a part of one."""

    id: int
    parent_id: int | None
    position: int
    status: int
    kind: str
    ext_id: str | None
    title: str
    line: int
    declared: str
    needs: list[str]
    phase_order: str | None
    origin: str
    asked: str | None  # of a person, about a ring: None, "open", or what was decided
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None
    first: int = 0  # numbers of a walk through the tree: an item is below another
    last: int = 0  # if its `first` is within the other's `first` and `last`

    @property
    def open_leaf(self) -> bool:
        return not self.children and Declared(self.declared).is_open

    @property
    def name(self) -> str:
        return (
            f"{self.ext_id or repr(self.title[:60])} (line {self.line})"
            if self.line
            else repr(self.title[:60])
        )


@dataclass(slots=True)
class Ring:
    """Items of which each waits, through others, for itself."""

    members: list[Node]  # in the board's order; those that declare the needs that make the ring
    leaves: list[Node]  # open ones
    keeper: Node | None = None  # the one that a person is asked about; the others wait for it

    @property
    def names(self) -> str:
        names = [member.name for member in self.members[:SHOWN]]
        more = f" and {len(self.members) - SHOWN} more" if len(self.members) > SHOWN else ""
        return " and ".join(names) + more if len(names) < 3 else ", ".join(names) + more


@dataclass(slots=True)
class Graph:
    nodes: list[Node]
    edges: set[tuple[int, int]] = field(default_factory=set)  # (item, what it needs), items that run only
    rings: list[Ring] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def leaves(self) -> list[Node]:
        return [node for node in self.nodes if not node.children]


def build(nodes: Sequence[Node], elsewhere: Collection[str] = ()) -> Graph:
    """`nodes` in the board's order; `elsewhere` are ids of other boards, which may be needed too.

    Raises InputError when the needs come to more than MAX_EDGES edges.
    """
    graph = Graph(list(nodes))
    by_id = {node.id: node for node in nodes}
    for node in nodes:
        if node.parent_id is not None and node.parent_id in by_id:
            node.parent = by_id[node.parent_id]
            node.parent.children.append(node)
    roots = [node for node in nodes if node.parent is None]
    walk = list(_walk(roots))
    own = _own_needs(graph, elsewhere)
    for node, barriers in _barriers(roots, walk):
        own[node.id] += barriers
    owners: dict[tuple[int, int], Node] = {}
    inherited: dict[int, list[tuple[Node, Node]]] = {}
    for node in walk:
        above = inherited[node.parent.id] if node.parent is not None else []
        mine = [(node, need) for need in own.get(node.id, ())]
        inherited[node.id] = above + mine if mine else above
        if not node.open_leaf:
            continue
        for owner, need in inherited[node.id]:
            # A branch may need a part of itself: its gate. The gate does not wait for itself.
            if _below(need, owner) and need is not owner and _below(node, need):
                continue
            owners.setdefault((node.id, need.id), owner)
        if len(owners) > MAX_EDGES:
            raise InputError(
                f"The board's needs come to more than {MAX_EDGES:,} edges between items: {node.name} alone waits for "
                f"{len(inherited[node.id]):,}. Let its phases or parents need fewer items."
            )
    graph.edges = set(owners)
    _cut_rings(graph, by_id, owners)
    return graph


def _walk(roots: Sequence[Node]) -> Iterator[Node]:
    """Parents before their children, numbered; no recursion, for boards of any depth."""
    number = 0
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, left = stack.pop()
        if left:
            node.last = number
            continue
        number += 1
        node.first = number
        yield node
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(node.children))


def _below(node: Node, other: Node) -> bool:
    return other.first <= node.first <= other.last


def _own_needs(graph: Graph, elsewhere: Collection[str]) -> dict[int, list[Node]]:
    on_board = [node for node in graph.nodes if node.origin == "board"]
    by_reference: dict[str, Node] = {}
    for node in on_board:
        by_reference.setdefault(f"line:{node.line}", node)
        if node.ext_id:
            by_reference.setdefault(node.ext_id, node)
    found: dict[int, list[Node]] = defaultdict(list)
    for node in on_board:
        for reference in node.needs:
            need = by_reference.get(reference)
            if need is None and reference in elsewhere:
                continue
            if need is None:
                message = (
                    f"{node.name} needs {reference[:80]!r}, which is not on this board; it does not wait for it. "
                    "Correct the id."
                )
                graph.findings.append(Finding("unknown_dependency", Severity.WARNING, node.line, message))
            elif need is not node:
                found[node.id].append(need)
    return found


def _barriers(roots: Sequence[Node], walk: Sequence[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Each phase and the phases of the nearest earlier rank that still have open work."""
    for siblings in ([*roots], *(node.children for node in walk)):
        phases = [node for node in siblings if node.kind == "phase"]
        if len(phases) < 2:
            continue
        numbered = all((phase.phase_order or "").isdecimal() for phase in phases)
        ranks: dict[int, list[Node]] = defaultdict(list)
        for phase in phases:
            ranks[int(phase.phase_order or 0) if numbered else phase.position].append(phase)
        before: list[Node] = []
        for rank in sorted(ranks):
            if before:
                yield from ((phase, before) for phase in ranks[rank])
            # A phase that the board closed holds nobody back, but the open one before it still does.
            before = [phase for phase in ranks[rank] if _has_work(phase)] or before


def _has_work(phase: Node) -> bool:
    stack = [phase]
    while stack:
        node = stack.pop()
        if node.open_leaf:
            return True
        stack.extend(node.children)
    return False


def _cut_rings(graph: Graph, by_id: dict[int, Node], owners: dict[tuple[int, int], Node]) -> None:
    if not graph.edges:
        return
    parts = _components(graph)
    inside: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item, need in sorted(graph.edges):
        if parts[item] == parts[need]:
            inside[parts[item]].append((item, need))
    for edges in inside.values():
        part = parts[edges[0][0]]
        named = {node.id: node for edge in edges for node in (owners[edge], by_id[edge[1]])}
        members = sorted(named.values(), key=lambda node: (node.position, node.id))
        leaves = [node for node in graph.nodes if node.open_leaf and parts[node.id] == part]
        ring = Ring(members, leaves)
        graph.rings.append(ring)
        graph.edges.difference_update(edges)
        graph.findings.append(
            Finding(
                "cycle",
                Severity.ERROR,
                members[0].line,
                f"These items wait for one another, so none could start: {ring.names}. Their order among themselves "
                "is not kept; take one of the needs out of the board, or decide the review that asks which goes first.",
            )
        )


def _components(graph: Graph) -> dict[int, int]:
    """Strongly connected component of each item, over needs and from containers to their children."""
    index = {node.id: number for number, node in enumerate(graph.nodes)}
    pairs = [(index[item], index[need]) for item, need in graph.edges]
    pairs += [(index[node.id], index[child.id]) for node in graph.nodes for child in node.children]
    if len(pairs) <= FEW_PAIRS and _without_rings(pairs):
        return index

    import numpy as np
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    rows, columns = np.array(pairs, dtype=np.int32).T
    matrix = csr_matrix((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(len(index), len(index)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return {node.id: int(label) for node, label in zip(graph.nodes, labels, strict=True)}


def _without_rings(pairs: Sequence[tuple[int, int]]) -> bool:
    needs: dict[int, list[int]] = defaultdict(list)
    for item, need in pairs:
        needs[item].append(need)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return False
    return True
