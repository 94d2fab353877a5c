"""The breaker of a model on an endpoint: after failures in a row it is left alone, then one drain tries once.

Shared through table model_state, so that a drain that starts after another one's failures does not repeat them. What
counts is in models.enums.RULES (`breaker`): the server's faults, a missing model, memory that ran out, a key that is
not accepted; a server that only asks for patience (rate_limited) does not count.

    closed --N failures in a row--> open --its time is up--> half open --take_trial--> trial
       ^                              ^                                                  |
       +----------------- success ----+------------------- failure ---------------------+

Statements change nothing for a token that is no live lease's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg

from sql.statements import statement

__all__ = [
    "Blocked",
    "Incidents",
    "Opened",
    "ask_now",
    "failed",
    "give_trial_back",
    "state",
    "succeeded",
    "take_trial",
]


@dataclass(slots=True)
class Incidents:
    """Which failures are new, by model: requests in flight together fail together, and that is one incident.

    A failure counts when its request was sent at or after the moment of the last one that counted. Times are on any
    one clock, the caller's.
    """

    _counted: dict[str, float] = field(default_factory=dict)

    def counts(self, model: str, *, sent: float, failed: float) -> bool:
        """Whether a request of `model`, sent and failed at these times, is to be reported to `failed`."""
        last = self._counted.get(model)
        if last is not None and sent < last:
            return False
        self._counted[model] = failed
        return True


@dataclass(frozen=True, slots=True)
class Opened:
    """The breaker opened by this failure."""

    failures: int  # in a row
    seconds: float  # that nobody asks


@dataclass(frozen=True, slots=True)
class Blocked:
    """A model that may not be asked now, unless `take_trial` says so."""

    until_seconds: float  # 0: its time is up
    error: str  # of the latest failure that counted
    trial: bool  # its time is up and nobody tries it: `take_trial` may


async def failed(
    connection: psycopg.AsyncConnection,
    resource: str,
    model: str,
    message: str,
    *,
    failures_allowed: int,
    seconds: float,
    token: int,
) -> Opened | None:
    """Count a failure that `Incidents.counts`. What it gives when the breaker opened now, by its end for `seconds`."""
    parameters = {
        "resource": resource,
        "model": model,
        "error": message.replace("\0", ""),
        "allowed": min(failures_allowed, 32767),  # the column is a smallint
        "seconds": seconds,
        "token": token,
    }
    row = await (await connection.execute(statement("breaker.failed"), parameters)).fetchone()
    return Opened(int(row[0]), seconds) if row is not None and row[1] else None


async def succeeded(connection: psycopg.AsyncConnection, resource: str, model: str, token: int) -> bool:
    """An answer came: forget the failures, close the breaker. True when it was open.

    Once per batch, not per item; it reads one row, and writes only where there is something to forget.
    """
    parameters = {"resource": resource, "model": model, "token": token}
    row = await (await connection.execute(statement("breaker.succeeded"), parameters)).fetchone()
    return row is not None and bool(row[0])


async def state(connection: psycopg.AsyncConnection, resource: str) -> dict[str, Blocked]:
    """The models of an endpoint that may not be asked now, by name. Those that are not in it may."""
    cursor = await connection.execute(statement("breaker.state"), {"resource": resource})
    return {row[0]: Blocked(float(row[1]), row[2], bool(row[3])) for row in await cursor.fetchall()}


async def take_trial(connection: psycopg.AsyncConnection, resource: str, model: str, token: int) -> bool:
    """Whether this drain may send one request now, the only one. It ends with `failed`, `succeeded` or
    `give_trial_back`; that of a drain whose lease is gone may be taken again."""
    parameters = {"resource": resource, "model": model, "token": token}
    return (
        await (await connection.execute(statement("breaker.take_trial"), parameters)).fetchone() is not None
    )


async def ask_now(connection: psycopg.AsyncConnection, resource: str, model: str) -> None:
    """A person waits, and may have mended the server: a trial may be taken now."""
    await connection.execute(statement("breaker.ask_now"), {"resource": resource, "model": model})


async def give_trial_back(connection: psycopg.AsyncConnection, resource: str, model: str, token: int) -> None:
    """The trial said nothing of the server: it was not sent, or was cancelled, or the account has to wait."""
    parameters = {"resource": resource, "model": model, "token": token}
    await connection.execute(statement("breaker.give_trial_back"), parameters)
