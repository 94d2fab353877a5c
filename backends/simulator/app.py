"""The HTTP face: Ollama's API and OpenAI's, as raw ASGI (a framework would cost half of the speed)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from backends.simulator.engine import Busy, Call, Engine, Outcome

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON = [(b"content-type", b"application/json"), (b"x-penstock-simulator", b"1")]
_CREATED = 1_700_000_000
_STAMP = "2023-11-14T22:13:20Z"


class Refused(Exception):
    """A request that the protocol answers with an error status."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class App:
    """An ASGI application over one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        native = not path.startswith("/v1")
        try:
            match method, path:
                case "POST", "/api/chat" | "/v1/chat/completions":
                    await self._chat(native, await _body(receive), receive, send)
                case "POST", "/simulator/faults":
                    data = await _json(receive)
                    self.engine.set_faults(script=data.get("script"), rates=data.get("rates"))
                    await _reply(send, 200, {})
                case "POST", "/simulator/reset":
                    await _body(receive)
                    self.engine.reset()
                    await _reply(send, 200, {})
                case "POST", "/api/show":
                    await _reply(send, 200, self._show(await _json(receive)))
                case "GET" | "HEAD", "/":
                    await _reply(send, 200, b"Ollama is running", content=b"text/plain")
                case "GET", _ if (page := self._page(path)) is not None:
                    await _reply(send, 200, page)
                case _:
                    await _reply(send, 404, b"404 page not found", content=b"text/plain")
        except Refused as error:
            await _reply(send, error.status, _error(native, str(error), error.kind))
        except ValueError as error:
            await _reply(send, 400, _error(native, str(error), "invalid_request_error"))

    # --- questions about the server -------------------------------------------------------------------------

    def _page(self, path: str) -> Any:
        models = self.engine.options.models
        match path:
            case "/api/version":
                return {"version": "0.0.0-simulator"}
            case "/api/tags":
                return {"models": [self._tag(name) for name in models]}
            case "/api/ps":
                return {
                    "models": [
                        {**self._tag(name), "expires_at": "2319-01-01T00:00:00Z", "context_length": context}
                        for name, context in self.engine.loaded.items()
                    ]
                }
            case "/v1/models":
                data = [
                    {
                        "id": name,
                        "object": "model",
                        "created": _CREATED,
                        "owned_by": "penstock-simulator",
                        "max_model_len": self.engine.options.context,
                    }
                    for name in models
                ]
                return {"object": "list", "data": data}
            case "/simulator/stats":
                return self.engine.stats.as_json()
            case _:
                return None

    def _tag(self, name: str) -> dict[str, Any]:
        digest = f"{abs(hash_of(name)):064x}"
        details = {"family": "simulated", "context_length": self.engine.options.context}
        return {
            "name": name,
            "model": name,
            "modified_at": _STAMP,
            "size": 0,
            "digest": digest,
            "details": details,
            "capabilities": ["completion"],
        }

    def _show(self, data: dict[str, Any]) -> dict[str, Any]:
        name = data.get("model")
        if name not in self.engine.options.models:
            raise Refused(404, f"model '{name}' not found")
        return {"details": self._tag(name)["details"], "capabilities": ["completion"], "modified_at": _STAMP}

    # --- chat -----------------------------------------------------------------------------------------------

    async def _chat(self, native: bool, body: bytes, receive: Receive, send: Send) -> None:
        engine = self.engine
        data = orjson.loads(body)
        call = self._native_call(data) if native else self._openai_call(data)
        if call.model not in engine.options.models:
            raise Refused(404, f"model '{call.model}' not found", "not_found_error")
        key, fault = engine.arrive(call)
        try:
            if await _failed(native, fault, send):
                return
            run = engine.run(call, key, fault)
            outcome = await (_unless_gone(run, receive) if engine.waits(call, fault) else run)
            if outcome is None:
                engine.stats.disconnects += 1
                return
            page = _native_answer(outcome) if native else _openai_answer(outcome)
            await _reply(send, 200, page, cut=fault == "cut")
        except Busy:
            await _reply(
                send,
                503,
                _error(native, "server busy, please try again.  maximum pending requests exceeded", "busy"),
            )
        finally:
            engine.leave()

    def _native_call(self, data: Any) -> Call:
        model, system, prompt = _messages(data)
        options = data.get("options") or {}
        context = options.get("num_ctx", self.engine.options.context)
        schema = data.get("format")
        call = Call(
            model=model if model in self.engine.options.models else model.removesuffix(":latest"),
            system=system,
            prompt=prompt,
            schema=schema if isinstance(schema, dict) else None,
            max_tokens=options.get("num_predict", 1 << 30),
            context=context,
        )
        if (size := (len(system) + len(prompt)) // 4) > context and data.get("truncate") is False:
            inner = {
                "code": 400,
                "message": f"request ({size} tokens) exceeds the available context size ({context} tokens)",
                "type": "exceed_context_size_error",
            }
            raise Refused(400, orjson.dumps({"error": inner}).decode())
        return call

    def _openai_call(self, data: Any) -> Call:
        model, system, prompt = _messages(data)
        if data.get("stream"):
            raise Refused(400, "the simulator does not stream; send stream: false")
        wanted = data.get("response_format") or {}
        schema = (wanted.get("json_schema") or {}).get("schema")
        if schema is None and wanted.get("type") == "json_object":
            schema = {"type": "object", "properties": {}}
        context = self.engine.options.context
        if (size := (len(system) + len(prompt)) // 4) > context:
            raise Refused(
                400,
                f"request ({size} tokens) exceeds the available context size ({context} tokens)",
                "exceed_context_size_error",
            )
        limit = data.get("max_tokens", data.get("max_completion_tokens", 1 << 30))
        return Call(model, system, prompt, schema, limit, context)


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode().ljust(32, b"\0")[:32], "big")


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("content"), str)


def _messages(data: Any) -> tuple[str, str, str]:
    if not isinstance(data, dict) or not isinstance(data.get("model"), str):
        raise Refused(400, "model is required")
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise Refused(400, "messages is required, each with a content that is text")
    system = "\n".join(m["content"] for m in messages if m.get("role") == "system")
    prompt = "\n".join(m["content"] for m in messages if m.get("role") != "system")
    return data["model"], system, prompt


def _native_answer(outcome: Outcome) -> Any:
    text = "I'm sorry, but I can't help with that." if outcome.fault == "refusal" else outcome.text
    if outcome.fault == "nonsense":
        return b"<html><body>It works!</body></html>"
    return {
        "model": outcome.model,
        "created_at": _STAMP,
        "message": {"role": "assistant", "content": text},
        "done": outcome.finish is not None,
        "done_reason": outcome.finish,
        "total_duration": 0,
        "load_duration": int(outcome.load_seconds * 1e9),
        "prompt_eval_count": outcome.prompt_tokens,
        "eval_count": outcome.completion_tokens,
        "simulated": True,
    }


def _openai_answer(outcome: Outcome) -> Any:
    if outcome.fault == "nonsense":
        return b"<html><body>It works!</body></html>"
    message: dict[str, Any] = {"role": "assistant", "content": outcome.text}
    if outcome.fault == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion",
        "created": _CREATED,
        "model": outcome.model,
        "choices": [{"index": 0, "message": message, "finish_reason": outcome.finish}],
        "usage": {
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
            "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
        },
        "system_fingerprint": "penstock-simulator",
    }


async def _failed(native: bool, fault: str, send: Send) -> bool:
    """Send the error status of a fault that has one."""
    match fault:
        case "error500":
            await _reply(send, 500, _error(native, "an internal error was simulated", "server_error"))
        case "out_of_memory":
            await _reply(send, 500, _error(native, "CUDA error: out of memory", "server_error"))
        case "error503":
            await _reply(send, 503, _error(native, "server busy, please try again.", "busy"), wait=b"1")
        case "rate_limited":
            await _reply(send, 429, _error(native, "too many requests", "rate_limit_error"), wait=b"2")
        case _:
            return False
    return True


def _error(native: bool, message: str, kind: str) -> dict[str, Any]:
    return {"error": message} if native else {"error": {"message": message, "type": kind, "code": None}}


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _json(receive: Receive) -> dict[str, Any]:
    data = orjson.loads(await _body(receive) or b"{}")
    if not isinstance(data, dict):
        raise Refused(400, "an object is required")
    return data


async def _unless_gone(run: Awaitable[Outcome], receive: Receive) -> Outcome | None:
    """The outcome, or None when the client left first: then the work stops, as real servers stop theirs."""
    work = asyncio.ensure_future(run)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _reply(
    send: Send,
    status: int,
    page: Any,
    *,
    content: bytes | None = None,
    wait: bytes | None = None,
    cut: bool = False,
) -> None:
    """Send bytes as they are and anything else as JSON; with `cut`, half of it, which ends the connection."""
    raw = isinstance(page, bytes)
    body = page if raw else orjson.dumps(page)
    headers = [*_JSON, (b"content-length", str(len(body)).encode())]
    if raw:
        headers[0] = (b"content-type", content or b"text/html")
    if wait is not None:
        headers.append((b"retry-after", wait))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if cut:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        return
    await send({"type": "http.response.body", "body": body})
