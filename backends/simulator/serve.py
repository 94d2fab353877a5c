"""What all protocols share in answering: faults with a status, whole answers, streams, clients that leave."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from backends.simulator.engine import Broken, Busy, Call, Cut, Engine, Request
from backends.simulator.http import Exchange, Problem
from backends.simulator.memory import NoMemory

NONSENSE = b"<html><body>It works!</body></html>"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
BROKEN = "an error was encountered while running the model: unexpected EOF"
REFUSAL = "I'm sorry, but I can't help with that."

WAITING_SECONDS = 1.0
"""Between signs of life in a stream that has no token yet."""

REFUSALS = ("refusal", "blocked")


class Answer(Protocol):
    """How one protocol renders one answer. A chunk of b"" is not sent."""

    stream: bool
    kind: bytes  # content type of the stream
    at_once: bool  # the stream's headers come before the first token is there
    alive: bytes  # sent while there is no token yet

    def whole(self, request: Request) -> object: ...
    def opening(self, request: Request) -> bytes: ...
    def piece(self, request: Request, text: str) -> bytes: ...
    def closing(self, request: Request) -> bytes: ...
    def broken(self, message: str) -> bytes: ...


def status_fault(fault: str) -> Problem | None:
    """The error of a fault that is one from the beginning."""
    match fault:
        case "error500":
            return Problem("internal", "an internal error was simulated")
        case "error503":
            return Problem("overloaded", "server busy, please try again.", retry_after=1)
        case "rate_limited":
            return Problem("rate_limited", "too many requests", retry_after=2)
    return None


async def serve(exchange: Exchange, engine: Engine, call: Call, answer: Answer) -> None:
    """Answer one request. Raises Problem before anything was sent."""
    if not call.caller:
        call.caller = exchange.header(b"x-caller")
    with engine.request(call) as request:
        if request.fault != "ok":
            if (problem := status_fault(request.fault)) is not None:
                request.end(request.fault)
                raise problem
            if request.fault == "out_of_memory" and engine.die is None:
                request.end(request.fault)
                engine.memory.unload(call.model)  # the process that ran it died
                raise Problem("out_of_memory", "CUDA error: out of memory")
        try:
            request.admit()
        except Busy:
            request.end("busy")
            raise Problem("overloaded", BUSY) from None
        except NoMemory as error:
            request.end("no_memory")
            raise Problem("out_of_memory", str(error)) from None
        run = (_stream if answer.stream else _whole)(exchange, request, answer)
        await (exchange.unless_gone(run) if request.waits() else run)


async def _whole(exchange: Exchange, request: Request, answer: Answer) -> None:
    await request.start()
    try:
        await request.finish()
    except Broken:
        raise Problem("internal", BROKEN) from None
    if request.fault == "cut":
        request.end("cut")
    else:
        request.answered()
    page = NONSENSE if request.fault == "nonsense" else answer.whole(request)
    request.close()
    await exchange.reply(200, page, cut=request.fault == "cut")


async def _stream(exchange: Exchange, request: Request, answer: Answer) -> None:
    if answer.at_once and request.fault != "nonsense":
        await exchange.open(answer.kind)
        await _started(exchange, request, answer)
    else:
        await request.start()
        if request.fault == "nonsense":
            request.answered()
            request.close()
            await exchange.reply(200, NONSENSE)
            return
        await exchange.open(answer.kind)
    try:
        if opening := answer.opening(request):
            await exchange.write(opening)
        async for text in request.pieces():
            await exchange.write(answer.piece(request, text))
    except Broken:
        request.close()
        await exchange.write(answer.broken(BROKEN))
        await exchange.close()
        return
    except Cut:
        request.end("cut")
        return
    request.answered()
    closing = answer.closing(request)
    request.close()
    if closing:
        await exchange.write(closing)
    await exchange.close()


async def _started(exchange: Exchange, request: Request, answer: Answer) -> None:
    """As `request.start`, with signs of life while it lasts."""
    if not answer.alive:
        await request.start()
        return
    starting = asyncio.ensure_future(request.start())
    try:
        while not starting.done():
            await exchange.write(answer.alive)
            await asyncio.wait({starting}, timeout=WAITING_SECONDS)
        starting.result()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


def known(engine: Engine, model: Any, message: str = "model '{}' not found") -> str:
    """The model's own name. Raises Problem."""
    if not isinstance(model, str) or not model:
        raise Problem("invalid", "model is required")
    for name in (model, model.removesuffix(":latest")):
        if name in engine.models:
            return name
    raise Problem("not_found", message.format(model))


def embeds(model: str) -> bool:
    """Models with "embed" in their name embed and can't chat; the others chat and can't embed."""
    return "embed" in model.lower()


async def serve_embeddings(exchange: Exchange, engine: Engine, call: Call, answer: Answer) -> None:
    """As `serve`, for a call that only reads. Raises Problem for a model that only chats."""
    if not embeds(call.model):
        raise Problem("unsupported", "This server does not support embeddings. Start it with `--embeddings`")
    await serve(exchange, engine, call, answer)
