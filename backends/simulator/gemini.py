"""Gemini's API, v1 and v1beta: generateContent, its stream, countTokens, embeddings and models."""

from __future__ import annotations

from typing import Any

import orjson

from backends.simulator import answers
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.http import IMAGE_TOKENS, Exchange, Problem, text_of
from backends.simulator.serve import BROKEN, known, serve, serve_embeddings

KINDS: dict[str, tuple[int, str]] = {
    "auth": (400, "INVALID_ARGUMENT"),
    "not_found": (404, "NOT_FOUND"),
    "no_route": (404, "NOT_FOUND"),
    "unsupported": (501, "UNIMPLEMENTED"),
    "rate_limited": (429, "RESOURCE_EXHAUSTED"),
    "overloaded": (503, "UNAVAILABLE"),
    "loading": (503, "UNAVAILABLE"),
    "internal": (500, "INTERNAL"),
    "out_of_memory": (500, "INTERNAL"),
}
_OTHER = (400, "INVALID_ARGUMENT")
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""One pixel: what this model draws."""


def error_page(problem: Problem) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    status, word = KINDS.get(problem.kind, _OTHER)
    status = problem.status or status
    error: dict[str, Any] = {"code": status, "message": str(problem), "status": word}
    if problem.kind == "rate_limited":
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{problem.retry_after or 0}s",
            }
        ]
    return status, {"error": error}


async def problem(exchange: Exchange, problem: Problem) -> None:
    if problem.retry_after is not None and problem.kind != "rate_limited":  # there it stands in the body
        exchange.headers.append((b"retry-after", str(problem.retry_after).encode()))
    status, page = error_page(problem)
    # Streams that are no SSE are lists, and so are their errors.
    listed = exchange.path.endswith(":streamGenerateContent") and exchange.query().get("alt") != "sse"
    await exchange.reply(status, [page] if listed else page)


# --- generate -----------------------------------------------------------------------------------------------


async def generate(exchange: Exchange, engine: Engine) -> None:
    call, image = call_of(engine, exchange.params[0], await exchange.json())
    await serve(exchange, engine, call, Content(stream=False, sse=False, image=image))


async def stream(exchange: Exchange, engine: Engine) -> None:
    call, image = call_of(engine, exchange.params[0], await exchange.json())
    sse = exchange.query().get("alt") == "sse"
    await serve(exchange, engine, call, Content(stream=True, sse=sse, image=image))


def call_of(engine: Engine, model: str, data: dict[str, Any]) -> tuple[Call, bool]:
    """The call, and whether an image is wanted. Raises Problem."""
    model = named(engine, model)
    system, prompt, images = _texts(data)
    config = data.get("generationConfig") or data.get("generation_config") or {}
    size = answers.tokens(system) + answers.tokens(prompt) + images * IMAGE_TOKENS
    if size > engine.options.context:
        raise Problem(
            "too_long",
            f"The input token count ({size}) exceeds the maximum number of tokens allowed"
            f" ({engine.options.context}).",
        )
    limit = config.get("maxOutputTokens")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise Problem("invalid", f"maxOutputTokens must be a positive integer, not {limit!r}")
    labels = data.get("labels")
    caller = labels.get("caller") if isinstance(labels, dict) else None
    call = Call(
        model=model,
        system=system,
        prompt=prompt,
        schema=_schema(config),
        max_tokens=limit or 1 << 30,
        caller=caller if isinstance(caller, str) else "",
        extra_tokens=images * IMAGE_TOKENS,
    )
    return call, "IMAGE" in [str(wanted).upper() for wanted in config.get("responseModalities") or ()]


def named(engine: Engine, model: str) -> str:
    missing = "models/{} is not found for API version v1, or is not supported for generateContent."
    return known(engine, model.removeprefix("models/"), missing)


def _texts(data: dict[str, Any]) -> tuple[str, str, int]:
    contents = data.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Problem("invalid", "* GenerateContentRequest.contents: contents is not specified")
    parts, images = [], 0
    for content in contents:
        if not isinstance(content, dict):
            raise Problem("invalid", "contents must be a list of objects with parts")
        text, pictures = text_of(content.get("parts"), "parts")
        parts.append(text)
        images += pictures
    system = data.get("systemInstruction") or data.get("system_instruction") or {"parts": []}
    return text_of(system.get("parts"), "parts")[0], "\n".join(parts), images


def _schema(config: dict[str, Any]) -> dict[str, Any] | None:
    if isinstance(schema := config.get("responseJsonSchema"), dict):
        return schema
    if isinstance(schema := config.get("responseSchema"), dict):
        lowered: dict[str, Any] = _lower(schema)
        return lowered
    if config.get("responseMimeType") == "application/json":
        return {"type": "object", "properties": {}}
    return None


def _lower(schema: Any) -> Any:
    """OpenAPI's types as Gemini writes them, OBJECT and STRING, are those of JSON Schema in capitals."""
    if isinstance(schema, list):
        return [_lower(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower(value)
        for name, value in schema.items()
    }


class Content:
    """One answer. The stream is SSE, or a JSON list that grows."""

    at_once = False
    alive = b""

    def __init__(self, *, stream: bool, sse: bool, image: bool) -> None:
        self.stream = stream
        self.kind = b"text/event-stream" if sse else b"application/json"
        self._sse = sse
        self._image = image
        self._sent = False

    def whole(self, request: Request) -> dict[str, Any]:
        if request.fault == "blocked":
            return self._page(request, None) | {"promptFeedback": {"blockReason": "SAFETY"}}
        finish = self._finish(request)
        candidate: dict[str, Any] = {"index": 0}
        if request.fault not in ("refusal", "no_image"):
            candidate["content"] = {"role": "model", "parts": self._parts(request.outcome.text)}
        if finish:
            candidate["finishReason"] = finish
        return self._page(request, candidate)

    def opening(self, request: Request) -> bytes:
        if request.fault == "blocked":
            return self._chunk(self.whole(request))
        return b""

    def piece(self, request: Request, text: str) -> bytes:
        content = {"role": "model", "parts": [{"text": text}]}
        return self._chunk(self._page(request, {"index": 0, "content": content}))

    def closing(self, request: Request) -> bytes:
        end = b"" if self._sse else b"]" if self._sent else b"[]"
        finish = self._finish(request)
        if request.fault == "blocked" or finish is None:
            return end
        candidate: dict[str, Any] = {"index": 0, "finishReason": finish}
        if request.fault not in ("refusal", "no_image"):
            parts = self._parts("") if self._image else [{"text": ""}]
            candidate["content"] = {"role": "model", "parts": parts}
        return self._chunk(self._page(request, candidate)) + (b"" if self._sse else b"]")

    def broken(self, message: str) -> bytes:
        page = error_page(Problem("internal", BROKEN))[1]
        return self._chunk(page) + (b"" if self._sse else b"]")

    def _parts(self, text: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"text": text}] if text or not self._image else []
        if self._image:
            parts.append({"inlineData": {"mimeType": "image/png", "data": PNG}})
        return parts

    def _finish(self, request: Request) -> str | None:
        if request.fault == "refusal":
            return "SAFETY"
        if request.fault == "no_image":
            return "NO_IMAGE"
        return _FINISH.get(request.outcome.finish or "")

    def _page(self, request: Request, candidate: dict[str, Any] | None) -> dict[str, Any]:
        outcome = request.outcome
        usage = {
            "promptTokenCount": outcome.prompt_tokens,
            "candidatesTokenCount": outcome.completion_tokens,
            "totalTokenCount": outcome.prompt_tokens + outcome.completion_tokens,
        }
        if outcome.cached_tokens:
            usage["cachedContentTokenCount"] = outcome.cached_tokens
        page: dict[str, Any] = {} if candidate is None else {"candidates": [candidate]}
        return page | {"usageMetadata": usage, "modelVersion": outcome.model, "responseId": "simulated"}

    def _chunk(self, page: dict[str, Any]) -> bytes:
        if self._sse:
            return b"data: " + orjson.dumps(page) + b"\r\n\r\n"
        opened, self._sent = self._sent, True
        return (b",\r\n" if opened else b"[") + orjson.dumps(page)


# --- the rest -----------------------------------------------------------------------------------------------


async def count_tokens(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    named(engine, exchange.params[0])
    system, prompt, images = _texts(data.get("generateContentRequest") or data)
    size = answers.tokens(system) + answers.tokens(prompt) + images * IMAGE_TOKENS
    await exchange.reply(200, {"totalTokens": size})


async def embed(exchange: Exchange, engine: Engine) -> None:
    """embedContent and batchEmbedContents."""
    data = await exchange.json()
    many = exchange.path.endswith(":batchEmbedContents")
    requests = data.get("requests") if many else [data]
    if not isinstance(requests, list) or not requests:
        raise Problem("invalid", "requests is not specified")
    texts, size = [], engine.options.dimensions
    for each in requests:
        content = each.get("content") if isinstance(each, dict) else None
        if not isinstance(content, dict):
            raise Problem("invalid", "content is not specified")
        texts.append(text_of(content.get("parts"), "parts")[0])
        size = each.get("outputDimensionality") or size
    call = Call(named(engine, exchange.params[0]), "", "\n".join(texts), writes=False)
    await serve_embeddings(exchange, engine, call, _Embeddings(texts, size, many))


class _Embeddings(Content):
    def __init__(self, texts: list[str], size: int, many: bool) -> None:
        super().__init__(stream=False, sse=False, image=False)
        self._texts = texts
        self._size = size
        self._many = many

    def whole(self, request: Request) -> dict[str, Any]:
        vectors = [{"values": answers.embedding(text, self._size)} for text in self._texts]
        return {"embeddings": vectors} if self._many else {"embedding": vectors[0]}


async def models(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, {"models": [_entry(engine, name) for name in engine.models]})


async def model(exchange: Exchange, engine: Engine) -> None:
    await exchange.reply(200, _entry(engine, named(engine, exchange.params[0])))


def _entry(engine: Engine, name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "simulated",
        "displayName": f"Simulated {name}",
        "inputTokenLimit": engine.options.context,
        "outputTokenLimit": engine.options.context,
        "supportedGenerationMethods": ["generateContent", "countTokens", "batchGenerateContent"],
    }
