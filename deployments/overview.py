"""All backends at a glance: what kinds there are, which endpoints, how they are, who works on them."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from backends.registry import choose, survey
from deployments.status import postgres
from models.calls import Probe
from models.enums import BackendName
from models.errors import PenstockError
from models.plugins import BACKENDS, backend_names, origin, plugins
from models.settings import Endpoint, Settings
from sql.connection import database
from sql.statements import statement

__all__ = ["EndpointView", "Kind", "LeaseView", "Overview", "overview"]


@dataclass(frozen=True)
class Kind:
    name: str
    origin: str  # penstock, or the package that adds it


@dataclass(frozen=True)
class LeaseView:
    """The drain that works on an endpoint now, and how much it has taken."""

    model: str | None
    since: datetime
    until: datetime
    items: int  # claimed: being asked, checked or written


@dataclass(frozen=True)
class EndpointView:
    backend: str
    url: str
    declared: bool
    slots: int
    model: str | None  # as declared
    probe: Probe
    lease: LeaseView | None = None


@dataclass(frozen=True)
class Overview:
    """`leases` is a clause that says why they are not known, "" where they are."""

    kinds: list[Kind]
    endpoints: list[EndpointView]
    auto: str
    leases: str = ""

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return asdict(self)


def overview(settings: Settings) -> Overview:
    """Ask every endpoint that is declared or usual, and the database if it runs; starts nothing."""
    found, auto = asyncio.run(_ask(settings))
    leases, why_not = _leases(settings)
    others = plugins(BACKENDS)
    return Overview(
        kinds=[
            Kind(name, origin(others[name]) if name in others else "penstock") for name in backend_names()
        ],
        endpoints=[
            EndpointView(
                backend=str(endpoint.backend),
                url=endpoint.url,
                declared=endpoint in settings.endpoints,
                slots=endpoint.slots,
                model=endpoint.model,
                probe=probe,
                lease=leases.get(f"{endpoint.backend} {endpoint.url.rstrip('/')}"),
            )
            for endpoint, probe in found
        ],
        auto=auto,
        leases=why_not,
    )


async def _ask(settings: Settings) -> tuple[list[tuple[Endpoint, Probe]], str]:
    found = await survey(settings)
    try:
        chosen, _ = await choose(settings, "auto", patience=0.0)
    except PenstockError as error:
        return found, f"nothing: {error}"
    place = "" if chosen.backend == BackendName.EXTRACTIVE else f" {chosen.url}"
    return found, f"{chosen.backend}{place}, model {chosen.model}"


def _leases(settings: Settings) -> tuple[dict[str, LeaseView], str]:
    if not postgres(settings).running:
        return {}, ""  # and without it no drain does
    try:
        with database(settings) as opened, opened.connect(autocommit=True, statement_timeout=5) as connection:
            rows = connection.execute(statement("status.endpoints")).fetchall()
    except PenstockError as error:
        return {}, str(error)
    return {resource: LeaseView(*values) for resource, *values in rows}, ""
