"""All backends at a glance: what kinds there are, which endpoints, how they are, who works on them, what waits."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from backends.registry import choose, survey
from deployments.load import (
    AccountView,
    DeviceView,
    LeaseView,
    Load,
    ModelView,
    Outlook,
    Pace,
    PackingView,
    Queue,
    Taker,
    outlook,
    read,
)
from deployments.status import postgres
from models.calls import Probe
from models.enums import BackendName
from models.errors import PenstockError
from models.pause import Pause, PauseKind
from models.plugins import BACKENDS, backend_names, origin, plugins
from models.settings import Endpoint, Settings
from sql.connection import database
from tasks.quiet import quiet

__all__ = ["EndpointView", "Kind", "LeaseView", "Overview", "overview"]


@dataclass(frozen=True)
class Kind:
    name: str
    origin: str  # penstock, or the package that adds it


@dataclass(frozen=True)
class EndpointView:
    """`queue` is None where it is not known, and where no run would take it: not declared, and `auto` takes another."""

    backend: str
    url: str
    declared: bool
    slots: int
    allowed: float  # requests at once, now
    model: str | None  # as declared
    probe: Probe
    lease: LeaseView | None = None
    device: str | None = None
    account: str | None = None
    pace: Pace | None = None  # None: nobody has worked on it yet
    models: list[ModelView] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)  # that stop all of it
    quiet_seconds: float = 0.0  # until its quiet hours end; 0: it is outside of them
    queue: Outlook | None = None


@dataclass(frozen=True)
class Overview:
    """`leases` is a clause that says why what the database knows is not known, "" where it is."""

    kinds: list[Kind]
    endpoints: list[EndpointView]
    auto: str
    leases: str = ""
    devices: list[DeviceView] = field(default_factory=list)
    accounts: list[AccountView] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    packing: list[PackingView] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    nobody: int = 0  # ready items that none of the endpoints may take

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return asdict(self)


def overview(settings: Settings) -> Overview:
    """Ask every endpoint that is declared or usual, and the database if it runs; starts nothing."""
    found, auto, chosen = asyncio.run(_ask(settings))
    known, why_not = _load(settings)
    load = known or Load()
    others = plugins(BACKENDS)
    now = datetime.now(UTC)
    views = [_view(settings, endpoint, probe, load, now) for endpoint, probe in found]
    takers = {
        number: Taker(
            endpoint, probe, view.allowed, probe.reachable and not view.pauses and not view.quiet_seconds
        )
        for number, ((endpoint, probe), view) in enumerate(zip(found, views, strict=True))
        if view.declared or view.lease is not None or (chosen is not None and endpoint == chosen[0])
    }
    # What `auto` falls back to is nobody's server, and takes work all the same.
    spare = [Taker(*chosen, 1.0, True)] if chosen is not None and chosen not in found else []
    outlooks = dict(zip(takers, outlook(list(takers.values()), load, settings.backend), strict=True))
    return Overview(
        kinds=[
            Kind(name, origin(others[name]) if name in others else "penstock") for name in backend_names()
        ],
        endpoints=[
            replace(view, queue=outlooks.get(number)) if known is not None else view
            for number, view in enumerate(views)
        ],
        auto=auto,
        leases=why_not,
        devices=load.devices,
        accounts=load.accounts,
        pauses=load.pauses,
        packing=load.packing,
        queues=load.queues,
        nobody=sum(
            queue.due
            for queue in load.queues
            if not any(taker.takes(queue, settings.backend) for taker in [*takers.values(), *spare])
        ),
    )


def _view(settings: Settings, endpoint: Endpoint, probe: Probe, load: Load, now: datetime) -> EndpointView:
    resource = endpoint.resource
    pace = load.paces.get(resource)
    stops = {
        (PauseKind.ENDPOINT, resource),
        (PauseKind.BACKEND, str(endpoint.backend)),
        (PauseKind.DEVICE, settings.device(endpoint).name),
    }
    return EndpointView(
        backend=str(endpoint.backend),
        url=endpoint.url,
        declared=endpoint in settings.endpoints,
        slots=endpoint.slots,
        allowed=float(endpoint.slots) if pace is None else min(pace.allowed, endpoint.slots),
        model=endpoint.model,
        probe=probe,
        lease=load.leases.get(resource),
        device=endpoint.device,
        account=endpoint.account,
        pace=pace,
        models=load.models.get(resource, []),
        pauses=[each for each in load.pauses if (each.kind, each.name) in stops],
        quiet_seconds=quiet(endpoint.quiet, settings.timezone, now),
    )


Asked = tuple[Endpoint, Probe]


async def _ask(settings: Settings) -> tuple[list[Asked], str, Asked | None]:
    """All that answers, and what `auto` takes: in words, and as it is listed."""
    found = await survey(settings)
    try:
        chosen, probe = await choose(settings, "auto", patience=0.0)
    except PenstockError as error:
        return found, f"nothing: {error}", None
    place = "" if chosen.backend == BackendName.EXTRACTIVE else f" {chosen.url}"
    listed = next((each for each in found if each[0].resource == chosen.resource), (chosen, probe))
    return found, f"{chosen.backend}{place}, model {chosen.model}", listed


def _load(settings: Settings) -> tuple[Load | None, str]:
    """None where the database does not run, or can't be read: why."""
    if not postgres(settings).running:
        return None, "the database does not run; it does while a run or `penstock up` does."
    try:
        with (
            database(settings) as opened,
            opened.connect(autocommit=True, statement_timeout=20) as connection,
        ):
            return read(connection, settings), ""
    except (PenstockError, psycopg.Error) as error:
        return None, str(error).strip()
