"""How `penstock backends` looks: tables that fit into 80 columns, and use more where there are more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from interfaces.cli.render import clean, shorten
from models.words import counted

if TYPE_CHECKING:
    from datetime import datetime

    from deployments.load import AccountView, DeviceView, ModelView, PackingView
    from deployments.overview import EndpointView, Overview
    from models.pause import Pause

MODELS = 3
UNKNOWN = "unknown"


def overview_view(found: Overview) -> Group:
    """The endpoints, then what they share, then what is not used."""
    there = [each for each in found.endpoints if each.declared or each.probe.reachable]
    parts: list[Table | Text] = [_endpoints(there)] if there else []
    for each in there:
        if each.models:
            title = Text.assemble("\n", ("Models of ", "bold"), f"{each.backend} {clean(each.url)}")
            parts += [title, _models(each)]
    if found.devices:
        parts += [Text("\nDevices", "bold"), _devices(found.devices)]
    if found.accounts:
        parts += [Text("\nAccounts today", "bold"), _accounts(found.accounts)]
    if found.packing:
        parts += [Text("\nItems asked several in one request", "bold"), _packing(found.packing)]
    parts.append(Text())
    parts += [Text(line) for line in _lines(found)]
    return Group(*parts)


def _table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        if name in numbers:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    return table


def _endpoints(endpoints: list[EndpointView]) -> Table:
    table = _table("Endpoint", "At once", "Queue", "ETA", "Now", numbers=("At once", "Queue", "ETA"))
    for each in endpoints:
        colour = "green" if each.probe.reachable else "yellow"
        says = clean(each.probe.detail.removeprefix(each.url).strip())
        place = Text.assemble((each.backend, "bold"), f" {clean(each.url)}", "\n", (says, colour))
        if model := _model(each):
            place.append(f"\n{clean(model)}", "cyan")
        queue = each.queue
        table.add_row(
            place,
            _at_once(each),
            "" if queue is None else f"{queue.due:,}",
            "" if queue is None else eta(queue.eta) if queue.due else "-",
            Text("\n").join([Text(words, style) for words, style in _now(each)]),
        )
    return table


def _model(each: EndpointView) -> str:
    if each.model is not None:
        return each.model
    names = [model.name for model in each.probe.models]
    return ", ".join(names[:MODELS]) + (f" and {len(names) - MODELS} more" if len(names) > MODELS else "")


def _at_once(each: EndpointView) -> str:
    """What it bears now, of its slots where that is less."""
    if not each.declared and each.lease is None:
        return ""
    return f"{int(each.allowed)} of {each.slots}" if int(each.allowed) < each.slots else str(each.slots)


def _now(each: EndpointView) -> Iterator[tuple[str, str]]:
    """What goes on there, and what keeps it from going on."""
    if (lease := each.lease) is not None:
        yield f"{counted(lease.items, 'item')} since {clock(lease.since)}", "green"
        if lease.device is not None:
            yield f"{lease.seats} of {clean(lease.device)}'s seats", ""
    for pause in each.pauses:
        yield f"paused{until(pause.until)}: {shorten(pause.reason, 40) or pause.kind}", "yellow"
    if each.quiet_seconds:
        yield f"quiet hours for {eta(each.quiet_seconds)}", "yellow"
    for model in each.models:
        if model.open:
            yield f"breaker of {clean(model.model)} open{until(model.open_until)}", "red"
        elif model.trying:
            yield f"one tries {clean(model.model)} again", "yellow"
    if each.pace is not None and each.pace.held_until is not None:
        yield f"held{until(each.pace.held_until)}: {shorten(each.pace.reason, 40)}", "yellow"
    elif each.pace is not None and each.pace.reason and int(each.allowed) < each.slots:
        yield shorten(each.pace.reason, 60), ""
    if each.queue is not None:
        if each.queue.later:
            yield f"{counted(each.queue.later, 'item')} later", ""
        if each.queue.paused:
            yield f"{counted(each.queue.paused, 'item')} paused", "yellow"


def _models(each: EndpointView) -> Table:
    numbers = ("Loads in", "Answers in", "Failed")
    table = _table("Model", "Is", "Loads in", "Answers in", "Failed", "Latest failure", numbers=numbers)
    for model in each.models:
        table.add_row(
            Text(clean(model.model), "cyan"),
            _residency(each, model),
            "" if model.load_seconds is None else f"{model.load_seconds:.1f} s",
            "" if model.item_seconds is None else f"{model.item_seconds:.1f} s",
            str(model.failures or ""),
            Text(shorten(model.error or "", 90), "red" if model.open else ""),
        )
    return table


def _residency(each: EndpointView, model: ModelView) -> str:
    """As the database has it; else as the server says it."""
    if model.residency is not None:
        return model.residency + (f", {model.memory:g} GiB" if model.memory else "")
    says = next((listed.loaded for listed in each.probe.models if listed.name == model.model), None)
    return "" if says is None else "loaded" if says else "not loaded"


def _devices(devices: list[DeviceView]) -> Table:
    table = _table("Device", "At once", "Memory", "Endpoints", numbers=("At once", "Memory"))
    for each in devices:
        memory = f"{each.used:g} of {each.memory:g} GiB" if each.memory is not None else ""
        table.add_row(
            Text(clean(each.name), "bold"),
            f"{each.taken} of {each.slots}",
            memory,
            Text("\n".join(clean(resource) for resource in each.endpoints)),
        )
    return table


def _accounts(accounts: list[AccountView]) -> Table:
    table = _table("Account", "Requests", "Tokens", "USD", "Rests", numbers=("Requests", "Tokens", "USD"))
    for each in accounts:
        table.add_row(
            Text(clean(each.name), "bold"),
            _of(f"{each.requests:,}", each.requests_per_day and f"{each.requests_per_day:,}"),
            _of(f"{each.tokens:,}", each.tokens_per_day and f"{each.tokens_per_day:,}"),
            _of(f"{each.usd:.2f}", each.usd_per_day and f"{each.usd_per_day:.2f}"),
            Text(f"{until(each.cooldown_until).strip()}: {shorten(each.reason, 50)}", "yellow")
            if each.cooldown_until is not None
            else "",
        )
    return table


def _packing(packing: list[PackingView]) -> Table:
    numbers = ("Items", "Requests", "Lately again alone")
    table = _table("Recipe", "Model", *numbers, numbers=numbers)
    for each in packing:
        lately = f"{each.bad} of {each.lately}" if each.lately else ""
        table.add_row(
            each.recipe, Text(clean(each.model), "cyan"), f"{each.items:,}", f"{each.calls:,}", lately
        )
    return table


def _of(used: str, limit: str | float | None) -> str:
    return f"{used} of {limit}" if limit else used


def _lines(found: Overview) -> Iterator[str]:
    for pause in found.pauses:
        yield _pause(pause)
    if found.nobody:
        yield f"{counted(found.nobody, 'ready item')} that none of these endpoints may take."
    silent = [each for each in found.endpoints if not (each.declared or each.probe.reachable)]
    if silent:
        places = ", ".join(f"{each.backend} {clean(each.url)}" for each in silent)
        yield f"Usual places where nobody answers: {places}."
    used = {each.backend for each in found.endpoints}
    without = [kind.name for kind in found.kinds if kind.name not in used and kind.name != "extractive"]
    if without:
        yield f"Without an endpoint, and so not used: {', '.join(without)}."
    for kind in found.kinds:
        if kind.origin != "penstock":
            yield f"{kind.name} is of {kind.origin}."
    if found.leases:
        yield f"Who works on them, and what waits, is not known now: {clean(found.leases)}"
    yield f"`auto` takes {clean(found.auto)}"


def _pause(pause: Pause) -> str:
    why = f": {shorten(pause.reason)}" if pause.reason else ""
    return f"Paused{until(pause.until)}: {pause.kind} {clean(pause.name)}{why}"


def clock(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"


def until(moment: datetime | None) -> str:
    """With its day where that is not today."""
    if moment is None:
        return ""
    from datetime import datetime as now

    here = moment.astimezone()
    same = here.date() == now.now().astimezone().date()
    return f" until {here:%H:%M:%S}" if same else f" until {here:%Y-%m-%d %H:%M}"


def eta(seconds: float | None) -> str:
    """`40 s`, `5 min`, `3 h 20 min`, `2 d 4 h`; what is not known is said to be unknown."""
    if seconds is None:
        return UNKNOWN
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
