"""The drawing as Mermaid: nested boxes, arrows from what is needed to what waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from models.items import State
from tasks.graph.model import BoardBox, Box, Drawing
from tasks.graph.states import LOOKS
from tasks.graph.text import cut, plain

MOST = 150
"""Boxes of one Mermaid drawing. Its readers refuse more than 500 arrows or 50,000 characters, and nobody reads more."""

MOST_ARROWS = 300
LONGEST = 60

SAFE = frozenset(" .,:_+=?!/'()-")
MARKS = frozenset("ﬂ°¶")  # which Mermaid writes in the place of numbers, while it reads
INK = "#1F2328"

# One line a title, and no more air than a list has: most items have no arrow, and stand one above the other.
INIT = (
    '%%{init: {"flowchart": {"nodeSpacing": 14, "rankSpacing": 60, "wrappingWidth": 560, "padding": 8, '
    '"subGraphTitleMargin": {"top": 2, "bottom": 14}}}}%%'
)


def mermaid(drawing: Drawing) -> str:
    """Mermaid's text. Foreign characters that could mean something to Mermaid or HTML are written as their numbers."""
    arrows = sorted(drawing.arrows, key=lambda arrow: arrow.settled)
    notes = [plain(note) for note in drawing.notes]
    if len(arrows) > MOST_ARROWS:
        notes.append(f"{len(arrows) - MOST_ARROWS} more needs are not drawn.")
    lines = [INIT, "flowchart LR"]
    lines += _legend(drawing, notes)
    for number, board in reversed([*enumerate(drawing.boards, 1)]):
        lines += [f'  subgraph b{number}["{_board(board)}"]', "    direction LR"]
        for root in _in_order(board.roots):
            lines += _box(root, 2)
        if board.folded:
            lines.append(f'    fb{number}["{label(counted(board.folded))}"]:::folded')
        lines += ["  end"]
    lines += [
        f"  n{arrow.needs.id} {'-.->' if arrow.settled else '==>'} n{arrow.item.id}"
        for arrow in arrows[:MOST_ARROWS]
    ]
    lines += _classes(drawing)
    return "\n".join(lines) + "\n"


def label(text: str, longest: int = LONGEST) -> str:
    """Text inside a quoted label: letters, digits and harmless signs as they are, all else as #number;."""
    return "".join(
        each
        if (each.isalnum() or each in SAFE or not each.isascii()) and each not in MARKS
        else f"#{ord(each)};"
        for each in cut(plain(text), longest)
    )


def counted(counts: Counter[State]) -> str:
    """`12 items: 3 ready, 9 done`; `9 done` where all are in one state."""
    parts = [f"{counts[state]} {state}" for state in State if counts[state]]
    return parts[0] if len(parts) == 1 else f"{counts.total()} items: {', '.join(parts)}"


def _board(board: BoardBox) -> str:
    return label(board.source, 90)


def _box(box: Box, level: int) -> Iterator[str]:
    stack: list[tuple[Box, int, bool]] = [(box, level, True)]
    while stack:
        box, level, opening = stack.pop()
        indent = "  " * level
        if not opening:
            yield f"{indent}end"
        elif box.parts:
            yield f'{indent}subgraph n{box.id}["{_title(box)}"]'
            yield f"{indent}  direction LR"
            if box.folded:
                yield f'{indent}  f{box.id}["{label(counted(box.folded))}"]:::folded'
            stack.append((box, level, False))
            stack.extend((part, level + 1, True) for part in reversed(_in_order(box.parts)))
        elif box.folded:
            yield f'{indent}n{box.id}[["{_title(box)}<br/>{label(counted(box.folded), 120)}"]]'
        else:
            yield f'{indent}n{box.id}["{_title(box)}"]'


def _in_order(boxes: Sequence[Box]) -> list[Box]:
    """Mermaid places groups from the last that it read to the first, and single boxes from the first to the last."""
    return [*reversed([box for box in boxes if box.parts]), *(box for box in boxes if not box.parts)]


def _title(box: Box) -> str:
    return f"{LOOKS[box.state].mark} {label(box.name)}"


def _legend(drawing: Drawing, notes: Sequence[str]) -> list[str]:
    lines = ['  subgraph legend["Legend"]', "    direction LR"]
    lines += [
        f'    l{state}["{LOOKS[state].mark} {label(LOOKS[state].words)}"]:::{state}'
        for state in drawing.states()
    ]
    if drawing.arrows:
        lines.append('    la["thick arrow: to what waits, dotted: need not wait any more"]:::folded')
    lines += [f'    ln{number}["{label(note, 160)}"]:::folded' for number, note in enumerate(notes)]
    return [*lines, "  end"]


def _classes(drawing: Drawing) -> list[str]:
    boxes: dict[State, list[str]] = {}
    groups: dict[State, list[str]] = {}
    for box in drawing.walk():
        (groups if box.parts else boxes).setdefault(box.state, []).append(f"n{box.id}")
    lines = ["  classDef folded fill:none,stroke:#8A8F98,stroke-dasharray:3"]
    for state in drawing.states():
        look = LOOKS[state]
        lines.append(f"  classDef {state} fill:{look.fill},stroke:{look.hue},stroke-width:2px,color:{INK}")
        if state in boxes:
            lines.append(f"  class {','.join(boxes[state])} {state}")
        if state in groups:
            lines.append(f"  classDef in_{state} fill:none,stroke:{look.hue},stroke-width:2px")
            lines.append(f"  class {','.join(groups[state])} in_{state}")
    names = [f"b{number}" for number, _ in enumerate(drawing.boards, 1)]
    if names:
        lines.append(f"  class {','.join([*names, 'legend'])} folded")
    asked = [f"n{box.id}" for box in drawing.walk() if box.asked]
    if asked:
        lines += [f"  classDef asked stroke-width:5px,stroke:{INK}", f"  class {','.join(asked)} asked"]
    return lines
