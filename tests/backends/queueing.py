"""A queue-style service for tests: takes a job, lets a simulator do it, says how far it is, gives the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson

PNG = b"\x89PNG\r\n\x1a\n pretend"

SPEC: dict[str, Any] = {
    "submit": {
        "method": "POST",
        "url": "/create",
        "body": {"text": "{prompt}", "model": "{model}", "limit": "{max_tokens}"},
    },
    "id": "/data/queueid",
    "poll": {"url": "/result?id={id}"},
    "pending": {"/action": ["reconnect"]},
    "success": {"/success": [True]},
    "failed": {"/error": ["*"]},
    "result": "/data/text",
    "errors": {"LIMIT": "rate_limited", "face_not_detected": "refused"},
    "interval": 0.005,
    "max_polls": 4000,
}


@dataclass
class Queue:
    url: str = ""
    model: str = ""  # the one that does the jobs, whatever they name
    submitted: int = 0
    polls: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    pages: list[bytes | None] = field(default_factory=list)  # what the next polls say instead; None: cut
    jobs: dict[str, asyncio.Task[dict[str, Any]]] = field(default_factory=dict)


@asynccontextmanager
async def queue(simulator_url: str) -> AsyncIterator[Queue]:
    service = Queue()
    serving: set[asyncio.Task[Any]] = set()
    client = httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None))

    async def work(asked: dict[str, Any]) -> dict[str, Any]:
        body = {
            "model": service.model or asked.get("model", "sim:small"),
            "messages": [{"role": "user", "content": asked.get("text", "")}],
            "max_tokens": asked.get("limit", 1000),
        }
        reply = await client.post(f"{simulator_url}/chat/completions", json=body)
        if reply.status_code != 200:
            return {"error": reply.json()["error"]["message"]}
        text = reply.json()["choices"][0]["message"]["content"]
        return {"success": True, "data": {"text": text, "picture": f"{service.url}/picture.png"}}

    async def said(method: str, path: str, body: bytes) -> bytes | None:
        if method == "POST" and path.startswith("/create"):
            service.submitted += 1
            try:
                asked = orjson.loads(body)
            except orjson.JSONDecodeError:
                asked = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
            job = asyncio.ensure_future(work(asked))
            number = str(len(service.jobs) + 1)
            service.jobs[number] = job
            return page({"data": {"queueid": number}})
        if path.startswith("/result"):
            service.polls += 1
            if service.pages:
                return service.pages.pop(0)
            job = service.jobs[path.rpartition("=")[2]]
            return page(job.result() if job.done() else {"action": "reconnect"})
        if path == "/picture.png":
            return page(PNG, "image/png")
        return page({"service": "queue"})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                lines = head.split("\r\n")
                method, path, _ = lines[0].split(" ", 2)
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                service.bodies.append(body)
                service.headers.append(headers | {":path": path})
                answer = await said(method, path, body)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
        left = [*serving, *service.jobs.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await client.aclose()


def page(value: Any, kind: str = "application/json", status: int = 200, *headers: str) -> bytes:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw
