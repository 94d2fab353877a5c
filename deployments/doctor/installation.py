"""What is wrong around the model servers: database, Prefect, disk, clocks, files."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.doctor.addresses import host_and_port, is_loopback
from deployments.doctor.facts import Facts, Trouble
from models.enums import Severity

GIB = 1024**3
DISK_ERROR, DISK_WARNING = 1.0, 5.0
"""GiB: below, Postgres may stop in the middle of a night; below, it may do so soon."""

SKEW_WARNING, SKEW_ERROR = 2.0, 15.0
"""Seconds between two clocks: leases and deadlines go by the database's, deadlines of calls by this machine's."""


def check_installation(facts: Facts) -> Iterator[Trouble]:
    house, settings = facts.house, facts.settings
    if house.database:
        yield _as_said("database", "database", house.database)
    if house.skew is not None and abs(house.skew) >= SKEW_WARNING:
        yield Trouble(
            "clock_skew",
            Severity.ERROR if abs(house.skew) >= SKEW_ERROR else Severity.WARNING,
            "database",
            f"Its clock is {abs(house.skew):.0f} s {'ahead of' if house.skew > 0 else 'behind'} this machine's: "
            "deadlines, quiet hours and reports are off by that.",
            "Set both by NTP.",
        )
    if house.prefect:
        yield _as_said("prefect", "prefect", house.prefect)
    if house.home_problem:
        yield Trouble(
            "home_not_writable",
            Severity.ERROR,
            "home",
            f"{house.home_problem}.",
            f"Give yourself the folder {house.home}, or set PENSTOCK_HOME to another.",
        )
    if house.free is not None and house.free < DISK_WARNING * GIB:
        yield Trouble(
            "disk_full",
            Severity.ERROR if house.free < DISK_ERROR * GIB else Severity.WARNING,
            "home",
            f"{house.free / GIB:.1f} GiB are free on the disk of {house.home}.",
            "Free some, or set PENSTOCK_HOME to a larger disk.",
        )
    secret = settings.database_url or settings.prefect_api_auth or settings.webhook_secret
    if house.config_open and (
        secret is not None or any(each.api_key is not None for each in settings.endpoints)
    ):
        yield Trouble(
            "secrets_readable",
            Severity.WARNING,
            house.config,
            "It may hold secrets, and others on this machine can read it.",
            f"chmod 600 {house.config}, or put the secrets into variables.",
        )
    yield from _prefect_in_clear(facts)
    yield from _zone(facts)


def _as_said(code: str, place: str, said: str) -> Trouble:
    """An error's sentences: what happened, then what to do."""
    what, _, do = said.rpartition(". ")
    if not what:
        what, do = said, ""
    return Trouble(code, Severity.ERROR, place, f"{what.rstrip('.')}.", do)


def _prefect_in_clear(facts: Facts) -> Iterator[Trouble]:
    url, auth = facts.settings.prefect_api_url, facts.settings.prefect_api_auth
    place = host_and_port(url) if url else None
    if (
        place is not None
        and auth is not None
        and url
        and url.startswith("http:")
        and not is_loopback(place[0])
    ):
        yield Trouble(
            "key_in_clear",
            Severity.WARNING,
            "prefect",
            f"Its password goes to {place[0]} over plain http, where everybody on the way can read it.",
            "Use https, or a tunnel to 127.0.0.1.",
        )


def _zone(facts: Facts) -> Iterator[Trouble]:
    house, settings = facts.house, facts.settings
    used = settings.docs_repo is not None or any(each.quiet for each in settings.endpoints)
    apart = house.offset_here - house.offset_settings
    if used and apart and "timezone" not in settings.model_fields_set:
        yield Trouble(
            "timezone_default",
            Severity.WARNING,
            "timezone",
            f"It is {settings.timezone} because it is not set, and this machine's clock is {abs(apart):g} h "
            f"{'ahead' if apart > 0 else 'behind'}: quiet hours and the nightly run are off by that.",
            'Set it, for example timezone = "Europe/Berlin".',
        )
