"""How a state looks: sign, words, colours. The same in the terminal, in Mermaid and in SVG.

The hues are those of Okabe and Ito, which people with any colour vision tell apart; no state is told by its hue alone.
"""

from __future__ import annotations

from typing import NamedTuple

from models.items import State


class Look(NamedTuple):
    sign: str  # one character of the fonts that every system has; beside its word
    words: str  # for a legend
    hue: str  # of lines and shapes
    fill: str  # behind dark text
    ansi: str  # the terminal's name for it
    lone: str = ""  # the sign where no word stands beside it, if that is another one

    @property
    def mark(self) -> str:
        """A sign that no other state has."""
        return self.lone or self.sign


LOOKS: dict[State, Look] = {
    State.READY: Look("▸", "ready: runs next", "#0072B2", "#CFE6F5", "blue"),
    State.RUNNING: Look("▶", "running", "#56B4E9", "#E3F3FC", "cyan"),
    State.WAITING: Look("?", "waiting for a person", "#E69F00", "#FCEBC5", "yellow"),
    State.BLOCKED: Look("■", "blocked by other items", "#CC79A7", "#F6E1EC", "magenta"),
    State.PENDING: Look("○", "pending: has open parts", "#8A8F98", "#FFFFFF", "default"),
    State.FAILED: Look("✗", "failed", "#D55E00", "#FADCC9", "red"),
    State.DONE: Look("✓", "done: answer accepted", "#009E73", "#CDEEE3", "green"),
    State.TICKED: Look(
        "✓", "ticked: the board says it is done", "#8A8F98", "#E9EBEE", "bright_black", lone="√"
    ),
    State.ELSEWHERE: Look(
        "≡", "elsewhere: another item is the same work", "#8A8F98", "#E9EBEE", "bright_black"
    ),
    State.SKIPPED: Look("–", "skipped: nothing of it is to be done", "#8A8F98", "#E9EBEE", "bright_black"),
    State.CANCELLED: Look("×", "cancelled: will not be done", "#8A8F98", "#E9EBEE", "bright_black"),
}
