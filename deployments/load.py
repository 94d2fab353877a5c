"""What the database knows of endpoints, devices and accounts now, and when their queues will be done. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from backends.replies import same_model
from models.calls import Probe
from models.endpoint import Budget, Endpoint
from models.pause import Pause, PauseKind
from models.settings import Settings
from sql.statements import statement
from tasks.recipes import load_recipes


@dataclass(frozen=True)
class LeaseView:
    """The drain that works on an endpoint now, and how much it has taken."""

    model: str | None
    since: datetime
    until: datetime
    items: int  # claimed: being asked, checked or written
    device: str | None = None
    want: int = 0  # seats of the device that it could use
    seats: int = 0  # that it has


@dataclass(frozen=True)
class Pace:
    """How many requests at once an endpoint bears now."""

    slots: int
    allowed: float
    held_until: datetime | None  # not raised before
    reason: str  # of the latest change
    changed_at: datetime


@dataclass(frozen=True)
class ModelView:
    """A model on an endpoint. None: never seen, or not declared."""

    model: str
    load_seconds: float | None
    loads: int
    item_seconds: float | None
    failures: int  # in a row
    open_until: datetime | None  # the breaker's latest opening
    open: bool  # nobody asks it now
    trying: bool  # one drain tries whether it is well again
    error: str | None
    residency: str | None  # wanted, loading, loaded, unloading
    memory: float | None
    since: datetime | None
    used_at: datetime | None


@dataclass(frozen=True)
class Queue:
    """Ready items that may run on one backend (any: "") with one model (the endpoint's: "")."""

    backend: str
    model: str
    due: int
    later: int  # they rest until their time comes
    paused: int
    oldest: float  # seconds that the oldest of those due has waited


@dataclass(frozen=True)
class DeviceView:
    name: str
    slots: int
    taken: int  # seats in use
    memory: float | None
    used: float  # GiB that loaded models take, as declared
    endpoints: list[str]


@dataclass(frozen=True)
class AccountView:
    """What was used today, in the time zone of the settings."""

    name: str
    requests: int
    tokens: int
    usd: float
    cooldown_until: datetime | None
    reason: str
    requests_per_day: int | None
    tokens_per_day: int | None
    usd_per_day: float | None


@dataclass(frozen=True, slots=True)
class PackingView:
    """Items of a recipe that were asked of a model several in one request."""

    recipe: str
    model: str
    lately: int  # items that are looked back at
    bad: int  # of those, that had to be asked again alone
    calls: int  # of all time, as the next
    items: int


@dataclass(frozen=True)
class Load:
    leases: Mapping[str, LeaseView] = field(default_factory=dict)
    paces: Mapping[str, Pace] = field(default_factory=dict)
    models: Mapping[str, list[ModelView]] = field(default_factory=dict)
    devices: list[DeviceView] = field(default_factory=list)
    accounts: list[AccountView] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    packing: list[PackingView] = field(default_factory=list)
    seconds: Mapping[tuple[str, str], float] = field(
        default_factory=dict
    )  # of recent answers: endpoint, model


def read(connection: psycopg.Connection[Any], settings: Settings) -> Load:
    """All of it, in a dozen statements."""

    def rows(name: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return connection.execute(statement(name), values).fetchall()

    models: dict[str, list[ModelView]] = {}
    for resource, *values in rows("status.models"):
        models.setdefault(resource, []).append(ModelView(*values))
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    return Load(
        leases={resource: LeaseView(*values) for resource, *values in rows("status.endpoints")},
        paces={resource: Pace(*values) for resource, *values in rows("status.paces")},
        models=models,
        devices=_devices(settings, {name: (seats, used) for name, seats, used in rows("status.devices")}),
        accounts=_accounts(settings, rows("status.accounts", {"day": today})),
        queues=[Queue(*row) for row in rows("status.queues", _models(settings))],
        pauses=[Pause(PauseKind(kind), *rest) for kind, *rest in rows("pause.listed")],
        packing=[PackingView(*row) for row in rows("packing.listed")],
        seconds={(resource, model): seconds for resource, model, seconds in rows("status.answer_seconds")},
    )


def _models(settings: Settings) -> dict[str, Any]:
    named = {
        name: model for name, recipe in load_recipes(settings).items() if (model := recipe.header.first_model)
    }
    return {"recipes": list(named), "models": list(named.values())}


def _devices(settings: Settings, known: Mapping[str, tuple[int, float]]) -> list[DeviceView]:
    return [
        DeviceView(
            device.name,
            device.slots,
            known.get(device.name, (0, 0.0))[0],
            device.memory,
            known.get(device.name, (0, 0.0))[1],
            [endpoint.resource for endpoint in settings.endpoints if endpoint.device == device.name],
        )
        for device in settings.devices
    ]


def _accounts(settings: Settings, rows: Sequence[tuple[Any, ...]]) -> list[AccountView]:
    """Those with a budget, and those of which something is known."""
    budgets = {budget.account: budget for budget in settings.budgets}
    known = {row[0]: row for row in rows}
    found = []
    for name in sorted(budgets.keys() | known.keys()):
        limits = budgets.get(name) or Budget(account=name)
        _, requests, tokens, usd, cooldown_until, reason = known.get(name, (name, 0, 0, 0.0, None, ""))
        found.append(
            AccountView(
                name,
                requests,
                tokens,
                usd,
                cooldown_until,
                reason,
                limits.requests_per_day,
                limits.tokens_per_day,
                limits.usd_per_day,
            )
        )
    return found


# --- what an endpoint has before it -------------------------------------------------------------------------


@dataclass(frozen=True)
class Taker:
    """An endpoint that could work on the queue."""

    endpoint: Endpoint
    probe: Probe
    allowed: float
    works: bool  # False: paused, or nobody answers

    def takes(self, queue: Queue, wanted: str) -> bool:
        """`wanted`: the backend of the settings, which items without one of their own run on; auto: any."""
        backend = queue.backend or ("" if wanted == "auto" else wanted)
        if backend and backend != self.endpoint.backend:
            return False
        if not queue.model:
            return True
        listed = [model.name for model in self.probe.models] or [self.endpoint.model or ""]
        return any(same_model(queue.model, name) for name in listed if name)

    def model(self, queue: Queue) -> str | None:
        if queue.model:
            return queue.model
        if self.endpoint.model is not None:
            return self.endpoint.model
        able = [model.name for model in self.probe.models if not model.embedding]
        return able[0] if able else None


@dataclass(frozen=True)
class Outlook:
    """Items that an endpoint may take; when they are all done, by all that may take them, in seconds; None: unknown."""

    due: int
    later: int
    paused: int
    eta: float | None


def outlook(takers: Sequence[Taker], load: Load, wanted: str) -> list[Outlook]:
    """For each of `takers`. A queue that several may take goes down at the sum of their speeds."""
    speeds = [
        sum(_speed(taker, queue, load) for taker in takers if taker.takes(queue, wanted))
        for queue in load.queues
    ]
    found = []
    for taker in takers:
        mine = [
            (queue, speed)
            for queue, speed in zip(load.queues, speeds, strict=True)
            if taker.takes(queue, wanted)
        ]
        known = taker.works and all(speed > 0 for queue, speed in mine if queue.due)
        found.append(
            Outlook(
                sum(queue.due for queue, _ in mine),
                sum(queue.later for queue, _ in mine),
                sum(queue.paused for queue, _ in mine),
                sum(queue.due / speed for queue, speed in mine if queue.due) if known else None,
            )
        )
    return found


def _speed(taker: Taker, queue: Queue, load: Load) -> float:
    """Items a second; 0 where it is not known, or nothing is done."""
    model = taker.model(queue)
    if not taker.works or model is None:
        return 0.0
    resource = taker.endpoint.resource
    for known in load.models.get(resource, []):
        if same_model(model, known.model):
            if known.open:
                return 0.0
            if known.item_seconds:
                return taker.allowed / known.item_seconds
    for (where, name), seconds in load.seconds.items():
        if where == resource and same_model(model, name) and seconds > 0:
            return taker.allowed / seconds
    return 0.0
