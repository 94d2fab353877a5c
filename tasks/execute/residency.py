"""Which model may be loaded now, and what has to go for it: pure functions over the rows of table residency.

tasks/execute/switching.py reads the rows under the device's lock, asks here, and writes what was decided before the
lock is given back. So of two drains that come at the same time the second sees what the first has reserved.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

SLACK = 0.001
"""GiB by which a sum may pass the budget: the table holds single precision."""

LEAST_BUDGET = 30.0
PATIENCE = 3.0
"""A load may take so many times its usual time, and LEAST_BUDGET seconds at least."""

LARGE = 0.5
"""A model above this share of the device's memory goes when its work is done; smaller ones stay for keep_alive."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


class State(StrEnum):
    """Of a row. All but `wanted` take memory."""

    WANTED = "wanted"  # its drain waits for memory that other drains' models have
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class Held:
    """One row of a device."""

    resource: str
    model: str
    memory: float
    state: State
    live: bool  # some drain holds the lease of its endpoint
    owned: (
        bool  # another drain wrote it, whose lease is live: of `unloading` and `wanted` that is what counts
    )
    waited: float  # seconds in this state
    idle: float  # seconds since it was used

    @property
    def place(self) -> tuple[str, str]:
        return self.resource, self.model

    @property
    def busy(self) -> bool:
        """Somebody is loading it, or letting it go, at this moment."""
        return (self.state is State.LOADING and self.live and self.owned) or (
            self.state is State.UNLOADING and self.owned
        )


@dataclass(frozen=True, slots=True)
class Room:
    """What a model needs and what there is."""

    resource: str
    model: str
    needed: float  # GiB; 0: not declared, so not counted
    memory: float | None  # of the device; None: not counted
    resident: int | None  # models that the endpoint keeps at once; None: any number
    frees: bool = True  # its server can be told to let a model go; another only replaces one by another


@dataclass(frozen=True, slots=True)
class Load:
    """There is room: load it now."""

    replaces: tuple[Held, ...] = ()  # own ones, of a server that drops them by itself when it loads this one


@dataclass(frozen=True, slots=True)
class Evict:
    """There is room as soon as these are gone. Nobody uses them."""

    victims: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Others have to go first. `release` can go already: nobody needs it, and somebody waits for memory."""

    why: str
    release: tuple[Held, ...] = ()
    for_memory: bool = True


Plan = Load | Evict | Wait


def used(rows: Sequence[Held]) -> float:
    return sum(row.memory for row in rows if row.state is not State.WANTED)


def plan(
    rows: Sequence[Held],
    room: Room,
    *,
    waited: float = 0.0,
    max_wait: float = float("inf"),
    stuck: Collection[tuple[str, str]] = (),
) -> Plan:
    """What to do for `room.model`, none of whose endpoint's requests is in flight.

    Who has waited longer than `max_wait` goes before all that came later: else small models would pass a large one for
    ever. `stuck` are rows that could not be freed just now.
    """
    mine = room.resource, room.model
    others = [row for row in rows if row.place != mine]
    if busy := next((row for row in rows if row.busy), None):
        return Wait(f"{busy.model} is {busy.state} at {busy.resource}", for_memory=False)

    taken = [row for row in others if row.state is not State.WANTED]
    own = sorted((row for row in taken if row.resource == room.resource), key=lambda row: -row.idle)
    # An abandoned load is in an unknown state: its server is asked, and told to let it go, before the others.
    left = sorted(
        (row for row in taken if not row.live and row.resource != room.resource and row.place not in stuck),
        key=lambda row: (row.state is State.LOADED, -row.idle),
    )
    counted = room.memory is not None and room.needed > 0
    over = used(taken) + room.needed - room.memory - SLACK if counted and room.memory is not None else 0.0
    releases = tuple(row for row in own if row.memory > 0) if room.frees else ()
    yields = room.frees or not own  # what can't be let go is not waited for
    if counted and yields and (elder := _elder(others, taken, room, waited, max_wait)):
        return Wait(
            f"{elder.model} at {elder.resource} has waited for memory for {elder.waited:.0f} s", releases
        )
    too_many = len(own) + 1 - room.resident if room.resident is not None else 0
    victims: list[Held] = []
    for row in own:
        if too_many > 0 or (over > 0 and row.memory > 0):
            victims.append(row)
            too_many -= 1
            over -= row.memory
    for row in left:
        if over > 0 and row.memory > 0:
            victims.append(row)
            over -= row.memory
    for row in reversed(victims):  # where a larger one goes anyway, others need not: what was used last first
        spared = too_many < 0 or row.resource != room.resource
        if spared and over + row.memory <= 0:
            victims = [each for each in victims if each is not row]
            over += row.memory
            too_many += row.resource == room.resource
    if over > 0:
        holders = ", ".join(sorted({row.model for row in taken if row.memory > 0 and row not in victims}))
        asked_for = any(row.state is State.WANTED and row.owned for row in others)
        return Wait(
            f"{room.needed:g} GiB are needed, and they are taken by {holders}",
            releases if asked_for else (),
        )
    return Evict(tuple(victims)) if victims else Load()


def _elder(
    others: Sequence[Held], taken: Sequence[Held], room: Room, waited: float, max_wait: float
) -> Held | None:
    """Who waits for memory for more than `max_wait`, and longer than this one, and still lacks some."""
    assert room.memory is not None
    lacks = used(taken) - room.memory - SLACK
    elders = [
        row
        for row in others
        if row.state is State.WANTED
        and row.owned
        and row.waited >= max_wait
        and row.waited > waited
        and lacks + room.needed + row.memory > 0
    ]
    return max(elders, key=lambda row: row.waited, default=None)


def load_budget(usual: float | None, declared: float) -> float:
    """Seconds that a load may take: by its usual time where that is known, else as it is declared."""
    return declared if usual is None else max(LEAST_BUDGET, PATIENCE * usual)


def goes_when_done(memory: float, device: float | None) -> bool:
    """Is it so large that it should not stay when its work is done?"""
    return device is not None and memory > LARGE * device


def keep_seconds(keep_alive: int | str) -> float:
    """Ollama's keep_alive in seconds: a number, or a duration as Go writes it (10m, 1h30m); negative is for ever.

    What is neither counts as 0: then nothing is believed of the model that was not asked for.
    """
    text = str(keep_alive).strip()
    try:
        seconds = float(text)
    except ValueError:
        bare = text.removeprefix("-")
        parts = _PART.findall(bare)
        if not parts or "".join(number + unit for number, unit in parts) != bare:
            return 0.0
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        seconds = -seconds if text.startswith("-") else seconds
    if seconds != seconds:  # "nan" is a float
        return 0.0
    return float("inf") if seconds < 0 else seconds
