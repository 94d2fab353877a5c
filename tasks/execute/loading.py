"""What it is to load a model on a server, and to let it go. What a switch is, depends on the server:

- one that can be told (Ollama; vLLM that offers its sleep mode): the model is loaded, and one token proves that it
  answers;
- one that loads what it is asked for, and drops what it had (LM Studio, llama-swap, mlx_lm.server: those that list
  several models): the token is the load;
- one with a fixed model (vLLM, llama-server, mlx_lm.server that lists one): the token, once. On a shared device its
  memory is taken for as long as the server answers;
- a provider, a program, a queue, the extractive backend, a server by https on no declared device: nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from backends.replies import same_model
from models.calls import Backend, Loads, ModelCallError, ModelRequest, Probe
from models.endpoint import Endpoint, ModelSpec
from models.enums import BackendName, ErrorType, TimeoutKind
from tasks.execute.residency import load_budget

Clock = Callable[[], float]

NOTHING_TO_LOAD = frozenset(
    {
        BackendName.ANTHROPIC,
        BackendName.GEMINI,
        BackendName.COMMAND,
        BackendName.POLL,
        BackendName.EXTRACTIVE,
    }
)
_ANSWERED = frozenset({ErrorType.TRUNCATED, ErrorType.EMPTY, ErrorType.REFUSED})
"""Ends of a warm-up that prove as much as an answer does: the model wrote, and one token is no answer."""


class Way(StrEnum):
    """How a server comes to have a model loaded."""

    NOTHING = "nothing"
    FIXED = "fixed"
    ASKED = "asked"
    TOLD = "told"


async def way_of(endpoint: Endpoint, backend: Backend, probe: Probe, deadline: float) -> Way | None:
    """What a switch is on this server; None where it could not be asked."""
    served = endpoint.backend in (BackendName.OPENAI, BackendName.MLX)
    if endpoint.backend in NOTHING_TO_LOAD:
        return Way.NOTHING
    if served and endpoint.device is None and endpoint.url.startswith("https://"):
        return Way.NOTHING
    if isinstance(backend, Loads) and await backend.can_load(deadline):
        return Way.TOLD
    if not served:
        return Way.NOTHING
    if not probe.reachable:
        return None
    return Way.ASKED if sum(not each.embedding for each in probe.models) > 1 else Way.FIXED


async def prove(endpoint: Endpoint, backend: Backend, model: str, number: str, deadline: float) -> None:
    """One token: the model answers. `number` makes each of these questions another, so that no cache answers it."""
    request = ModelRequest(
        item_id=0,
        model=model,
        system="",
        prompt=f"Are you ready? ({number})",
        max_tokens=1,
        context_tokens=endpoint.context_tokens,
    )
    try:
        await backend.answer(request, deadline)
    except ModelCallError as error:
        if error.error_type not in _ANSWERED:
            raise
        said = error.partial.model if error.partial else ""
        if said and endpoint.backend == BackendName.OLLAMA and not same_model(model, said):
            raise ModelCallError(
                ErrorType.MODEL_MISSING, f"{endpoint.url} was asked for {model!r} and {said!r} answered."
            ) from error


async def in_time(
    run: Callable[[str, float], Awaitable[None]],
    endpoint: Endpoint,
    model: str,
    deadline: float,
    usual: float | None,
    clock: Clock,
) -> None:
    """Within the time that a load of this model may take. Raises ModelCallError, for a timeout with its own words."""
    started = clock()
    budget = load_budget(usual, spec_of(endpoint, model).load_timeout)
    try:
        await run(model, min(deadline, started + budget))
    except ModelCallError as error:
        if error.error_type is not ErrorType.TIMEOUT:
            raise
        known = f"usually {usual:.1f} s" if usual is not None else "its usual time is not known yet"
        raise ModelCallError(
            ErrorType.TIMEOUT,
            f"{model} was not loaded and answering at {endpoint.url} within {clock() - started:.1f} s ({known}): "
            f"{error}",
            timeout=TimeoutKind.FIRST_TOKEN,
        ) from error


async def unload(
    backend: Backend, model: str, deadline: float, clock: Clock, pause: Callable[[float], Awaitable[None]]
) -> None:
    """Until the server says that it is gone, where it says so. Raises ModelCallError."""
    assert isinstance(backend, Loads)
    await backend.unload(model, deadline)
    while True:
        probe = await backend.probe(deadline)
        if not probe.reachable:
            raise ModelCallError(
                ErrorType.CONNECTION, f"{model} was told to go, and then: {probe.detail.rstrip('.')}."
            )
        if not any(each.loaded and same_model(model, each.name) for each in probe.models):
            return
        if clock() >= deadline:
            raise ModelCallError(
                ErrorType.TIMEOUT,
                f"{model} was told to go at {backend.url} and is loaded still. Is somebody else using it?",
                timeout=TimeoutKind.TOTAL,
            )
        await pause(deadline)


def loaded_of(endpoint: Endpoint, probe: Probe) -> dict[str, float] | None:
    """Loaded models, as they are declared, with the GiB of each; None where the server does not say."""
    if not probe.reachable or all(each.loaded is None for each in probe.models):
        return None
    names = [declared(endpoint, each.name) for each in probe.models if each.loaded]
    return {name: spec_of(endpoint, name).memory or 0.0 for name in names}


def fixed_of(endpoint: Endpoint, probe: Probe) -> dict[str, float]:
    """The same for a server with a fixed model, which has it as long as it answers; none where it is not declared."""
    if not probe.reachable:
        return {}
    listed = [each.name for each in probe.models if not each.embedding] or [endpoint.model or ""]
    names = {declared(endpoint, name) for name in listed}
    return {name: memory for name in names if (memory := spec_of(endpoint, name).memory)}


def declared(endpoint: Endpoint, model: str) -> str:
    """The name that the endpoint's settings have for it, else the one given."""
    known = [*([endpoint.model] if endpoint.model else []), *endpoint.models]
    return model if model in known else next((name for name in known if same_model(name, model)), model)


def spec_of(endpoint: Endpoint, model: str) -> ModelSpec:
    named = next((name for name in endpoint.models if same_model(name, model)), model)
    return endpoint.spec(model if model in endpoint.models else named)
