"""Which stored item is which row of a board that was edited. Pure.

An item keeps its identity while its neighbours are edited, when it is moved, indented anew or ticked, and when its
title is reworded in place. In this order, each only for what is still without a partner:

1. the id on the board, where both sides have it once;
2. the same title under the same parent, duplicates in their order;
3. the same title anywhere: it was moved;
4. the same place among the siblings with a similar title: it was reworded;
5. the key a new item would get, where an item with it was removed earlier: it is back.
"""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from itertools import islice
from typing import Any

from tasks.ingest.rows import DOCUMENT, Row, normalised

SIMILAR = 0.5
NEAR = 16  # candidates looked at for one row; bounds the work on boards of thousands of like titles
COMPARED = 200  # characters of a title; more make the comparison slow and not better


@dataclass(slots=True, eq=False)
class Stored:
    """What the database has of an item."""

    id: int
    key: uuid.UUID
    parent_id: int | None
    position: int
    ext_id: str | None
    kind: str
    title: str
    declared: str
    content_hash: str
    origin: str
    removed: bool
    priority: int
    body: str
    line: int
    depth: int
    labels: dict[str, str] | None
    needs: list[str]
    length: int
    deadline: datetime | None
    model: str | None
    backend: str | None
    name: str = ""

    def __post_init__(self) -> None:
        self.name = normalised(self.title)


def identify(rows: Sequence[Row], stored: Sequence[Stored]) -> dict[int, Stored]:
    """Give every row its key, and its `item_id` where it is stored already. Returns the partners by item id.

    `rows` have parents before children; `stored` are in the order of their positions.
    """
    live = [item for item in stored if not item.removed]
    gone = [item for item in stored if item.removed]
    partners: dict[int, Stored] = {}

    def pair(row: Row, item: Stored) -> None:
        row.item_id, row.key = item.id, item.key
        partners[item.id] = item

    def free(items: Iterable[Stored]) -> list[Stored]:
        return [item for item in items if item.id not in partners]

    anchors = _once(rows)
    for known in (_once(live), _once(gone)):
        for ext_id, row in anchors.items():
            if row.item_id is None and (item := known.get(ext_id)) is not None:
                pair(row, item)
    # A document is the same one, whatever its title is now: a board has one at most.
    documents = [row for row in rows if row.origin == DOCUMENT]
    if documents:
        _by(documents, free(live), pair, lambda row: DOCUMENT, lambda item: item.origin)
    _by(
        rows,
        free(live),
        pair,
        lambda row: (_parent_of(row), row.name),
        lambda item: (item.parent_id, item.name),
    )
    _by(rows, free(live), pair, lambda row: row.name, lambda item: item.name)
    _reworded(rows, live, partners, pair)
    _new_keys(rows, anchors, stored, gone, partners, pair)
    return partners


def out_of_order(rows: Sequence[Row], partners: dict[int, Stored]) -> set[int]:
    """Ids of the items that were moved among their siblings: the fewest that explain the new order."""
    siblings: dict[int | None, list[Row]] = defaultdict(list)
    for row in rows:
        if row.item_id is not None and row.item_id in partners:
            siblings[_parent_of(row)].append(row)
    moved: set[int] = set()
    for group in siblings.values():
        group.sort(key=lambda row: row.position)
        ids = [row.item_id for row in group if row.item_id is not None]
        stay = _increasing([partners[item_id].position for item_id in ids])
        moved.update(item_id for index, item_id in enumerate(ids) if index not in stay)
    return moved


def derived_key(seed: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=5)


def _once(items: Iterable[Any]) -> dict[str, Any]:
    """By id on the board, only ids that stand there once."""
    found: dict[str, Any] = {}
    count: Counter[str] = Counter()
    for item in items:
        if item.ext_id:
            count[item.ext_id] += 1
            found[item.ext_id] = item
    return {ext_id: item for ext_id, item in found.items() if count[ext_id] == 1}


_NEW = object()


def _parent_of(row: Row) -> Any:
    """The parent's item id; None at the top; `_NEW`, which no stored item has, below a new parent."""
    if row.parent is None:
        return None
    return row.parent.item_id if row.parent.item_id is not None else _NEW


def _compatible(row: Row, item: Stored) -> bool:
    return row.origin == item.origin and (not row.ext_id or not item.ext_id or row.ext_id == item.ext_id)


def _by(
    rows: Sequence[Row],
    items: Sequence[Stored],
    pair: Callable[[Row, Stored], None],
    of_row: Callable[[Row], Any],
    of_item: Callable[[Stored], Any],
) -> None:
    waiting: dict[Any, deque[Stored]] = defaultdict(deque)
    for item in items:
        waiting[of_item(item)].append(item)
    # In the board's order within a group: of identical siblings the first is the first.
    for row in sorted(rows, key=lambda row: (row.depth, row.position)):
        if row.item_id is None and (queue := waiting.get(of_row(row))):
            match = next((item for item in islice(queue, NEAR) if _compatible(row, item)), None)
            if match is not None:
                queue.remove(match)
                pair(row, match)


def _reworded(
    rows: Sequence[Row],
    live: Sequence[Stored],
    partners: dict[int, Stored],
    pair: Callable[[Row, Stored], None],
) -> None:
    children: dict[int | None, list[Stored]] = defaultdict(list)
    for item in live:
        children[item.parent_id].append(item)
    families: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        families[id(row.parent)].append(row)
    for family in families.values():  # of parents before those of their children: `rows` are ordered so
        parent = _parent_of(family[0])
        before = children.get(parent, []) if parent is not _NEW else []
        if not before or all(row.item_id is not None for row in family):
            continue
        own = {item.id for item in before}
        gaps: dict[int | None, deque[Stored]] = defaultdict(deque)
        after: int | None = None
        for item in before:
            if item.id in partners:
                after = item.id
            else:
                gaps[after].append(item)
        after = None
        for row in sorted(family, key=lambda row: row.position):
            if row.item_id is not None:
                after = row.item_id if row.item_id in own else after
            elif gap := gaps.get(after):
                match = next((item for item in islice(gap, NEAR) if _similar(row, item)), None)
                if match is not None:
                    gap.remove(match)
                    pair(row, match)


def _similar(row: Row, item: Stored) -> bool:
    if not _compatible(row, item) or row.kind != item.kind:
        return False
    matcher = SequenceMatcher(None, row.name[:COMPARED], item.name[:COMPARED], autojunk=False)
    return (
        matcher.real_quick_ratio() >= SIMILAR
        and matcher.quick_ratio() >= SIMILAR
        and matcher.ratio() >= SIMILAR
    )


def _new_keys(
    rows: Sequence[Row],
    anchors: dict[str, Row],
    stored: Sequence[Stored],
    gone: Sequence[Stored],
    partners: dict[int, Stored],
    pair: Callable[[Row, Stored], None],
) -> None:
    back = {item.key: item for item in gone}
    used = {item.key for item in stored if not item.removed} | {item.key for item in partners.values()}
    ordinals: Counter[tuple[uuid.UUID | None, str]] = Counter()
    for row in rows:
        if row.item_id is not None:
            continue
        above = row.parent.key if row.parent is not None else None
        anchored = row.ext_id is not None and anchors.get(row.ext_id) is row
        seed = f"id\0{row.ext_id}" if anchored else f"{row.origin}\0{above}\0{row.name}"
        key = derived_key(seed)
        while key in used or (key in back and not _compatible(row, back[key])):
            ordinals[above, seed] += 1
            key = derived_key(f"{seed}\0{ordinals[above, seed]}")
        used.add(key)
        row.key = key
        if key in back:
            pair(row, back[key])


def _increasing(values: Sequence[int]) -> set[int]:
    """Indices of one longest increasing subsequence."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        place = bisect_left(tails, value)
        before.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(value)
            ends.append(index)
        else:
            tails[place], ends[place] = value, index
    found: set[int] = set()
    at = ends[-1] if ends else -1
    while at >= 0:
        found.add(at)
        at = before[at]
    return found
