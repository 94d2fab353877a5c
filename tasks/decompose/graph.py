"""What an item waits for: its own needs, those of what it is part of, and the phases before its own. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from models.board import Finding
from models.enums import Declared, Severity
from models.errors import InputError
from models.words import quoted

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
    recipe: str | None = None
    body: str = ""
    section: str = ""  # the heading that it stands under, where that is neither the board's title nor a state
    named: str | None = None  # the recipe that it names
    board: str = ""  # of an item of another board: where that is
    instead: tuple[
        Node, ...
    ] = ()  # of an item of another board: those that do its work, or that of its parts
    original: Node | None = None  # the item that does the same work: this one is not run
    children: list[Node] = field(default_factory=list)
    parent: Node | None = None
    first: int = 0  # numbers of a walk through the tree: an item is below another
    last: int = 0  # if its `first` is within the other's `first` and `last`

    @property
    def open_leaf(self) -> bool:
        return not self.children and self.original is None and Declared(self.declared).is_open

    @property
    def name(self) -> str:
        name = self.ext_id or quoted(self.title)
        place = [f"line {self.line}"] if self.line else []
        place = [self.board, *place] if self.board else place
        return f"{name} ({', '.join(place)})" if place else name


@dataclass(slots=True)
class Ring:
    """Items of which each waits, through others, for itself."""

    members: list[
        Node
    ]  # in the board's order, those of other boards last; the needs that they declare make the ring
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
    abroad: dict[int, Node] = field(default_factory=dict)  # items of other boards that are needed
    unknown: list[tuple[int, str]] = field(default_factory=list)  # (item, id in lower case) not on this board
    cut: set[tuple[int, int]] = field(default_factory=set)  # edges of rings, which are not kept

    @property
    def leaves(self) -> list[Node]:
        return [node for node in self.nodes if not node.children]


def build(
    nodes: Sequence[Node],
    elsewhere: Collection[str] = (),
    *,
    abroad: Mapping[str, Sequence[Node]] | None = None,
    beyond: Sequence[tuple[int, int]] = (),
) -> Graph:
    """`nodes` in the board's order; `elsewhere` are ids of other boards, which may be needed too.

    `abroad` has the items of other boards that unknown ids mean (by the id in lower case): edges lead to them. `beyond`
    are edges among items of other boards, from a container to its parts included, by which a ring may close. What needs
    an item that is not run, because another does the same work, needs that one.
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
    own = _own_needs(graph, elsewhere, abroad or {})
    for node, barriers in _barriers(roots, walk):
        own[node.id] += barriers
    _to_originals(graph, own)
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
    graph.abroad = {need.id: need for needs in own.values() for need in needs if need.id not in by_id}
    _cut_rings(graph, by_id | graph.abroad, owners, beyond)
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


def references(nodes: Sequence[Node]) -> tuple[dict[str, Node], dict[str, Node]]:
    """What a need on the board may name: as written, and in lower case."""
    exact: dict[str, Node] = {}
    for node in nodes:
        if node.origin == "board":
            exact.setdefault(f"line:{node.line}", node)
            if node.ext_id:
                exact.setdefault(node.ext_id, node)
    folded: dict[str, Node] = {}
    for reference, node in exact.items():
        folded.setdefault(reference.lower(), node)
    return exact, folded


def unknown(nodes: Sequence[Node]) -> set[str]:
    """Ids that are needed and that no item of the board has, in lower case."""
    exact, folded = references(nodes)
    return {
        need.lower()
        for node in nodes
        if node.origin == "board"
        for need in node.needs
        if need not in exact and need.lower() not in folded and not need.startswith("line:")
    }


def _own_needs(
    graph: Graph, elsewhere: Collection[str], abroad: Mapping[str, Sequence[Node]]
) -> dict[int, list[Node]]:
    exact, folded = references(graph.nodes)
    found: dict[int, list[Node]] = defaultdict(list)
    by_id = {f"item:{node.id}": node for node in graph.nodes if node.origin == "split"}
    for node in graph.nodes:
        if node.origin == "split":  # a part may need other parts of the same item
            found[node.id] += [by_id[need] for need in node.needs if need in by_id]
        for reference in node.needs if node.origin == "board" else ():
            need = exact.get(reference) or folded.get(reference.lower())
            if need is not None:
                if need is not node:
                    found[node.id].append(need)
                continue
            if not reference.startswith("line:"):
                graph.unknown.append((node.id, reference.lower()))
            foreign = abroad.get(reference.lower(), ())
            found[node.id] += foreign
            if len(foreign) > 1:
                names = " and ".join(each.name for each in foreign)
                message = f"{node.name} needs {reference[:80]!r}, which is {names}; it waits for all of them."
                graph.findings.append(Finding("ambiguous_dependency", Severity.WARNING, node.line, message))
            elif not foreign and reference not in elsewhere:
                message = (
                    f"{node.name} needs {reference[:80]!r}, which is not on this board, nor on another of its folder; "
                    "it does not wait for it. Correct the id."
                )
                graph.findings.append(Finding("unknown_dependency", Severity.WARNING, node.line, message))
    return found


def _to_originals(graph: Graph, own: dict[int, list[Node]]) -> None:
    """Whoever needs an item that is not run, or what that is part of, needs the item that does its work as well."""
    originals: dict[int, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.original is not None:
            at: Node | None = node
            while at is not None:
                originals[at.id].append(node.original)
                at = at.parent
    for needs in own.values():
        needs += [
            original for need in list(needs) for original in (*need.instead, *originals.get(need.id, ()))
        ]


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
            # One whose work other items do is waited for as well, and those before it still: it runs nothing itself.
            working = [phase for phase in ranks[rank] if _has_work(phase)]
            before = working or before + [phase for phase in ranks[rank] if _has_work(phase, refused=True)]


def _has_work(phase: Node, *, refused: bool = False) -> bool:
    stack = [phase]
    while stack:
        node = stack.pop()
        if node.open_leaf or (refused and node.original is not None):
            return True
        stack.extend(node.children)
    return False


def _cut_rings(
    graph: Graph,
    by_id: dict[int, Node],
    owners: dict[tuple[int, int], Node],
    beyond: Sequence[tuple[int, int]],
) -> None:
    if not graph.edges:
        return
    parts = _components(graph, beyond)
    inside: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for item, need in sorted(graph.edges):
        if parts[item] == parts[need]:
            inside[parts[item]].append((item, need))
    for edges in inside.values():
        part = parts[edges[0][0]]
        named = {node.id: node for edge in edges for node in (owners[edge], by_id[edge[1]])}
        members = sorted(
            named.values(), key=lambda node: (node.board, node.position, node.id)
        )  # its own first
        leaves = [node for node in graph.nodes if node.open_leaf and parts[node.id] == part]
        ring = Ring(members, leaves)
        graph.rings.append(ring)
        graph.edges.difference_update(edges)
        graph.cut.update(edges)
        graph.findings.append(
            Finding(
                "cycle",
                Severity.ERROR,
                next((member.line for member in members if member.line), 0),  # a phase may have none
                f"These items wait for one another, so none could start: {ring.names}. Their order among themselves "
                "is not kept; take one of the needs out of the board, or decide the review that asks which goes first.",
            )
        )


def _components(graph: Graph, beyond: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Strongly connected component of each item, over needs and from containers to their children."""
    edges = [*graph.edges, *beyond]
    edges += [(node.id, child.id) for node in graph.nodes for child in node.children]
    index = {node.id: number for number, node in enumerate(graph.nodes)}
    for edge in edges:
        for end in edge:
            index.setdefault(end, len(index))
    pairs = [(index[item], index[need]) for item, need in edges]
    if len(pairs) <= FEW_PAIRS and _without_rings(pairs):
        return index

    import numpy as np
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    rows, columns = np.array(pairs, dtype=np.int32).T
    matrix = csr_matrix((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(len(index), len(index)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return {item: int(label) for item, label in zip(index, labels, strict=True)}


def _without_rings(pairs: Sequence[tuple[int, int]]) -> bool:
    needs: dict[int, list[int]] = defaultdict(list)
    for item, need in pairs:
        needs[item].append(need)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError:
        return False
    return True
