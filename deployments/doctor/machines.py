"""What is wrong with machines: who can reach them, what shares a device unsaid, and what does not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from deployments.doctor.addresses import HERE, everywhere, host_and_port, is_loopback, is_public
from deployments.doctor.facts import SERVED_HERE, Facts, Seen, Trouble
from models.endpoint import Device, Endpoint
from models.enums import BackendName, Severity
from models.words import counted


def check_machines(facts: Facts) -> Iterator[Trouble]:
    yield from check_exposure(facts)
    yield from check_sharing(facts)
    for device in facts.settings.devices:
        mine = [endpoint for endpoint in facts.settings.endpoints if endpoint.device == device.name]
        yield from check_device(device, mine, frees(facts))
    for endpoint in facts.settings.endpoints:
        yield from check_weights(facts, endpoint)


# --- who can reach it ---------------------------------------------------------------------------------------


def check_exposure(facts: Facts) -> Iterator[Trouble]:
    """Model servers ask nobody for a key: who reaches the port uses the GPU, and reads what is on it."""
    told: set[int] = set()
    for seen in facts.seen:
        place = host_and_port(seen.endpoint.url)
        if place is None or seen.endpoint.backend not in SERVED_HERE:
            continue
        host, port = place
        if is_loopback(host) and port in facts.listening and port not in told:
            told.add(port)
            addresses = facts.listening[port]
            where = "all interfaces" if everywhere(addresses) else "the network"
            yield Trouble(
                "public_interface",
                Severity.WARNING,
                seen.place,
                f"Port {port} listens on {where} ({', '.join(addresses)}): every machine that reaches this one can "
                "use the model.",
                f"Let it listen on 127.0.0.1 alone ({_alone(seen.endpoint, port)}), or close the port in the firewall.",
            )
        elif is_public(seen.address) and seen.endpoint.url.startswith("http:"):
            yield Trouble(
                "public_interface",
                Severity.WARNING,
                seen.place,
                f"{seen.address} is an address of the internet, and plain http is spoken there: prompts and answers "
                "can be read on the way, and everybody can use the model.",
                "Reach it by VPN or an ssh tunnel, and close the port to all others.",
            )
    host = facts.settings.host
    if not is_loopback(host):
        where = "all interfaces" if everywhere((host,)) else host
        yield Trouble(
            "door_public",
            Severity.WARNING,
            "host",
            f"The HTTP door of `penstock up` listens on {where}, in plain http: its token can be read on the way.",
            "Set host = 127.0.0.1 and put a server with TLS in front of it.",
        )


def _alone(endpoint: Endpoint, port: int) -> str:
    if endpoint.backend == BackendName.OLLAMA:
        return f"OLLAMA_HOST=127.0.0.1:{port}"
    return "--host 127.0.0.1"


# --- what shares a device -----------------------------------------------------------------------------------


def check_sharing(facts: Facts) -> Iterator[Trouble]:
    """Endpoints of one machine share its GPU, unless each has a device of its own."""
    machines: dict[str, list[Seen]] = defaultdict(list)
    for seen in facts.declared:
        if seen.machine and seen.endpoint.backend in SERVED_HERE and not _in_the_cloud(seen):
            machines[seen.machine].append(seen)
    for machine, group in machines.items():
        twice = [pair for pair in combinations(group, 2) if _port(pair[0]) == _port(pair[1])]
        for one, other in twice:
            if one.endpoint.resource == other.endpoint.resource:
                yield Trouble(
                    "declared_twice",
                    Severity.ERROR,
                    other.place,
                    "It is declared twice. A server is worked on by one drain at a time, so the second adds nothing, "
                    "and which slots and which model count is left to chance.",
                    'Declare it once, with all its models as [endpoints.models."NAME"].',
                )
            elif _undeclared(one, other):
                yield Trouble(
                    "declared_twice",
                    Severity.ERROR,
                    other.place,
                    f"It is the same server as {one.place}, so its slots count twice: up to "
                    f"{one.endpoint.slots + other.endpoint.slots} requests at once.",
                    "Declare it once, or give both the same `device`.",
                )
        group = [seen for seen in group if seen not in [other for _, other in twice]]
        apart = [pair for pair in combinations(group, 2) if _undeclared(*pair)]
        if apart:
            yield _apart(facts, machine, [seen for seen in group if any(seen in pair for pair in apart)])


def _apart(facts: Facts, machine: str, concerned: list[Seen]) -> Trouble:
    """Endpoints of one machine, at least one of them without a device."""
    alone = [seen for seen in concerned if seen.endpoint.device is None]
    shared = [
        device for device in facts.settings.devices if device.name in {s.endpoint.device for s in concerned}
    ]
    together = sum(seen.endpoint.slots for seen in alone) + sum(
        min(
            device.slots,
            sum(seen.endpoint.slots for seen in concerned if seen.endpoint.device == device.name),
        )
        for device in shared
    )
    if shared:
        name = shared[0].name
        says = (
            f"{_and(alone)} {'has' if len(alone) == 1 else 'have'} no device and "
            f"{'runs' if len(alone) == 1 else 'run'} on the machine of the device {name}"
        )
        add = f'give {"it" if len(alone) == 1 else "each"} device = "{name}"'
        own = "it one" if len(alone) == 1 else "each one"
    else:
        name = "gpu" if machine == HERE else f"gpu of {host_of(concerned[0])}"
        says = f"{_and(concerned)} run on one machine and have no common device"
        add = f'add [[devices]] name = "{name}" and give each device = "{name}"'
        own = "each a device"
    return Trouble(
        "device_undeclared",
        Severity.WARNING,
        machine if machine == HERE else host_of(concerned[0]),
        f"{says}: together they may get {together} requests at once, and two models loaded.",
        f"If they share a GPU or its memory, {add}; with a GPU for each, give {own} of its own.",
    )


def _and(seen: list[Seen]) -> str:
    return " and ".join(each.place for each in seen)


def host_of(seen: Seen) -> str:
    place = host_and_port(seen.endpoint.url)
    return place[0] if place else seen.machine


def _port(seen: Seen) -> int | None:
    place = host_and_port(seen.endpoint.url)
    return place[1] if place else None


def _in_the_cloud(seen: Seen) -> bool:
    """A service, not a machine: its usual port with TLS."""
    return seen.endpoint.url.startswith("https:") and _port(seen) == 443


def _undeclared(one: Seen, other: Seen) -> bool:
    devices = {one.endpoint.device, other.endpoint.device}
    return None in devices


# --- what does not fit --------------------------------------------------------------------------------------


def frees(facts: Facts) -> frozenset[str]:
    """Endpoints that can be told to free the memory of a model: Ollama, and a vLLM that says whether it sleeps. One of
    which nothing is known is not said to keep it.
    """
    told = {
        seen.place
        for seen in facts.seen
        if not seen.probe.reachable or any(model.loaded is not None for model in seen.probe.models)
    }
    known = {seen.place for seen in facts.seen}
    return frozenset(
        endpoint.resource
        for endpoint in facts.settings.endpoints
        if endpoint.backend == BackendName.OLLAMA
        or (
            endpoint.backend == BackendName.OPENAI
            and (endpoint.resource in told or endpoint.resource not in known)
        )
    )


def check_device(device: Device, endpoints: list[Endpoint], free: frozenset[str]) -> Iterator[Trouble]:
    place = f"device {device.name}"
    if not endpoints:
        yield Trouble(
            "device_unused",
            Severity.WARNING,
            place,
            "No endpoint is on it.",
            f'Give an endpoint device = "{device.name}", or take it out.',
        )
        return
    slots = sum(endpoint.slots for endpoint in endpoints)
    if slots < device.slots and "slots" in device.model_fields_set:
        yield Trouble(
            "device_slots_unused",
            Severity.INFO,
            place,
            f"It takes {counted(device.slots, 'request')} at once, and its endpoints have {slots} together.",
            "Raise the slots of an endpoint, or lower those of the device.",
        )
    if device.memory is not None:
        yield from check_memory(device, device.memory, endpoints, free)


def check_memory(
    device: Device, memory: float, endpoints: list[Endpoint], free: frozenset[str]
) -> Iterator[Trouble]:
    place = f"device {device.name}"
    too_large = False
    for endpoint in endpoints:
        for name, size in _sizes(endpoint).items():
            if size > memory:
                too_large = True
                yield Trouble(
                    "memory_too_small",
                    Severity.ERROR,
                    place,
                    f"{name} of {endpoint.resource} takes {size:g} GiB, and the device has {memory:g}: it is never "
                    "loaded.",
                    "Correct the memory of one of them, or take a smaller model.",
                )
        unknown = endpoint.model is not None and endpoint.spec(endpoint.model).memory is None
        if unknown or not (endpoint.model or endpoint.models):
            which = f"of {endpoint.model} " if endpoint.model else "of its models "
            yield Trouble(
                "memory_unknown",
                Severity.WARNING,
                endpoint.resource,
                f"The memory {which}is not declared, so it counts as 0 of the {memory:g} GiB of {device.name}.",
                f'Write what it takes: [endpoints.models."{endpoint.model or "NAME"}"] memory = ...',
            )
    there = at_once(endpoints, free)
    total = sum(size for _, size in there)
    if total > memory and not too_large:
        yield Trouble(
            "memory_too_small",
            Severity.ERROR,
            place,
            f"What must be loaded at once takes {total:g} GiB, and the device has {memory:g}: "
            f"{', '.join(f'{name} ({size:g})' for name, size in there)}.",
            "Lower `resident`, take smaller models, or stop one of the servers; vLLM frees its memory where it was "
            "started with --enable-sleep-mode.",
        )


def at_once(endpoints: list[Endpoint], free: frozenset[str]) -> list[tuple[str, float]]:
    """What has to fit together, with its GiB: the models of servers that free nothing, those that a server is to keep
    (`resident`), and beside them the largest of those that come and go.
    """
    stay: list[tuple[str, float]] = []
    come: list[tuple[str, float]] = []
    for endpoint in endpoints:
        sizes = sorted(_sizes(endpoint).items(), key=lambda item: -item[1])
        named = [(f"{name} of {endpoint.resource}", size) for name, size in sizes]
        if endpoint.resource not in free:
            started = [each for each, (name, _) in zip(named, sizes, strict=True) if name == endpoint.model]
            stay += started or named[:1]
        elif endpoint.resident is not None:
            stay += named[: endpoint.resident]
        else:
            come += named
    return stay + sorted(come, key=lambda item: -item[1])[:1]


def _sizes(endpoint: Endpoint) -> dict[str, float]:
    return {name: spec.memory for name, spec in endpoint.models.items() if spec.memory is not None}


def check_weights(facts: Facts, endpoint: Endpoint) -> Iterator[Trouble]:
    device = facts.settings.device(endpoint)
    for name, spec in endpoint.models.items():
        if spec.weight > device.slots:
            whose = f"its device {device.name} has" if endpoint.device else "the endpoint has"
            yield Trouble(
                "weight_too_large",
                Severity.ERROR,
                endpoint.resource,
                f"One request to {name} takes {spec.weight} slots, and {whose} {device.slots}: none would ever run.",
                "Lower its weight, or raise the slots.",
            )
        if spec.slots is not None and spec.slots > endpoint.slots:
            yield Trouble(
                "model_slots_odd",
                Severity.WARNING,
                endpoint.resource,
                f"{name} has slots = {spec.slots}, and the endpoint {endpoint.slots}, which it never passes.",
                "Raise the endpoint's slots, or lower the model's.",
            )
