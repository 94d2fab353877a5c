"""What a synthesis is made from: the accepted results of an item's parts, each a passage that can be quoted.

A part that has no result (rejected, or ticked on the board) is named in the list of parts, so that what is missing
can be said; it is no evidence. Long results are cut, all to the same length, so that every part is heard: a prompt
that does not fit would lose whole parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.calls import Passage
from models.enums import Status
from models.recipe import ROLLUP
from tasks.execute.work import ClaimedItem
from tasks.foreign import cut, visible
from tasks.shortening import cut_at_an_end

__all__ = ["ROLLUP", "Parts", "gather"]

MOST_PARTS = 100
"""Results in one synthesis; of the others the list of parts says that they are left out."""
LEAST = 200  # characters of a result that are always shown
SHARE = 0.6  # of the context: the rest is the item, its list of parts and the recipe's own words
LONGEST_NAME = 120

_WORDS = {
    Status.CANCELLED: "rejected, not done",
    Status.SKIPPED: "done or skipped on the board, no result here",
}


@dataclass(slots=True)
class Parts:
    """The parts of one item."""

    passages: list[Passage] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # the list of parts, as the prompt shows it
    simulated: bool = False  # a simulated result went in: what is made of it is simulated, too

    def told(self, item: ClaimedItem) -> ClaimedItem:
        """The item with the list of its parts as the end of its body."""
        return replace(item, body="\n".join(filter(None, (item.body, "Parts:", *self.lines))))


def gather(rows: Iterable[tuple[Any, ...]], items: Sequence[ClaimedItem], characters: int) -> list[Parts]:
    """`rows` of the statement `execute.results_of_parts`; `characters`: of the context of one request."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for parent, *row in rows:
        found[parent].append(tuple(row))
    return [_of_one(found[item.id], int(characters * SHARE)) for item in items]


def _of_one(rows: Sequence[tuple[Any, ...]], budget: int) -> Parts:
    parts = Parts()
    texts: list[tuple[str, str]] = []
    for item_id, ext_id, title, status, text, simulated in rows:
        name = cut(f"{ext_id} {title}" if ext_id and ext_id not in title else title, LONGEST_NAME)
        shown = visible(text or "").strip()
        if status != Status.DONE or not shown:
            parts.lines.append(f"- {name} ({_WORDS.get(Status(status), 'no result of its own')})")
        elif len(texts) == MOST_PARTS:
            parts.lines.append(f"- {name} (done; its result is left out here: there are too many)")
        else:
            cite = f"item:{item_id}"
            parts.lines.append(f"- {name} (done; its result is {cite})")
            texts.append((cite, shown))
            parts.simulated |= simulated
    share = _share([len(text) for _, text in texts], budget)
    # In their order: where something must be left out all the same, it is the last.
    parts.passages = [
        Passage(cite, cut_at_an_end(text, share), 1.0 - number / 1000)
        for number, (cite, text) in enumerate(texts)
    ]
    return parts


def _share(lengths: Sequence[int], budget: int) -> int:
    """The length to which all are cut so that they fit together; what short ones do not use goes to the long ones."""
    left = budget
    for done, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - done)
        if length > share:
            return max(share, LEAST)
        left -= length
    return max(lengths, default=LEAST)
