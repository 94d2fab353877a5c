"""The lease of an endpoint: one drain per endpoint, whatever dies and whenever.

A row with a deadline. Its holder renews it every `heartbeat` seconds on a connection of its own; it lapses after
three missed beats, then anyone may take it over and gets a larger fencing token. Every statement that moves an
item checks the token and the deadline, so what a former holder still reports changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg

from models.errors import LeaseLost
from sql.statements import statement
from tasks.execute import holder, seats
from tasks.execute.stopping import stop

log = logging.getLogger(__name__)

MISSED_BEATS = 3
RELEASE_TIMEOUT = 5.0  # seconds

SETTLING_SECONDS = 2.0
"""After a holder that was killed: until its requests are surely off the server. Its sockets were closed with it;
servers take up to two seconds to notice (llama-server, without streaming)."""

Connect = Callable[[], Awaitable[psycopg.AsyncConnection]]


@dataclass(slots=True)
class Lease:
    resource: str
    backend: str
    token: int
    recovered: int = 0  # items that a former holder had left running
    settling: float = (
        0.0  # seconds that nothing should be sent: requests of a holder that was killed may still run
    )
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    lost_because: str = ""

    def check(self) -> None:
        """Raises LeaseLost once the lease is known to be gone."""
        if self.lost.is_set():
            raise LeaseLost(self.lost_because)


@asynccontextmanager
async def endpoint_lease(
    connect: Connect,
    *,
    backend: str,
    url: str,
    model: str | None,
    heartbeat: float,
    holder_name: str | None = None,
) -> AsyncIterator[Lease | None]:
    """Hold the endpoint's lease for the body; None when another drain holds it.

    `heartbeat` is in seconds. Items that were left running under a lease that is no more are given back first.
    The lease is released at the end; where even that fails it lapses by itself.
    """
    resource = f"{backend} {url.rstrip('/')}"  # one server, however its URL was written
    connection = await connect()
    beats: asyncio.Task[None] | None = None
    try:
        await connection.set_autocommit(True)
        await connection.execute("set synchronous_commit = off")  # a lost beat costs at most one beat
        taken = await _take(connection, resource, backend, model, heartbeat, holder_name)
        if taken is None:
            yield None
            return
        token, killed = taken
        recovered = await connection.execute(statement("lease.recover"))
        # Whether it had any items is not asked: another drain may have given those back since.
        settling = SETTLING_SECONDS if killed else 0.0
        lease = Lease(resource, backend, token, recovered=recovered.rowcount, settling=settling)
        beats = asyncio.create_task(_beat(connection, lease, heartbeat), name=f"heartbeat {resource}")
        try:
            yield lease
        finally:
            stop(beats)
            await asyncio.wait([beats])
            await _release(connection, lease)
    finally:
        await connection.close()


async def _take(
    connection: psycopg.AsyncConnection,
    resource: str,
    backend: str,
    model: str | None,
    heartbeat: float,
    holder_name: str | None,
) -> tuple[int, bool] | None:
    """The token, and whether its holder was killed; None where it has one that lives."""
    async with connection.transaction():
        current = await (
            await connection.execute(statement("lease.holder"), {"resource": resource})
        ).fetchone()
        dead = current[1] if current and holder.is_dead(current[1]) else None
        row = await (
            await connection.execute(
                statement("lease.take"),
                {
                    "resource": resource,
                    "backend": backend,
                    "holder": holder_name or holder.this_process(),
                    "model": model,
                    "ttl": heartbeat * MISSED_BEATS,
                    "dead": dead,
                },
            )
        ).fetchone()
        if row is None:
            return None
        if dead is not None and current is not None:
            heir = {"old": current[0], "new": row[0]}
            await seats.inherit(connection, **heir)
            for name in ("switching.inherit_lock", "switching.inherit"):
                await connection.execute(statement(name), heir)
    return int(row[0]), dead is not None


async def _release(connection: psycopg.AsyncConnection, lease: Lease) -> None:
    if connection.closed or lease.lost.is_set():
        return
    try:
        async with asyncio.timeout(RELEASE_TIMEOUT):
            await connection.execute(
                statement("lease.release"), {"resource": lease.resource, "token": lease.token}
            )
    except (psycopg.Error, TimeoutError) as error:
        log.warning("The lease of %s was not released (%s); it lapses by itself.", lease.resource, error)


async def _beat(connection: psycopg.AsyncConnection, lease: Lease, heartbeat: float) -> None:
    """Renew until cancelled. Sets `lease.lost` when the row is gone or can't be reached before it lapses."""
    parameters = {"resource": lease.resource, "token": lease.token, "ttl": heartbeat * MISSED_BEATS}
    while True:
        await asyncio.sleep(heartbeat)
        try:
            async with asyncio.timeout(heartbeat):
                row = await (await connection.execute(statement("lease.beat"), parameters)).fetchone()
        except (psycopg.Error, TimeoutError) as error:
            # Not being able to beat is not knowing: stop as if it were lost, well before it lapses.
            lease.lost_because = (
                f"The lease of {lease.resource} could not be renewed ({error}); this drain stops."
            )
            lease.lost.set()
            return
        if row is None:
            lease.lost_because = f"The lease of {lease.resource} lapsed and may be held by another drain now."
            lease.lost.set()
            return
