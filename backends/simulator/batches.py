"""Provider batches: many requests sent at once, answered later at half the price. They take no slot here.

A batch is ready `batch_seconds` after it was made; what is asked for earlier is still in progress. The common part
first, then Anthropic's message batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson

from backends.simulator import anthropic
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.http import Exchange, Problem
from backends.simulator.serve import status_fault


class Whole(Protocol):
    """How a protocol renders one answer."""

    def whole(self, request: Request) -> Any: ...


@dataclass(slots=True)
class Entry:
    """One request of a batch: it was understood, or there is a problem with it."""

    key: str
    call: Call | None
    answer: Whole | None
    problem: Problem | None = None


@dataclass(slots=True)
class Result:
    key: str
    page: Any = None
    problem: Problem | None = None
    expired: bool = False


@dataclass(slots=True)
class Batch:
    id: str
    entries: list[Entry]
    made: datetime
    due: float  # on the loop's clock
    about: dict[str, Any] = field(default_factory=dict)
    cancelled: datetime | None = None
    ended: datetime | None = None
    results: list[Result] = field(default_factory=list)


class Batches:
    """All batches of one server."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._all: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self._number = 0

    def number(self) -> str:
        self._number += 1
        return f"simulated{self._number:06}"

    def make(self, name: str, entries: list[Entry], about: dict[str, Any] | None = None) -> Batch:
        due = self._engine.now() + self._engine.options.batch_seconds
        batch = Batch(name, entries, datetime.now(UTC), due, about or {})
        self._all[name] = batch
        return batch

    def find(self, name: str) -> Batch:
        """Finished if it is time. Raises Problem."""
        if name not in self._all:
            raise Problem("not_found", f"there is no batch {name!r}")
        batch = self._all[name]
        if batch.ended is None and self._engine.now() >= batch.due:
            batch.ended = batch.cancelled or datetime.now(UTC)
            if batch.cancelled is None:
                batch.results = [self._result(entry) for entry in batch.entries]
        return batch

    def all(self, prefix: str) -> list[Batch]:
        return [self.find(name) for name in self._all if name.startswith(prefix)]

    def cancel(self, name: str) -> Batch:
        batch = self.find(name)
        if batch.ended is None:
            batch.cancelled = datetime.now(UTC)
            batch.due = min(batch.due, self._engine.now())  # what is asked next is the end
        return batch

    def delete(self, name: str) -> None:
        if self.find(name).ended is None:
            raise Problem("invalid", f"batch {name!r} is in progress; cancel it first")
        del self._all[name]

    def _result(self, entry: Entry) -> Result:
        if entry.call is None or entry.answer is None:
            return Result(entry.key, problem=entry.problem)
        with self._engine.request(entry.call, batch=True) as request:
            fault = request.fault
            problem = status_fault(fault)
            if fault in ("broken", "cut", "nonsense"):
                problem = Problem("internal", "the request failed in the batch")
            elif fault == "out_of_memory":
                problem = Problem("out_of_memory", "CUDA error: out of memory")
            if problem is not None or fault in ("hang", "stall"):
                request.end(fault)
                return Result(entry.key, problem=problem, expired=problem is None)
            request.offline()
            request.answered()
            return Result(entry.key, page=entry.answer.whole(request))


def moment(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


# --- Anthropic's --------------------------------------------------------------------------------------------

PREFIX = "msgbatch_"


async def create(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    data = await exchange.json()
    requests = data.get("requests")
    if not isinstance(requests, list) or not requests:
        raise Problem("invalid", "requests: at least one request is required")
    entries: list[Entry] = []
    for number, each in enumerate(requests):
        key = each.get("custom_id") if isinstance(each, dict) else None
        if not isinstance(key, str) or not 0 < len(key) <= 64:
            raise Problem("invalid", f"requests.{number}.custom_id: String should have 1 to 64 characters")
        if any(entry.key == key for entry in entries):
            raise Problem("invalid", f"requests.{number}.custom_id: {key!r} is there twice")
        try:
            call, tool = anthropic.call_of(engine, each.get("params") or {})
            entries.append(Entry(key, call, anthropic.Message(False, tool)))
        except Problem as problem:  # told in the results, as the provider does
            entries.append(Entry(key, None, None, problem))
    batch = batches.make(PREFIX + batches.number(), entries)
    await exchange.reply(200, _page(exchange, batch))


async def find(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.reply(200, _page(exchange, batches.find(exchange.params[0])))


async def listed(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    data = [_page(exchange, batch) for batch in reversed(batches.all(PREFIX))]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    await exchange.reply(200, {"data": data, "has_more": False, **ends})


async def cancel(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.body()
    await exchange.reply(200, _page(exchange, batches.cancel(exchange.params[0])))


async def delete(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    batches.delete(exchange.params[0])
    await exchange.reply(200, {"id": exchange.params[0], "type": "message_batch_deleted"})


async def results(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    batch = batches.find(exchange.params[0])
    if batch.ended is None:
        raise Problem("invalid", f"batch {batch.id!r} is in progress and has no results yet")
    lines = [
        orjson.dumps({"custom_id": entry.key, "result": _result(batch, number)})
        for number, entry in enumerate(batch.entries)
    ]
    await exchange.reply(200, b"".join(line + b"\n" for line in lines[::-1]), kind=b"application/x-jsonl")


def _result(batch: Batch, number: int) -> dict[str, Any]:
    if not batch.results:
        return {"type": "canceled"}
    result = batch.results[number]
    if result.expired:
        return {"type": "expired"}
    if result.problem is not None:
        return {"type": "errored", "error": anthropic.error_page(result.problem)[1]}
    return {"type": "succeeded", "message": result.page}


def _page(exchange: Exchange, batch: Batch) -> dict[str, Any]:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if batch.ended is None:
        counts["processing"] = len(batch.entries)  # nothing is told before the end
    else:
        for number in range(len(batch.entries)):
            counts[_result(batch, number)["type"]] += 1
    status = "ended" if batch.ended else "canceling" if batch.cancelled else "in_progress"
    host = exchange.header(b"host")
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": moment(batch.made),
        "expires_at": moment(batch.made + timedelta(hours=24)),
        "ended_at": moment(batch.ended),
        "cancel_initiated_at": moment(batch.cancelled),
        "archived_at": None,
        "results_url": f"http://{host}/v1/messages/batches/{batch.id}/results" if batch.ended else None,
    }
