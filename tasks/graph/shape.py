"""Few arrows and not too many boxes: what all parts of an item wait for is one arrow, and a large graph is folded.

Pure; changes the drawing it is given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tasks.graph.model import Arrow, Box, Drawing


def nest(boxes: Iterable[Box], drawing: Drawing) -> dict[int, Box]:
    """Put boxes, in the board's order, into each other and onto their boards. Returns them by id."""
    by_id = {box.id: box for box in boxes}
    boards = {board.id: board for board in drawing.boards}
    for box in by_id.values():
        parent = by_id.get(box.parent_id) if box.parent_id is not None else None
        if parent is not None:
            box.parent = parent
            parent.parts.append(box)
        else:
            boards[box.board_id].roots.append(box)
    return by_id


def join(by_id: Mapping[int, Box], needs: Iterable[tuple[int, int]], *, lift: bool) -> list[Arrow]:
    """Arrows for (item, what it needs). With `lift`, an arrow that all runnable parts of an item share is the item's.

    The stored needs are those of the items that run: each part has what stands at the item above it once more.
    """
    items: dict[int, list[Box]] = defaultdict(list)
    for item_id, needs_id in needs:
        if item_id in by_id and needs_id in by_id:
            items[needs_id].append(by_id[item_id])
    runnable: Counter[int] = Counter()
    if lift:
        for box in by_id.values():
            if not box.container and box.runs:
                runnable.update(each.id for each in (box, *box.above()))
    arrows: list[Arrow] = []
    for needs_id, waiting in items.items():
        needed = by_id[needs_id]
        whole = _whole(needed, waiting, runnable) if lift else waiting
        arrows += [Arrow(needed, item, needed.state.settled) for item in whole]
    return arrows


def _whole(needed: Box, waiting: list[Box], runnable: Mapping[int, int]) -> list[Box]:
    """The highest items all of whose runnable parts wait, but none that the needed item is a part of."""
    around = {needed.id, *(box.id for box in needed.above())}
    waits: Counter[int] = Counter()
    for item in waiting:
        if not item.container:
            waits.update(each.id for each in (item, *item.above()))
    found: dict[int, Box] = {}
    for item in waiting:
        top = item
        for above in item.above():
            if above.id in around or waits[above.id] < runnable[above.id]:
                break
            top = above
        found[top.id] = top
    return list(found.values())


def fold(drawing: Drawing, most: int) -> None:
    """Fold items without parts into what they are part of, and then level by level until `most` boxes are left."""
    total = drawing.counts().total()
    if (others := len(drawing.boards) - most) > 0:
        del drawing.boards[most:]
        drawing.notes.append(f"{others:,} more {'board is' if others == 1 else 'boards are'} not drawn.")
    levels: Counter[int] = Counter()
    for box in drawing.walk():
        if box.container:
            levels[sum(1 for _ in box.above())] += 1
    deepest, boxes = 0, levels[0]
    while (deepest + 1) in levels and boxes + levels[deepest + 1] <= most:
        deepest += 1
        boxes += levels[deepest]
    for board in drawing.boards:
        flat = [root for root in board.roots if not root.container]
        board.folded.update(root.state for root in flat)
        board.roots = [root for root in board.roots if root.container]
        for root in board.roots:
            _fold_below(root, deepest)
    _cut(drawing, most)
    _follow(drawing)
    with_parts = "1 item" if len(drawing) == 1 else f"{len(drawing)} items"
    drawing.notes.append(
        f"Only {with_parts} with parts are drawn; the {total:,} without parts are counted where they belong."
    )


def _fold_below(root: Box, deepest: int) -> None:
    stack = [(root, 0)]
    while stack:
        box, level = stack.pop()
        if level >= deepest:
            for part in box.parts:
                box.folded.update(part.counts())
            box.parts = []
            continue
        kept = [part for part in box.parts if part.container]
        box.folded.update(part.state for part in box.parts if not part.container)
        box.parts = kept
        stack.extend((part, level + 1) for part in kept)


def _cut(drawing: Drawing, most: int) -> None:
    """More top-level items than may be drawn: the rest of each board is counted."""
    left = most
    for board in drawing.boards:
        for root in board.roots[left:]:
            board.folded.update(root.counts())
        board.roots = board.roots[:left]
        left = max(0, left - sum(1 for _ in board.walk()))


def _follow(drawing: Drawing) -> None:
    """Arrows between what is drawn now: those inside one box go, the others end at the box that their item is in."""
    drawn = {box.id: box for box in drawing.walk()}

    def seen(box: Box) -> Box | None:
        return next((drawn[each.id] for each in (box, *box.above()) if each.id in drawn), None)

    arrows: dict[tuple[int, int], Arrow] = {}
    for arrow in drawing.arrows:
        needs, item = seen(arrow.needs), seen(arrow.item)
        if needs is None or item is None or needs is item:
            continue
        if needs in item.above() or item in needs.above():
            continue
        same = arrows.get((needs.id, item.id))
        settled = arrow.settled and (same is None or same.settled)
        arrows[needs.id, item.id] = Arrow(needs, item, settled)
    drawing.arrows = list(arrows.values())
