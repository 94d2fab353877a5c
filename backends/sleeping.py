"""vLLM's sleep mode: its one model gives the GPU's memory back and has it again in seconds.

`POST /sleep`, `POST /wake_up` and `GET /is_sleeping` lie beside /v1, and are there only where the server runs with
VLLM_SERVER_DEV_MODE=1; sleeping works where it was started with --enable-sleep-mode, too. Whether it really sleeps is
what /is_sleeping says afterwards, not the 200 of /sleep.
"""

from __future__ import annotations

import asyncio

from backends.served import dict_or_nothing
from backends.transport import Transport
from models.calls import ModelCallError

LEVEL = 1
"""The weights stay in the host's memory. From level 2 they would have to be loaded anew by calls of vLLM's own."""


class SleepMode:
    """Of the server at `url`, which ends in /v1 as a rule."""

    def __init__(self, http: Transport, url: str) -> None:
        self._http = http
        self._base = url.removesuffix("/v1")
        self._offered: bool | None = None  # None: could not be asked yet

    async def offered(self, deadline: float) -> bool:
        """Asked until it answers; what can't be asked does not offer it."""
        if self._offered is None:
            await self.asleep(deadline)
        return bool(self._offered)

    async def asleep(self, deadline: float) -> bool | None:
        """None: it does not say."""
        if self._offered is False:
            return None
        try:
            reply = await self._http.get("/is_sleeping", deadline, base=self._base)
        except ModelCallError:
            return None  # an extra: whoever needs the server hears from it why
        said = None
        if reply.status == 200:
            try:
                said = dict_or_nothing(reply.json()).get("is_sleeping")
            except ValueError:
                said = None
        if reply.status < 500:
            self._offered = isinstance(said, bool)
        return said if isinstance(said, bool) else None

    async def sleep(self, model: str, deadline: float) -> None:
        """What is being answered is answered first, where the server knows `mode`; older ones break it off."""
        await self._post(f"/sleep?level={LEVEL}&mode=wait", model, deadline)

    async def wake(self, model: str, deadline: float) -> None:
        await self._post("/wake_up", model, deadline)

    async def _post(self, path: str, model: str, deadline: float) -> None:
        reply = await self._http.send("POST", self._base + path, None, deadline)
        if reply.status != 200:
            raise self._http.failure(reply, model)


class Sleeps:
    """The part of a backend that makes it models.calls.Loads, where its server offers the sleep mode."""

    _sleep: SleepMode

    async def can_load(self, deadline: float) -> bool:
        return await self._sleep.offered(deadline)

    async def load(self, model: str, deadline: float) -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        await self._sleep.wake(model, deadline)
        return clock() - started

    async def unload(self, model: str, deadline: float) -> None:
        await self._sleep.sleep(model, deadline)
