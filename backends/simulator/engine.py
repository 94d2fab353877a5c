"""What is served: slots with a queue, models that must be loaded, speed, faults, and counts of it all.

No protocol here and no HTTP: `backends.simulator.app` renders an `Outcome` as Ollama or OpenAI would.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.simulator import answers

FAULTS = (
    "error500",  # status 500
    "error503",  # status 503 with Retry-After: 1
    "rate_limited",  # status 429 with Retry-After: 2
    "out_of_memory",  # status 500 that says so
    "hang",  # no answer, ever; holds its slot until the client leaves
    "cut",  # half a body, then the connection is closed
    "nonsense",  # status 200 with HTML
    "empty",  # an answer without text
    "echo",  # the prompt as the answer
    "refusal",  # the protocol's way to say no
    "truncated",  # half an answer, ended by the token limit
    "unfinished",  # half an answer and no finish reason
    "fenced",  # the answer inside a Markdown fence
    "think",  # the answer behind a reasoning block
    "wrong_model",  # another model's name
    "cut_prompt",  # a tenth of the prompt was read, in silence
)


@dataclass(frozen=True, slots=True)
class Options:
    slots: int = 4
    models: tuple[str, ...] = ("sim:small", "sim:large")
    resident: int = 1
    load_seconds: float = 0.0
    tokens_per_second: float = 0.0
    latency: float = 0.0
    context: int = 8192
    max_queue: int = 0
    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    script: Iterable[str] = ()


@dataclass(slots=True)
class Call:
    """One chat request, whatever protocol it came by."""

    model: str
    system: str
    prompt: str
    schema: dict[str, Any] | None
    max_tokens: int
    context: int  # tokens that the model is to be loaded with


@dataclass(slots=True)
class Outcome:
    fault: str  # "ok" or one of FAULTS
    text: str
    finish: str | None  # stop, length, None
    model: str
    prompt_tokens: int
    completion_tokens: int
    load_seconds: float


class Busy(Exception):
    """More requests wait than `max_queue` allows."""


@dataclass(slots=True)
class Stats:
    """`asked` and `answered` count by a hash of the prompt: an `answered` above 1 was paid twice."""

    requests: int = 0
    in_flight: int = 0  # requests that arrived and are not answered, waiting ones too
    max_in_flight: int = 0
    max_running: int = 0
    loads: int = 0
    switches: int = 0  # loads for which another model had to go
    disconnects: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "max_running": self.max_running,
            "loads": self.loads,
            "switches": self.switches,
            "disconnects": self.disconnects,
            "faults": dict(self.faults),
            "asked": dict(self.asked),
            "answered": dict(self.answered),
            "answered_twice": sum(n - 1 for n in self.answered.values()),
        }


class Engine:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.stats = Stats()
        self._slots = asyncio.Semaphore(options.slots)  # first come, first served
        self._waiting = 0
        self._running: Counter[str] = Counter()
        self._idle = asyncio.Condition()
        self._loading = asyncio.Lock()
        self._loaded: OrderedDict[str, int] = OrderedDict()  # model to its context, least recently used first
        self.set_faults(script=options.script, rates=options.rates)

    def set_faults(
        self, *, script: Iterable[str] | None = None, rates: Mapping[str, float] | None = None
    ) -> None:
        """Raises ValueError for an unknown fault."""
        for name in [*(script or ()), *(rates or ())]:
            if name != "ok" and name not in FAULTS:
                raise ValueError(f"{name!r} is neither ok nor one of {', '.join(FAULTS)}")
        if script is not None:
            self._script = deque(script)
        if rates is not None:
            self._rates = dict(rates)

    def reset(self) -> None:
        """Forget counts, faults and loaded models; requests in flight are still counted as such."""
        in_flight = self.stats.in_flight
        self.stats = Stats(in_flight=in_flight)
        self._loaded.clear()
        self.set_faults(script=(), rates={})

    @property
    def loaded(self) -> dict[str, int]:
        return dict(self._loaded)

    def waits(self, call: Call, fault: str) -> bool:
        """Would this call take time? If not, nobody needs to watch for the client to leave."""
        options = self.options
        return bool(
            fault == "hang"
            or options.tokens_per_second
            or options.latency
            or self._slots.locked()
            or (options.load_seconds and self._loaded.get(call.model) != call.context)
        )

    def arrive(self, call: Call) -> tuple[str, str]:
        """Count a request; returns its prompt's hash and what is to happen to it."""
        stats = self.stats
        digest = hashlib.blake2b(f"{call.system}\0{call.prompt}".encode("utf-8", "replace"), digest_size=8)
        key = digest.hexdigest()
        stats.requests += 1
        stats.asked[key] += 1
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        fault = self._fault(key, stats.asked[key])
        if fault != "ok":
            stats.faults[fault] += 1
        return key, fault

    def leave(self) -> None:
        self.stats.in_flight -= 1

    def _fault(self, key: str, time: int) -> str:
        if self._script:
            return self._script.popleft()
        if not self._rates:
            return "ok"
        # By prompt and not by order of arrival, so that a run with several clients can be repeated.
        lot = random.Random(f"{self.options.seed}/{key}/{time}").random()  # noqa: S311  a simulation
        for name, share in self._rates.items():
            lot -= share
            if lot < 0:
                return name
        return "ok"

    async def run(self, call: Call, key: str, fault: str) -> Outcome:
        """Wait for a slot and the model, take as long as the answer takes. Raises Busy."""
        options = self.options
        if self._slots.locked() and options.max_queue and self._waiting >= options.max_queue:
            raise Busy
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            load_seconds = await self._take(call)
            try:
                if fault == "hang":
                    await asyncio.Event().wait()
                outcome = self._outcome(call, fault, load_seconds)
                seconds = options.latency
                if options.tokens_per_second:
                    seconds += outcome.completion_tokens / options.tokens_per_second
                if seconds:
                    await asyncio.sleep(seconds)
            finally:
                await self._give_back(call.model)
        finally:
            self._slots.release()
        self.stats.answered[key] += 1
        return outcome

    async def _take(self, call: Call) -> float:
        """Have the model loaded and marked as running. Returns the seconds that loading took."""
        if self._loaded.get(call.model) == call.context:
            self._loaded.move_to_end(call.model)
            self._started(call.model)
            return 0.0
        async with self._loading:
            if self._loaded.get(call.model) == call.context:
                self._started(call.model)
                return 0.0
            if call.model in self._loaded:  # another context length: it is loaded anew
                await self._evict(call.model)
            elif len(self._loaded) >= self.options.resident:
                self.stats.switches += 1
                await self._evict(next(iter(self._loaded)))
            if self.options.load_seconds:
                await asyncio.sleep(self.options.load_seconds)
            self.stats.loads += 1
            self._loaded[call.model] = call.context
            self._started(call.model)
            return self.options.load_seconds

    async def _evict(self, model: str) -> None:
        del self._loaded[model]
        async with self._idle:
            await self._idle.wait_for(lambda: not self._running[model])

    def _started(self, model: str) -> None:
        self._running[model] += 1
        self.stats.max_running = max(self.stats.max_running, self._running.total())

    async def _give_back(self, model: str) -> None:
        self._running[model] -= 1
        if self._loading.locked():
            async with self._idle:
                self._idle.notify_all()

    def _outcome(self, call: Call, fault: str, load_seconds: float) -> Outcome:
        text = answers.answer(call.prompt, call.schema)
        finish: str | None = "stop"
        prompt_tokens = answers.tokens(call.system) + answers.tokens(call.prompt)
        match fault:
            case "empty" | "refusal":
                text = ""
            case "echo":
                text = call.prompt
            case "truncated":
                text, finish = text[: len(text) // 2], "length"
            case "unfinished":
                text, finish = text[: len(text) // 2], None
            case "fenced":
                text = f"Here it is:\n\n```json\n{text}\n```\n"
            case "think":
                text = f"<think>\nWhat is asked for? {{braces}}\n</think>\n\n{text}"
            case "cut_prompt":
                prompt_tokens //= 10
        completion = answers.tokens(text)
        if finish == "stop" and completion > call.max_tokens:
            text, completion, finish = text[: call.max_tokens * answers.PER_TOKEN], call.max_tokens, "length"
        model = "another-model" if fault == "wrong_model" else call.model
        return Outcome(fault, text, finish, model, prompt_tokens, completion, load_seconds)
