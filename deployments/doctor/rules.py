"""What is odd in the settings themselves: hours, budgets, spill, limits."""

from __future__ import annotations

from collections.abc import Iterator

from deployments.doctor.addresses import host_and_port, is_loopback
from deployments.doctor.facts import Facts, Trouble
from models.endpoint import Budget, Endpoint
from models.enums import BackendName, Severity
from models.settings import Settings
from models.words import counted

LIMITS = ("tokens_per_day", "usd_per_day", "requests_per_day", "requests_per_minute", "tokens_per_minute")
DAY, LEAST_WORK = 24 * 60, 60  # minutes


def check_rules(facts: Facts) -> Iterator[Trouble]:
    settings = facts.settings
    for endpoint in settings.endpoints:
        yield from check_quiet(endpoint)
        yield from check_unbounded(settings, endpoint)
        yield from check_batches(endpoint)
    for budget in settings.budgets:
        yield from check_budget(settings, budget)
    yield from check_spill(settings)
    yield from check_limits(settings)
    yield from check_backend(facts)


def check_quiet(endpoint: Endpoint) -> Iterator[Trouble]:
    if endpoint.quiet is None:
        return
    begin, end = (int(each[:2]) * 60 + int(each[3:]) for each in endpoint.quiet.split("-"))
    works = (begin - end) % DAY
    if works < LEAST_WORK:
        yield Trouble(
            "quiet_odd",
            Severity.WARNING,
            endpoint.resource,
            f"quiet = {endpoint.quiet!r} leaves it {counted(works, 'minute')} of a day to work.",
            "Are begin and end the wrong way round?",
        )


def check_unbounded(settings: Settings, endpoint: Endpoint) -> Iterator[Trouble]:
    """What costs money, and nothing stops it."""
    place = host_and_port(endpoint.url)
    has_key = endpoint.api_key is not None or endpoint.api_key_env is not None
    paid = has_key and place is not None and not is_loopback(place[0]) and endpoint.url.startswith("https:")
    if paid and not _any_limit(settings.budget(endpoint)):
        yield Trouble(
            "no_budget",
            Severity.INFO,
            endpoint.resource,
            "It has a key and no budget: nothing but the length of the backlog limits what it costs.",
            f'Add [[budgets]] account = "{endpoint.account or endpoint.resource}" with usd_per_day or tokens_per_day.',
        )


def check_batches(endpoint: Endpoint) -> Iterator[Trouble]:
    """A provider's batch API is asked for of a server that is likely to have none."""
    if endpoint.batches and endpoint.backend == BackendName.OPENAI and endpoint.url.startswith("http:"):
        yield Trouble(
            "batches_odd",
            Severity.WARNING,
            endpoint.resource,
            "batches = true needs /v1/files and /v1/batches, as OpenAI has them; vLLM, llama-server and LM Studio do "
            "not, and nothing would be answered.",
            "Take the line out, unless you know that this server has them.",
        )


def _any_limit(budget: Budget) -> bool:
    return any(getattr(budget, name) is not None for name in LIMITS)


def check_budget(settings: Settings, budget: Budget) -> Iterator[Trouble]:
    place = f"budget {budget.account}"
    mine = [each for each in settings.endpoints if budget.account in (each.account, each.resource)]
    if not _any_limit(budget):
        yield Trouble(
            "budget_odd", Severity.WARNING, place, "It limits nothing.", f"Set one of {', '.join(LIMITS)}."
        )
    for name in ("tokens_per_day", "tokens_per_minute"):
        limit = getattr(budget, name)
        longest = max((each.context_tokens for each in mine), default=0)
        if limit is not None and limit < longest:
            yield Trouble(
                "budget_odd",
                Severity.WARNING,
                place,
                f"{name} is {limit}, and one prompt may have {longest} tokens (context_tokens): it may pass the limit "
                "alone.",
                f"Raise {name}, or lower context_tokens.",
            )
    minute, day = budget.requests_per_minute, budget.requests_per_day
    if minute is not None and day is not None and minute > day:
        yield Trouble(
            "budget_odd",
            Severity.WARNING,
            place,
            f"requests_per_minute is {minute}, and requests_per_day {day}: the first never counts.",
            "Correct one of them.",
        )
    if budget.usd_per_day is not None:
        for endpoint in mine:
            priced = {name for name, spec in endpoint.models.items() if spec.price is not None}
            if (endpoint.model is not None and endpoint.model not in priced) or not priced:
                which = endpoint.model or "its models"
                yield Trouble(
                    "price_missing",
                    Severity.ERROR,
                    endpoint.resource,
                    f"Its account has usd_per_day = {budget.usd_per_day:g}, and no price of {which} is declared: "
                    "nothing is sent, because nobody could say when the limit is reached.",
                    f'Write [endpoints.models."{endpoint.model or "NAME"}"] price = {{ input = ..., output = ... }}',
                )


def check_spill(settings: Settings) -> Iterator[Trouble]:
    kinds = {str(endpoint.backend) for endpoint in settings.endpoints} | {str(BackendName.EXTRACTIVE)}
    for source, target in settings.spill.items():
        wrong = ""
        if source == target:
            wrong = "a backend can't take over from itself"
        elif source not in kinds:
            wrong = f"no {source} endpoint is declared"
        elif target not in kinds:
            wrong = f"no {target} endpoint is declared, so nobody takes the work"
        if wrong:
            yield Trouble(
                "spill_odd",
                Severity.WARNING,
                "spill",
                f"{source} = {target!r}: {wrong}.",
                "Declare such an endpoint, or take the line out.",
            )


def check_limits(settings: Settings) -> Iterator[Trouble]:
    for backend, limit in settings.limits.items():
        there = sum(endpoint.backend == backend for endpoint in settings.endpoints)
        if limit > max(1, there):
            yield Trouble(
                "limit_odd",
                Severity.INFO,
                "limits",
                f"{backend} = {limit}, and it has {counted(there, 'endpoint')}: a drain takes all that are free, so "
                "more drains than endpoints find none.",
                f"Set it to {max(1, there)}, or take the line out.",
            )


def check_backend(facts: Facts) -> Iterator[Trouble]:
    """The kind that every run takes: is there one?"""
    wanted = facts.settings.backend
    if wanted in ("auto", BackendName.EXTRACTIVE):
        if wanted == "auto" and not any(each.probe.reachable for each in facts.seen):
            yield Trouble(
                "no_model_server",
                Severity.INFO,
                "backend",
                "No model server answers, so `auto` takes extractive: no model, it quotes your documents.",
                "Start a server, or declare one under [[endpoints]] (docs/backends.md).",
            )
    elif not any(each.endpoint.backend == wanted for each in facts.seen):
        yield Trouble(
            "backend_missing",
            Severity.ERROR,
            "backend",
            f"backend = {wanted!r}, and no endpoint of that kind is declared or answers on its usual port.",
            'Declare one under [[endpoints]], or set backend = "auto".',
        )
