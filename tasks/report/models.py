"""The report's content, the same for Markdown and JSON. All of it is in the JSON; the Markdown cuts long lists."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from models.enums import SETTLED
from models.words import counted


class Wait(BaseModel):
    """What an item can't start before."""

    item_id: int
    name: str
    line: int  # 0: no line of its own, a gate between phases
    status: str
    why: str  # what that one waits for itself, down to what a person can act on


class ItemReport(BaseModel):
    item_id: int
    parent: int | None  # item_id of the item that it is a part of
    line: int  # 1-based, on the board
    id: str | None  # as written on the board
    kind: str
    title: str
    declared: str  # what the board says: todo, in_progress, blocked, done, skipped, partial
    status: str  # what Penstock knows: pending, ready, running, waiting, done, failed, cancelled, skipped
    # To be done by machines or a person; False: ticked on the board, or only the sum of its parts. An item whose parts
    # are done is work while its synthesis is not.
    work: bool
    origin: str = (
        "board"  # board; split: a part that Penstock made; document: a text that is split as a whole
    )
    synthesis: bool = False  # its text is, or is to be, put together from the results of its parts
    member: bool = (
        False  # an opinion in a council: it is in its item's decision, and no work of its own once it ended
    )
    decision: dict[str, Any] | None = None  # what its council decided, or proposes
    complexity: int | None = None  # 1 to 10; None: not known, or plainly small
    text: str | None = None  # the accepted answer
    citations: list[dict[str, Any]] = Field(default_factory=list)
    accepted_by: str | None = None  # checks, person
    model: str | None = None
    simulated: bool = False
    review: int | None = None
    reason: str | None = None
    error_type: str | None = None
    # Of one that waits for a person, every try: number, endpoint, model, recipe, tried (what was otherwise than at a
    # first try), outcome, error_type, error, seconds, prompt_tokens, completion_tokens, finished_at.
    attempts: list[dict[str, Any]] = Field(default_factory=list)
    elsewhere: str | None = None  # the status of the item that does the same work in its place
    waits_for: list[Wait] = Field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.id} {self.title}" if self.id and self.id not in self.title else self.title


class Counts(BaseModel):
    """`items` and `steps` are the board's own; `to_do` is what was open and has no parts of its own, or a synthesis of
    its parts that is not settled: it is the sum of `done`, `waiting`, `blocked`, `queued`, `failed` and `rejected`."""

    items: int
    steps: int
    ticked: int  # items that the board itself says are done or skipped
    to_do: int
    done: int  # an answer was accepted
    waiting: int  # deferred to a person
    blocked: int  # waits for another item
    queued: int  # ready or running
    failed: int
    rejected: int  # a person said that it will not be done


class BoardReport(BaseModel):
    board_id: int
    source: str  # relative to the working directory where it is below it
    path: str  # as stored: absolute, git:<repository>:<path>, github:<owner>/<name>, or stdin:<hash>
    revision: str | None = None  # the commit that it was read at, of a board in a git repository
    dialect: str
    title: str
    counts: Counts
    parts: int = 0  # made by Penstock out of items that it split
    syntheses: int = 0  # done: items with a result that was put together from those of their parts
    declared: dict[str, int]  # items by what the board says; steps are left out
    statuses: dict[str, int]  # items and steps by what Penstock knows
    items: list[ItemReport]
    findings: list[dict[str, Any]]
    delta: dict[str, int] | None = None  # what the run's ingest changed: added, changed, moved, removed ...

    @property
    def read_before(self) -> bool:
        return self.delta is not None and any(self.delta[name] for name in self.delta if name != "added")

    def having(self, *statuses: str) -> list[ItemReport]:
        return [item for item in self.items if item.status in statuses]

    @property
    def answered(self) -> list[ItemReport]:
        return [
            item for item in self.having("done") if item.text and not item.member and item.decision is None
        ]

    @property
    def decided(self) -> list[ItemReport]:
        """Items whose councils' decision was accepted."""
        return [item for item in self.having("done") if item.decision is not None]

    @property
    def blocked(self) -> list[ItemReport]:
        return [item for item in self.items if item.work and item.status == "pending"]


class Report(BaseModel):
    run_id: str | None
    state: str  # settled, waiting, failed, running
    started_at: datetime | None
    finished_at: datetime | None
    backend: str | None
    endpoint: str | None
    model: str | None
    simulated: bool
    error: str | None
    spilled: str | None = None  # a sentence: another backend than the wanted one did the work
    unreadable: list[str] = Field(default_factory=list)  # one sentence for each file that could not be read
    gone: list[str] = Field(default_factory=list)  # sentences: boards whose file was renamed or is gone
    written: list[str] = Field(default_factory=list)  # sentences: whose marks were brought in step
    calls: int
    uncalled: int = 0  # tries that needed no call: the very same was asked before, or at that moment
    prompt_tokens: int
    completion_tokens: int
    graph: str | None = None  # the file beside the report that has the boards drawn
    validation: str | None = None  # the file beside the report that has what the checks said
    boards: list[BoardReport]

    @property
    def waiting(self) -> list[ItemReport]:
        return [item for board in self.boards for item in board.having("waiting")]

    @property
    def blocked(self) -> list[ItemReport]:
        return [item for board in self.boards for item in board.blocked]

    @property
    def elsewhere(self) -> list[ItemReport]:
        """Items that are not run because another does the same work, and that one is not at its end."""
        settled = {status.label for status in SETTLED}
        return [
            item
            for board in self.boards
            for item in board.items
            if item.elsewhere is not None and item.elsewhere not in settled
        ]

    @property
    def elsewhere_words(self) -> str:
        """`2 items are the same work as items elsewhere, which wait for a person`, of those in `elsewhere`."""
        asked = sum(item.elsewhere == "waiting" for item in self.elsewhere)
        said = []
        for number, one, many in (
            (asked, "which waits for a person", "which wait for a person"),
            (len(self.elsewhere) - asked, "which is not done yet", "which are not done yet"),
        ):
            if number:
                what = "is the same work as an item" if number == 1 else "are the same work as items"
                said.append(f"{counted(number, 'item')} {what} elsewhere, {one if number == 1 else many}")
        return "; ".join(said)

    @property
    def unsettled(self) -> int:
        """Items that are not at their end: they, or those that do their work, wait for a person, for another item, or
        for a server."""
        return len(self.elsewhere) + sum(
            board.counts.waiting + board.counts.blocked + board.counts.queued + board.counts.failed
            for board in self.boards
        )

    def total(self, name: str) -> int:
        """The sum of one of the counts over all boards."""
        return sum(int(getattr(board.counts, name)) for board in self.boards)
