"""How many requests an endpoint bears at once: between 1 and its slots, found out while it works.

The declared slots are trusted: a drain begins with them, or with what the one before it had come to.

Halved, at most once per incident (what was sent before the last cut is the same incident), by
- `overloaded` and `out_of_memory`;
- a timeout for the first token or of the whole call, and one that the server or a proxy reports: Ollama and
  llama-server queue in silence instead of refusing, so there is no other sign that they have too much. Not by a
  stall within an answer, nor without a connection: these are wedged or gone, with one request as with eight, and
  the breaker's matter;
- this machine's memory or processors over their limits, where the server is on it.

After a memory fault it is held down for two minutes. Otherwise each good answer adds 1 / allowed, so one a round,
while latency holds: a level must bring more tokens a second (answers, where tokens are not known) than the level
below it, by 5 % (of a level above 10: by half of what one more can bring). It is compared by what answers of one
length took, over as many answers as it has requests, and up to eight times as many where they differ much. One that
does not is given up for two minutes, and then the level below it has to show the same, and so on down. Only answers
to requests that were sent with all that was allowed in flight say something of a level.

What is not known never raises it: an answer without its seconds, a reading of this machine that is missing or old.
"""

from __future__ import annotations

import ipaddress
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
from sql.statements import statement

__all__ = [
    "HELD_SECONDS",
    "LOAD_LIMIT",
    "MEMORY_LIMIT",
    "Host",
    "Pace",
    "is_local",
    "load",
    "read_host",
    "save",
]

HELD_SECONDS = 120.0
"""How long it is not raised after a memory fault."""
BARRED_SECONDS = 120.0
"""How long a level that brought nothing is not tried again."""
MEMORY_LIMIT = 92.0
"""Percent of this machine's memory in use."""
LOAD_LIMIT = 2.0
"""Processes that run or wait for each processor, over the last minute."""
READING_SECONDS = 60.0
"""How long a reading of this machine says something."""
RECOVERY_SECONDS = 30.0
"""How long a cut is given to help this machine before the next."""
LEAST_GAIN = 0.05
LEAST_SAMPLES = 4
WINDOW = 8
"""A level is judged by its last answers: as many as it has requests, up to so many times more where they differ."""

CUTS = frozenset({ErrorType.OVERLOADED, ErrorType.OUT_OF_MEMORY})
CROWDED = frozenset({TimeoutKind.FIRST_TOKEN, TimeoutKind.TOTAL, None})


@dataclass(frozen=True, slots=True)
class Host:
    """How this machine is. None: not known."""

    memory: float | None  # percent in use
    load: float | None  # load average of a minute, per processor

    @property
    def known(self) -> bool:
        return self.memory is not None and self.load is not None

    def trouble(self) -> str:
        """What is over its limit, in words; "" when nothing known is."""
        if self.memory is not None and self.memory > MEMORY_LIMIT:
            return f"this machine's memory is {self.memory:.0f} % full"
        if self.load is not None and self.load > LOAD_LIMIT:
            return f"this machine's load is {self.load:.1f} per processor"
        return ""


def read_host() -> Host:
    """A reading of this machine; takes no time to speak of."""
    try:
        memory = float(psutil.virtual_memory().percent)
    except (OSError, psutil.Error):
        memory = None
    try:
        load = psutil.getloadavg()[0] / (os.cpu_count() or 1)
    except (OSError, psutil.Error):
        load = None
    return Host(memory, load)


def is_local(url: str) -> bool:
    """Whether a server with this URL runs on this machine: its name or address is loopback's."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


@dataclass(frozen=True, slots=True)
class _Level:
    """What the answers at one level took: a straight line, seconds by tokens; flat where tokens are not known."""

    level: int
    seconds: float
    tokens: float  # both on average
    slope: float  # seconds for one token more
    error: float  # of `seconds`, relative to it

    @classmethod
    def of(cls, level: int, answers: Sequence[tuple[float, int | None]]) -> _Level:
        seconds = [each[0] for each in answers]
        tokens = [float(each[1]) for each in answers if each[1]]
        count, mean = len(seconds), statistics.fmean(seconds)
        slope, left = 0.0, seconds
        if len(tokens) == count and max(tokens) > min(tokens):
            fit = statistics.linear_regression(tokens, seconds)
            slope = max(0.0, fit.slope)
            left = [took - slope * one for took, one in zip(seconds, tokens, strict=True)]
        return cls(
            level,
            mean,
            statistics.fmean(tokens) if slope else 0.0,
            slope,
            statistics.pstdev(left) / math.sqrt(count) / mean,
        )

    def precise(self) -> bool:
        return self.error <= _gain(self.level + 1) / 3

    def exceeds(self, lower: _Level) -> bool:
        """Whether it is worth its one request more than the level below: for answers as long as those of both."""
        both = self.slope > 0 and lower.slope > 0
        length = (self.tokens + lower.tokens) / 2
        mine, others = (
            one.seconds + one.slope * (length - one.tokens) if both else one.seconds for one in (self, lower)
        )
        return self.level * others > lower.level * mine * (1 + _gain(self.level))


def _gain(level: int) -> float:
    """What a level must bring more than the one below: of the best that one request more can, half at most."""
    return min(LEAST_GAIN, 0.5 / max(level - 1, 1))


@dataclass(slots=True)
class Pace:
    """The pace of one endpoint, for one drain. Pure: `now` and `sent_at` are seconds on one clock of the caller."""

    slots: int
    allowed: int = 0  # 0: all of them
    local: bool = False  # this machine is the server's: without a reading of it nothing is raised
    held_until: float = -math.inf
    reason: str = ""  # of the latest change, in words
    changed: bool = False  # since it was saved
    _credit: float = 0.0
    _cut_at: float = -math.inf
    _since: float = -math.inf  # when this level began
    _answers: list[tuple[float, int | None]] = field(default_factory=list)  # at this level: seconds, tokens
    _below: _Level | None = None  # of the level from which it was raised to this one, not compared yet
    _above: _Level | None = None  # of the level from which one looks down
    _descends: bool = False  # is the level below as good? Not known, and worth knowing
    _proven: int = 0  # this level brought more than the one below it
    _barred: dict[int, float] = field(default_factory=dict)  # levels that are not tried before
    _calm_until: float = -math.inf  # this machine was read, and was within its limits
    _stored_until: float = -math.inf  # held_until as it was saved

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"an endpoint has at least 1 slot, not {self.slots}")
        self.allowed = min(self.allowed, self.slots) if self.allowed > 0 else self.slots

    def answered(
        self, *, seconds: float | None, tokens: int | None, in_flight: int, sent_at: float, now: float
    ) -> None:
        """A good answer.

        `seconds` are those that it took to answer, without a load; `tokens` those that were written; None: not
        known. `in_flight`: with it, when it was sent or when its answer came.
        """
        level = self.allowed
        if not seconds or not 0 < seconds < math.inf or in_flight < level or sent_at < self._since:
            return
        needed = max(level, LEAST_SAMPLES)
        self._answers.append((seconds, tokens))
        del self._answers[: -WINDOW * needed]
        self._credit = min(1.0, self._credit + 1 / level)
        undecided = self._below is not None or self._above is not None or self._descends
        # Rounding: n times 1/n may be a little less than 1.
        rises = level < self.slots and self._credit > 1 - 1e-9 and self._barred.get(level + 1, now) <= now
        if not (undecided or rises) or len(self._answers) < needed or not self._may_rise(now):
            return
        seen = _Level.of(level, self._answers)
        if not seen.precise() and len(self._answers) < WINDOW * needed:
            return
        if self._looked_down(seen, now) or self._looked_up(seen, now):
            return
        if rises:
            proven = self._proven
            self._enter(level + 1, now, "good answers, and latency held")
            self._below, self._proven = seen, proven

    def _looked_down(self, seen: _Level, now: float) -> bool:
        """Here to see whether the level above was worth it. True when the level was left."""
        above, self._above = self._above, None
        level = self.allowed
        if above is not None:
            if above.exceeds(seen):
                self._enter(level + 1, now, f"{level} at once brought less")
                self._proven = level + 1
                return True
            self._barred[level + 1] = now + BARRED_SECONDS
        if not self._descends:
            return False
        if level == 1:
            self._descends = False
            return False
        self._enter(
            level - 1, now, f"{level + 1} at once brought no more than {level}; is {level - 1} as good?"
        )
        self._above, self._descends = seen, True
        return True

    def _looked_up(self, seen: _Level, now: float) -> bool:
        """Raised to this level: was it worth it? True when the level was left."""
        below, self._below = self._below, None
        level = self.allowed
        if below is None:
            return False
        if seen.exceeds(below):
            self._proven = level
            return False
        proven = self._proven
        self._barred[level] = now + BARRED_SECONDS
        self._enter(level - 1, now, f"{level} at once brought no more than {level - 1}")
        self._proven, self._descends = proven, proven != level - 1
        return True

    def failed(
        self, error_type: ErrorType, *, sent_at: float, now: float, timeout: TimeoutKind | None = None
    ) -> None:
        """A request that failed; `timeout`: which wait was too long."""
        if error_type not in CUTS and not (error_type is ErrorType.TIMEOUT and timeout in CROWDED):
            return
        if sent_at >= self._cut_at:
            self._cut(now, _IN_WORDS[error_type])
        if error_type is ErrorType.OUT_OF_MEMORY:
            self.held_until = max(self.held_until, now + HELD_SECONDS)
            self.changed = True

    def host(self, reading: Host | None, now: float) -> None:
        """How this machine is; None: it could not be read. Of a server elsewhere it says nothing."""
        if not self.local:
            return
        reading = reading or Host(None, None)
        trouble = reading.trouble()
        self._calm_until = now + READING_SECONDS if reading.known and not trouble else -math.inf
        if not trouble:
            return
        if now >= self._cut_at + RECOVERY_SECONDS:
            self._cut(now, trouble)
        if reading.memory is not None and reading.memory > MEMORY_LIMIT:
            held_until = max(self.held_until, now + HELD_SECONDS)
            # Read every second; stored when it makes a difference.
            self.changed |= held_until > self._stored_until + READING_SECONDS / 2
            self.held_until = held_until

    def forget(self, now: float) -> None:
        """What was measured says nothing of what comes: another model answers now."""
        self._enter(self.allowed, now, "")

    def _may_rise(self, now: float) -> bool:
        return now >= self.held_until and (not self.local or now < self._calm_until)

    def _cut(self, now: float, why: str) -> None:
        self._cut_at = now
        self._barred.clear()
        self._enter(max(1, self.allowed // 2), now, why)

    def _enter(self, level: int, now: float, why: str) -> None:
        if level != self.allowed:
            self.reason, self.changed = f"{self.allowed} to {level}: {why}", True
        self.allowed, self._since = level, now
        self._credit, self._answers = 0.0, []
        self._below = self._above = None
        self._descends, self._proven = False, 0


_IN_WORDS = {
    ErrorType.OVERLOADED: "the server said that it has too much to do",
    ErrorType.OUT_OF_MEMORY: "the server ran out of memory",
    ErrorType.TIMEOUT: "an answer took too long",
}


async def load(connection: psycopg.AsyncConnection[Any], endpoint: Endpoint, now: float) -> Pace:
    """The pace at which a drain begins: where the one before it was; where nothing is stored, all slots.

    Where all slots were allowed and other slots are declared since, it is all of those.
    """
    row = await (await connection.execute(statement("pace.load"), {"resource": endpoint.resource})).fetchone()
    local = is_local(endpoint.url)
    if row is None:
        return Pace(endpoint.slots, local=local)
    allowed, slots, reason, held = row
    until = now + held if held > 0 else -math.inf
    return Pace(
        endpoint.slots,
        0 if allowed >= slots else max(1, int(allowed)),
        local,
        held_until=until,
        reason=reason,
        _stored_until=until,
    )


async def save(
    connection: psycopg.AsyncConnection[Any], endpoint: Endpoint, pace: Pace, *, token: int, now: float
) -> bool:
    """Keep it for the next drain and for people to see. False: the lease with this token is no more."""
    values = {
        "resource": endpoint.resource,
        "backend": endpoint.backend,
        "url": endpoint.url,
        "device": endpoint.device,
        "slots": pace.slots,
        "allowed": pace.allowed,
        "held_seconds": pace.held_until - now if pace.held_until > now else None,
        "reason": pace.reason,
        "token": token,
    }
    pace.changed, pace._stored_until = False, pace.held_until  # what changes meanwhile is saved next time
    try:
        cursor = await connection.execute(statement("pace.save"), values)
    except BaseException:
        pace.changed = True
        raise
    return cursor.rowcount == 1
