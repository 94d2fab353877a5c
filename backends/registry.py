"""Which backend speaks to an endpoint, which endpoints are there, and which one a run takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module

from backends import extractive
from backends.openai import DEFAULT_MODEL
from backends.replies import same_model
from models.calls import Backend, Probe
from models.enums import BackendName
from models.errors import BackendUnavailable, SettingsError
from models.plugins import BACKENDS, backend_names, is_backend, load, origin, plugins
from models.settings import DEFAULT_URLS, Endpoint, Settings

USUAL_PORT_SECONDS = 1.0
"""How long a usual port on this machine may take to answer: nothing was declared there, so nothing is waited
for."""

DECLARED_SECONDS = 5.0
"""How long a declared endpoint may take to say that it is there."""

LOADING_SECONDS = 60.0
"""How long `choose` waits for a server that says it is loading its model."""

BUILT: Mapping[str, tuple[str, str]] = {
    BackendName.OLLAMA: ("backends.ollama", "OllamaBackend"),
    BackendName.MLX: ("backends.mlx", "MlxBackend"),
    BackendName.OPENAI: ("backends.openai", "OpenAIBackend"),
    BackendName.GEMINI: ("backends.gemini", "GeminiBackend"),
    BackendName.ANTHROPIC: ("backends.anthropic", "AnthropicBackend"),
    BackendName.COMMAND: ("backends.command", "CommandBackend"),
    BackendName.POLL: ("backends.poll", "PollBackend"),
    BackendName.EXTRACTIVE: ("backends.extractive", "ExtractiveBackend"),
}
"""Where each kind is; a module is imported when an endpoint of its kind is there."""

START: dict[str, str] = {
    BackendName.OLLAMA: "Start it with `ollama serve`",
    BackendName.OPENAI: "Start the server (vLLM: `vllm serve MODEL`)",
    BackendName.MLX: "Start the server (`mlx_lm.server --model MODEL`)",
}
"""How a server of a kind is started, where that is one command."""


def make(endpoint: Endpoint) -> Backend:
    """The backend for an endpoint, of Penstock's own or of a plug-in. Opens no connection.

    Raises SettingsError for a URL or description that can't be used, and for a plug-in that can't.
    """
    place = BUILT.get(endpoint.backend)
    if place is not None:
        backend: Backend = getattr(import_module(place[0]), place[1])(endpoint)
        return backend
    point = plugins(BACKENDS).get(endpoint.backend)
    if point is None:
        known = ", ".join(backend_names())
        raise SettingsError(f"{endpoint.backend!r} is no backend; use one of {known}.")
    made = load(point)(endpoint)
    if not isinstance(made, Backend):
        raise SettingsError(
            f"{origin(point)} offers {point.name!r}, and what {point.value!r} makes is no backend: it lacks one of "
            "name, url, probe, answer, close. Install a version of it that fits this Penstock."
        )
    return made


def extractive_endpoint() -> Endpoint:
    return Endpoint(backend=BackendName.EXTRACTIVE, url=extractive.URL, model=extractive.MODEL)


async def survey(settings: Settings) -> list[tuple[Endpoint, Probe]]:
    """As `find` for all kinds, for people: an endpoint that can't be used as written says so as its probe."""
    found: list[tuple[Endpoint, Probe]] = []
    usable = []
    for endpoint in settings.endpoints:
        try:
            await make(endpoint).close()
        except SettingsError as error:
            found.append((endpoint, Probe(reachable=False, detail=str(error))))
        else:
            usable.append(endpoint)
    taken = settings.model_copy(update={"endpoints": usable})
    asked = await find(taken)
    unusable = {endpoint.url.rstrip("/") for endpoint, _ in found}
    return found + [(e, probe) for e, probe in asked if e in usable or e.url not in unusable]


async def find(settings: Settings, wanted: str = "auto") -> list[tuple[Endpoint, Probe]]:
    """Ask every endpoint that a run could take how it is, all at once: declared ones first, then the usual
    ports.

    With `wanted` a backend's name, only endpoints of that kind. Raises SettingsError for a declared
    endpoint that can't be used as written.
    """
    declared = [e for e in settings.endpoints if wanted in ("auto", e.backend)]
    taken = {endpoint.url.rstrip("/") for endpoint in settings.endpoints}
    usual = [
        Endpoint(backend=BackendName(name), url=url)
        for name, url in DEFAULT_URLS.items()
        if wanted in ("auto", name) and url not in taken
    ]
    asked = [(e, DECLARED_SECONDS) for e in declared]
    # mlx_lm.server is asked for a token; on a port where nobody listens that takes no time.
    asked += [(e, DECLARED_SECONDS if e.backend == BackendName.MLX else USUAL_PORT_SECONDS) for e in usual]
    if wanted == BackendName.EXTRACTIVE and not declared:
        asked.append((extractive_endpoint(), DECLARED_SECONDS))
    probes = await asyncio.gather(*(_probe(endpoint, seconds) for endpoint, seconds in asked))
    return [(endpoint, probe) for (endpoint, _), probe in zip(asked, probes, strict=True)]


async def choose(
    settings: Settings, wanted: str, patience: float = LOADING_SECONDS
) -> tuple[Endpoint, Probe]:
    """The endpoint that a run takes, with its model filled in, and what it said of itself.

    `auto`: the first declared endpoint that answers, else the first usual port, else the extractive backend,
    whose probe then says what was tried. A backend's name: the first of that kind that answers. While none
    answers but one says that it is loading, waits up to `patience` seconds. Raises BackendUnavailable when none
    can be used, SettingsError when a declared model is not there, the kind is not known, or none of it is declared.
    """
    return (await choices(settings, wanted, patience))[0]


async def choices(
    settings: Settings, wanted: str, patience: float = LOADING_SECONDS
) -> list[tuple[Endpoint, Probe]]:
    """The endpoint of `choose`, then the other declared ones of its kind that can be used: a drain takes a free one."""
    _check_known(wanted)
    clock = asyncio.get_running_loop().time
    give_up = clock() + patience
    while True:
        found = await find(settings, wanted)
        refusals = []
        usable: list[tuple[Endpoint, Probe]] = []
        for endpoint, probe in found:
            if usable and (endpoint not in settings.endpoints or endpoint.backend != usable[0][0].backend):
                continue
            try:
                if (why := _refused(settings, endpoint, probe)) is not None:
                    refusals.append(why)
                elif (model := _model(endpoint, probe)) is None:
                    refusals.append(f"{endpoint.url} answers but has no model to chat with")
                else:
                    usable.append((endpoint.model_copy(update={"model": model}), probe))
            except SettingsError:
                if not usable:
                    raise  # of a spare endpoint it is the run's business only where it is the one to take
        if usable:
            return usable
        if clock() >= give_up or not any(probe.loading for _, probe in found):
            break
        await asyncio.sleep(min(1.0, max(0.0, give_up - clock())))
    if not found and wanted != "auto":
        raise SettingsError(
            f"No {wanted} endpoint is declared, and there is no usual place to look for one. Declare it under "
            '[[endpoints]] in penstock.toml (docs/backends.md), or use backend = "auto".'
        )
    tried = "; ".join(refusals)
    if wanted == "auto":
        endpoint = extractive_endpoint()
        probe = await _probe(endpoint, DECLARED_SECONDS)
        return [(endpoint, replace(probe, detail=f"{probe.detail} (no model server: {tried})"))]
    start = f"{START[wanted]}, or declare" if wanted in START else "Declare"
    raise BackendUnavailable(
        f"No {wanted} server can be used: {tried}. {start} it under [[endpoints]] in penstock.toml, or use "
        'backend = "auto".'
    )


def _check_known(wanted: str) -> None:
    if wanted != "auto" and not is_backend(wanted):
        known = ", ".join(["auto", *backend_names()])
        raise SettingsError(f"{wanted!r} is no backend; use one of {known}.")


def _refused(settings: Settings, endpoint: Endpoint, probe: Probe) -> str | None:
    if not probe.reachable:
        return probe.detail
    if probe.simulated and endpoint not in settings.endpoints:
        return f"{endpoint.url} is Penstock's simulator, which is used only where it is declared"
    return None


async def _probe(endpoint: Endpoint, seconds: float) -> Probe:
    backend = make(endpoint)
    try:
        return await backend.probe(asyncio.get_running_loop().time() + seconds)
    finally:
        await backend.close()


def _model(endpoint: Endpoint, probe: Probe) -> str | None:
    """The declared model as the server spells it, else the first it lists that can chat; None when it has
    none.
    """
    if endpoint.model is not None:
        if endpoint.backend == BackendName.EXTRACTIVE or not probe.models:
            return endpoint.model  # a server that lists nothing is taken at its word; `answer` checks
        for model in probe.models:
            if same_model(endpoint.model, model.name):
                return model.name
        has = ", ".join(model.name for model in probe.models[:8]) or "none"
        ollama = endpoint.backend == BackendName.OLLAMA
        load = f"Get it with `ollama pull {endpoint.model}`" if ollama else "Load it there"
        raise SettingsError(
            f"{endpoint.url} does not have the model {endpoint.model!r}; it has {has}. "
            f"{load}, or correct the endpoint's model in penstock.toml."
        )
    for model in probe.models:
        if not model.embedding and "embed" not in model.name.lower():
            return model.name
    return DEFAULT_MODEL if endpoint.backend == BackendName.MLX and not probe.models else None
