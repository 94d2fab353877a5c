"""The drawing as SVG: the items as an outline, one a row, and the needs as lines at its right side.

A layered drawing of boxes and arrows is a knot from some fifty items on; a list is read at any length. Self-contained:
no script, no font, no link; light or dark as the reader's system is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from models.items import State
from models.words import counted
from tasks.graph.model import Arrow, BoardBox, Box, Drawing
from tasks.graph.states import LOOKS
from tasks.graph.text import fit, plain, width

MOST = 500
"""Boxes of one SVG drawing; more are folded."""

ROW = 24
PAD = 16
INDENT = 20
MOST_INDENTS = 14
LEAST_TEXT = 120  # however deep an item is, so much of its title is shown
TEXT = 640  # the widest row
LANE = 12
MOST_LANES = 40  # beyond, what need not wait any more is left out
SIZE = 13
NOTE = 12
BAR = 60  # the widest bar of counts
DIM = "#8A8F98"

STYLE = """
svg{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:13px}
.bg{fill:#fff}.band{fill:#f6f8fa}.t{fill:#1f2328}.d{fill:#59636e;font-size:12px}.b{font-weight:600}.h{font-size:15px}
.g{stroke:#d1d9e0;fill:none}.s{stroke:#818b98;stroke-width:1;stroke-dasharray:2 3;fill:none}.sf{fill:#818b98}
.n{stroke-width:1.5;fill:none;stroke:#59636e}.nf{fill:#59636e}.w{stroke:#fff;stroke-width:1.8;fill:none;stroke-linecap:round;stroke-linejoin:round}
.wf{fill:#fff}.me{fill:#fff8c5}.sep{stroke:#fff;stroke-width:1}
@media (prefers-color-scheme:dark){.bg{fill:#0d1117}.band{fill:#151b23}.t{fill:#f0f6fc}.d{fill:#9198a1}
.g{stroke:#3d444d}.me{fill:#4b3f12}.sep{stroke:#0d1117}.n{stroke:#9198a1}.nf{fill:#9198a1}}
""".strip()

# Each sign is a shape of its own, in a square of 16 around 0,0.
SIGNS: dict[State, str] = {
    State.READY: '<path d="M-5-6 7 0-5 6z" fill="{hue}"/>',
    State.RUNNING: '<circle r="6.2" fill="none" stroke="{hue}" stroke-width="2"/>'
    '<path d="M-2-3.5 4 0-2 3.5z" fill="{hue}"/>',
    State.WAITING: '<path d="M0-7.5 7.5 0 0 7.5-7.5 0z" fill="{hue}"/><path d="M0-3.5V.6" class="w"/>'
    '<circle cy="3.4" r="1.1" class="wf"/>',
    State.BLOCKED: '<rect x="-6" y="-6" width="12" height="12" rx="2" fill="{hue}"/><path d="M-3 0H3" class="w"/>',
    State.PENDING: '<circle r="5.6" fill="none" stroke="{hue}" stroke-width="1.8"/>',
    State.FAILED: '<circle r="6.6" fill="{hue}"/><path d="M-2.6-2.6 2.6 2.6M2.6-2.6-2.6 2.6" class="w"/>',
    State.DONE: '<circle r="6.6" fill="{hue}"/><path d="M-3 .2-.8 2.4 3.2-2.2" class="w"/>',
    State.TICKED: '<path d="M-4 .2-1.2 3 4.2-3" fill="none" stroke="{hue}" stroke-width="2" stroke-linecap="round"/>',
    State.ELSEWHERE: '<path d="M-4.5-3.2H4.5M-4.5 0H4.5M-4.5 3.2H4.5" fill="none" stroke="{hue}" stroke-width="1.8"/>',
    State.SKIPPED: '<path d="M-4.5 0H4.5" fill="none" stroke="{hue}" stroke-width="2" stroke-linecap="round"/>',
    State.CANCELLED: '<path d="M-4-4 4 4M4-4-4 4" fill="none" stroke="{hue}" stroke-width="2" stroke-linecap="round"/>',
}


@dataclass(slots=True)
class Row:
    """One line of the outline."""

    y: float
    box: Box | None  # None: a board, or what is folded into it
    level: int
    x: float = 0.0  # where its text begins
    end: float = 0.0  # where all that it shows ends


def svg(drawing: Drawing) -> str:
    """The whole picture as a text."""
    rows, body = _outline(drawing)
    by_id = {row.box.id: row for row in rows if row.box is not None}
    arrows = [arrow for arrow in drawing.arrows if arrow.needs.id in by_id and arrow.item.id in by_id]
    left = max([row.end for row in rows], default=200.0) + 18
    lanes = _lanes(arrows, by_id)
    if len(set(lanes.values())) > MOST_LANES and any(arrow.settled for arrow in arrows):
        arrows = [arrow for arrow in arrows if not arrow.settled]
        lanes = _lanes(arrows, by_id)
    lines = list(_lines(arrows, by_id, lanes, left))
    right = left + (max(lanes.values()) + 1) * LANE if lanes else left
    bottom = (rows[-1].y if rows else PAD) + ROW
    legend, wide, high = _legend(drawing, bottom + 14, arrows)
    total = round(max(right + PAD, wide, 320))
    height = round(high + PAD)
    bands = [
        f'<rect class="band" x="0" y="{_n(row.y - ROW / 2)}" width="{total}" height="{ROW}"/>'
        for number, row in enumerate(rows)
        if number % 2 and row.box is not None
    ]
    bands += [
        f'<rect class="me" x="0" y="{_n(row.y - ROW / 2)}" width="{total}" height="{ROW}"/>'
        for row in rows
        if row.box is not None and row.box.asked
    ]
    about = (
        f"{counted(len(drawing), 'item')} of {counted(len(drawing.boards), 'board')}, "
        f"{counted(len(drawing.arrows), 'need')}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" '
            f'viewBox="0 0 {total} {height}" role="img" aria-label="{about}">',
            f"<style>{STYLE}</style>",
            "<defs>",
            *(
                f'<g id="s-{state}">{SIGNS[state].format(hue=LOOKS[state].hue)}</g>'
                for state in State
                if state in drawing.states()
            ),
            "</defs>",
            f'<rect class="bg" width="{total}" height="{height}"/>',
            *bands,
            *lines,
            *body,
            *legend,
            "</svg>",
            "",
        ]
    )


def _outline(drawing: Drawing) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    parts: list[str] = []
    y = float(PAD)
    for number, board in enumerate(drawing.boards):
        y += ROW if number else ROW / 2
        rows.append(_board_row(board, y, parts))
        for root in board.roots:
            for box, level in _levels(root):
                y += ROW
                row = Row(y, box, level)
                rows.append(row)
                parts.append(_box_row(row, box))
        if board.folded:
            y += ROW
            rows.append(_folded_row(board, y, parts))
        y += ROW / 2
    parts[:0] = _guides(rows)
    return rows, parts


def _levels(root: Box) -> Iterator[tuple[Box, int]]:
    stack = [(root, 0)]
    while stack:
        box, level = stack.pop()
        yield box, level
        stack.extend((part, level + 1) for part in reversed(box.parts))


def _board_row(board: BoardBox, y: float, parts: list[str]) -> Row:
    counts = board.counts()
    name = fit(plain(board.source), TEXT - 180, 15, bold=True)
    end = PAD + width(name, 15, bold=True) + 10
    told = _summary(counts)
    parts.append(
        f'<text class="t b h" x="{PAD}" y="{_n(y + 5)}">{_e(name)}</text>'
        f'<text class="d" x="{_n(end)}" y="{_n(y + 5)}">{_e(told)}</text>'
    )
    return Row(y, None, 0, PAD, end + width(told, NOTE))


def _folded_row(board: BoardBox, y: float, parts: list[str]) -> Row:
    x = PAD + 22
    told = f"{_items(board.folded.total())} more:"
    parts.append(f'<text class="d" x="{x}" y="{_n(y + 4.5)}">{_e(told)}</text>')
    end = x + width(told, NOTE) + 6
    parts.append(_bar(board.folded, end, y))
    return Row(y, None, 0, x, end + BAR + 60)


def _box_row(row: Row, box: Box) -> str:
    level = min(row.level, MOST_INDENTS)
    sign = PAD + 8 + level * INDENT
    row.x = sign + 15
    bold = box.container
    room = max(LEAST_TEXT, TEXT - row.x - (90 if bold else 0))
    name = fit(plain(box.name), room, SIZE, bold=bold)
    row.end = row.x + width(name, SIZE, bold=bold)
    tip = f"{plain(box.name)} — {LOOKS[box.state].words}; line {box.line}" if box.line else plain(box.name)
    parts = [
        f"<g><title>{_e(tip)}</title>",
        f'<use href="#s-{box.state}" x="{_n(sign)}" y="{_n(row.y)}"/>',
        f'<text class="t{" b" if bold else ""}" x="{_n(row.x)}" y="{_n(row.y + 4.5)}">{_e(name)}</text>',
    ]
    if bold:
        counts = box.counts()
        settled = sum(number for state, number in counts.items() if state.settled)
        told = f"{settled}/{counts.total()}"
        parts.append(_bar(counts, row.end + 8, row.y))
        parts.append(f'<text class="d" x="{_n(row.end + 8 + BAR + 6)}" y="{_n(row.y + 4.5)}">{told}</text>')
        row.end += 8 + BAR + 6 + width(told, NOTE)
    return "".join([*parts, "</g>"])


def _bar(counts: Counter[State], x: float, y: float) -> str:
    """The shares of the states, as wide for 3 items as for 3,000."""
    total = counts.total()
    if not total:
        return ""
    pieces = []
    for state in reversed(State):
        if counts[state]:
            share = BAR * counts[state] / total
            pieces.append(
                f'<rect x="{_n(x)}" y="{_n(y - 4)}" width="{_n(share)}" height="8" fill="{_bar_fill(state)}" '
                f'class="sep"><title>{counts[state]} {state}</title></rect>'
            )
            x += share
    return "".join(pieces)


def _bar_fill(state: State) -> str:
    return "#B9BEC6" if state.untouched else LOOKS[state].hue


def _guides(rows: Sequence[Row]) -> list[str]:
    """Thin lines from an item down to its last part."""
    last: dict[int, float] = {}
    for row in rows:
        if row.box is not None and row.box.parent is not None:
            last[row.box.parent.id] = row.y
    drawn = []
    for row in rows:
        if row.box is not None and row.box.id in last and row.level < MOST_INDENTS:
            x = PAD + 8 + row.level * INDENT
            drawn.append(f"M{_n(x)} {_n(row.y + 10)}V{_n(last[row.box.id])}")
            drawn += [
                f"M{_n(x)} {_n(part.y)}h8"
                for part in rows
                if part.box is not None and part.box.parent is row.box
            ]
    return [f'<path class="g" d="{"".join(drawn)}"/>'] if drawn else []


def _lanes(arrows: Sequence[Arrow], rows: dict[int, Row]) -> dict[int, int]:
    """A lane for each needed item, short ones next to the text; no two overlap in one lane."""
    spans: dict[int, tuple[float, float]] = {}
    for arrow in arrows:
        ends = (rows[arrow.needs.id].y, rows[arrow.item.id].y)
        low, high = spans.get(arrow.needs.id, ends)
        spans[arrow.needs.id] = (min(low, *ends), max(high, *ends))
    taken: list[list[tuple[float, float]]] = []
    lanes: dict[int, int] = {}
    for needed, (low, high) in sorted(spans.items(), key=lambda each: (each[1][1] - each[1][0], each[1][0])):
        lane = next(
            (
                number
                for number, others in enumerate(taken)
                if all(high < other_low or low > other_high for other_low, other_high in others)
            ),
            len(taken),
        )
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[needed] = lane
    return lanes


def _lines(
    arrows: Sequence[Arrow], rows: dict[int, Row], lanes: dict[int, int], left: float
) -> Iterator[str]:
    """From the needed item to its lane, along it, and back to what waits, where the head is. Settled ones below."""
    heads = {arrow.item.id for arrow in arrows}
    # What is drawn last is on top: settled needs below, those that somebody is to do something about above.
    for arrow in sorted(arrows, key=lambda each: (not each.settled, _acts(each), -lanes[each.needs.id])):
        needed, item = rows[arrow.needs.id], rows[arrow.item.id]
        x = left + lanes[arrow.needs.id] * LANE
        turn = 5 if item.y > needed.y else -5
        start, head = needed.end + (20 if arrow.needs.id in heads else 6), item.end + 6
        low = needed.y + (3 if item.y > needed.y else -3)
        path = f"M{_n(start)} {_n(low)}H{_n(x - 5)}q5 0 5 {turn}V{_n(item.y - turn)}q0 {turn}-5 {turn}H{_n(head + 5)}"
        tip = f"M{_n(head)} {_n(item.y)}l7-4v8z"
        about = f"<title>{_e(plain(arrow.item.name))} waits for {_e(plain(arrow.needs.name))}</title>"
        if arrow.settled:
            yield f'<g>{about}<path class="s" d="{path}"/><path class="sf" d="{tip}"/></g>'
        else:
            # In colour what somebody or some machine is to do now; the rest waits for that itself. A style, not an
            # attribute: it is to win over the class.
            known = _acts(arrow)
            hue = LOOKS[arrow.needs.state].hue
            line = f'class="n" style="stroke:{hue};stroke-width:2"' if known else 'class="n"'
            filled = f'fill="{hue}"' if known else 'class="nf"'
            yield (
                f'<g>{about}<path {line} d="{path}"/>'
                f'<circle cx="{_n(start)}" cy="{_n(low)}" r="2.4" {filled}/><path d="{tip}" {filled}/></g>'
            )


def _acts(arrow: Arrow) -> bool:
    return arrow.needs.state not in (State.PENDING, State.BLOCKED)


def _legend(drawing: Drawing, y: float, arrows: Sequence[Arrow]) -> tuple[list[str], float, float]:
    """Signs and what they mean, then what is left out. Gives the elements, their right edge and their bottom."""
    parts: list[str] = []
    widest = 0.0
    x = float(PAD)
    y += 8
    entries: list[tuple[str, str]] = [
        (f'<use href="#s-{state}" x="{{x}}" y="{{y}}"/>', LOOKS[state].words) for state in drawing.states()
    ]
    line = '<path d="M{r} {y}h-13" class="%s"/><path d="M{l} {y}l7-4v8z" class="%s"/>'
    if any(not arrow.settled for arrow in arrows):
        entries.append((line % ("n", "nf"), "waits for where the line begins"))
    if any(arrow.settled for arrow in arrows):
        entries.append((line % ("s", "sf"), "need not wait any more"))
    for shape, words in entries:
        room = 22 + width(words, NOTE) + 18
        if x > PAD and x + room > 760:
            x, y = float(PAD), y + 20
        marks = {"x": _n(x + 8), "y": _n(y), "l": _n(x - 1), "r": _n(x + 17)}
        parts.append(shape.format(**marks))
        parts.append(f'<text class="d" x="{_n(x + 22)}" y="{_n(y + 4)}">{_e(words)}</text>')
        x += room
        widest = max(widest, x)
    for note in drawing.notes:
        y += 20
        parts.append(f'<text class="d" x="{PAD}" y="{_n(y + 4)}">{_e(fit(plain(note), 720, NOTE))}</text>')
        widest = max(widest, PAD + min(740, width(note, NOTE) + PAD))
    return parts, widest, y + 8


def _summary(counts: Counter[State]) -> str:
    settled = sum(number for state, number in counts.items() if state.settled)
    told = f"{settled:,}/{counts.total():,} settled"
    return told + (f", {counts[State.WAITING]} for a person" if counts[State.WAITING] else "")


def _items(number: int) -> str:
    return f"{number:,} {'item' if number == 1 else 'items'}"


def _e(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def _n(value: float) -> str:
    """A number without needless digits."""
    return f"{value:.1f}".removesuffix(".0")
