"""An item's tries so far, and what the next one is to do otherwise. No I/O.

Nothing of this is stored on the item: it follows from the rows of `attempt` since the item began anew (statement
`execute.past`), so what the history shows is what was acted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.enums import ErrorType
from models.recipe import Recipe, Rendered
from tasks.foreign import cut
from tasks.tokens import CHARACTERS_PER_TOKEN, weight

LONGER_TIMES = 2
"""How often an answer that was cut off may be twice as long as before: four times the recipe's `max_tokens` at most."""

LEAST_SHARE = 0.25
"""What of a prompt is sent at least, after it was too long."""

LONGEST_WORDS = 300
"""Characters of what one check said, as a model is told them."""

LONGEST_REASON = 1000
"""Characters of all that a model is told of its last answer: of that one alone, so it does not grow with each try."""


@dataclass(frozen=True, slots=True)
class Past:
    """The tries of an item since it began anew. The counts from `here` on are of those with the recipe that it has now.

    In the order of the statement `execute.past`.
    """

    elapsed: float = 0.0  # seconds since the first of them began, by the database's clock
    returns: int = 0  # how often in a row, to now, it came back because of the server
    here: int = 0
    truncated: int = 0
    too_long: int = 0
    memory: int = 0  # the server ran out of it
    error_type: str | None = None  # of the last
    error: str | None = None
    recipes: tuple[str, ...] = ()  # that it was tried with
    reason: str | None = None  # why the last answer was not accepted, in words for the next prompt
    packed: bool = False  # the last was together with other items

    @property
    def failed_packed(self) -> bool:
        """Was it tried once only, together with others, and failed its checks?"""
        failed = self.error_type is not None and ErrorType(self.error_type).charged
        return self.packed and self.here == 1 and failed

    @property
    def answered(self) -> bool:
        """Was it ever more than the server's fault that it was tried in vain?"""
        return self.here > self.returns or len(self.recipes) > 1

    @property
    def share(self) -> float:
        """Of its prompt that is to be sent. The first time that memory ran out may be due to others."""
        return max(0.5 ** (self.too_long + max(self.memory - 1, 0)), LEAST_SHARE)

    @property
    def growth(self) -> int:
        """How many times as long an answer may be."""
        return int(2 ** min(self.truncated, LONGER_TIMES))


NEW = Past()


def reason_of(checks: Sequence[dict[str, Any]] | None, error: str | None, error_type: str | None) -> str:
    """What the next prompt says of the last answer: the words of the checks that failed, each once, and cut."""
    said = dict.fromkeys(
        cut(str(check["message"]), LONGEST_WORDS) for check in checks or () if check.get("error_type")
    )
    words = "; ".join(said) or error or error_type or ""
    return cut(words, LONGEST_REASON)


def longest_answer(recipe: Recipe, rendered: Rendered, context_tokens: int, growth: int) -> int:
    """Tokens that an answer to this prompt may have: `growth` times the recipe's `max_tokens`.

    As far as the context has room beside the prompt (by a cautious estimate), and never less than the recipe says.
    """
    tokens = recipe.header.max_tokens
    prompt = (weight(rendered.system) + weight(rendered.prompt)) // CHARACTERS_PER_TOKEN + 1
    return max(tokens, min(tokens * growth, context_tokens - prompt))


def adapted(rendered: Rendered, recipe: Recipe, past: Past, context_tokens: int) -> Rendered:
    """The prompt of a further try, with what is otherwise than at the first."""
    tokens = longest_answer(recipe, rendered, context_tokens, past.growth) if past.growth > 1 else None
    tried = [
        "with the reason" if past.reason else "",
        f"max_tokens {tokens}" if tokens and tokens > recipe.header.max_tokens else "",
        f"{past.share:.0%} of the prompt" if past.share < 1 else "",
    ]
    return replace(rendered, max_tokens=tokens, tried=", ".join(filter(None, tried)))
