"""The one place through which a drain asks a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from models.calls import Backend, ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Endpoint
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


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls to one endpoint. Whoever calls is in its gate."""

    backend: Backend
    endpoint: Endpoint
    weather: Weather
    deadline: float | None  # on the loop's clock

    async def ask(self, request: ModelRequest) -> ModelAnswer | ModelCallError:
        """One call, within its deadline; what became of it is told to the weather."""
        started = asyncio.get_running_loop().time()
        deadline = started + self.endpoint.call_timeout
        if self.deadline is not None:
            deadline = min(deadline, self.deadline)
        in_flight = self.weather.gate.in_flight
        try:
            answer = await self.backend.answer(request, deadline)
        except ModelCallError as error:
            await self.weather.failed(request.model, error, started)
            return error
        self.weather.answered(request.model, answer, started, in_flight)
        return answer
