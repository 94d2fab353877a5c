"""The HTTP face: starting up, keys, errors in the words of the protocol that was spoken, the judge's own endpoint."""

from __future__ import annotations

import os
from typing import Any

from backends.simulator import anthropic, gemini, ollama, openai
from backends.simulator.batches import Batches
from backends.simulator.engine import Engine
from backends.simulator.http import Exchange, Message, Problem, Receive, Send
from backends.simulator.routes import Routes

_NO_KEY = ("/health",)
"""Asked without a key, also where one is needed."""


class App:
    """An ASGI application over one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._routes = Routes(engine.options.flavour, Batches(engine))
        self._guarded = bool(engine.options.start_seconds or engine.options.api_key)
        self._mlx = engine.options.flavour == "mlx"
        self._ready = 0.0  # when the model is loaded, on the loop's clock

    def begin(self) -> None:
        """The server has started."""
        self._ready = self.engine.now() + self.engine.options.start_seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        if self._mlx:
            exchange.headers.append((b"connection", b"close"))
        if exchange.path.startswith("/simulator/"):
            await self._judge(exchange)
            return
        route = None
        try:
            route = self._routes.find(exchange)
            if self._guarded:
                self._open_for(exchange)
            if route is None:
                raise Problem("no_route", f"{exchange.method} {exchange.path} is not served here")
            await route[1](exchange, self.engine)
        except Problem as problem:
            await self._refuse(exchange, problem, route[0] if route else self._routes.guess(exchange))

    async def _refuse(self, exchange: Exchange, problem: Problem, protocol: str) -> None:
        match protocol:
            case "anthropic":
                await anthropic.problem(exchange, problem)
            case "gemini":
                await gemini.problem(exchange, problem)
            case "openai":
                await openai.problem(exchange, problem, self.engine.options.flavour)
            case _:
                await ollama.problem(exchange, problem)

    def _open_for(self, exchange: Exchange) -> None:
        """Raises Problem while the model loads at the start, and for who has no key."""
        options = self.engine.options
        if self.engine.now() < self._ready and options.flavour in ("any", "llama"):
            raise Problem("loading", "Loading model")
        if not options.api_key or exchange.path in _NO_KEY:
            return
        sent = {exchange.header(name) for name in (b"x-api-key", b"x-goog-api-key")}
        sent |= {exchange.header(b"authorization").removeprefix("Bearer "), exchange.query().get("key", "")}
        if options.api_key not in sent:
            raise Problem("auth", "API key not valid. Please pass a valid API key.")

    # --- the judge ------------------------------------------------------------------------------------------

    async def _judge(self, exchange: Exchange) -> None:
        asks = exchange.method == "POST"
        try:
            page = self.control(exchange.path, await exchange.json() if asks else None)
        except (ValueError, KeyError, TypeError, Problem) as error:
            await exchange.reply(400, {"error": str(error)})
            return
        if page is None:
            await exchange.reply(
                404, {"error": f"{exchange.path} is not one of /simulator/stats, faults, reset"}
            )
        else:
            await exchange.reply(200, page)

    def control(self, path: str, data: dict[str, Any] | None) -> dict[str, Any] | None:
        """The simulator's own endpoint, not as HTTP. Raises ValueError."""
        engine = self.engine
        match path:
            case "/simulator/stats":
                return {**engine.stats(), "pid": os.getpid()}
            case "/simulator/faults" if data is not None:
                engine.faults.set(script=data.get("script"), rates=data.get("rates"))
            case "/simulator/models" if data is not None:
                engine.models = tuple(str(name) for name in data["models"])
            case "/simulator/reset":
                engine.reset()
            case "/simulator/die" if engine.die is not None:
                engine.die()
            case _:
                return None
        return {}
