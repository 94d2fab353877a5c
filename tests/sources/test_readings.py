"""Small boards in many languages, read by hand: what is an item, in which state, and what is none.

In `readings/*.txt` a line `=== dialect · name` (and a file name, where it matters) begins a board. Each line of it has
one sign and a blank before its text: t todo, i in progress, b blocked, d done, s skipped, p partial; a blank for what
is no item.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.enums import Declared
from sources import parse

STATES = {
    "t": Declared.TODO,
    "i": Declared.IN_PROGRESS,
    "b": Declared.BLOCKED,
    "d": Declared.DONE,
    "s": Declared.SKIPPED,
    "p": Declared.PARTIAL,
}
Reading = tuple[str, str, str, str, dict[int, Declared]]


def readings() -> Iterator[Reading]:
    for path in sorted((Path(__file__).parent / "readings").glob("*.txt")):
        for block in path.read_text("utf-8").removeprefix("=== ").split("\n\n=== "):
            head, *lines = block.rstrip("\n").split("\n")
            dialect, name, *file = head.split(" · ")
            items = {number: STATES[line[0]] for number, line in enumerate(lines, 1) if line[:1].strip()}
            text = "".join(f"{line[2:]}\n" for line in lines)
            yield f"{path.stem}: {name}", dialect, file[0] if file else "notes.md", text, items


@pytest.mark.parametrize(
    ("dialect", "file", "text", "items"),
    [pytest.param(*rest, id=name) for name, *rest in readings()],
)
def test_a_small_board_is_read_as_a_person_reads_it(
    dialect: str, file: str, text: str, items: dict[int, Declared]
) -> None:
    board = parse(text.encode(), file)
    assert board.dialect == dialect
    assert {
        item.line: item.status for item in board.items if item.ordinal == 0 and item.kind != "step"
    } == items
