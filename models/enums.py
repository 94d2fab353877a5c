"""The closed vocabularies: what a board may say, what Penstock knows, how things end."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Declared(StrEnum):
    """What the board says of an item. A claim, not evidence."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    BLOCKED = "blocked"
    DONE = "done"
    SKIPPED = "skipped"
    PARTIAL = "partial"

    @property
    def is_open(self) -> bool:
        return self not in (Declared.DONE, Declared.SKIPPED)


class Status(IntEnum):
    """What Penstock knows of an item. Stored as smallint in the hot row.

    pending -> ready -> running -> done | ready (retry) | waiting (deferred to a person)
    waiting -> done (accept, edit) | ready (retry) | cancelled (reject)

    The integers are stored; never renumber them.
    """

    PENDING = 0  # known, not yet claimable: a container, or something it needs is not settled
    READY = 1  # claimable
    RUNNING = 2  # claimed by a drain that holds a lease
    WAITING = (
        3  # deferred: machines gave up, a person decides. Never counted as done, never retried by itself
    )
    DONE = 4  # an answer was accepted, or all children settled and one at least is done
    FAILED = 5  # ended without an answer and without a person asked (only where a recipe says so)
    CANCELLED = 6  # a person decided that it will not be done
    SKIPPED = 7  # nothing to run: the board declares it done or skipped

    @property
    def label(self) -> str:
        return self.name.lower()


SETTLED = (Status.DONE, Status.CANCELLED, Status.SKIPPED)
"""Statuses that satisfy a need. A failed or waiting item keeps its dependents waiting."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class ErrorType(StrEnum):
    """Why a try at an item did not end in an accepted answer. One vocabulary for all protocols and checks."""

    # the endpoint's, the device's or the account's fault: the item is not charged an attempt
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    MODEL_MISSING = "model_missing"
    OUT_OF_MEMORY = "out_of_memory"
    AUTH = "auth"
    LEASE_LOST = "lease_lost"
    # the item's, the prompt's or the model's fault: charged
    CONTEXT_TOO_LONG = "context_too_long"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    ECHO = "echo"
    MALFORMED = "malformed"
    NO_EVIDENCE = "no_evidence"
    # found by the checks: charged
    SCHEMA = "schema"
    RULE = "rule"
    GROUNDING = "grounding"
    CHECK_CRASHED = "check_crashed"
    # not an error: the recipe always asks a person
    HUMAN_ONLY = "human_only"
    # not an error of a try: the board lets items wait for one another, and a person says which goes first
    CYCLE = "cycle"
    # not an error: how the item is to be split waits for approval
    PLAN = "plan"

    @property
    def charged(self) -> bool:
        """Does a try that ended so count against the item's `max_attempts`?"""
        return self not in INFRASTRUCTURE


INFRASTRUCTURE = frozenset(
    {
        ErrorType.CONNECTION,
        ErrorType.TIMEOUT,
        ErrorType.OVERLOADED,
        ErrorType.RATE_LIMITED,
        ErrorType.UNAVAILABLE,
        ErrorType.SERVER_ERROR,
        ErrorType.MODEL_MISSING,
        ErrorType.OUT_OF_MEMORY,
        ErrorType.AUTH,
        ErrorType.LEASE_LOST,
    }
)


class Decision(StrEnum):
    """What a person said of a deferred item."""

    ACCEPT = "accept"  # the proposed text becomes the result
    EDIT = "edit"  # the person's text becomes the result
    RETRY = "retry"  # machines try again, with fresh attempts
    REJECT = "reject"  # it will not be done; dependents go on without it


class BackendName(StrEnum):
    """One work pool each (deployments.pools)."""

    OLLAMA = "ollama"
    MLX = "mlx"
    OPENAI = "openai"
    GEMINI = "gemini"
    ANTHROPIC = "anthropic"
    COMMAND = "command"
    EXTRACTIVE = "extractive"
