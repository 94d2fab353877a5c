"""What the simulator saw: it counts by itself and believes no client."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Waits:
    """Seconds from arrival to a slot and a loaded model; most are 0 and are only counted."""

    none: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        if seconds > 0:
            self.seconds.append(seconds)
        else:
            self.none += 1

    def summary(self) -> dict[str, float | int]:
        """Nearest rank: a p95 is one of the waits that there were."""
        ordered = sorted(self.seconds)
        count = self.none + len(ordered)

        def at(share: float) -> float:
            rank = max(1, -int(-share * count // 1)) - self.none  # rounded up
            return round(ordered[rank - 1], 6) if rank > 0 and ordered else 0.0

        return {
            "count": count,
            "total": round(sum(ordered), 6),
            "max": at(1.0),
            "p50": at(0.5),
            "p95": at(0.95),
        }


@dataclass(slots=True)
class Tally:
    """Of the whole server, of one model or of one caller."""

    requests: int = 0
    in_flight: int = 0  # arrived and not answered, waiting ones too
    max_in_flight: int = 0
    running: int = 0  # hold a slot and their model
    max_running: int = 0
    answered: int = 0
    tokens_in: int = 0  # read, those from the cache too
    tokens_out: int = 0  # written, the wasted too
    cached_tokens: int = 0
    waits: Waits = field(default_factory=Waits)

    def reset(self) -> None:
        blank = Tally(
            in_flight=self.in_flight,
            max_in_flight=self.in_flight,
            running=self.running,
            max_running=self.running,
        )
        for each in fields(self):
            setattr(self, each.name, getattr(blank, each.name))

    def arrive(self) -> None:
        self.requests += 1
        self.in_flight += 1
        if self.in_flight > self.max_in_flight:
            self.max_in_flight = self.in_flight

    def start(self, waited: float) -> None:
        self.running += 1
        if self.running > self.max_running:
            self.max_running = self.running
        self.waits.add(waited)

    def as_json(self) -> dict[str, Any]:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**shown, "waits": self.waits.summary()}


@dataclass(slots=True)
class Judge:
    """Everything since the start or the last reset. `asked` and `answered` count by a hash of the prompt."""

    total: Tally = field(default_factory=Tally)
    batch: Tally = field(default_factory=Tally)  # requests of provider batches, in none of the others
    models: dict[str, Tally] = field(default_factory=dict)
    callers: dict[str, Tally] = field(default_factory=dict)
    loads: int = 0
    loads_by_model: dict[str, int] = field(default_factory=dict)
    aborted_loads: int = 0  # whoever asked for it left in the middle
    switches: int = 0  # loads for which another model had to go
    reloads: int = 0  # loads for which the same model with another context length had to go
    load_seconds: float = 0.0
    busy_seconds: float = 0.0  # of all slots, running
    first: float | None = None  # when the first request came and the last one ended, on the loop's clock
    last: float = 0.0
    max_loading: int = 0  # models that were loading, or waiting for another's load, at once
    unloads: int = 0  # that a client asked for; putting to sleep counts
    unloads_of_busy: int = 0  # of these, while the model was answering, or was about to
    wakes: int = 0
    evictions_of_busy: int = 0  # a model that was answering was thrown out: must be 0
    max_memory: float = 0.0
    disconnects: int = 0
    deaths: int = 0
    wasted_left: int = 0  # tokens written for a client that left
    wasted_left_in: int = 0  # tokens read for a client that left
    wasted_again: int = 0  # tokens written for a prompt that had its good answer
    faults: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    good: dict[str, int] = field(default_factory=dict)  # as `answered`, of answers as they should be

    def tallies(self, model: str, caller: str) -> tuple[Tally, ...]:
        """Those that a request counts in."""
        of_model = self.models.get(model)
        if of_model is None:
            of_model = self.models[model] = Tally()
        if not caller:
            return (self.total, of_model)
        return (self.total, of_model, self.callers.setdefault(caller, Tally()))

    def as_json(self) -> dict[str, Any]:
        shown = asdict(self)
        for name in ("total", "batch", "models", "callers", "good", "first", "last"):
            del shown[name]
        return {
            **self.total.as_json(),
            **shown,
            "answers": self.total.answered,
            "span_seconds": 0.0 if self.first is None else max(0.0, self.last - self.first),
            "answered_twice": sum(n - 1 for n in self.answered.values()),
            "wasted_tokens": self.wasted_left + self.wasted_again,
            "batch": self.batch.as_json(),
            "models": {name: tally.as_json() for name, tally in self.models.items()},
            "callers": {name: tally.as_json() for name, tally in self.callers.items()},
        }

    def reset(self) -> None:
        """Begin anew; what is in flight stays counted as such."""
        blank = Judge()
        for each in fields(self):
            if each.name not in ("total", "batch", "models", "callers"):
                setattr(self, each.name, getattr(blank, each.name))
        for tallies in (self.models, self.callers):
            for name in [name for name, tally in tallies.items() if not tally.in_flight]:
                del tallies[name]
        for tally in (self.total, self.batch, *self.models.values(), *self.callers.values()):
            tally.reset()

    def dump(self) -> dict[str, Any]:
        """For the process that comes after this one."""
        return asdict(self)

    @classmethod
    def restored(cls, dump: dict[str, Any]) -> Judge:
        """From `dump`, after the process died: nothing is in flight any more."""
        made = cls(
            **dump
            | {
                "total": _tally(dump["total"]),
                "batch": _tally(dump["batch"]),
                "models": {name: _tally(values) for name, values in dump["models"].items()},
                "callers": {name: _tally(values) for name, values in dump["callers"].items()},
            }
        )
        made.deaths += 1
        return made


def _tally(values: dict[str, Any]) -> Tally:
    return Tally(**values | {"in_flight": 0, "running": 0, "waits": Waits(**values["waits"])})


def count(counts: dict[str, int], name: str) -> int:
    """One more of it; returns how many there are now."""
    counts[name] = now = counts.get(name, 0) + 1
    return now
