"""OpenAI's batches: a file of requests, a batch of it, a file of answers."""

from __future__ import annotations

import io
from typing import Any

import orjson
from python_multipart.multipart import parse_form

from backends.simulator import openai
from backends.simulator.batches import Batch, Batches, Entry
from backends.simulator.engine import Engine
from backends.simulator.http import Exchange, Problem

PREFIX = "batch_"
DAY = 86_400


async def upload(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    body = await exchange.body()
    content: list[bytes] = []
    fields: dict[str, str] = {}

    def on_field(field: Any) -> None:
        fields[field.field_name.decode()] = (field.value or b"").decode()

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        content.append(file.file_object.read())

    parse_form(
        {"Content-Type": exchange.header(b"content-type").encode()}, io.BytesIO(body), on_field, on_file
    )
    if not content or fields.get("purpose") != "batch":
        raise Problem("invalid", "a file and purpose = batch are required")
    name = f"file-{batches.number()}"
    batches.files[name] = content[0]
    await exchange.reply(200, _file(batches, name))


async def file(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.reply(200, _file(batches, exchange.params[0]))


async def content(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    name = exchange.params[0]
    _file(batches, name)
    await exchange.reply(200, batches.files[name], kind=b"application/octet-stream")


def _file(batches: Batches, name: str) -> dict[str, Any]:
    if name not in batches.files:
        raise Problem("not_found", f"No such File object: {name}")
    size = len(batches.files[name])
    return {"id": name, "object": "file", "bytes": size, "purpose": "batch", "status": "processed"}


async def create(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    data = await exchange.json()
    if data.get("endpoint") != "/v1/chat/completions":
        raise Problem("unsupported", "the simulator takes batches of /v1/chat/completions")
    name = str(data.get("input_file_id"))
    _file(batches, name)
    entries = []
    for line in batches.files[name].splitlines():
        if not line.strip():
            continue
        try:
            each = orjson.loads(line)
            key, body = each["custom_id"], each["body"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise Problem("invalid", f"{name} has a line that is no request") from None
        try:
            call, answer = openai.call_of(engine, {**body, "stream": False})
            entries.append(Entry(key, call, answer))
        except Problem as problem:
            entries.append(Entry(key, None, None, problem))
    about = {"input_file_id": name, "metadata": data.get("metadata")}
    await exchange.reply(200, _page(batches, batches.make(PREFIX + batches.number(), entries, about)))


async def find(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.reply(200, _page(batches, batches.find(exchange.params[0])))


async def listed(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    data = [_page(batches, batch) for batch in reversed(batches.all(PREFIX))]
    await exchange.reply(200, {"object": "list", "data": data, "has_more": False})


async def cancel(exchange: Exchange, engine: Engine, batches: Batches) -> None:
    await exchange.body()
    await exchange.reply(200, _page(batches, batches.cancel(exchange.params[0])))


def _page(batches: Batches, batch: Batch) -> dict[str, Any]:
    status = "in_progress"
    if batch.ended:
        status = "cancelled" if batch.cancelled else "completed"
    failed = sum(result.page is None for result in batch.results)
    made = int(batch.made.timestamp())
    counts = {
        "total": len(batch.entries),
        "completed": len(batch.results) - failed,
        "failed": failed,
    }
    files: dict[str, str | None] = {"output_file_id": None, "error_file_id": None}
    if batch.results:
        files = {
            "output_file_id": _written(batches, batch, failed=False),
            "error_file_id": _written(batches, batch, failed=True) if failed else None,
        }
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        **batch.about,
        **files,
        "completion_window": "24h",
        "status": status,
        "created_at": made,
        "expires_at": made + DAY,
        "completed_at": int(batch.ended.timestamp()) if batch.ended else None,
        "request_counts": counts,
    }


def _written(batches: Batches, batch: Batch, *, failed: bool) -> str:
    """The file with the answers, or the one with the errors."""
    name = f"file-{batch.id.removeprefix(PREFIX)}-{'errors' if failed else 'output'}"
    lines = []
    for result in batch.results:
        if (result.page is None) is not failed:
            continue
        line: dict[str, Any] = {"id": f"batch_req_{result.key}", "custom_id": result.key}
        if result.page is not None:
            line |= {"response": {"status_code": 200, "body": result.page}, "error": None}
        elif result.problem is not None:
            status, page = openai.error_page(result.problem)
            line |= {"response": {"status_code": status, "body": page}, "error": None}
        else:
            line |= {"response": None, "error": {"code": "batch_expired", "message": "it took too long"}}
        lines.append(orjson.dumps(line) + b"\n")
    batches.files[name] = b"".join(lines)
    return name
