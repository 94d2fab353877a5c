"""The rows of table residency, as one drain reads and writes them. Statements: sql/switching.sql.

Whatever decides from rows, or writes what a server said, does so under the lock of the device and only while the
lease is held: in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import psycopg

from models.errors import LeaseLost
from sql.statements import statement
from tasks.execute.lease import Lease
from tasks.execute.residency import Evict, Held, Load, Plan, Room, State, plan, used

log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[Any]

WEIGHT = 0.3
"""Of the latest load in the smoothed time."""


class Query(Protocol):
    """Runs a function on the drain's connection, in turn with all else that it does (Store.query)."""

    async def __call__(self, ask: Callable[[Connection], Awaitable[Any]], /) -> Any: ...


class Residents:
    def __init__(self, query: Query, lease: Lease, resource: str, device: str) -> None:
        self._query = query
        self._lease = lease
        self._resource = resource
        self._mine: dict[str, Any] = {"resource": resource, "device": device, "token": lease.token}

    # --- making room ----------------------------------------------------------------------------------------

    async def decide(self, room: Room, max_wait: float, stuck: Collection[tuple[str, str]]) -> Plan:
        """Decide and write it down: the model is `loading`, or `wanted`, and those that have to go `unloading`."""

        async def ask(connection: Connection) -> Plan:
            await connection.execute(statement("switching.tidy"), self._mine)
            rows = await self._rows(connection)
            mine = next((row for row in rows if row.place == (room.resource, room.model)), None)
            waited = mine.waited if mine is not None and mine.state is State.WANTED else 0.0
            decided = plan(rows, room, waited=waited, max_wait=max_wait, stuck=stuck)
            row = self._mine | {"model": room.model, "memory": room.needed}
            if isinstance(decided, Evict) and not room.frees:
                own = tuple(victim for victim in decided.victims if victim.resource == room.resource)
                others = tuple(victim for victim in decided.victims if victim not in own)
                if others:
                    decided = Evict(others)
                else:  # they are there until the load drops them: the larger of both counts meanwhile
                    await self._mark(connection, own)
                    await connection.execute(statement("switching.gone"), self._mine | _places(own))
                    row["memory"] = max(room.needed, used(own))
                    decided = Load(own)
            if isinstance(decided, Load):
                await connection.execute(statement("switching.reserve"), row)
                return decided
            await connection.execute(statement("switching.want"), row)
            await self._mark(connection, decided.victims if isinstance(decided, Evict) else decided.release)
            return decided

        decided: Plan = await self._locked(ask)
        return decided

    async def settle(self, gone: Sequence[Held], stays: Sequence[Held]) -> None:
        """What became of those that were `unloading`."""

        async def ask(connection: Connection) -> None:
            for name, rows in (("switching.gone", gone), ("switching.stays", stays)):
                if rows:
                    await connection.execute(statement(name), self._mine | _places(rows))

        await self._query(ask)

    async def leaving(
        self,
        contested: Callable[[Connection], Awaitable[float | None]],
        leaves: Callable[[Held, bool], bool],
    ) -> list[Held]:
        """Those loaded models of this endpoint that are to go now, marked as such."""

        async def ask(connection: Connection) -> list[Held]:
            asked = await contested(connection) is not None
            await connection.execute(statement("switching.unwant"), self._mine)
            own = [row for row in await self._rows(connection) if row.resource == self._resource]
            going = [row for row in own if row.state is State.LOADED and leaves(row, asked)]
            await self._mark(connection, going)
            return going

        going: list[Held] = await self._locked(ask)
        return going

    async def contested(self, connection: Connection, memory: float) -> float | None:
        found = await connection.execute(statement("switching.contested"), self._mine | {"memory": memory})
        row = await found.fetchone()
        return None if row is None or row[0] is None else float(row[0])

    # --- the row of a load ----------------------------------------------------------------------------------

    async def usual(self, name: str) -> float | None:
        """Seconds that its loads took here, smoothed; None: it was never loaded."""

        async def ask(connection: Connection) -> float | None:
            found = await connection.execute(statement("switching.learned"), self._mine | {"model": name})
            row = await found.fetchone()
            return None if row is None else row[0]

        seconds: float | None = await self._query(ask)
        return seconds

    async def loaded(self, name: str, seconds: float, memory: float | None = None) -> float:
        """It is loaded, and that took so long; gives its usual time now. `memory` None: as reserved.

        Raises LeaseLost.
        """
        model = self._mine | {"model": name, "memory": memory}

        async def ask(connection: Connection) -> float:
            async with connection.transaction():
                found = await connection.execute(statement("switching.loaded"), model)
                if await found.fetchone() is None:
                    raise LeaseLost(f"The lease of {self._resource} was lost while {name} was loaded.")
                times = model | {"seconds": seconds, "weight": WEIGHT}
                row = await (await connection.execute(statement("switching.learn"), times)).fetchone()
                assert row is not None
                return float(row[0])

        usual: float = await self._query(ask)
        return usual

    async def keep(self, name: str) -> None:
        """How far its load came is not known: its memory counts until the server was asked."""
        await self._take_back("switching.loaded", self._mine | {"model": name, "memory": None})

    async def drop(self, name: str) -> None:
        """It was not loaded."""
        place = {"resources": [self._resource], "models": [name]}
        await self._take_back("switching.gone", self._mine | place)

    async def abandon(self) -> None:
        """What was decided and not begun."""
        await self._take_back("switching.abandon", self._mine)

    async def touch(self, name: str) -> None:
        used = self._mine | {"models": [name]}
        await self._query(lambda connection: connection.execute(statement("switching.touch"), used))

    # --- what servers say -----------------------------------------------------------------------------------

    async def said(self, has: Mapping[str, float], resource: str | None = None) -> list[str]:
        """What a server has loaded, with the memory of each; gives those that nobody is letting go.

        Of another endpoint than the own one it is written only while nobody drains that.
        """
        place = self._mine | {"resource": resource or self._resource}
        rows = place | {"models": list(has), "memories": list(has.values())}

        async def ask(connection: Connection) -> list[str]:
            await connection.execute(statement("switching.said"), rows)
            return [model for model, _ in await _resident(connection, place | {"keep": float("inf")})]

        names: list[str] = await self._locked(ask)
        return names

    async def remembered(self, keep: float) -> list[tuple[str, float]]:
        """Of a server that says nothing: models used within `keep` seconds, and how long ago."""
        place = self._mine | {"keep": keep}

        async def ask(connection: Connection) -> list[tuple[str, float]]:
            await connection.execute(statement("switching.forget"), place)
            return await _resident(connection, place)

        rows: list[tuple[str, float]] = await self._locked(ask)
        return rows

    async def live(self, resources: Sequence[str]) -> set[str]:
        """Those of these endpoints that some drain holds."""

        async def ask(connection: Connection) -> set[str]:
            named = {"resources": list(resources)}
            found = await connection.execute(statement("switching.live_endpoints"), named)
            return {row[0] for row in await found.fetchall()}

        held: set[str] = await self._query(ask)
        return held

    # --------------------------------------------------------------------------------------------------------

    async def _locked(self, ask: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Raises LeaseLost: who lost its lease changes nothing."""

        async def run(connection: Connection) -> Any:
            async with connection.transaction():
                await connection.execute(statement("switching.lock"), self._mine)
                row = await (await connection.execute(statement("switching.holds"), self._mine)).fetchone()
                if row is None or not row[0]:
                    raise LeaseLost(
                        f"The lease of {self._resource} is no more; its models are another drain's business."
                    )
                return await ask(connection)

        return await self._query(run)

    async def _rows(self, connection: Connection) -> list[Held]:
        found = await connection.execute(statement("switching.rows"), self._mine)
        return [
            Held(resource, model, memory, State(state), *rest)
            for resource, model, memory, state, *rest in await found.fetchall()
        ]

    async def _mark(self, connection: Connection, leaving: Sequence[Held]) -> None:
        if leaving:
            await connection.execute(statement("switching.unloading"), self._mine | _places(leaving))

    async def _take_back(self, name: str, parameters: dict[str, Any]) -> None:
        """Also while the drain is being cancelled. What fails here ends with the lease."""
        try:
            await asyncio.shield(
                self._query(lambda connection: connection.execute(statement(name), parameters))
            )
        except psycopg.Error as error:
            log.warning("A model's row of %s was not taken back (%s).", self._resource, error)


async def _resident(connection: Connection, place: dict[str, Any]) -> list[tuple[str, float]]:
    found = await connection.execute(statement("switching.resident"), place)
    return await found.fetchall()


def _places(rows: Sequence[Held]) -> dict[str, list[str]]:
    return {"resources": [row.resource for row in rows], "models": [row.model for row in rows]}
