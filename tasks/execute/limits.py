"""How many requests fit the limits of an account: the policy of tasks/execute/budget.py, without its database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from models.endpoint import Budget

__all__ = ["Grant", "Limit", "Reservation", "State", "Usage", "decide", "dollars", "limits"]

WARN_AT = 0.8
SETTLING_SECONDS = 2.0
"""Until the next look where a day's limit is full of reservations, some of which will come back."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What requests took. None: not known, so the estimate stands."""

    requests: int = 0
    tokens: int | None = 0
    usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved, for `settle`."""

    account: str
    day: date
    minute: datetime
    requests: int
    tokens: int
    usd: float | None  # None: the price is not known

    def part(self, requests: int) -> Reservation:
        """The share of so many of its requests, which are alike."""
        share = requests / self.requests
        return replace(
            self,
            requests=requests,
            tokens=round(self.tokens * share),
            usd=None if self.usd is None else self.usd * share,
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be sent now."""

    requests: int  # of those asked for; 0: none
    wait: float = 0.0  # seconds until more may be had; 0 where all were granted, and where it is `stopped`
    stopped: str | None = None  # a sentence: nothing more may be sent today, or ever under these limits
    warned: str | None = None  # a sentence, once per limit and day: 80 % of it are used
    reserved: Reservation | None = None  # None: nothing was, there is nothing to settle


@dataclass(frozen=True, slots=True)
class State:
    """What is used of an account. The day's figures include what is `flying`: reserved by drains that live."""

    minute: datetime
    minute_left: float  # seconds
    minute_requests: int = 0
    minute_tokens: int = 0
    day_requests: int = 0
    day_tokens: int = 0
    day_usd: float = 0.0
    flying_requests: int = 0
    flying_tokens: int = 0
    flying_usd: float = 0.0
    warned: Sequence[str] = ()  # limits


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of an account and how much of it is used."""

    name: str  # as in Budget
    unit: str  # requests, tokens; "": US dollars
    period: str  # minute, day
    limit: float
    used: float  # what is flying, too
    flying: float = 0.0
    each: float = 0.0  # estimate of one request

    @property
    def settled(self) -> float:
        return self.used - self.flying

    @property
    def percent(self) -> int:
        """Rounded down, what is flying not counted."""
        return int(100 * self.settled / self.limit)

    def fits(self, requests: int) -> bool:
        return self.each == 0 or self.used + requests * self.each <= self.limit

    def words(self, amount: float) -> str:
        return f"{self.amount(amount)} {self.unit}".strip()

    def amount(self, amount: float) -> str:
        return f"{amount:,.0f}" if self.unit else dollars(amount)


def decide(
    budget: Budget, state: State, *, requests: int, tokens: int, usd: float | None
) -> tuple[Grant, list[str]]:
    """How many of `requests` fit all limits, and which limits are newly above 80 %."""
    found = limits(budget, state, tokens=tokens, usd=usd)
    newly = [
        one
        for one in found
        if one.period == "day" and one.settled >= WARN_AT * one.limit and one.name not in state.warned
    ]
    warned = " ".join(
        f"The account {budget.account} has used {one.percent} % of its {one.words(one.limit)} a day."
        for one in newly
    )
    granted = 0 if _never(budget, found, usd) else min(_room(one, requests) for one in found)
    stopped = None
    if not granted:
        stopped = _never(budget, found, usd) or _over(budget, found)
    short = [one for one in found if granted < requests and not one.fits(granted + 1)]
    wait = max(
        (state.minute_left if one.period == "minute" else SETTLING_SECONDS for one in short), default=0.0
    )
    grant = Grant(granted, 0.0 if stopped else wait, stopped, warned or None)
    return grant, [one.name for one in newly]


def limits(
    budget: Budget, state: State | None = None, *, tokens: int = 0, usd: float | None = None
) -> list[Limit]:
    """The limits that a budget has, with what is used of them. `tokens`, `usd`: the estimate of one request."""
    known = state or State(datetime.min.replace(tzinfo=UTC), 0.0)
    dollars_each = usd or 0.0
    every = (
        ("requests_per_day", "requests", "day", known.day_requests, known.flying_requests, 1),
        ("tokens_per_day", "tokens", "day", known.day_tokens, known.flying_tokens, tokens),
        ("usd_per_day", "", "day", known.day_usd, known.flying_usd, dollars_each),
        ("requests_per_minute", "requests", "minute", known.minute_requests, 0, 1),
        ("tokens_per_minute", "tokens", "minute", known.minute_tokens, 0, tokens),
    )
    return [
        Limit(name, unit, period, limit, spent, flying, each)
        for name, unit, period, spent, flying, each in every
        if (limit := getattr(budget, name)) is not None
    ]


def _room(limit: Limit, most: int) -> int:
    """How many requests fit, up to `most`."""
    if limit.fits(most):
        return most
    room = int(min(max((limit.limit - limit.used) / limit.each, 0), most))  # each may be next to nothing
    while room and not limit.fits(room):  # a division of floats may be off by one, either way
        room -= 1
    while room < most and limit.fits(room + 1):
        room += 1
    return room


def _never(budget: Budget, found: Iterable[Limit], usd: float | None) -> str | None:
    """Why no request of this kind fits the limits, whatever was used."""
    for one in found:
        if one.name == "usd_per_day" and usd is None:
            return (
                f"The account {budget.account} may use {one.words(one.limit)} a day, and the price of this model is "
                "not known. Declare it in the endpoint's models (price), or take usd_per_day away."
            )
        if one.each > one.limit:
            return (
                f"One request may take {one.words(one.each)}, and the account {budget.account} may use "
                f"{one.words(one.limit)} a {one.period}. Raise {one.name}, or lower max_tokens of the recipe."
            )
    return None


def _over(budget: Budget, found: Iterable[Limit]) -> str | None:
    """Which limit of the day has no room for one more request, also when all that is flying comes back."""
    for one in found:
        if one.period == "day" and one.settled + one.each > one.limit:
            more = "" if one.unit == "requests" else f", and one more request may take {one.words(one.each)}"
            return (
                f"The account {budget.account} has used {one.amount(one.settled)} of {one.words(one.limit)} a day"
                f"{more}. Nothing more is sent today: raise {one.name}, or run the same command again tomorrow."
            )
    return None


def dollars(amount: float) -> str:
    """`$4.20`; small amounts with the digits that tell."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.3g}"
