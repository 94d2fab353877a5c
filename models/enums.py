"""The closed vocabularies: what a board may say, what Penstock knows, how things end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    done -> waiting (its result no longer passes: tasks/validate/rerun.py)

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


class Lane(IntEnum):
    """Who waits for a board's answers. Stored; never renumber."""

    INTERACTIVE = 0  # a person, now: first, and on slots that are kept for it
    NORMAL = 1
    BULK = 2  # nobody: when nothing else is there

    @property
    def label(self) -> str:
        return self.name.lower()


class LaneName(StrEnum):
    """A lane as people write it."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def lane(self) -> Lane:
        return Lane[self.name]


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
    # asked together with others, and its answer was missing, there twice or mixed up with theirs: not charged either
    PACKED = "packed"
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
    # not an error: a council is not sure enough, sees a high risk, or too few of it answered
    COUNCIL = "council"
    # not an error of a try: the board lets items wait for one another, and a person says which goes first
    CYCLE = "cycle"
    # not an error: how the item is to be split waits for approval
    PLAN = "plan"
    # not an error of one try: a recipe on a model, or a model, failed so often in a row that it was stopped
    POISON = "poison"

    @property
    def rule(self) -> Rule:
        """Whose fault it is and what follows."""
        return RULES[self]

    @property
    def charged(self) -> bool:
        """Does a try that ended so count against the item's `max_attempts`?"""
        return RULES[self].charged


class TimeoutKind(StrEnum):
    """Which wait of a call was too long."""

    CONNECT = "connect"  # no connection: the machine is off, or a firewall swallows it
    FIRST_TOKEN = "first_token"  # noqa: S105  connected, and nothing came: a queue, a load, or a wedged server
    STALL = "stall"  # the answer had begun and went silent
    TOTAL = "total"  # the call's deadline passed while it was still being answered


class Fault(StrEnum):
    """Who is to blame, and so what is to be spared, slowed down or mended."""

    ITEM = "item"  # another item on the same endpoint may do
    MODEL = "model"  # another model may do
    ENDPOINT = "endpoint"  # another server may do
    DEVICE = "device"  # all that share its memory are in trouble
    ACCOUNT = "account"  # all that use its key are
    PENSTOCK = "penstock"
    NOBODY = "nobody"  # no error


class Step(StrEnum):
    """What is tried next at an item (tasks/execute/policy.py). After the last of its steps: the recipe's fallback, else
    a person."""

    ELSEWHERE = "elsewhere"  # the first time in a row: at once by another endpoint, where one is alive
    LATER = "later"  # the same again after a pause, or after what the server asks for
    LONGER = "longer"  # the answer may be twice as long, where the context has room
    SHORTER = "shorter"  # half of the prompt, where it has something that can be left out
    MODEL = "model"  # the next model of the recipe's ladder
    REASON = "reason"  # asked again at once, with what was wrong
    ALONE = "alone"  # asked again at once, by itself


@dataclass(frozen=True, slots=True)
class Rule:
    fault: Fault
    steps: tuple[Step, ...]  # in this order; those that can't be taken are left out
    breaker: bool  # counts towards opening the breaker of this endpoint and model
    charged: bool  # counts as one of the item's attempts


_SERVER = (Step.ELSEWHERE, Step.LATER)
_ANSWER = (Step.REASON, Step.MODEL)

RULES: Mapping[ErrorType, Rule] = {
    ErrorType.CONNECTION: Rule(Fault.ENDPOINT, _SERVER, breaker=True, charged=False),
    ErrorType.TIMEOUT: Rule(Fault.ENDPOINT, _SERVER, breaker=True, charged=False),
    ErrorType.OVERLOADED: Rule(Fault.ENDPOINT, _SERVER, breaker=True, charged=False),
    ErrorType.RATE_LIMITED: Rule(Fault.ACCOUNT, (Step.LATER,), breaker=False, charged=False),
    ErrorType.UNAVAILABLE: Rule(Fault.ENDPOINT, _SERVER, breaker=True, charged=False),
    ErrorType.SERVER_ERROR: Rule(Fault.ENDPOINT, _SERVER, breaker=True, charged=False),
    ErrorType.MODEL_MISSING: Rule(Fault.MODEL, _SERVER, breaker=True, charged=False),
    ErrorType.OUT_OF_MEMORY: Rule(
        Fault.DEVICE, (Step.ELSEWHERE, Step.SHORTER, Step.LATER), breaker=True, charged=False
    ),
    ErrorType.AUTH: Rule(Fault.ACCOUNT, (Step.LATER,), breaker=True, charged=False),
    ErrorType.LEASE_LOST: Rule(Fault.PENSTOCK, (Step.LATER,), breaker=False, charged=False),
    ErrorType.PACKED: Rule(Fault.MODEL, (Step.ALONE,), breaker=False, charged=False),
    ErrorType.CONTEXT_TOO_LONG: Rule(Fault.ITEM, (Step.SHORTER, Step.MODEL), breaker=False, charged=True),
    ErrorType.REFUSED: Rule(Fault.MODEL, (Step.MODEL, Step.REASON), breaker=False, charged=True),
    ErrorType.TRUNCATED: Rule(
        Fault.MODEL, (Step.LONGER, Step.MODEL, Step.REASON), breaker=False, charged=True
    ),
    ErrorType.EMPTY: Rule(Fault.MODEL, _ANSWER, breaker=False, charged=True),
    ErrorType.ECHO: Rule(Fault.MODEL, _ANSWER, breaker=False, charged=True),
    ErrorType.MALFORMED: Rule(Fault.ITEM, _ANSWER, breaker=False, charged=True),
    ErrorType.NO_EVIDENCE: Rule(Fault.ITEM, (), breaker=False, charged=True),
    ErrorType.SCHEMA: Rule(Fault.MODEL, _ANSWER, breaker=False, charged=True),
    ErrorType.RULE: Rule(Fault.MODEL, _ANSWER, breaker=False, charged=True),
    ErrorType.GROUNDING: Rule(Fault.MODEL, _ANSWER, breaker=False, charged=True),
    ErrorType.CHECK_CRASHED: Rule(Fault.PENSTOCK, (), breaker=False, charged=True),
    ErrorType.HUMAN_ONLY: Rule(Fault.NOBODY, (), breaker=False, charged=True),
    ErrorType.COUNCIL: Rule(Fault.NOBODY, (), breaker=False, charged=True),
    ErrorType.CYCLE: Rule(Fault.NOBODY, (), breaker=False, charged=True),
    ErrorType.PLAN: Rule(Fault.NOBODY, (), breaker=False, charged=True),
    ErrorType.POISON: Rule(Fault.MODEL, (), breaker=False, charged=True),
}
"""The one table of what an error means. docs/protocols.md shows it."""


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
    POLL = "poll"
    EXTRACTIVE = "extractive"
