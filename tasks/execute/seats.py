"""A drain's share of a device that several endpoints use.

A device takes `slots` requests at once, whoever sends them; each is a row of table `seat`. A drain sends only while
it holds seats for it. A seat is free when its token is no live lease's, so one that died gives back all it had when
its lease lapses, and nothing has to notice it.

Each drain works out by itself from the same rows what is fair (`fair_share`), gives back what is more than that as
its answers come, and takes what is free. Two that see the rows at different moments may differ for a moment about
what is fair, never about who has a seat.

What the database can't know: a process that was stopped (SIGSTOP) for longer than its lease, and goes on, has
requests on the server that nobody counts. It sends no more of them: its lease is gone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from models.endpoint import Device
from sql.statements import statement

__all__ = ["TURN_SECONDS", "Seats", "Wanting", "fair_share", "inherit"]

TURN_SECONDS = 10.0
"""How long a drain keeps its only seat while others have none."""


@dataclass(frozen=True, slots=True)
class Wanting:
    """A drain that wants seats of a device."""

    token: int
    want: int  # seats, not requests
    held: int = 0
    seated_seconds: float | None = None  # since it has had enough for a request; None: it hasn't
    idle_seconds: float = 0.0  # since it has wanted, or had, without
    weight: int = 1  # seats that one of its requests takes


def fair_share(drains: Sequence[Wanting], slots: int, turn: float = TURN_SECONDS) -> dict[int, int]:
    """How many seats each may have, by token. Pure; never more than it wants, nor than `slots` together.

    Where each can have one request: equal shares, and what one does not want goes to the others (max-min fairness).
    Seats that can't be shared out evenly go to other drains after each turn.

    Where there are more drains than that, they take turns. Who has been seated for a turn yields to those that
    have been idle longest, when its answer has come. So of n drains none is idle for longer than
    (ceil(n / slots) - 1) * (turn + one call), with weights n * (turn + one call). Seats are kept for a heavy request
    until there are enough for it: nobody passes it.
    """
    wanting = [each for each in drains if each.want > 0]
    shares = {each.token: 0 for each in drains}
    units = {each.token: min(each.weight, each.want, slots) for each in wanting}
    left = slots
    if sum(units.values()) > slots:
        for each in sorted(wanting, key=lambda one: _turn(one, turn)):
            shares[each.token] = min(units[each.token], left)
            left -= shares[each.token]
        return shares
    ranked = sorted(wanting, key=lambda one: (-(one.seated_seconds or 0.0), one.token))
    if ranked:
        turns = int((ranked[0].seated_seconds or 0.0) // turn) % len(ranked)
        ranked = ranked[turns:] + ranked[:turns]
    queue = [(0, rank) for rank in range(len(ranked))]
    while queue and left:
        share, rank = heapq.heappop(queue)
        each = ranked[rank]
        more = min(units[each.token], each.want - share)
        if (
            0 < more <= left
        ):  # who needs more than is left has had one request at least: the least share goes first
            shares[each.token] = share + more
            left -= more
            heapq.heappush(queue, (share + more, rank))
    return shares


def _turn(each: Wanting, turn: float) -> tuple[int, float, int]:
    """Who sits first where not all can: whose turn it is, then who waits longest, then who sat for the shortest."""
    if each.seated_seconds is None:
        return (1, -each.idle_seconds, each.token)
    if each.seated_seconds < turn:
        return (0, -each.seated_seconds, each.token)
    return (2, each.seated_seconds, each.token)


def ahead(drains: Sequence[Wanting], shares: Mapping[int, int], token: int) -> int:
    """Seats that are to be left free for others: for those that can't send, and have waited for longer."""
    mine = {each.token: each for each in drains}[token]
    return sum(
        max(0, shares[each.token] - each.held)
        for each in drains
        if each.seated_seconds is None
        and (
            mine.seated_seconds is not None or (-each.idle_seconds, each.token) < (-mine.idle_seconds, token)
        )
    )


class Seats:
    """What one drain has of its device. Used from one event loop.

    A request may be sent while what is in flight and its own `unit` are not more than `allowed`, read at that
    moment. `held` is what the database says; it is more than `allowed` while seats are to be given back, as soon as
    answers come.
    """

    def __init__(self, device: Device, token: int, changed: Callable[[int], None] | None = None) -> None:
        """`changed` is told each new value of `allowed`, before anything else happens."""
        self.device = device
        self.token = token
        self.held = 0
        self.allowed = 0
        self._changed = changed

    def unit(self, weight: int) -> int:
        """Seats that a request of this weight takes: on a device that has fewer, all of them."""
        return max(1, min(weight, self.device.slots))

    def requests(self, weight: int = 1) -> int:
        """Requests of this weight that may be in flight."""
        return self.allowed // self.unit(weight)

    async def refresh(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        want: int,
        busy: Callable[[], int],
        weight: int = 1,
    ) -> int:
        """Ask for `want` seats (requests times `unit(weight)`); give back and take what is fair. Returns `allowed`.

        `busy` says how many seats' worth is in flight now. It is asked at the moment in which seats are given back,
        because a request may have been sent since the call. Two round trips, one where nothing changes; three where
        the settings did. In a transaction: what it returns counts only once that is committed. Without a live lease
        all is 0; the lease itself tells the drain to stop.
        """
        slots, unit = self.device.slots, self.unit(weight)
        values: dict[str, Any] = {
            "device": self.device.name,
            "token": self.token,
            "slots": slots,
            "weight": unit,
            "want": max(0, min(want, slots)),
        }
        rows = await (await connection.execute(statement("seats.ask"), values)).fetchall()
        drains = {row[0]: Wanting(row[0], row[1], row[3], row[4], row[5], row[2]) for row in rows}
        if self.token not in drains:
            return self._has(0, 0)
        if rows[0][6] != slots:
            await connection.execute(statement("seats.shape"), values)
        drains[self.token] = own = replace(drains[self.token], want=values["want"], weight=unit)
        everyone = list(drains.values())
        shares = fair_share(everyone, slots)
        target = shares[self.token]
        keep = max(target, busy())
        settled = target <= own.held <= keep and (own.held >= unit) is (own.seated_seconds is not None)
        if settled:
            return self._has(own.held, target)
        # From here on no more is sent than what is kept, even if the answer to this statement never comes.
        self._has(min(self.held, keep), min(self.allowed, keep))
        values |= {"target": target, "keep": keep, "ahead": ahead(everyone, shares, self.token)}
        row = await (await connection.execute(statement("seats.settle"), values)).fetchone()
        return self._has(row[0], target) if row else self._has(0, 0)

    async def release(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Give all back, when nothing is in flight any more."""
        self._has(0, 0)
        await connection.execute(statement("seats.release"), {"token": self.token})

    def _has(self, held: int, allowed: int) -> int:
        before, self.held, self.allowed = self.allowed, held, min(held, allowed)
        if self._changed is not None and self.allowed != before:
            self._changed(self.allowed)
        return self.allowed


async def inherit(connection: psycopg.AsyncConnection[Any], old: int, new: int) -> int:
    """What a holder that is dead had passes to whoever took its lease over; in the same transaction. Gives how many.

    So nobody else sends in its place before its requests are off the server: only who took over has to see to that.
    """
    cursor = await connection.execute(statement("seats.inherit"), {"old": old, "new": new})
    return cursor.rowcount
