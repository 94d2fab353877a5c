"""One request from its arrival to its end: what was asked, what comes out, and what it holds meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backends.simulator.cache import blocks
from backends.simulator.faults import GOOD, HALFWAY
from backends.simulator.judge import count

if TYPE_CHECKING:
    from backends.simulator.engine import Engine
    from backends.simulator.memory import Resident


@dataclass(slots=True)
class Call:
    """One request to a model, whatever protocol it came by."""

    model: str
    system: str
    prompt: str
    schema: dict[str, Any] | None = None
    max_tokens: int = 1 << 30
    context: int = 0  # tokens that the model is to be loaded with; 0 is the server's own number
    caller: str = ""
    keep_alive: float | None = None  # seconds; None is the server's own number
    cuts: bool = False  # a prompt longer than the context is cut in silence
    cached: bool = True  # may use and fill the prefix cache
    extra_tokens: int = 0  # of images
    writes: bool = True  # False for embeddings: the prompt is only read


@dataclass(slots=True)
class Outcome:
    text: str
    finish: str | None  # stop, length, None
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Busy(Exception):
    """More requests wait than the server takes."""


class Broken(Exception):
    """The model's process died in the middle of an answer."""


class Cut(Exception):
    """The connection is to be cut now."""


class Request:
    """One request from its arrival to its end: a context manager, so that it gives back what it holds.

    with engine.request(call) as request:
        request.admit()                       # or Busy, NoMemory
        await request.start()                 # a slot, the model, the prompt read
        async for text in request.pieces():   # or `await request.finish()`
            ...
        request.answered()
    """

    def __init__(self, engine: Engine, call: Call, *, batch: bool = False) -> None:
        self.engine = engine
        self.call = call
        if not call.context:
            call.context = engine.options.context
        judge = engine.judge
        self._clock = asyncio.get_running_loop().time
        self.arrived = self._clock()
        text = f"{call.model}\0{call.system}\0{call.prompt}".encode("utf-8", "replace")
        self.key = hashlib.blake2b(text, digest_size=8).hexdigest()
        if judge.first is None:
            judge.first = self.arrived
        self._tallies = (judge.batch,) if batch else judge.tallies(call.model, call.caller)
        for tally in self._tallies:
            tally.arrive()
        self.fault = engine.faults.next(self.key, count(judge.asked, self.key))
        if self.fault != "ok":
            count(judge.faults, self.fault)
        self.load_seconds = 0.0
        self.started = self.read_at = self.closed_at = self.arrived
        self.ended = ""
        self.slot = -1
        self._queued = self._needs_load = self._closed = False
        self.outcome = Outcome("", None, call.model, 0, 0, 0)
        self._resident: Resident | None = None
        self._joined = False  # it shares the GPU
        self._from = 0.0  # how far the GPU had come with its prompt, then with its answer
        self._read = False
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds and count. Called before the last byte is sent: then a client that asks again at
        once is never counted as two requests in flight."""
        if self._closed:
            return
        self._closed = True
        engine, judge, outcome = self.engine, self.engine.judge, self.outcome
        now = self.closed_at = self._clock()
        left = not self.ended
        if left:
            self.ended = "disconnected"
            judge.disconnects += 1
        count(judge.outcomes, self.ended)
        judge.last = now
        self._unqueue()
        self._have_model()
        if not self._read:
            outcome.prompt_tokens = outcome.cached_tokens + self._progress() if self._joined else 0
        elif left and self._joined:  # also of an answer that is sent as a whole
            self._written = max(self._written, self._progress())
        self._leave_gpu()
        if self._resident is not None:
            judge.busy_seconds += now - self.started
            for tally in self._tallies:
                tally.running -= 1
            engine.memory.give_back(self._resident, engine.expires(self.call.keep_alive, now))
        if self.slot >= 0:
            engine.free_slot(self.slot)
        if left:
            judge.wasted_left += self._written
            judge.wasted_left_in += outcome.prompt_tokens - outcome.cached_tokens
        for tally in self._tallies:
            tally.in_flight -= 1
            tally.tokens_in += outcome.prompt_tokens
            tally.cached_tokens += outcome.cached_tokens
            tally.tokens_out += self._written

    def _progress(self) -> int:
        """Tokens of the phase it is in that the GPU has done by now."""
        prefill, decode = self.engine.speeds(self.call.model)
        outcome, gpu = self.outcome, self.engine.gpu
        if self._read:
            done, most = (gpu.decode.now() - self._from) * decode, outcome.completion_tokens
        else:
            done = (gpu.prefill.now() - self._from) * prefill
            most = outcome.prompt_tokens - outcome.cached_tokens
        return min(int(done + 1e-6), most)

    def waits(self) -> bool:
        """Will it take time?"""
        return self.fault in ("hang", "stall") or self.engine.would_wait(self.call)

    def admit(self) -> None:
        """Raises Busy and NoMemory, before anything is waited for."""
        self._needs_load = self.engine.admit(self.call)
        self._queued = True

    async def start(self) -> None:
        """Wait for a slot and the model, and read the prompt."""
        engine, call, fault = self.engine, self.call, self.fault
        self.slot = await engine.take_slot()
        self._unqueue()
        self._resident, self.load_seconds = await engine.memory.take(
            call.model, call.context, slow=fault == "slow_load"
        )
        self._have_model()
        self.started = self._clock()
        for tally in self._tallies:
            tally.start(self.started - self.arrived)
        if fault == "out_of_memory" and engine.die is not None:
            engine.die()
        if fault == "hang":
            await asyncio.Event().wait()
        self.outcome = engine.outcome(call, fault, self.key)
        await self._read_prompt(self._resident)

    def _leave_gpu(self) -> None:
        if self._joined:
            self._joined = False
            self.engine.gpu.leave()

    def _unqueue(self) -> None:
        if self._queued:
            self._queued = False
            self.engine.admitted()

    def _have_model(self) -> None:
        if self._needs_load:
            self._needs_load = False
            self.engine.admitted(loads=True)

    async def _read_prompt(self, resident: Resident) -> None:
        engine, call, outcome = self.engine, self.call, self.outcome
        if engine.options.latency:
            await asyncio.sleep(engine.options.latency)
        chain: list[int] = []
        if call.cached:
            chain = blocks(f"{call.system}\0{call.prompt}")
            outcome.cached_tokens = max(0, min(resident.cache.find(chain), outcome.prompt_tokens - 1))
        prefill, decode = engine.speeds(call.model)
        if prefill or decode:
            gpu = engine.gpu
            gpu.join()
            self._joined = True
            if prefill:
                self._from = gpu.prefill.now()
                tokens = outcome.prompt_tokens - outcome.cached_tokens
                await gpu.prefill.reach(self._from + tokens / prefill)
            self._from = gpu.decode.now()
        self._read = True
        self.read_at = self._clock()
        if chain:
            resident.cache.keep(chain)

    async def pieces(self) -> AsyncIterator[str]:
        """The answer token by token, each when it is written. Raises Broken and Cut in the middle."""
        text, tokens = self.outcome.text, self.outcome.completion_tokens
        half = tokens // 2 if self.fault in HALFWAY else -1
        for done in range(tokens):
            if done == half:
                await self._halfway()
            await self._write(done + 1)
            yield text[done * len(text) // tokens : (done + 1) * len(text) // tokens]
        if half >= tokens:
            await self._halfway()

    async def finish(self) -> None:
        """Write the whole answer. Raises Broken in the middle."""
        tokens = self.outcome.completion_tokens
        if self.fault in ("stall", "broken"):
            await self._write(tokens // 2)
            await self._halfway()
        await self._write(tokens)

    async def _halfway(self) -> None:
        match self.fault:
            case "stall":
                self._leave_gpu()
                await asyncio.Event().wait()
            case "broken":
                self.end("broken")
                self.engine.memory.unload(self.call.model)  # its process died; the next one loads it again
                raise Broken
            case "cut":
                raise Cut

    async def _write(self, tokens: int) -> None:
        """Wait until so many tokens are written."""
        speed = self.engine.speeds(self.call.model)[1]
        if speed:
            await self.engine.gpu.decode.reach(self._from + tokens / speed)
        self._written = tokens

    def offline(self) -> None:
        """All of it at once: a request of a provider's batch, which takes no slot and no time here."""
        self.outcome = self.engine.outcome(self.call, self.fault, self.key)
        self._read = True
        self._written = self.outcome.completion_tokens

    def answered(self) -> None:
        """The client has its answer, however good."""
        judge = self.engine.judge
        self.end("answered" if self.fault in GOOD else self.fault)
        for tally in self._tallies:
            tally.answered += 1
        count(judge.answered, self.key)
        if self.fault in GOOD and count(judge.good, self.key) > 1:
            judge.wasted_again += self.outcome.completion_tokens

    def end(self, how: str) -> None:
        """It ended otherwise; counted under this name."""
        self.ended = how
