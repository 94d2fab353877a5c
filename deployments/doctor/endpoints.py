"""What is wrong with one endpoint: nobody there, somebody else, no model, another context, another number of slots."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from urllib.parse import urlsplit

from backends.registry import START
from backends.replies import same_model
from deployments.doctor.addresses import host_and_port, is_loopback, is_public
from deployments.doctor.facts import SERVED_HERE, Facts, Road, Seen, Trouble, chats
from models.enums import BackendName, ErrorType, Severity
from models.words import counted

SHOWN = 6
"""Names of models that a message has room for."""


def check_endpoints(facts: Facts) -> Iterator[Trouble]:
    for seen in facts.declared:
        yield from _endpoint(seen)
    for seen in facts.seen:
        if seen.probe.simulated:
            yield _simulated(seen)
    yield from _undeclared(facts)


def _endpoint(seen: Seen) -> Iterator[Trouble]:
    yield from key_in_clear(seen)
    if seen.unusable:
        yield _unusable(seen)
    elif seen.road not in (Road.OPEN, None):
        yield _nobody(seen, seen.road)
    elif not seen.probe.reachable:
        yield _not_reached(seen)
    else:
        yield from check_kind(seen)
        yield from check_models(seen)
        yield from check_context(seen)
        yield from check_slots(seen)
        yield from check_answer(seen)


# --- the way there ------------------------------------------------------------------------------------------


def _unusable(seen: Seen) -> Trouble:
    what, _, do = seen.unusable.partition(". ")
    code = "key_missing" if seen.key_missing else "unusable"
    return Trouble(
        code, Severity.ERROR, seen.place, f"{what.rstrip('.')}.", do or "Correct it in penstock.toml."
    )


def _nobody(seen: Seen, road: Road) -> Trouble:
    host, port = host_and_port(seen.endpoint.url) or ("", 0)
    correct = "or correct its url in penstock.toml."
    start = START.get(seen.endpoint.backend, "Start the server")
    match road:
        case Road.UNKNOWN_HOST:
            what = f"No address is known of the host {host!r}."
            do = "Correct the name in its url, or add it to DNS or /etc/hosts."
        case Road.NO_ROUTE:
            what = f"There is no route to {host} ({seen.address})."
            do = f"Check the network or VPN of this machine, {correct}"
        case Road.SILENT:
            what = (
                f"{host} takes no connection on port {port}: no answer at all, as from a machine that is off."
            )
            do = f"Switch it on, open its firewall for port {port}, {correct}"
        case _:
            what = f"Nothing listens on port {port} of {host}: the connection is refused."
            here = seen.machine and is_loopback(host)
            elsewhere = "" if here else f", let it listen on {host} and not on 127.0.0.1 alone"
            do = f"{start}{elsewhere}, {correct}"
    return Trouble(
        road.value if road is not Road.REFUSED else "nothing_listens", Severity.ERROR, seen.place, what, do
    )


def _not_reached(seen: Seen) -> Trouble:
    """Somebody took the connection, and it can't be used."""
    said = seen.probe.detail.rstrip(".")
    code, severity, do = "not_usable", Severity.ERROR, "Look at the server's own log."
    named = has_key(seen)
    if seen.probe.error is ErrorType.AUTH:
        code = "key_refused" if named else "key_missing"
        do = (
            "Check the key, what it may do, and whether the account has money."
            if named
            else 'Put its key into an environment variable, and name that: api_key_env = "..."'
        )
    elif seen.probe.loading:
        code, severity, do = "loading", Severity.WARNING, "Wait until it has loaded its model, and ask again."
    elif seen.endpoint.backend == BackendName.COMMAND:
        code, do = (
            "no_program",
            "Install it, or correct `agent` or `run` of the endpoint; PATH is this shell's.",
        )
    elif seen.others:
        code = "other_server"
        other = seen.others[0]
        said = f"What listens there answers as {_kind(other.backend)} at {other.url}, and not as declared: {said}"
        do = f'Declare backend = "{other.backend}" and url = "{other.url}", or correct the port.'
    elif seen.probe.error is ErrorType.TIMEOUT:
        code, said = "silent_server", f"The port is open, and nothing answered in time: {said}"
        do = "Look whether the server has stuck or is still starting; if so, start it again."
    elif seen.probe.error in (None, ErrorType.MODEL_MISSING, ErrorType.MALFORMED, ErrorType.CONNECTION):
        code = "other_server"
        said = f"The port is open, and what listens there does not answer as {_kind(seen.endpoint.backend)}: {said}"
        do = "Correct the port or path of its url, or stop what took the port."
    return Trouble(
        code, severity, seen.place, f"{said[:1].upper() if code == 'no_program' else said[:1]}{said[1:]}.", do
    )


_KINDS: dict[str, str] = {
    BackendName.OLLAMA: "an Ollama server",
    BackendName.OPENAI: "an OpenAI-compatible server",
    BackendName.MLX: "mlx_lm.server",
}


def _kind(backend: str) -> str:
    return _KINDS.get(backend, f"a server of the backend {backend}")


def has_key(seen: Seen) -> bool:
    return seen.endpoint.api_key is not None or seen.endpoint.api_key_env is not None


def key_in_clear(seen: Seen) -> Iterator[Trouble]:
    """A key over plain http to another machine can be read on the way."""
    endpoint = seen.endpoint
    parts = urlsplit(endpoint.url)
    if not has_key(seen) or parts.scheme != "http" or not parts.hostname or is_loopback(parts.hostname):
        return
    severity = Severity.ERROR if is_public(seen.address or parts.hostname) else Severity.WARNING
    yield Trouble(
        "key_in_clear",
        severity,
        seen.place,
        f"Its key goes to {parts.hostname} over plain http, where everybody on the way can read it.",
        "Use https, or a tunnel to 127.0.0.1.",
    )


# --- what it says -------------------------------------------------------------------------------------------


def check_kind(seen: Seen) -> Iterator[Trouble]:
    if any(other.backend == BackendName.OLLAMA for other in seen.others):
        root = seen.others[0].url
        yield Trouble(
            "ollama_as_other",
            Severity.WARNING,
            seen.place,
            "It is an Ollama server, which cuts long prompts in silence when it is spoken to like this, and takes no "
            "context length.",
            f'Declare backend = "ollama" and url = "{root}".',
        )


def check_models(seen: Seen) -> Iterator[Trouble]:
    endpoint, models = seen.endpoint, seen.probe.models
    names = [model.name for model in models]
    has = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    ollama = endpoint.backend == BackendName.OLLAMA
    if endpoint.model is None:
        able = [name for name, model in zip(names, models, strict=True) if chats(model)]
        if not able and not (
            endpoint.backend == BackendName.MLX and not names
        ):  # which lists none, and has one
            what = (
                f"It has only {has}, which can't chat." if names else "The server answers, and has no model."
            )
            get = "Get one with `ollama pull NAME`." if ollama else "Load one there, or name it: model = ..."
            yield Trouble("no_model", Severity.ERROR, seen.place, what, get)
        elif len(able) > 1:
            yield Trouble(
                "model_not_named",
                Severity.INFO,
                seen.place,
                f"No model is declared, and it has {len(able)}: the first of its list is asked, {able[0]}.",
                f'Name the one you mean: model = "{able[0]}".',
            )
    elif names and not any(same_model(endpoint.model, name) for name in names):
        near = near_names(endpoint.model, names)
        mean = f" Did you mean {' or '.join(near)}?" if near else ""
        get = f"Get it with `ollama pull {endpoint.model}`" if ollama else "Load it there"
        yield Trouble(
            "model_missing",
            Severity.ERROR,
            seen.place,
            f"It does not have the model {endpoint.model!r}; it has {has}.{mean}",
            f"{get}, or correct `model` in penstock.toml.",
        )
    elif not names and endpoint.backend == BackendName.OLLAMA:
        yield Trouble(
            "no_model",
            Severity.ERROR,
            seen.place,
            f"The server answers, and has no model, so not {endpoint.model!r} either.",
            f"Get it with `ollama pull {endpoint.model}`.",
        )
    for name in endpoint.models:
        if names and not any(same_model(name, each) for each in names):
            near = near_names(name, names)
            yield Trouble(
                "unknown_model_described",
                Severity.WARNING,
                seen.place,
                f"Its table models.{name!r} describes a model that it does not have; it has {has}.",
                f"Correct the name{f' to {near[0]}' if near else ''}: until then nothing of that table counts.",
            )


def near_names(wanted: str, names: list[str]) -> list[str]:
    """Those that may have been meant: alike as a whole, or the same but for the place or the tag."""

    def bare(name: str) -> str:
        return name.rpartition("/")[2].partition(":")[0].lower()

    close = difflib.get_close_matches(wanted.lower(), [name.lower() for name in names], 3, 0.6)
    alike = [name for name in names if name.lower() in close or bare(name) == bare(wanted)]
    return alike[:3]


def check_context(seen: Seen) -> Iterator[Trouble]:
    model, declared = seen.model, seen.endpoint.context_tokens
    if model is None or model.context_tokens is None or declared <= model.context_tokens:
        return
    says = model.context_tokens
    by_default = "" if "context_tokens" in seen.endpoint.model_fields_set else ", the default"
    yield Trouble(
        "context_too_large",
        Severity.ERROR,
        seen.place,
        f"context_tokens is {declared}{by_default}, and the server takes {says} for {model.name}: longer prompts are "
        "refused or cut there.",
        f"Set context_tokens = {says}, or start the server with a longer context.",
    )


def check_slots(seen: Seen) -> Iterator[Trouble]:
    says, declared = seen.probe.slots, seen.endpoint.slots
    if says is None or says == declared:
        return
    if declared > says:
        yield Trouble(
            "slots_too_many",
            Severity.WARNING,
            seen.place,
            f"slots is {declared}, and the server works on {counted(says, 'request')} at once: "
            f"{declared - says} wait inside it, where their order is lost and their time runs.",
            f"Set slots = {says}, or start the server with more.",
        )
    else:
        yield Trouble(
            "slots_unused",
            Severity.INFO,
            seen.place,
            f"slots is {declared}, and the server could work on {says} requests at once.",
            f"Set slots = {says} if its memory allows that.",
        )


def check_answer(seen: Seen) -> Iterator[Trouble]:
    """With --ask: did its model give a token?"""
    if seen.asked is not None and seen.asked.error:
        yield Trouble(
            "no_token",
            Severity.ERROR,
            seen.place,
            f"{seen.asked.model} was asked for one token and gave none in {seen.asked.seconds:.1f} s "
            f"({seen.asked.error_type}): {seen.asked.error}",
            "Ask it by hand, and look at the server's log.",
        )


# --- all of them --------------------------------------------------------------------------------------------


def _simulated(seen: Seen) -> Trouble:
    used = (
        "It is used, because it is declared"
        if seen.declared
        else "It is not used, because it is not declared"
    )
    return Trouble(
        "simulated",
        Severity.WARNING if seen.declared else Severity.INFO,
        seen.place,
        f"It is Penstock's simulator and no model. {used}; its answers are marked and never remembered.",
        "Declare a real server for real work.",
    )


def _undeclared(facts: Facts) -> Iterator[Trouble]:
    for seen in facts.seen:
        if seen.declared:
            continue
        beside = [each for each in facts.declared if each.machine == seen.machine and _takes_a_gpu(each)]
        says = seen.probe.detail.removeprefix(seen.endpoint.url).strip()
        if beside:
            yield Trouble(
                "undeclared_server",
                Severity.WARNING,
                seen.place,
                f"It {says}, and is not declared: what it does is not counted, though {beside[0].place} is on the "
                "same machine.",
                "Declare it with the same `device`, or stop it.",
            )
        else:
            yield Trouble(
                "undeclared_server",
                Severity.INFO,
                seen.place,
                f"It {says}, and is not declared: `auto` takes it where no declared endpoint answers.",
                "Declare it to set its slots, context and model.",
            )


def _takes_a_gpu(seen: Seen) -> bool:
    return seen.endpoint.backend in SERVED_HERE and bool(seen.machine)
