"""How many tokens a text has, before a server said it: a cautious estimate that a drain corrects by what it measures.

Tokenizers differ, and so do scripts: English has 4 to 5 characters a token, code and Cyrillic 2 to 3, Chinese,
Japanese, Korean and emoji about 1. So texts are weighed first: a character of a dense script weighs as much as
CHARACTERS_PER_TOKEN others. What weight a token has is learned for each model from what its server counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

CHARACTERS_PER_TOKEN = 3
"""Weight of a token of a model of which nothing is known yet."""
MOST_PER_TOKEN = 4.0
"""However long the tokens were that a model was seen to have: the next text may be of another kind."""
ENOUGH = 20
"""Prompts that were measured before a token is taken for longer than CHARACTERS_PER_TOKEN."""
MARGIN = 0.95
SHORTEST = 1_000
"""Weight of a prompt of which something is learned: of a shorter one the server's own words are too great a share."""
ODD = 8.0
"""A count by which a token would weigh more is no count of the whole prompt: it was cut, or read from a cache."""

_DENSE = re.compile(
    "[\u0e00-\u0eff\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef\U0001f000-\U0003ffff]"
)


def weight(text: str) -> int:
    """Its length, where a character of a dense script counts as CHARACTERS_PER_TOKEN."""
    if text.isascii():
        return len(text)
    return len(text) + (CHARACTERS_PER_TOKEN - 1) * len(_DENSE.findall(text))


@dataclass(slots=True)
class Meter:
    """What one drain has measured, by model. Never less cautious than the worst prompt that it saw."""

    _least: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)

    def learn(self, model: str, weight: int, tokens: int | None, context_tokens: int) -> None:
        """`tokens`: how many the server counted in a prompt of this weight.

        A count near the whole context may be that of a prompt which the server cut; nothing is learned of that.
        """
        if not tokens or weight < SHORTEST or tokens >= 0.9 * context_tokens or weight > ODD * tokens:
            return
        self._seen[model] = self._seen.get(model, 0) + 1
        self._least[model] = min(self._least.get(model, ODD), weight / tokens)

    def per_token(self, model: str) -> float:
        """Weight of one token of this model."""
        least = self._least.get(model)
        if least is None:
            return CHARACTERS_PER_TOKEN
        known = min(MARGIN * least, MOST_PER_TOKEN)
        return known if self._seen[model] >= ENOUGH else min(known, CHARACTERS_PER_TOKEN)
