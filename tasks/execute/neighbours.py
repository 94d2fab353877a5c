"""The other endpoints of a drain's device, where nobody drains them: their servers hold memory, and may let it go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models.calls import Backend, Loads, ModelCallError
from models.endpoint import Endpoint
from models.enums import BackendName
from models.settings import Settings
from tasks.execute.loading import NOTHING_TO_LOAD, Way, fixed_of, loaded_of, way_of
from tasks.execute.residency import Held, keep_seconds
from tasks.execute.residents import Residents

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How long a server may take to say what it has loaded."""


class Neighbours:
    """Those of one drain's endpoint. Used from one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        rows: Residents,
        make: Callable[[Endpoint], Backend],
        clock: Callable[[], float],
    ) -> None:
        self.fixed: dict[str, float] = {}  # GiB, by resource, of servers that never let their model go
        self._endpoint = endpoint
        self._settings = settings
        self._rows = rows
        self._make = make
        self._clock = clock

    async def survey(self) -> None:
        """Ask them what they have, and write it down. Raises ModelCallError."""
        others = [
            each
            for each in self._settings.endpoints
            if each.device == self._endpoint.device
            and each.resource != self._endpoint.resource
            and each.backend not in NOTHING_TO_LOAD
        ]
        if not others:
            return
        live = await self._rows.live([each.resource for each in others])
        await asyncio.gather(*(self._ask(each) for each in others if each.resource not in live))

    async def let_go(
        self, victim: Held, until: float, unload: Callable[[Backend, str, float], Awaitable[None]]
    ) -> bool:
        """Have a model of one unloaded, by `until` on the clock. Is it gone?"""
        endpoint = next((each for each in self._settings.endpoints if each.resource == victim.resource), None)
        if endpoint is None:
            return victim.idle >= keep_seconds(self._endpoint.keep_alive)
        backend = self._asks(endpoint)
        try:
            if isinstance(backend, Loads) and await backend.can_load(until):
                await unload(backend, victim.model, until)
                return True
            probe = await backend.probe(until)
            if await way_of(endpoint, backend, probe, until) is Way.FIXED:
                self.fixed[victim.resource] = sum(fixed_of(endpoint, probe).values())
                return False
        except ModelCallError as error:
            log.warning("%s of %s could not be unloaded: %s", victim.model, victim.resource, error)
        finally:
            await backend.close()
        return victim.idle >= keep_seconds(endpoint.keep_alive)

    async def _ask(self, endpoint: Endpoint) -> None:
        deadline = self._clock() + LOOK_SECONDS
        backend = self._asks(endpoint)
        try:
            probe = await backend.probe(deadline)
            way = await way_of(endpoint, backend, probe, deadline)
        finally:
            await backend.close()
        has = loaded_of(endpoint, probe)
        if way is Way.FIXED:
            has = fixed_of(endpoint, probe)
            self.fixed[endpoint.resource] = sum(has.values())
        if has is not None:
            await self._rows.said(has, endpoint.resource)

    def _asks(self, endpoint: Endpoint) -> Backend:
        """What asks the server of an endpoint that this drain does not hold. An mlx_lm.server would be asked for a
        token, which is a request without a seat; in OpenAI's protocol it is only asked for its list."""
        mlx = endpoint.backend == BackendName.MLX
        return self._make(endpoint.model_copy(update={"backend": BackendName.OPENAI}) if mlx else endpoint)
