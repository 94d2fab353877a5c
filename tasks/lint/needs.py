"""What the items of boards need of one another: ids that nobody has, and rings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from graphlib import CycleError, TopologicalSorter

from models.board import Finding, ParsedBoard, ParsedItem
from models.enums import Severity
from models.errors import InputError
from models.words import quoted

MOST_RINGS = 50
"""Rings over several files that are told; each costs a look at all items again."""
SHOWN = 12

Place = tuple[int, int]  # number of the board, number of the item on it


def among_all(boards: Sequence[tuple[str, ParsedBoard]], known: Collection[str]) -> list[list[Finding]]:
    """The findings of each board: the parser's own, and those that need the graph, as a run would see it.

    `known` are the ids of all boards, in lower case. What one board needs of another is no unknown dependency: some
    tools keep a file per task.
    """
    found = [_of_board(board, known) for _, board in boards]
    for number, finding in _rings_over_files(boards):
        found[number].append(finding)
    return found


def _of_board(board: ParsedBoard, known: Collection[str]) -> list[Finding]:
    # A second of imports, which a board without needs is spared.
    from tasks.decompose.graph import Node, build
    from tasks.ingest.rows import BOARD, board_rows

    own = {item.ext_id.lower() for item in board.items if item.ext_id}
    needs = {need for item in board.items for need in item.needs}
    elsewhere = {need for need in needs if need.lower() not in own and need.lower() in known}
    findings = [finding for finding in board.findings if not _is_met(finding, board, elsewhere)]
    rows = sorted(board_rows(board).rows, key=lambda row: (row.position, row.origin == BOARD))
    for number, row in enumerate(rows):
        row.item_id = number
    nodes = [
        Node(
            id=number,
            parent_id=row.parent.item_id if row.parent is not None else None,
            position=row.position,
            status=0,
            kind=row.kind,
            ext_id=row.ext_id,
            title=row.title,
            line=row.line,
            declared=str(row.declared),
            needs=row.needs,
            phase_order=row.labels.get("phase_order"),
            origin=row.origin,
            asked=None,
        )
        for number, row in enumerate(rows)
    ]
    try:
        graph = build(nodes, elsewhere)
    except InputError as error:
        return [*findings, Finding("too_many_needs", Severity.ERROR, 0, str(error))]
    said = {finding.line for finding in findings if finding.code == "unknown_dependency"}
    return findings + [
        finding
        for finding in graph.findings
        if finding.code != "unknown_dependency" or finding.line not in said
    ]


def _is_met(finding: Finding, board: ParsedBoard, elsewhere: Collection[str]) -> bool:
    """Did the parser miss only an id that another board has? It says one id per finding."""
    return finding.code == "unknown_dependency" and any(
        re.search(rf"(?<![\w.-]){re.escape(need)}(?![\w-])(?!\.\w)", finding.message) for need in elsewhere
    )


def _rings_over_files(boards: Sequence[tuple[str, ParsedBoard]]) -> list[tuple[int, Finding]]:
    owners: dict[str, list[Place]] = defaultdict(list)
    own: list[dict[str, Place]] = []
    for number, (_, board) in enumerate(boards):
        mine: dict[str, Place] = {}
        for index, item in enumerate(board.items):
            if item.ext_id and item.ext_id.lower() not in mine:
                mine[item.ext_id.lower()] = (number, index)
                owners[item.ext_id.lower()].append((number, index))
            mine.setdefault(f"line:{item.line}", (number, index))
        own.append(mine)

    needs: dict[Place, set[Place]] = defaultdict(set)
    crossing = False
    for number, (_, board) in enumerate(boards):
        for index, item in enumerate(board.items):
            for need in map(str.lower, item.needs if item.status.is_open else ()):
                at = own[number].get(need)
                if at is None and len(owners.get(need, ())) == 1:
                    [at] = owners[need]
                    crossing = True
                if at is not None and at != (number, index) and boards[at[0]][1].items[at[1]].status.is_open:
                    needs[number, index].add(at)
    return _rings(boards, needs) if crossing else []


def _rings(
    boards: Sequence[tuple[str, ParsedBoard]], needs: dict[Place, set[Place]]
) -> list[tuple[int, Finding]]:
    found: list[tuple[int, Finding]] = []
    while len(found) < MOST_RINGS:
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            ring: list[Place] = error.args[1]
        else:
            break
        needs[ring[1]].discard(ring[0])  # so that the next look finds the next ring
        members = sorted(set(ring))
        if len({number for number, _ in members}) > 1:
            names = [_name(boards[number][0], boards[number][1].items[index]) for number, index in members]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            message = (
                f"These items of several files wait for one another, so none could start: "
                f"{', '.join(names[:SHOWN])}{more}. Take one of the needs out."
            )
            number, index = members[0]
            line = boards[number][1].items[index].line
            found.append((number, Finding("cycle", Severity.ERROR, line, message)))
    return found


def _name(source: str, item: ParsedItem) -> str:
    return f"{item.ext_id or quoted(item.title)} ({source}:{item.line})"
