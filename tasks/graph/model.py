"""What is drawn: boxes in boxes, and arrows between them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.items import State, named


@dataclass(slots=True, eq=False)
class Box:
    """One item. What is part of it stands in it."""

    id: int
    board_id: int
    parent_id: int | None
    state: State
    runs: bool  # it is worked on itself; False: ticked on the board, or only the sum of its parts
    ext_id: str | None
    kind: str
    title: str
    line: int
    declared: str
    container: bool  # it has parts, drawn or not
    parent: Box | None = None
    parts: list[Box] = field(default_factory=list)
    folded: Counter[State] = field(default_factory=Counter)  # parts that are not drawn, by state
    asked: bool = False  # the item that a drawing is around

    @property
    def name(self) -> str:
        return named(self.ext_id, self.title)

    def walk(self) -> Iterator[Box]:
        """This box and all in it, as they stand on the board; no recursion, for boards of any depth."""
        stack = [self]
        while stack:
            box = stack.pop()
            yield box
            stack.extend(reversed(box.parts))

    def above(self) -> Iterator[Box]:
        box = self.parent
        while box is not None:
            yield box
            box = box.parent

    def counts(self) -> Counter[State]:
        """Of all below it that has no parts of its own: how many are in each state."""
        found: Counter[State] = Counter()
        for box in self.walk():
            found.update(box.folded)
            if not box.container:
                found[box.state] += 1
        return found


@dataclass(slots=True, eq=False)
class BoardBox:
    """A board with its top-level items."""

    id: int
    source: str  # as shown
    title: str
    roots: list[Box] = field(default_factory=list)
    folded: Counter[State] = field(default_factory=Counter)

    def walk(self) -> Iterator[Box]:
        for root in self.roots:
            yield from root.walk()

    def counts(self) -> Counter[State]:
        found = Counter(self.folded)
        for root in self.roots:
            found.update(root.counts())
        return found


@dataclass(frozen=True, slots=True)
class Arrow:
    """`item` waits for `needs`."""

    needs: Box
    item: Box
    settled: bool  # it need not wait any more


@dataclass(slots=True)
class Drawing:
    boards: list[BoardBox] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what the drawing leaves out, in sentences

    def walk(self) -> Iterator[Box]:
        for board in self.boards:
            yield from board.walk()

    def __len__(self) -> int:
        return sum(1 for _ in self.walk())

    def counts(self) -> Counter[State]:
        found: Counter[State] = Counter()
        for board in self.boards:
            found.update(board.counts())
        return found

    def states(self) -> list[State]:
        """Those that occur, in the order of State."""
        seen = {box.state for box in self.walk()}
        seen.update(self.counts())
        return [state for state in State if state in seen]

    def as_json(self) -> dict[str, Any]:
        return {
            "boards": [
                {"board": board.source, "title": board.title, "items": _counted(board.counts())}
                for board in self.boards
            ],
            "items": [
                {
                    "item_id": box.id,
                    "board": board.source,
                    "line": box.line,
                    "id": box.ext_id,
                    "title": box.title,
                    "kind": box.kind,
                    "parent": box.parent.id if box.parent else None,
                    "state": str(box.state.told),
                    "declared": box.declared,
                    "folded": _counted(box.folded),
                }
                for board in self.boards
                for box in board.walk()
            ],
            "needs": [
                {"item": arrow.item.id, "needs": arrow.needs.id, "settled": arrow.settled}
                for arrow in self.arrows
            ],
            "notes": self.notes,
        }


def _counted(counts: Counter[State]) -> dict[str, int]:
    told: Counter[State] = Counter()
    for state, number in counts.items():
        told[state.told] += number
    return {str(state): told[state] for state in State if told[state]}
