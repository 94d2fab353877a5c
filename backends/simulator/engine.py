"""What is served: slots with a queue, models that must be loaded, a GPU that is shared, faults, and counts of it all.

No protocol here and no HTTP. Time is the event loop's, so that `clock.virtually` runs it without waiting.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from backends.simulator import answers, packs
from backends.simulator.faults import Chooser
from backends.simulator.judge import Judge
from backends.simulator.memory import Memory, Resident
from backends.simulator.options import Options, of_model
from backends.simulator.request import Broken, Busy, Call, Cut, Outcome, Request
from backends.simulator.speed import Gpu

__all__ = ["Broken", "Busy", "Call", "Cut", "Engine", "Outcome", "Request"]


class Engine:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.models: tuple[str, ...] = options.models
        self.judge = Judge()
        self.memory = Memory(options, self.judge)
        self.faults = Chooser(options.seed, options.script, options.rates)
        self.gpu = Gpu(options.prefill_crowding, options.decode_crowding)
        self.die: Callable[[], None] | None = None  # how the process ends when memory runs out
        self._free = list(range(options.slots - 1, -1, -1))
        self._slots = asyncio.Semaphore(options.slots)  # first come, first served
        self._waiting = 0  # admitted, without a slot
        self._for_load = 0  # admitted, without their model
        self._speeds: dict[str, tuple[float, float]] = {}

    # --- what the server can be asked -----------------------------------------------------------------------

    @property
    def loaded(self) -> dict[str, Resident]:
        return self.memory.loaded()

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def busy_slots(self) -> set[int]:
        return set(range(self.options.slots)) - set(self._free)

    def stats(self) -> dict[str, Any]:
        """What the judge counted, and what is so at this moment."""
        return {
            **self.judge.as_json(),
            "waiting": self._waiting,
            "memory": self.memory.used,
            "loaded": {name: resident.context for name, resident in self.loaded.items()},
            "slots": self.options.slots,
        }

    def take_over(self, judge: Judge) -> None:
        """Go on counting where a process that died has stopped."""
        self.judge = judge
        self.memory.judge = judge

    def reset(self) -> None:
        """Forget counts, faults and loaded models; requests in flight are still counted as such."""
        self.judge.reset()
        self.memory.forget()
        self.models = self.options.models
        self.faults.set(script=(), rates={})

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def load(self, model: str, context: int, keep_alive: float | None) -> None:
        """Only load it. Raises NoMemory."""
        self.memory.check(model, context)
        resident, _ = await self.memory.take(model, context)
        self.memory.give_back(resident, self.expires(keep_alive, self.now()))

    # --- serving --------------------------------------------------------------------------------------------

    def request(self, call: Call, *, batch: bool = False) -> Request:
        """`batch`: it is one of a provider's batch, and counted as such."""
        return Request(self, call, batch=batch)

    def speeds(self, model: str) -> tuple[float, float]:
        """Prefill and decode, tokens a second; 0 takes no time."""
        known = self._speeds.get(model)
        if known is None:
            options = self.options
            known = self._speeds[model] = (
                of_model(options.prefill_per_second, model),
                of_model(options.tokens_per_second, model),
            )
        return known

    def admit(self, call: Call) -> bool:
        """Raises Busy where a queue is full, NoMemory where the model can never be loaded. Returns: needs it a load?"""
        options = self.options
        if options.memory:
            self.memory.check(call.model, call.context)
        taken = options.slots - len(self._free) + self._waiting
        if options.max_queue and taken >= options.slots + options.max_queue:
            raise Busy
        loads = options.load_queue > 0 and not self.memory.ready(call.model, call.context)
        if loads and self._for_load > options.load_queue:  # one is loading, the others wait for it
            raise Busy
        self._waiting += 1
        self._for_load += loads
        return loads

    def admitted(self, *, loads: bool = False) -> None:
        """It waits for a slot, or for a load, no longer."""
        if loads:
            self._for_load -= 1
        else:
            self._waiting -= 1

    def would_wait(self, call: Call) -> bool:
        """Would this call take time? If not, nobody needs to watch for the client to leave."""
        options = self.options
        return bool(
            options.latency
            or self._slots.locked()
            or any(self.speeds(call.model))
            or not self.memory.ready(call.model, call.context)  # it may have to wait for a busy one
        )

    async def take_slot(self) -> int:
        await self._slots.acquire()
        return self._free.pop()

    def free_slot(self, slot: int) -> None:
        self._free.append(slot)
        self._slots.release()

    def expires(self, keep_alive: float | None, now: float) -> float:
        seconds = self.options.keep_alive if keep_alive is None else keep_alive
        return math.inf if seconds < 0 else now + seconds

    def outcome(self, call: Call, fault: str, key: str) -> Outcome:
        """What the model says; nothing of it depends on time."""
        text = self._says(call, fault, key) if call.writes else ""
        finish: str | None = "stop"
        prompt_tokens = call.extra_tokens + answers.tokens(call.system) + answers.tokens(call.prompt)
        model = call.model
        match fault:
            case "ok":
                pass
            case "empty" | "refusal" | "blocked" | "no_image":
                text = ""
            case "truncated":
                text, finish = text[: len(text) // 2], "length"
            case "unfinished":
                text, finish = text[: len(text) // 2], None
            case "wrong_model":
                model = "another-model"
            case "cut_prompt":
                prompt_tokens //= 10
            case _:
                text = answers.spoilt(text, fault, call.prompt, call.schema)
        if call.cuts:
            prompt_tokens = min(prompt_tokens, call.context)
        completion = answers.tokens(text)
        if finish == "stop" and completion > call.max_tokens:
            text, completion, finish = text[: call.max_tokens * answers.PER_TOKEN], call.max_tokens, "length"
        return Outcome(text, finish, model, prompt_tokens, 0, completion)

    def _says(self, call: Call, fault: str, key: str) -> str:
        length = self._length(key)
        packed = packs.answer(call, length, fault)
        return answers.answer(call.prompt, call.schema, length, call.system) if packed is None else packed

    def _length(self, key: str) -> int:
        least, most = self.options.answer_tokens
        return least + int(key, 16) % (most - least + 1) if most else 0
