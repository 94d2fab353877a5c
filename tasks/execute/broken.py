"""What a drain knows of its endpoint's breakers: which models are left alone, and the one that it tries once.

The breakers themselves are rows, shared by all drains: breaker.py.
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg

from models.settings import Endpoint, Settings
from models.words import span
from tasks.execute import breaker
from tasks.execute.residents import Query

log = logging.getLogger(__name__)


class Broken:
    """The models of one drain's endpoint that failed in a row. Used from one event loop."""

    def __init__(self, query: Query, endpoint: Endpoint, token: int, settings: Settings) -> None:
        self._query = query
        self._endpoint = endpoint
        self._token = token
        self._settings = settings
        self._blocked: dict[str, breaker.Blocked] = {}
        self._forgiven: set[str] = set()
        self._incidents = breaker.Incidents()
        self._times: dict[str, int] = {}  # failures in a row of what was blocked here
        self._trying: str | None = None  # a model that this drain tries once

    def __bool__(self) -> bool:
        """Is any model left alone?"""
        return bool(self._blocked)

    def __contains__(self, model: str) -> bool:
        return model in self._blocked

    async def read(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """What others know."""
        self._blocked = await breaker.state(connection, self._endpoint.resource)

    def forgive(self) -> None:
        """Somebody waits: what is left alone now may be tried once at once."""
        self._forgiven = set(self._blocked)

    def why(self, model: str) -> str:
        """Why it may not be asked now, not even once, in a sentence; empty where it may."""
        blocked = self._blocked.get(model)
        if blocked is None or ((blocked.trial or model in self._forgiven) and self._trying is None):
            return ""
        return self._told(model, blocked.error, blocked.until_seconds)

    def stops(self, model: str) -> bool:
        """May nothing more be sent to it by this drain?"""
        return model in self._blocked and self._trying != model

    async def take_trial(self, model: str) -> bool:
        """The one item that may be asked of a model that is left alone. False: another drain tries."""
        forgiven = model in self._forgiven
        self._forgiven.discard(model)

        async def ask(connection: psycopg.AsyncConnection[Any]) -> bool:
            if forgiven:
                await breaker.ask_now(connection, self._endpoint.resource, model)
            return await breaker.take_trial(connection, self._endpoint.resource, model, self._token)

        if await self._query(ask):
            self._trying = model
            return True
        return False

    async def settle(self, connection: psycopg.AsyncConnection[Any], model: str, *, answered: bool) -> None:
        """A batch is over: its model answers; or nothing was learned of it, and another one may try."""
        if answered:
            if await breaker.succeeded(connection, self._endpoint.resource, model, self._token):
                self._blocked.pop(model, None)
        elif self._trying == model:
            await breaker.give_trial_back(connection, self._endpoint.resource, model, self._token)

    def settled(self, model: str) -> bool:
        """The trial of this model is over. False where there was none."""
        if self._trying != model:
            return False
        self._trying = None
        return True

    async def not_asked(self, model: str) -> None:
        """A batch of this model needed no call: who was to try it once, has not."""
        if self.settled(model):
            resource = self._endpoint.resource
            await self._query(lambda to: breaker.give_trial_back(to, resource, model, self._token))

    async def failed(self, model: str, message: str, *, sent: float, failed: float) -> bool:
        """Count a request that was sent and failed at these times. Is the model left alone from now on?"""
        if not self._incidents.counts(model, sent=sent, failed=failed):
            return False
        opened = await self._query(
            lambda connection: breaker.failed(
                connection,
                self._endpoint.resource,
                model,
                message,
                failures_allowed=self._settings.breaker_failures,
                seconds=self._settings.breaker_seconds,
                token=self._token,
            )
        )
        if opened is None:
            return False
        self._trying = None
        self._blocked[model] = breaker.Blocked(opened.seconds, message, trial=False)
        self._times[model] = opened.failures
        log.warning("%s", self._told(model, message, opened.seconds))
        return True

    def _told(self, model: str, error: str, seconds: float) -> str:
        times = f"{self._times[model]} times" if model in self._times else "several times"
        return (
            f"{model or 'The model'} of {self._endpoint.backend} at {self._endpoint.url} failed {times} in a row and "
            f"is left alone for {span(seconds)}; the last time: {error} Nothing accepted is lost and no attempt was "
            "charged: see that the server answers, then run the same command again."
        )
