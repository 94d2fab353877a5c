"""Asking a simulated machine without HTTP, for tests in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backends.simulator.clock import virtually
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.options import Options

PROMPT = "x" * 400  # 100 tokens


async def ask(engine: Engine, call: Call, *, after: float = 0.0) -> Request:
    """One request from beginning to end."""
    await asyncio.sleep(after)
    with engine.request(call) as request:
        request.admit()
        await request.start()
        await request.finish()
        request.answered()
    return request


async def leaving(engine: Engine, call: Call, after: float) -> None:
    """One whose client leaves."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(after):
            await ask(engine, call)


def at_once(options: Options, *calls: Call) -> tuple[list[Request], Engine]:
    async def scenario() -> tuple[list[Request], Engine]:
        engine = Engine(options)
        return list(await asyncio.gather(*(ask(engine, call) for call in calls))), engine

    return virtually(scenario())


def took(request: Request) -> float:
    """Seconds from the arrival to the last token."""
    return request.closed_at - request.arrived


def numbered(count: int, **values: Any) -> list[Call]:
    return [Call("sim:small", "", f"{number:04}" + PROMPT[4:], **values) for number in range(count)]
