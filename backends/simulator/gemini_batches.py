"""Gemini's batches: batchGenerateContent with inline requests, and the operations that tell how far they are."""

from __future__ import annotations

from typing import Any

from backends.simulator import gemini
from backends.simulator.batches import Batch, Batches, Entry, moment
from backends.simulator.engine import Engine
from backends.simulator.http import Exchange, Problem

PREFIX = "gb"


async def create(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    data = await exchange.json()
    model = gemini.named(engine, exchange.params[0])
    batch = data.get("batch")
    config = batch.get("inputConfig") if isinstance(batch, dict) else None
    if not isinstance(batch, dict) or not isinstance(config, dict):
        raise Problem("invalid", "batch.inputConfig is not specified")
    if "fileName" in config:
        raise Problem("unsupported", "the simulator takes requests inline, not from a file")
    requests = (config.get("requests") or {}).get("requests")
    if not isinstance(requests, list) or not requests:
        raise Problem("invalid", "batch.inputConfig.requests.requests is not specified")
    entries = []
    for number, each in enumerate(requests):
        key = str((each.get("metadata") or {}).get("key", number))
        try:
            call, image = gemini.call_of(engine, model, each.get("request") or {})
            entries.append(Entry(key, call, gemini.Content(stream=False, sse=False, image=image)))
        except Problem as problem:
            entries.append(Entry(key, None, None, problem))
    about = {"model": model, "displayName": batch.get("displayName", "")}
    made = batches.make(PREFIX + batches.number(), entries, about)
    await exchange.reply(200, _page(made))


async def find(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.reply(200, _page(batches.find(exchange.params[0])))


async def listed(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.reply(200, {"operations": [_page(batch) for batch in batches.all(PREFIX)]})


async def cancel(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.body()
    batches.cancel(exchange.params[0])
    await exchange.reply(200, {})


async def delete(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    batches.delete(exchange.params[0])
    await exchange.reply(200, {})


def _page(batch: Batch) -> dict[str, Any]:
    state = "RUNNING"
    if batch.ended:
        state = "CANCELLED" if batch.cancelled else "SUCCEEDED"
    failed = sum(result.page is None for result in batch.results)
    counts = {
        "requestCount": str(len(batch.entries)),
        "successfulRequestCount": str(len(batch.results) - failed),
        "failedRequestCount": str(failed),
        "pendingRequestCount": str(0 if batch.ended else len(batch.entries)),
    }
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "name": f"batches/{batch.id}",
        "model": f"models/{batch.about['model']}",
        "displayName": batch.about["displayName"],
        "createTime": moment(batch.made),
        "endTime": moment(batch.ended),
        "batchStats": counts,
        "state": f"BATCH_STATE_{state}",
    }
    page: dict[str, Any] = {"name": f"batches/{batch.id}", "metadata": metadata}
    if batch.ended is None:
        return page
    if batch.cancelled:
        return page | {"done": True, "error": {"code": 1, "message": "the batch was cancelled"}}
    answers = []
    for result in batch.results:
        answer: dict[str, Any] = {"metadata": {"key": result.key}}
        if result.page is None:
            problem = result.problem or Problem("internal", "the request expired in the batch")
            answers.append(answer | {"error": gemini.error_page(problem)[1]["error"]})
        else:
            answers.append(answer | {"response": result.page})
    output = {"inlinedResponses": {"inlinedResponses": answers}}
    metadata["output"] = output
    return page | {"done": True, "response": output}
