"""OpenAI's protocol: cloud, vLLM, llama-server and mlx_lm.server, with what each does differently (`flavour`)."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson

from backends.simulator import answers
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.http import CREATED, IMAGE_TOKENS, Exchange, Problem, text_of
from backends.simulator.serve import REFUSALS, embeds, known, serve, serve_embeddings

FINGERPRINT = "penstock-simulator"
REFUSAL = "I can't help with that."

KINDS: dict[str, tuple[int, str]] = {
    "invalid": (400, "invalid_request_error"),
    "bad_json": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "not_found": (404, "not_found_error"),
    "no_route": (404, "not_found_error"),
    "too_long": (400, "exceed_context_size_error"),
    "unsupported": (501, "not_supported_error"),
    "rate_limited": (429, "rate_limit_error"),
    "overloaded": (503, "overloaded_error"),
    "loading": (503, "unavailable_error"),
    "internal": (500, "server_error"),
    "out_of_memory": (500, "server_error"),
}
MLX_TOKENS = 512
"""How much mlx_lm.server writes where the request does not say."""


def error_page(problem: Problem) -> tuple[int, dict[str, Any]]:
    """Status and body, as most servers have it."""
    status, kind = KINDS[problem.kind]
    page = {"message": str(problem), "type": kind, "param": None, "code": None}
    return problem.status or status, {"error": page}


async def problem(exchange: Exchange, problem: Problem, flavour: str) -> None:
    status, page = error_page(problem)
    if problem.retry_after is not None:
        exchange.headers.append((b"retry-after", str(problem.retry_after).encode()))
    if flavour == "mlx":
        if problem.kind == "no_route":
            await exchange.reply(404, b"Not Found", kind=b"application/json")
        else:
            await exchange.reply(status, {"error": str(problem)})
        return
    if flavour == "vllm" and problem.kind == "no_route":
        await exchange.reply(404, {"detail": "Not Found"})
        return
    if flavour == "llama":
        exchange.headers.append((b"connection", b"close"))
        if problem.kind == "bad_json":
            status, page["error"]["type"] = 500, "server_error"
        page["error"]["code"] = status
    await exchange.reply(status, page)


# --- models -------------------------------------------------------------------------------------------------


async def models(exchange: Exchange, engine: Engine) -> None:
    flavour = engine.options.flavour
    if flavour == "mlx":  # without a cache folder it lists nothing, and the body is empty
        await exchange.reply(200, b"", kind=b"application/json")
        return
    names = _served(engine)
    if flavour == "ollama":
        names = [name if ":" in name else f"{name}:latest" for name in names]
    page: dict[str, Any] = {"object": "list", "data": [_entry(engine, name) for name in names]}
    if flavour == "llama":
        page["models"] = [{"name": name, "model": name} for name in names]
    await exchange.reply(200, page)


async def model(exchange: Exchange, engine: Engine) -> None:
    (name,) = exchange.params
    await exchange.reply(200, _entry(engine, known(engine, name)))


def _served(engine: Engine) -> list[str]:
    return list(engine.models[:1] if engine.options.flavour == "llama" else engine.models)


def _entry(engine: Engine, name: str) -> dict[str, Any]:
    options = engine.options
    entry: dict[str, Any] = {"id": name, "object": "model", "created": CREATED, "owned_by": FINGERPRINT}
    if options.flavour == "llama":
        size = int(engine.memory.needs(name, 0) * 2**30)
        meta = {"n_ctx": options.context, "n_ctx_train": options.context, "n_embd": options.dimensions}
        return entry | {"owned_by": "llamacpp", "aliases": [name], "tags": [], "meta": meta | {"size": size}}
    if options.flavour in ("any", "vllm"):
        entry["max_model_len"] = options.context
    return entry


def _named(engine: Engine, data: dict[str, Any]) -> str:
    """The model that answers. llama-server answers for any name, mlx_lm.server for its default."""
    asked, flavour = data.get("model"), engine.options.flavour
    if flavour == "llama" and engine.models:
        return engine.models[0]
    if flavour == "mlx" and asked in (None, "default_model") and engine.models:
        return engine.models[0]
    return known(engine, asked)


# --- chat ---------------------------------------------------------------------------------------------------


async def chat(exchange: Exchange, engine: Engine) -> None:
    await serve(exchange, engine, *call_of(engine, await exchange.json()))


def call_of(engine: Engine, data: dict[str, Any]) -> tuple[Call, Chat]:
    """Raises Problem."""
    model, flavour = _named(engine, data), engine.options.flavour
    if embeds(model):
        raise Problem("invalid", f'"{model}" does not support chat')
    system, prompt, images = _messages(data.get("messages"))
    wanted = data.get("response_format") or {}
    schema = (wanted.get("json_schema") or {}).get("schema")
    if schema is None and wanted.get("type") == "json_object":
        schema = {"type": "object", "properties": {}}
    limit = data.get("max_tokens", data.get("max_completion_tokens"))
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise Problem("invalid", f"max_tokens must be an integer, not {limit!r}")
    if isinstance(data.get("temperature"), str):
        raise Problem("invalid", f"temperature must be a number, not {data['temperature']!r}")
    context = engine.options.context
    size = (len(system) + len(prompt)) // answers.PER_TOKEN
    if size > context and flavour not in ("mlx", "ollama"):  # these have no limit, or cut in silence
        raise Problem(
            "too_long",
            f"request ({size} tokens) exceeds the available context size ({context} tokens)",
        )
    if limit is None and flavour == "mlx":
        limit = MLX_TOKENS
    user = data.get("user")
    call = Call(
        model=model,
        system=system,
        prompt=prompt,
        schema=None if flavour == "mlx" else schema,
        max_tokens=limit if limit is not None and limit >= 0 else 1 << 30,
        context=context,
        caller=user if isinstance(user, str) else "",
        cuts=flavour == "ollama",
        extra_tokens=images * IMAGE_TOKENS,
    )
    usage = bool((data.get("stream_options") or {}).get("include_usage"))
    return call, Chat(flavour, bool(data.get("stream")), usage)


def _messages(messages: Any) -> tuple[str, str, int]:
    if not isinstance(messages, list) or not messages:
        raise Problem("invalid", "messages is required, each with a content")
    system: list[str] = []
    user: list[str] = []
    images = 0
    for message in messages:
        if not isinstance(message, dict):
            raise Problem("invalid", "messages is required, each an object with a content")
        text, pictures = text_of(message.get("content"))
        images += pictures
        (system if message.get("role") in ("system", "developer") else user).append(text)
    return "\n".join(system), "\n".join(user), images


class Chat:
    """One chat completion."""

    kind = b"text/event-stream"

    def __init__(self, flavour: str, stream: bool, usage: bool) -> None:
        self.stream = stream
        self.at_once = flavour in ("vllm", "mlx")
        self.alive = b": keepalive 1/1\n\n" if flavour == "mlx" else b""
        self._flavour = flavour
        self._usage = usage

    def whole(self, request: Request) -> object:
        outcome = request.outcome
        message: dict[str, Any] = {"role": "assistant", "content": outcome.text}
        if request.fault in REFUSALS:
            message = {"role": "assistant", "content": None, "refusal": REFUSAL}
        page = {
            "id": "chatcmpl-simulated",
            "object": "chat.completion",
            "created": CREATED,
            "model": outcome.model,
            "choices": [{"index": 0, "message": message, "finish_reason": outcome.finish}],
            "usage": _usage(request),
            "system_fingerprint": FINGERPRINT,
        }
        if self._flavour == "llama":
            page["timings"] = _timings(request)
        return page

    def opening(self, request: Request) -> bytes:
        delta: dict[str, Any] = {"role": "assistant", "content": None if self._flavour == "llama" else ""}
        if request.fault in REFUSALS:
            delta["refusal"] = REFUSAL
        return self._chunk(request, delta)

    def piece(self, request: Request, text: str) -> bytes:
        role = {"role": "assistant"} if self._flavour == "mlx" else {}
        return self._chunk(request, {**role, "content": text})

    def closing(self, request: Request) -> bytes:
        finish = request.outcome.finish
        if finish is None and self._flavour != "ollama":
            return b""
        # Ollama's /v1 ends a broken answer like this: no reason, no [DONE], no error.
        end = self._chunk(request, {} if finish else {"content": ""}, finish)
        if finish is None:
            return end
        if self._usage:
            page = self._page(request, [], _usage(request))
            if self._flavour == "mlx":
                page["object"] = "chat.completion"
            end += _event(page)
        return end + b"data: [DONE]\n\n"

    def broken(self, message: str) -> bytes:
        if self._flavour == "ollama":
            page = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}], "model": ""}
            return _event(page)
        return _event({"error": {"message": message, "type": "server_error", "code": 500}})

    def _chunk(self, request: Request, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event(self._page(request, [{"index": 0, "delta": delta, "finish_reason": finish}]))

    def _page(
        self, request: Request, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        page = {
            "id": "chatcmpl-simulated",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request.outcome.model,
            "choices": choices,
            "system_fingerprint": FINGERPRINT,
        }
        if usage is not None:
            page["usage"] = usage
            if self._flavour == "llama":
                page["timings"] = _timings(request)
        return page


def _event(page: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(page) + b"\n\n"


def _usage(request: Request) -> dict[str, Any]:
    outcome = request.outcome
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": outcome.cached_tokens},
    }


def _timings(request: Request) -> dict[str, Any]:
    outcome = request.outcome
    return {
        "cache_n": outcome.cached_tokens,
        "prompt_n": outcome.prompt_tokens - outcome.cached_tokens,
        "prompt_ms": round((request.read_at - request.started) * 1000, 3),
        "predicted_n": outcome.completion_tokens,
        "predicted_ms": round((request.engine.now() - request.read_at) * 1000, 3),
    }


# --- embeddings ---------------------------------------------------------------------------------------------


async def embeddings(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    model = _named(engine, data)
    wanted = data.get("input")
    texts = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise Problem("invalid", "input must be a text or a list of texts, none of them empty")
    if any(answers.tokens(text) > engine.options.context for text in texts):
        longest = max(answers.tokens(text) for text in texts)
        raise Problem(
            "too_long",
            f"input ({longest} tokens) is too large to process. increase the physical batch size",
            status=500 if engine.options.flavour == "llama" else 400,
        )
    size = data.get("dimensions") or engine.options.dimensions
    user = data.get("user")
    call = Call(model, "", "\n".join(texts), writes=False, caller=user if isinstance(user, str) else "")
    packed = data.get("encoding_format") == "base64"
    await serve_embeddings(exchange, engine, call, _Embeddings(texts, size, packed))


class _Embeddings(Chat):
    def __init__(self, texts: list[str], size: int, packed: bool) -> None:
        super().__init__("any", stream=False, usage=False)
        self._texts = texts
        self._size = size
        self._packed = packed

    def whole(self, request: Request) -> object:
        data = []
        for index, text in enumerate(self._texts):
            vector: Any = answers.embedding(text, self._size)
            if self._packed:
                vector = base64.b64encode(struct.pack(f"<{self._size}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        usage = {
            "prompt_tokens": request.outcome.prompt_tokens,
            "total_tokens": request.outcome.prompt_tokens,
        }
        return {
            "object": "list",
            "data": data,
            "model": request.outcome.model,
            "usage": usage,
            "system_fingerprint": FINGERPRINT,
        }
