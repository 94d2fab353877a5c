"""What Ollama tells about itself: the models there are, those that are loaded, one model."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from backends.simulator.engine import Engine
from backends.simulator.http import STAMP, Exchange
from backends.simulator.serve import embeds, known

FOREVER = "2319-01-01T00:00:00Z"


async def root(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, b"Ollama is running", kind=b"text/plain")


async def version(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, {"version": "0.0.0-simulator"})


def listed(engine: Engine) -> list[str]:
    """Names as this server spells them: with a tag."""
    return [_spelt(engine, name) for name in engine.models]


def _spelt(engine: Engine, name: str) -> str:
    return name if ":" in name or engine.options.flavour != "ollama" else f"{name}:latest"


async def tags(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, {"models": [_entry(engine, name) for name in listed(engine)]})


async def running(exchange: Exchange, engine: Engine) -> None:
    models = [
        {
            **_entry(engine, _spelt(engine, name)),
            "size_vram": int(resident.memory * 2**30),
            "expires_at": _moment(engine, resident.running, resident.expires),
            "context_length": resident.context,
        }
        for name, resident in engine.loaded.items()
    ]
    await exchange.reply(200, {"models": models})


def _moment(engine: Engine, busy: int, expires: float) -> str:
    now = engine.now()
    seconds = engine.options.keep_alive if busy and expires == math.inf else expires - now
    if seconds < 0 or math.isinf(seconds):
        return FOREVER
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _entry(engine: Engine, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": STAMP,
        "size": int(engine.memory.needs(name.removesuffix(":latest"), 0) * 2**30),
        "digest": name.encode().ljust(32, b"\0")[:32].hex(),
        "details": _details(engine),
        "capabilities": _can(name),
    }


def _details(engine: Engine) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "simulated",
        "family": "simulated",
        "families": ["simulated"],
        "parameter_size": "0B",
        "quantization_level": "none",
        "context_length": engine.options.context,
        "embedding_length": engine.options.dimensions,
    }


def _can(name: str) -> list[str]:
    return ["embedding"] if embeds(name) else ["completion"]


async def show(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    name = known(engine, data.get("model") or data.get("name"))
    page = {
        "details": _details(engine),
        "capabilities": _can(name),
        "modified_at": STAMP,
        "model_info": {
            "general.architecture": "simulated",
            "simulated.context_length": engine.options.context,
            "simulated.embedding_length": engine.options.dimensions,
        },
    }
    await exchange.reply(200, page)
