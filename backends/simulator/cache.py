"""What a loaded model remembers of the prompts it has read: their beginnings, in whole blocks, as vLLM does it."""

from __future__ import annotations

from collections import OrderedDict

from backends.simulator.answers import PER_TOKEN

BLOCK = 16
"""Tokens; only whole blocks are found again."""

_CHARACTERS = BLOCK * PER_TOKEN


class PrefixCache:
    """The latest blocks, at most `limit` tokens of them; the longest unused go first."""

    def __init__(self, limit: int) -> None:
        self._most = limit // BLOCK
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def find(self, chain: list[int]) -> int:
        """Tokens of the longest beginning that was read before."""
        known, found = self._blocks, 0
        for key in chain:
            if key not in known:
                break
            found += BLOCK
        return found

    def keep(self, chain: list[int]) -> None:
        """Remember what was read."""
        known = self._blocks
        for key in reversed(chain):  # a block is of no use without those before it: they go last
            known[key] = None
            known.move_to_end(key)
        while len(known) > self._most:
            known.popitem(last=False)


def blocks(text: str) -> list[int]:
    """One number for each whole block, which stands for all before it too."""
    key, chain = 0, []
    for at in range(0, len(text) - _CHARACTERS + 1, _CHARACTERS):
        key = hash((key, text[at : at + _CHARACTERS]))
        chain.append(key)
    return chain
