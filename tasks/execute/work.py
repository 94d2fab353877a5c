"""What a drain works on: a claimed item, a batch, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from models.calls import ModelAnswer
from models.enums import ErrorType
from tasks.execute.policy import Next

BREATHE = 16
"""Items of a batch that are gone through before others have a turn: a thousand must not keep the heartbeat waiting."""


@dataclass(frozen=True, slots=True)
class ClaimedItem:
    """A row of the statement `execute.claim`, field by field in its order."""

    id: int
    board_id: int
    recipe: str
    model: str | None
    attempts: int
    tries: int  # this try included
    kind: str
    ext_id: str | None
    title: str
    body: str
    line: int
    labels: dict[str, str]
    source: str
    board_title: str
    parent_title: str | None
    parent_body: str | None
    complexity: int | None = None
    tried_before: int = 0  # of `tries`, those before it began anew
    again: bool = False  # an accepted answer of it stands while it is asked once more

    @property
    def question(self) -> str:
        """What is asked, without the prompt's own words."""
        return f"{self.title}\n{self.body}".strip()


@dataclass(frozen=True, slots=True)
class Batch:
    """Items with the same backend, model and recipe that run together."""

    id: int
    recipe: str
    model: str
    items: tuple[ClaimedItem, ...]
    interactive: bool = False  # a person waits for it


@dataclass(slots=True)
class Report:
    """What became of one try at one item."""

    item: ClaimedItem
    prompt_hash: str
    next: Next
    answer: ModelAnswer | None = None
    error_type: ErrorType | None = None
    error: str | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    text: str | None = None
    data: dict[str, Any] | None = None
    citations: tuple[dict[str, str], ...] = ()
    cost: float | None = None  # in US dollars; None: not known
    reused: bool = False  # no call was made for it (tasks/execute/reuse.py)
    digest: str | None = None  # of the model that was asked; None: its server does not say
    seconds: float = 0.0  # that the try took, an error's too
    tried: str = ""  # what was otherwise than at a first try
    members: int | None = None  # items of its request, where there were several
    mends: bool = False  # it failed its checks together with others, and passes them alone


@dataclass(slots=True)
class Tally:
    """Counts of a batch or of a drain."""

    accepted: int = 0
    retry: int = 0
    fallback: int = 0
    deferred: int = 0
    returned: int = 0
    failed: int = 0
    kept: int = 0  # asked again and not bettered: the answer that stands stays
    ignored: int = 0  # reported, but no longer this drain's: lease lost, or the item changed meanwhile
    batches: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0  # reports without a call of their own
    simulated: bool = False

    def add(self, other: Tally) -> None:
        for name in self.__slots__:
            ours, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, ours or theirs if isinstance(ours, bool) else ours + theirs)

    @property
    def settled(self) -> int:
        return self.accepted + self.deferred + self.failed + self.kept

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}
