"""Asks everything that the checks read: all endpoints at once, each with a deadline; starts nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from backends.registry import DECLARED_SECONDS, USUAL_PORT_SECONDS, make
from deployments.doctor.addresses import (
    host_and_port,
    is_loopback,
    listening,
    machine_of,
    own_addresses,
    road_to,
)
from deployments.doctor.facts import SERVED_HERE, Asked, Facts, House, Road, Seen
from deployments.server import check_access
from deployments.status import postgres, reached
from models.calls import ModelCallError, ModelRequest, Probe
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType
from models.errors import PenstockError, SettingsError
from models.settings import DEFAULT_URLS, Settings, config_file
from sql.connection import database

PREFECT_SECONDS = 5.0

Tell = Callable[[str], None]
"""Is told what is waited for, in words."""

ANSWERED = frozenset({ErrorType.TRUNCATED, ErrorType.EMPTY, ErrorType.REFUSED})
"""Ends of a question that are the model's own: one token is no answer, and proves that it can give one."""


def look(settings: Settings, *, ask: bool, tell: Tell) -> Facts:
    """Everything there is to see. With `ask` each endpoint's model is really asked for one token."""
    own = own_addresses()
    seen = asyncio.run(see_all(settings, own, ask, tell))
    tell("the database, the Prefect server and the disk")
    ports = {
        place[1]
        for each in seen
        if each.road is Road.OPEN and (place := host_and_port(each.endpoint.url)) and _is_here(each)
    }
    return Facts(settings, tuple(seen), listening(ports, own), house(settings))


def _is_here(each: Seen) -> bool:
    place = host_and_port(each.endpoint.url)
    return place is not None and each.endpoint.backend in SERVED_HERE and is_loopback(place[0])


# --- endpoints ----------------------------------------------------------------------------------------------


async def see_all(settings: Settings, own: frozenset[str], ask: bool, tell: Tell) -> list[Seen]:
    """Every declared endpoint, and the usual ports on which somebody answers. `own`: addresses of this machine."""
    taken = {_key(endpoint.url) for endpoint in settings.endpoints}
    usual = [
        Endpoint(backend=BackendName(name), url=url)
        for name, url in DEFAULT_URLS.items()
        if _key(url) not in taken
    ]
    waiting = [endpoint.resource for endpoint in (*settings.endpoints, *usual)]

    async def one(endpoint: Endpoint, declared: bool) -> Seen:
        found = await _see(endpoint, declared, own)
        waiting.remove(endpoint.resource)
        if waiting:
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            tell(f"{waiting[0]}{more}")
        return found

    tell(f"{len(waiting)} endpoints")
    every = [(endpoint, True) for endpoint in settings.endpoints] + [(endpoint, False) for endpoint in usual]
    found = await asyncio.gather(*(one(endpoint, declared) for endpoint, declared in every))
    seen = [each for each in found if each.declared or each.probe.reachable]
    return await _ask_all(settings, seen, tell) if ask else seen


def _key(url: str) -> tuple[str, int] | None:
    place = host_and_port(url)
    return (
        ("here" if place[0] in ("127.0.0.1", "localhost", "::1") else place[0], place[1]) if place else None
    )


async def _see(endpoint: Endpoint, declared: bool, own: frozenset[str]) -> Seen:
    """One endpoint: as it is written, the road to it, what it says, and what else it may be."""
    try:
        backend = make(endpoint)
    except SettingsError as error:
        return Seen(
            endpoint, declared, Probe(False, str(error)), str(error), key_missing=_without_key(endpoint)
        )
    place = host_and_port(endpoint.url)
    seen = Seen(endpoint, declared, Probe(False, "not asked"))
    seconds = DECLARED_SECONDS if declared else USUAL_PORT_SECONDS
    clock = asyncio.get_running_loop().time
    try:
        if place is not None:
            road, addresses = await road_to(*place, min(endpoint.connect_timeout, seconds))
            machine = machine_of(place[0], addresses, own)
            seen = replace(seen, road=road, machine=machine, address=addresses[0] if addresses else "")
            if road is not Road.OPEN:
                return replace(seen, probe=Probe(False, f"{endpoint.url}: {road}"))
        # mlx_lm.server is asked for a token, which takes longer.
        patience = DECLARED_SECONDS if endpoint.backend == BackendName.MLX else seconds
        seen = replace(seen, probe=await backend.probe(clock() + patience))
    finally:
        await backend.close()
    if not declared or place is None:
        return seen
    return replace(seen, others=await _others(endpoint, seen.probe))


def _without_key(endpoint: Endpoint) -> bool:
    name = endpoint.api_key_env
    return endpoint.api_key is None and name is not None and not os.environ.get(name)


async def _others(endpoint: Endpoint, probe: Probe) -> tuple[Endpoint, ...]:
    """As what else the server at that place answers, where that matters. It gets no key: it may be a stranger."""
    root = endpoint.url.rstrip("/").removesuffix("/v1")
    ollama = Endpoint(backend=BackendName.OLLAMA, url=root)
    openai = Endpoint(backend=BackendName.OPENAI, url=f"{root}/v1")
    if probe.reachable:
        # Ollama speaks OpenAI's protocol, too, and cuts long prompts in silence there.
        likely = [ollama] if endpoint.backend in (BackendName.OPENAI, BackendName.MLX) else []
    elif probe.error is ErrorType.AUTH or probe.loading:
        likely = []
    else:
        likely = [
            each for each in (ollama, openai) if (each.backend, each.url) != (endpoint.backend, endpoint.url)
        ]
    probes = await asyncio.gather(*(_probe(each) for each in likely))
    return tuple(each for each, found in zip(likely, probes, strict=True) if found.reachable)


async def _probe(endpoint: Endpoint) -> Probe:
    try:
        backend = make(endpoint)
    except SettingsError as error:
        return Probe(False, str(error))
    try:
        return await backend.probe(asyncio.get_running_loop().time() + DECLARED_SECONDS)
    finally:
        await backend.close()


# --- a real question ----------------------------------------------------------------------------------------


async def _ask_all(settings: Settings, seen: list[Seen], tell: Tell) -> list[Seen]:
    """Those that are declared, else the usual ones; one after the other on a device, so that no two models load."""
    devices: dict[str, list[int]] = {}
    for number, each in enumerate(seen):
        wanted = each.declared or not settings.endpoints
        if wanted and each.probe.reachable and each.endpoint.backend != BackendName.EXTRACTIVE:
            devices.setdefault(settings.device(each.endpoint).name, []).append(number)

    async def of_device(numbers: list[int]) -> None:
        for number in numbers:
            each = seen[number]
            # One that it does not have is a finding already.
            there = each.model.name if each.model is not None else None
            if (model := there if each.probe.models else each.endpoint.model) is not None:
                tell(f"the first token of {model} at {each.place}")
                seen[number] = replace(each, asked=await _asked(each.endpoint, model))

    await asyncio.gather(*(of_device(numbers) for numbers in devices.values()))
    return seen


async def _asked(endpoint: Endpoint, model: str) -> Asked:
    question = "Say yes."
    request = ModelRequest(
        item_id=0,
        model=model,
        system="",
        prompt=question,
        question=question,
        max_tokens=1,
        context_tokens=endpoint.context_tokens,
    )
    clock = asyncio.get_running_loop().time
    started = clock()
    backend = make(endpoint)
    try:
        answer = await backend.answer(request, started + endpoint.call_timeout)
    except ModelCallError as error:
        if error.error_type not in ANSWERED:
            return Asked(model, clock() - started, error=str(error), error_type=error.error_type)
        if error.partial is None:
            return Asked(model, clock() - started)
        answer = error.partial
    finally:
        await backend.close()
    return Asked(model, clock() - started, answer.first_seconds, answer.load_seconds)


# --- the rest -----------------------------------------------------------------------------------------------


def house(settings: Settings) -> House:
    """The database and the Prefect server where they run or are yours, the disk, the clocks."""
    now = datetime.now(ZoneInfo(settings.timezone))
    file = config_file()
    problem, free = _disk(settings.home)
    found = House(
        home=str(settings.home),
        home_problem=problem,
        free=free,
        config=str(file or ""),
        config_open=file is not None and _open_to_others(file),
        offset_here=_hours(now.astimezone()),
        offset_settings=_hours(now),
    )
    found = _with_database(found, settings)
    try:
        if (server := reached(settings)) is not None:
            check_access(server, time.monotonic() + PREFECT_SECONDS)
    except PenstockError as error:
        return replace(found, prefect=str(error))
    return found


def _with_database(found: House, settings: Settings) -> House:
    from sql.schema import check

    if not postgres(settings).running:
        return found
    try:
        with database(settings) as opened:
            place = replace(found, database_place=opened.place)
            check(opened)
            with opened.connect(autocommit=True, statement_timeout=5) as connection:
                before = time.time()
                row = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
                after = time.time()
    except PenstockError as error:
        return replace(found, database=str(error))
    return place if row is None else replace(place, skew=float(row[0]) - (before + after) / 2)


def _disk(home: Path) -> tuple[str, int | None]:
    """Why nothing can be written there, and the bytes that are free."""
    there = next(_existing(home))
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} can't be written to", None
    try:
        return "", shutil.disk_usage(there).free
    except OSError as error:
        return f"{there}: {error.strerror}", None


def _existing(path: Path) -> Iterator[Path]:
    return (each for each in (path, *path.parents) if each.exists())


def _open_to_others(file: Path) -> bool:
    try:
        return os.name == "posix" and bool(file.stat().st_mode & 0o077)
    except OSError:
        return False  # who can't read it has been told when the settings were read


def _hours(moment: datetime) -> float:
    offset = moment.utcoffset()
    return offset.total_seconds() / 3600 if offset is not None else 0.0
