"""The models that are loaded: one load at a time, never more than fits, and none is thrown out while it answers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

from backends.simulator.cache import PrefixCache
from backends.simulator.judge import Judge, count
from backends.simulator.options import Options, of_model

SLOW = 10
"""How much longer a load takes with the fault `slow_load`."""


WAKING = 10
"""How much faster than a load waking from the first level of sleep is: the weights come from the host's memory."""


class NoMemory(Exception):
    """A model that is larger than the whole budget."""

    def __init__(self, model: str, needs: float, budget: float) -> None:
        super().__init__(
            f"model requires more system memory ({needs:.1f} GiB) than is available ({budget:.1f} GiB)"
        )


@dataclass(slots=True)
class Resident:
    """A loaded model."""

    model: str
    context: int
    memory: float
    cache: PrefixCache
    running: int = 0
    expires: float = math.inf  # on the loop's clock
    leaving: bool = False  # goes as soon as it is idle; nobody starts on it
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Machine:
    """What servers on one machine have together, for the judge: they know nothing of each other."""

    memories: list[Memory]
    loading: Counter[tuple[int, str]] = field(default_factory=Counter)  # requests that wait for a load

    @property
    def used(self) -> float:
        return sum(memory.used for memory in self.memories)


class Memory:
    """What is loaded and what that takes."""

    def __init__(self, options: Options, judge: Judge) -> None:
        self._options = options
        self.judge = judge
        self._loaded: dict[str, Resident] = {}  # least recently used first
        self._reserved = 0.0
        self._one_load = asyncio.Lock()
        self._machine = Machine([self])
        self.asleep = 0  # the level of vLLM's sleep mode
        self._awake = asyncio.Event()
        self._awake.set()
        self._slept: list[tuple[str, int]] = []

    @property
    def used(self) -> float:
        return self._reserved + sum(resident.memory for resident in self._loaded.values())

    def beside(self, other: Memory) -> None:
        """From now on this server is on the machine of the other, and what is judged of loads is judged of both."""
        self._machine = other._machine
        self._machine.memories.append(self)

    def needs(self, model: str, context: int) -> float:
        options = self._options
        return of_model(options.model_memory, model) + options.context_memory * context / 1024

    def check(self, model: str, context: int) -> None:
        """Raises NoMemory for what can never be loaded."""
        budget = self._options.memory
        if budget and (needs := self.needs(model, context)) > budget:
            raise NoMemory(model, needs, budget)

    def loaded(self) -> dict[str, Resident]:
        """By name; those whose time is over are gone."""
        now = asyncio.get_running_loop().time()
        for resident in [r for r in self._loaded.values() if not r.running and r.expires <= now]:
            self._drop(resident)
        return self._loaded

    def ready(self, model: str, context: int) -> bool:
        resident = self._loaded.get(model)
        if resident is None or resident.context != context or resident.leaving:
            return False
        if resident.running or resident.expires == math.inf:
            return True
        return resident.expires > asyncio.get_running_loop().time()

    async def take(self, model: str, context: int, *, slow: bool = False) -> tuple[Resident, float]:
        """Have the model loaded and marked as running. Returns it and the seconds that loading took."""
        if self.ready(model, context):
            return self._start(self._loaded[model]), 0.0
        await self._awake.wait()
        waits = Counter([(id(self), model)])
        loading = self._machine.loading
        loading += waits
        self.judge.max_loading = max(self.judge.max_loading, len(loading))
        try:
            async with self._one_load:
                if self.ready(model, context):
                    return self._start(self._loaded[model]), 0.0
                seconds = await self._load(model, context, slow)
                return self._start(self._loaded[model]), seconds
        finally:
            loading -= waits

    def give_back(self, resident: Resident, expires: float) -> None:
        """One request fewer runs on it; it stays until `expires`."""
        resident.running -= 1
        if resident.expires != -math.inf:  # not if it was unloaded in the meantime
            resident.expires = expires
        if not resident.running:
            resident.idle.set()
            if resident.expires <= asyncio.get_running_loop().time():
                self._drop(resident)

    def unload(self, model: str) -> None:
        """At once, or as soon as it is idle."""
        resident = self._loaded.get(model)
        if resident is not None:
            resident.expires = -math.inf
            if not resident.running:
                self._drop(resident)

    def let_go(self, model: str) -> None:
        """A client wants it unloaded."""
        if (resident := self.loaded().get(model)) is not None:
            self._told(resident)
            self.unload(model)

    def _told(self, resident: Resident) -> None:
        self.judge.unloads += 1
        self.judge.unloads_of_busy += resident.running > 0

    def forget(self) -> None:
        """Everything that is idle is gone; what runs goes when it is done."""
        self.asleep = 0
        self._slept.clear()
        self._awake.set()
        for model in list(self._loaded):
            self.unload(model)

    async def sleep(self, level: int) -> None:
        """Give the memory of all models back, once they are idle (vLLM's sleep mode). Requests wait from then on."""
        async with self._one_load:
            self._awake.clear()
            try:
                for resident in list(self.loaded().values()):
                    self._told(resident)
                    await self._evict(resident)
                    self._slept.append((resident.model, resident.context))
            except asyncio.CancelledError:
                self._awake.set()
                raise
            self.asleep = level

    async def wake(self) -> None:
        """Have back what slept: from level 1 it comes from the host's memory, from level 2 it is loaded anew."""
        async with self._one_load:
            slept, self._slept = self._slept, []
            self.judge.wakes += bool(self.asleep)
            for model, context in slept:
                seconds = of_model(self._options.load_seconds, model)
                await asyncio.sleep(seconds if self.asleep == 2 else seconds / WAKING)
                self._add(model, context)
                self.judge.max_memory = max(self.judge.max_memory, self._machine.used)
            self.asleep = 0
            self._awake.set()

    def _start(self, resident: Resident) -> Resident:
        resident.running += 1
        resident.expires = math.inf
        resident.idle.clear()
        self._loaded[resident.model] = self._loaded.pop(resident.model)  # the most recently used
        return resident

    async def _load(self, model: str, context: int, slow: bool) -> float:
        options, judge = self._options, self.judge
        needs = self.needs(model, context)
        if (same := self.loaded().get(model)) is not None:  # with another context length
            await self._evict(same)
            judge.reloads += 1
        gone = False
        while victim := self._in_the_way(needs):
            await self._evict(victim)
            gone = True
        judge.switches += gone
        self._reserved = needs
        judge.max_memory = max(judge.max_memory, self._machine.used)
        seconds = of_model(options.load_seconds, model) * (SLOW if slow else 1)
        try:
            if seconds:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            judge.aborted_loads += 1
            raise
        finally:
            self._reserved = 0.0
        judge.loads += 1
        count(judge.loads_by_model, model)
        judge.load_seconds += seconds
        self._add(model, context)
        return seconds

    def _add(self, model: str, context: int) -> None:
        cache = PrefixCache(self._options.cache_tokens)
        self._loaded[model] = Resident(model, context, self.needs(model, context), cache)

    def _in_the_way(self, needs: float) -> Resident | None:
        """Who has to go before this much is loaded: the longest unused, an idle one if there is one."""
        loaded = self._loaded
        most, budget = self._options.resident, self._options.memory
        full = (0 < most <= len(loaded)) or (0 < budget < self.used + needs)
        if not full or not loaded:
            return None
        idle = (resident for resident in loaded.values() if not resident.running)
        return next(idle, next(iter(loaded.values())))

    async def _evict(self, resident: Resident) -> None:
        resident.leaving = True
        try:
            while resident.running:
                await resident.idle.wait()
        except asyncio.CancelledError:  # whoever wanted its place left
            resident.leaving = False
            raise
        self._drop(resident)

    def _drop(self, resident: Resident) -> None:
        if resident.running:
            self.judge.evictions_of_busy += 1
        if self._loaded.get(resident.model) is resident:
            del self._loaded[resident.model]
