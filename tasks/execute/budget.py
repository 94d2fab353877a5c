"""What an account may use: limits by minute and by day, and the rest that its provider asks for.

A drain reserves before it sends, by estimate, and settles by what was really used; so drains of several processes
never go beyond a limit together (tasks/execute/limits.py decides). What a drain that died had reserved stays spent: its
requests may have been answered. Minutes are those of the database's clock (:00 to :59), a day is one of
`settings.timezone`. Where a budget has no limits nothing is asked of the database.

`reserve` and `settle` hold the account's row until their transaction ends: call them outside of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

import psycopg

from models.calls import ModelAnswer, ModelCallError
from models.endpoint import Budget, Price
from models.enums import ErrorType, TimeoutKind
from sql.statements import statement
from tasks.execute.limits import Grant, Reservation, State, Usage, decide, limits

__all__ = [
    "Grant",
    "Reservation",
    "Usage",
    "cool",
    "cooldown",
    "cost",
    "estimated_cost",
    "reserve",
    "settle",
    "today",
    "used",
]


async def reserve(
    connection: psycopg.AsyncConnection,
    budget: Budget,
    *,
    requests: int,
    tokens: int,
    usd: float | None,
    day: date,
    token: int,
    now: datetime | None = None,
) -> Grant:
    """Ask to send `requests`, each of which may take `tokens` (prompt and max_tokens) and cost `usd`.

    `token` is that of the drain's lease; `now` stands for the database's clock in tests. The caller sends what was
    granted and then calls `settle`, whatever happened.
    """
    if not limits(budget) or requests <= 0:
        return Grant(max(requests, 0))
    parameters = {"account": budget.account, "day": day, "now": now}
    async with connection.transaction():
        await _hold(connection, budget.account)
        row = await (await connection.execute(statement("budget.state"), parameters)).fetchone()
        assert row is not None  # its account is held
        state = State(*row)
        grant, newly = decide(budget, state, requests=requests, tokens=tokens, usd=usd)
        reserved = Reservation(
            budget.account,
            day,
            state.minute,
            grant.requests,
            grant.requests * tokens,
            None if usd is None else grant.requests * usd,
        )
        if not grant.requests and not newly:
            return grant
        await connection.execute(
            statement("budget.take"),
            {
                "account": budget.account,
                "day": day,
                "token": token,
                "minute": state.minute,
                "requests": reserved.requests,
                "tokens": reserved.tokens,
                "usd": reserved.usd or 0.0,
                "unpriced": reserved.requests if usd is None else 0,
                "warned": newly,
            },
        )
    return Grant(
        grant.requests, grant.wait, grant.stopped, grant.warned, reserved if grant.requests else None
    )


async def settle(
    connection: psycopg.AsyncConnection, *, reserved: Reservation | None, used: Usage, token: int
) -> None:
    """Put what was used in the place of what was reserved; once, also after the lease was lost: it was spent."""
    if reserved is None:
        return
    tokens = reserved.tokens if used.tokens is None else used.tokens
    usd = reserved.usd if used.usd is None else used.usd
    unpriced = (used.requests if usd is None else 0) - (reserved.requests if reserved.usd is None else 0)
    async with connection.transaction():
        await _hold(connection, reserved.account)
        await connection.execute(
            statement("budget.settle"),
            {
                "account": reserved.account,
                "day": reserved.day,
                "minute": reserved.minute,
                "token": token,
                "requests": reserved.requests,
                "tokens": reserved.tokens,
                "usd": reserved.usd or 0.0,
                "more_requests": used.requests - reserved.requests,
                "more_tokens": tokens - reserved.tokens,
                "more_usd": (usd or 0.0) - (reserved.usd or 0.0),
                "more_unpriced": unpriced,
            },
        )


async def cool(connection: psycopg.AsyncConnection, account: str, seconds: float, reason: str) -> None:
    """The account's provider wants to be left alone: all its drains wait. The longest such wait counts."""
    if seconds > 0:
        parameters = {"account": account, "seconds": seconds, "reason": reason.replace("\0", "")}
        await connection.execute(statement("budget.cool"), parameters)


async def cooldown(connection: psycopg.AsyncConnection, account: str) -> tuple[float, str]:
    """Seconds until the account may be used again, and why; 0 and "" when it may be now."""
    row = await (await connection.execute(statement("budget.cooldown"), {"account": account})).fetchone()
    return (float(row[0]), str(row[1])) if row is not None else (0.0, "")


async def _hold(connection: psycopg.AsyncConnection, account: str) -> None:
    hold, parameters = statement("budget.hold"), {"account": account}
    while await (await connection.execute(hold, parameters)).fetchone() is None:
        await connection.execute(statement("budget.enter"), parameters)


def cost(answer: ModelAnswer, price: Price | None) -> float | None:
    """US dollars of an answer; None where the price or the tokens are not known. What the provider did not say to have
    read before is charged in full."""
    if price is None or answer.prompt_tokens is None or answer.completion_tokens is None:
        return None
    cached = min(answer.cached_tokens or 0, answer.prompt_tokens)
    cached_price = price.input if price.cached is None else price.cached
    fresh = answer.prompt_tokens - cached
    return (fresh * price.input + cached * cached_price + answer.completion_tokens * price.output) / 1e6


def estimated_cost(prompt_tokens: int, max_tokens: int, price: Price | None) -> float | None:
    """US dollars that a request may cost at most; None where the price is not known."""
    return None if price is None else (prompt_tokens * price.input + max_tokens * price.output) / 1e6


_NOT_BEGUN = frozenset(
    {
        ErrorType.CONNECTION,
        ErrorType.OVERLOADED,
        ErrorType.RATE_LIMITED,
        ErrorType.UNAVAILABLE,
        ErrorType.SERVER_ERROR,
        ErrorType.MODEL_MISSING,
        ErrorType.OUT_OF_MEMORY,
        ErrorType.AUTH,
        ErrorType.CONTEXT_TOO_LONG,
    }
)
"""Errors after which no tokens are counted, unless a part of an answer had come."""


def used(
    replies: Iterable[ModelAnswer | ModelCallError | None],
    price: Price | None,
    *,
    tokens: int,
    usd: float | None,
) -> Usage:
    """What requests took, failed ones too. None: it was not sent, or was stopped before it was.

    `tokens`, `usd`: the estimate of one request, which counts where the server did not say and may have worked.
    """
    requests, all_tokens, all_usd = 0, 0, 0.0
    priced = True
    for reply in replies:
        if reply is None:
            continue
        requests += 1
        answer = reply if isinstance(reply, ModelAnswer) else reply.partial
        if isinstance(reply, ModelCallError) and answer is None and _not_begun(reply):
            continue
        known = (
            answer is not None and answer.prompt_tokens is not None and answer.completion_tokens is not None
        )
        all_tokens += (
            (answer.prompt_tokens or 0) + (answer.completion_tokens or 0) if answer and known else tokens
        )
        dollars_of = cost(answer, price) if answer and known else usd
        priced = priced and dollars_of is not None
        all_usd += dollars_of or 0.0
    return Usage(requests, all_tokens, all_usd if priced else None)


def _not_begun(error: ModelCallError) -> bool:
    return error.error_type in _NOT_BEGUN or error.timeout is TimeoutKind.CONNECT


def today(zone: str, now: datetime | None = None) -> date:
    """The day that a request counts for. `now` has a time zone."""
    return (now or datetime.now(ZoneInfo(zone))).astimezone(ZoneInfo(zone)).date()
