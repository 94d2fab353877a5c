"""What a simulated server is like: numbers that stand for a machine, its models and its faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PerModel = float | Mapping[str, float]
"""One number for all models, or one for each name; the name `*` stands for the others."""

FLAVOURS = ("any", "ollama", "llama", "vllm", "mlx", "openai", "anthropic", "gemini")
"""`any` answers in every protocol at once, by path; the others answer as that server does, and nothing else."""


@dataclass(frozen=True, slots=True)
class Options:
    """`python -m backends.simulator --help` says what each is."""

    slots: int = 4
    models: tuple[str, ...] = ("sim:small", "sim:large")
    resident: int = 1
    memory: float = 0.0
    model_memory: PerModel = 1.0
    context_memory: float = 0.0
    load_seconds: PerModel = 0.0
    tokens_per_second: PerModel = 0.0
    prefill_per_second: PerModel = 0.0
    decode_crowding: float = 0.2
    prefill_crowding: float = 1.0
    latency: float = 0.0
    answer_tokens: tuple[int, int] = (0, 0)
    context: int = 8192
    cache_tokens: int = 1 << 20
    max_queue: int = 0
    load_queue: int = 0
    keep_alive: float = 300.0
    dimensions: int = 768
    flavour: str = "any"
    api_key: str = ""
    start_seconds: float = 0.0
    batch_seconds: float = 0.0
    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    script: Iterable[str] = ()


def of_model(value: PerModel, model: str) -> float:
    """The number for one model; 0 where neither it nor `*` is named."""
    return value if isinstance(value, int | float) else value.get(model, value.get("*", 0.0))
