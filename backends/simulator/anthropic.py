"""Anthropic's Messages API: whole answers, streaming events, token counts and models."""

from __future__ import annotations

from itertools import count
from typing import Any

import orjson

from backends.simulator import answers
from backends.simulator.engine import Call, Engine, Request
from backends.simulator.http import IMAGE_TOKENS, STAMP, Exchange, Problem, text_of
from backends.simulator.serve import REFUSAL, REFUSALS, known, serve

KINDS: dict[str, tuple[int, str]] = {
    "auth": (401, "authentication_error"),
    "not_found": (404, "not_found_error"),
    "no_route": (404, "not_found_error"),
    "unsupported": (501, "api_error"),
    "rate_limited": (429, "rate_limit_error"),
    "overloaded": (529, "overloaded_error"),
    "loading": (529, "overloaded_error"),
    "internal": (500, "api_error"),
    "out_of_memory": (500, "api_error"),
}
_OTHER = (400, "invalid_request_error")
_STOP = {"stop": "end_turn", "length": "max_tokens", None: None}
_numbers = count(1)


def error_page(problem: Problem, request_id: str | None = None) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    status, kind = KINDS.get(problem.kind, _OTHER)
    message = "Not Found" if problem.kind == "no_route" else str(problem)
    if problem.kind == "not_found":
        message = f"model: {message}"
    page: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
    return problem.status or status, page | {"request_id": request_id} if request_id else page


async def problem(exchange: Exchange, problem: Problem) -> None:
    if problem.retry_after is not None:
        exchange.headers.append((b"retry-after", str(problem.retry_after).encode()))
    await exchange.reply(*error_page(problem, _identified(exchange)))


def _identified(exchange: Exchange) -> str:
    """Every reply has an id, errors too."""
    for name, value in exchange.headers:
        if name == b"request-id":
            return value.decode()
    made = f"req_simulated{next(_numbers):08}"
    exchange.headers.append((b"request-id", made.encode()))
    return made


async def messages(exchange: Exchange, engine: Engine) -> None:
    _identified(exchange)
    data = await exchange.json()
    if not exchange.header(b"anthropic-version"):
        raise Problem("invalid", "anthropic-version: header is required")
    call, tool = call_of(engine, data)
    await serve(exchange, engine, call, Message(bool(data.get("stream")), tool))


def call_of(engine: Engine, data: dict[str, Any]) -> tuple[Call, str]:
    """The call, and the name of the tool that the model was told to use. Raises Problem."""
    limit = data.get("max_tokens")
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise Problem("invalid", "max_tokens: Field required")
    if limit < 1:
        raise Problem("invalid", "max_tokens: Input should be greater than or equal to 1")
    model = known(engine, data.get("model"), "{}")
    system, prompt, images = _texts(data)
    size = answers.tokens(system) + answers.tokens(prompt) + images * IMAGE_TOKENS
    if size > engine.options.context:
        raise Problem("invalid", f"prompt is too long: {size} tokens > {engine.options.context} maximum")
    schema, tool = _schema(data)
    user = (data.get("metadata") or {}).get("user_id")
    call = Call(
        model=model,
        system=system,
        prompt=prompt,
        schema=schema,
        max_tokens=limit,
        caller=user if isinstance(user, str) else "",
        cached="cache_control" in orjson.dumps(data).decode(),  # only where it was asked for
        extra_tokens=images * IMAGE_TOKENS,
    )
    return call, tool


def _texts(data: dict[str, Any]) -> tuple[str, str, int]:
    turns = data.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Problem("invalid", "messages: at least one message is required")
    parts, images = [], 0
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant", "system"):
            raise Problem("invalid", f"messages.{number}.role: Input should be 'user' or 'assistant'")
        text, pictures = text_of(turn.get("content"), f"messages.{number}.content")
        parts.append(text)
        images += pictures
    system = data.get("system") or ""
    return text_of(system, "system")[0], "\n".join(parts), images


def _schema(data: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    wanted = (data.get("output_config") or {}).get("format") or data.get("output_format") or {}
    if wanted.get("type") == "json_schema":
        return wanted.get("schema"), ""
    choice = data.get("tool_choice") or {}
    for tool in data.get("tools") or []:
        if choice.get("type") == "any" or (
            choice.get("type") == "tool" and choice.get("name") == tool["name"]
        ):
            return tool.get("input_schema"), tool["name"]
    return None, ""


class Message:
    """One answer."""

    kind = b"text/event-stream; charset=utf-8"
    at_once = False
    alive = b""

    def __init__(self, stream: bool, tool: str) -> None:
        self.stream = stream
        self._tool = tool

    def whole(self, request: Request) -> dict[str, Any]:
        text = REFUSAL if request.fault in REFUSALS else request.outcome.text
        content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        if self._tool and text and request.fault not in REFUSALS:
            content = [{**self._block(), "input": _object(text)}]
        return self._message(request, content, self._reason(request), _usage(request))

    def opening(self, request: Request) -> bytes:
        usage = _usage(request) | {"output_tokens": 1}
        start = {"type": "message_start", "message": self._message(request, [], None, usage)}
        events = _event(start)
        if request.outcome.text or request.fault in REFUSALS:
            block = {"type": "content_block_start", "index": 0, "content_block": self._block()}
            events += _event(block) + _event({"type": "ping"})
        if request.fault in REFUSALS:
            events += self.piece(request, REFUSAL)
        return events

    def piece(self, request: Request, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        if self._tool and request.fault not in REFUSALS:
            delta = {"type": "input_json_delta", "partial_json": text}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta})

    def closing(self, request: Request) -> bytes:
        reason = self._reason(request)
        if reason is None:
            return b""
        events = b""
        if request.outcome.text or request.fault in REFUSALS:
            events = _event({"type": "content_block_stop", "index": 0})
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {"output_tokens": request.outcome.completion_tokens}
        events += _event({"type": "message_delta", "delta": delta, "usage": usage})
        return events + _event({"type": "message_stop"})

    def broken(self, message: str) -> bytes:
        return _event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    def _block(self) -> dict[str, Any]:
        if self._tool:
            return {"type": "tool_use", "id": "toolu_simulated", "name": self._tool, "input": {}}
        return {"type": "text", "text": ""}

    def _reason(self, request: Request) -> str | None:
        if request.fault in REFUSALS:
            return "refusal"
        reason = _STOP[request.outcome.finish]
        return "tool_use" if self._tool and reason == "end_turn" else reason

    def _message(
        self, request: Request, content: list[dict[str, Any]], reason: str | None, usage: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": "msg_simulated",
            "type": "message",
            "role": "assistant",
            "model": request.outcome.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }


def _object(text: str) -> Any:
    """The tool's input; what the token limit cut off is an empty one."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}


def _usage(request: Request) -> dict[str, Any]:
    outcome, written = request.outcome, 0
    if request.call.cached:
        written = (outcome.prompt_tokens - outcome.cached_tokens) // 16 * 16
    return {
        "input_tokens": outcome.prompt_tokens - outcome.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": outcome.cached_tokens,
        "output_tokens": outcome.completion_tokens,
        "service_tier": "standard",
    }


def _event(page: dict[str, Any]) -> bytes:
    return f"event: {page['type']}\n".encode() + b"data: " + orjson.dumps(page) + b"\n\n"


async def count_tokens(exchange: Exchange, engine: Engine) -> None:
    _identified(exchange)
    data = await exchange.json()
    known(engine, data.get("model"), "{}")
    system, prompt, images = _texts(data)
    size = answers.tokens(system) + answers.tokens(prompt) + images * IMAGE_TOKENS
    await exchange.reply(200, {"input_tokens": size})


async def models(exchange: Exchange, engine: Engine) -> None:
    _identified(exchange)
    data = [_entry(name) for name in engine.models]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    await exchange.reply(200, {"data": data, "has_more": False, **ends})


async def model(exchange: Exchange, engine: Engine) -> None:
    _identified(exchange)
    (name,) = exchange.params
    await exchange.reply(200, _entry(known(engine, name, "{}")))


def _entry(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": f"Simulated {name}", "created_at": STAMP}
