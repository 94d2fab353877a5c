"""Ollama's native API as it was observed: blocks while a model loads, NDJSON, an error as a plain sentence."""

from __future__ import annotations

import re
from typing import Any

import orjson

from backends.simulator import answers
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.http import IMAGE_TOKENS, STAMP, Exchange, Problem
from backends.simulator.serve import REFUSAL, REFUSALS, embeds, known, serve, serve_embeddings

STATUS = {
    "auth": 401,
    "not_found": 404,
    "no_route": 404,
    "unsupported": 501,
    "rate_limited": 429,
    "overloaded": 503,
    "loading": 503,
    "internal": 500,
    "out_of_memory": 500,
}

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")


async def problem(exchange: Exchange, problem: Problem) -> None:
    if problem.kind == "no_route":
        await exchange.reply(404, b"404 page not found", kind=b"text/plain")
        return
    if problem.retry_after is not None:
        exchange.headers.append((b"retry-after", str(problem.retry_after).encode()))
    await exchange.reply(problem.status or STATUS.get(problem.kind, 400), {"error": str(problem)})


async def chat(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    model = known(engine, data.get("model"))
    messages = data.get("messages") or []
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise Problem("invalid", "messages must be a list of objects, each with a content that is text")
    system = "\n".join(m["content"] for m in messages if m.get("role") == "system")
    prompt = "\n".join(m["content"] for m in messages if m.get("role") != "system")
    images = sum(len(m.get("images") or ()) for m in messages)
    await _ask(exchange, engine, data, model, system, prompt, images, bool(messages), chat=True)


async def generate(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    model = known(engine, data.get("model"))
    prompt, system = data.get("prompt") or "", data.get("system") or ""
    if not isinstance(prompt, str) or not isinstance(system, str):
        raise Problem("invalid", "prompt and system must be text")
    images = len(data.get("images") or ())
    await _ask(exchange, engine, data, model, system, prompt, images, bool(prompt), chat=False)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("content"), str)


async def _ask(
    exchange: Exchange,
    engine: Engine,
    data: dict[str, Any],
    model: str,
    system: str,
    prompt: str,
    images: int,
    asks: bool,
    *,
    chat: bool,
) -> None:
    options = _options(data)
    keep_alive = _seconds(data.get("keep_alive"))
    context = options.get("num_ctx") or engine.options.context
    if not asks:
        await _load(exchange, engine, data["model"], model, context, keep_alive, chat=chat)
        return
    if embeds(model):
        raise Problem("invalid", f'"{model}" does not support {"chat" if chat else "generate"}')
    size = (len(system) + len(prompt)) // answers.PER_TOKEN
    if size > context and data.get("truncate") is False:
        raise Problem("too_long", _llama_says(size, context))
    call = Call(
        model=model,
        system=system,
        prompt=prompt,
        schema=_schema(data.get("format")),
        max_tokens=_limit(options.get("num_predict")),
        context=context,
        keep_alive=keep_alive,
        cuts=True,
        extra_tokens=images * IMAGE_TOKENS,
    )
    await serve(exchange, engine, call, _Answer(data["model"], data.get("stream") is not False, chat))


def _llama_says(size: int, context: int) -> str:
    inner = {
        "code": 400,
        "message": f"request ({size} tokens) exceeds the available context size ({context} tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": size,
        "n_ctx": context,
    }
    return orjson.dumps({"error": inner}).decode()


def _options(data: dict[str, Any]) -> dict[str, Any]:
    options = data.get("options") or {}
    if not isinstance(options, dict):
        raise Problem("invalid", "options must be an object")
    for name in ("num_ctx", "num_predict", "num_keep", "seed"):
        value = options.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Problem("internal", f'option "{name}" must be of type integer')
    if isinstance(options.get("temperature", 0), str):
        raise Problem("internal", 'option "temperature" must be of type float32')
    return options


def _limit(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 1 << 30


def _schema(wanted: Any) -> dict[str, Any] | None:
    if isinstance(wanted, dict):
        return wanted
    if wanted == "json":
        return {"type": "object", "properties": {}}
    if wanted:
        raise Problem("internal", f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema')
    return None


def _seconds(value: Any) -> float | None:
    """A keep_alive: a number of seconds, or a duration as Go writes it; negative is for ever."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value)
    bare = text.removeprefix("-")
    parts = _DURATION.findall(bare)
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise Problem("invalid", f'time: invalid duration "{text}"')
    seconds: float = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds


async def _load(
    exchange: Exchange,
    engine: Engine,
    asked: str,
    model: str,
    context: int,
    keep_alive: float | None,
    *,
    chat: bool,
) -> None:
    unload = keep_alive == 0
    page: dict[str, Any] = {"model": asked, "created_at": STAMP, "done": True, "simulated": True}
    page |= {"message": {"role": "assistant", "content": ""}} if chat else {"response": ""}

    async def run() -> None:
        await engine.load(model, context, keep_alive)

    if unload:
        engine.memory.let_go(model)
    elif engine.memory.ready(model, context):
        await run()
    else:
        await exchange.unless_gone(run())
    await exchange.reply(200, page | {"done_reason": "unload" if unload else "load"})


class _Answer:
    kind = b"application/x-ndjson"
    at_once = False
    alive = b""

    def __init__(self, asked: str, stream: bool, chat: bool) -> None:
        self._asked = asked
        self.stream = stream
        self._chat = chat

    def whole(self, request: Request) -> object:
        text = REFUSAL if request.fault in REFUSALS else request.outcome.text
        return self._line(self._name(request), text) | self._end(request)

    def opening(self, request: Request) -> bytes:
        return self._chunk(self._name(request), REFUSAL) if request.fault in REFUSALS else b""

    def piece(self, request: Request, text: str) -> bytes:
        return self._chunk(self._name(request), text)

    def closing(self, request: Request) -> bytes:
        end = self._end(request)
        if not end["done"]:
            return b""  # the connection ends as if all were well
        return orjson.dumps(self._line(self._name(request), "") | end) + b"\n"

    def broken(self, message: str) -> bytes:
        return orjson.dumps({"error": message}) + b"\n"

    def _name(self, request: Request) -> str:
        said = request.outcome.model
        return self._asked if said == request.call.model else said

    def _chunk(self, name: str, text: str) -> bytes:
        return orjson.dumps(self._line(name, text)) + b"\n"

    def _line(self, name: str, text: str) -> dict[str, Any]:
        line: dict[str, Any] = {"model": name, "created_at": STAMP, "done": False, "simulated": True}
        if self._chat:
            line["message"] = {"role": "assistant", "content": text}
        else:
            line["response"] = text
        return line

    def _end(self, request: Request) -> dict[str, Any]:
        outcome, now = request.outcome, request.engine.now()
        end = {
            "done": outcome.finish is not None,
            "done_reason": outcome.finish,
            "total_duration": int((now - request.arrived) * 1e9),
            "load_duration": int(request.load_seconds * 1e9),
            "prompt_eval_count": outcome.prompt_tokens,  # those from the cache too
            "prompt_eval_duration": int((request.read_at - request.started) * 1e9),
            "eval_count": outcome.completion_tokens,
            "eval_duration": int((now - request.read_at) * 1e9),
        }
        return end if self._chat else end | {"context": []}


# --- embeddings ---------------------------------------------------------------------------------------------


async def embed(exchange: Exchange, engine: Engine) -> None:
    data = await exchange.json()
    model = known(engine, data.get("model"), 'model "{}" not found, try pulling it first')
    wanted = data.get("input", data.get("prompt"))
    texts = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Problem("invalid", "input must be text or a list of texts")
    texts = [text for text in texts if text]  # "" gives no embedding at all
    context = _options(data).get("num_ctx") or engine.options.context
    if data.get("truncate") is False and any(answers.tokens(text) > context for text in texts):
        raise Problem("invalid", "the input length exceeds the context length")
    call = Call(
        model,
        "",
        "\n".join(texts),
        context=context,
        keep_alive=_seconds(data.get("keep_alive")),
        writes=False,
    )
    old = exchange.path == "/api/embeddings"
    await serve_embeddings(exchange, engine, call, _Embeddings(data["model"], texts, old))


class _Embeddings(_Answer):
    def __init__(self, asked: str, texts: list[str], old: bool) -> None:
        super().__init__(asked, stream=False, chat=False)
        self._texts = texts
        self._old = old

    def whole(self, request: Request) -> object:
        size = request.engine.options.dimensions
        vectors = [answers.embedding(text, size) for text in self._texts]
        if self._old:
            return {"embedding": vectors[0] if vectors else [], "simulated": True}
        return {
            "model": self._name(request),
            "embeddings": vectors,
            "total_duration": int((request.engine.now() - request.arrived) * 1e9),
            "load_duration": int(request.load_seconds * 1e9),
            "prompt_eval_count": request.outcome.prompt_tokens,
            "simulated": True,
        }
