"""The one place through which a drain asks a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models.calls import Backend, ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
from tasks.execute.gate import Gate


class Weather(Protocol):
    """What has to be looked at before each call, and told after it (tasks/execute/pressure.py)."""

    gate: Gate

    @property
    def rests(self) -> float: ...

    async def may_send(self, model: str) -> bool: ...

    def answered(self, model: str, answer: ModelAnswer, sent_at: float, in_flight: int) -> None: ...

    async def failed(self, model: str, error: ModelCallError, sent_at: float) -> None: ...

    def weight(self, model: str) -> int: ...

    def most(self, model: str) -> int | None: ...


Learn = Callable[[ModelRequest, ModelAnswer], None]
"""Told what each request was answered with: how many tokens its server counted."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to one endpoint. Whoever calls is in its gate."""

    backend: Backend
    endpoint: Endpoint
    weather: Weather
    deadline: float | None  # on the loop's clock
    learn: Learn | None = None

    async def ask(self, request: ModelRequest, until: float | None = None) -> ModelAnswer | ModelCallError:
        """One call, within its deadline; what became of it is told to the weather.

        A request that does not fit is not sent, which is no server's fault: CONTEXT_TOO_LONG.
        `until`: on the loop's clock, when the item's own time is up. A call that it ends says nothing of the server.
        """
        if request.too_long:
            return ModelCallError(ErrorType.CONTEXT_TOO_LONG, request.too_long)
        started = asyncio.get_running_loop().time()
        deadline = started + self.endpoint.call_timeout
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)
        own = until is not None and until < deadline
        if until is not None:
            deadline = min(deadline, until)
        in_flight = self.weather.gate.in_flight
        try:
            answer = await self.backend.answer(request, deadline)
        except ModelCallError as error:
            if own and error.timeout is TimeoutKind.TOTAL:
                words = f"{error} The item had no more time than that."
                return ModelCallError(ErrorType.TIMEOUT, words, timeout=error.timeout)
            await self.weather.failed(request.model, error, started)
            return error
        self.weather.answered(request.model, answer, started, in_flight)
        if self.learn is not None:
            self.learn(request, answer)
        return answer
