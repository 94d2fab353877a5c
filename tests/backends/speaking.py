"""How a bare client speaks each of the simulator's protocols, so that one test can ask all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

PROMPT = "When does it start?\n\n[[d.md:1]]\nThe nightly backup starts at 02:30 UTC and is kept.\n"


@dataclass
class Heard:
    """What a reply said, whatever the protocol."""

    status: int
    text: str = ""
    finish: str | None = None  # the protocol's own word
    tokens_in: int = 0
    cached: int = 0
    tokens_out: int = 0
    model: str = ""
    error: str = ""
    events: list[Any] = field(default_factory=list)
    pieces: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)


@dataclass(frozen=True, eq=False)
class Speaks:
    name: str
    path: Callable[[str, bool], str]
    body: Callable[..., dict[str, Any]]
    whole: Callable[[Any, Heard], None]
    event: Callable[[Any, Heard], None]
    headers: dict[str, str] = field(default_factory=dict)
    ends: str = "stop"

    def request(self, client: httpx.AsyncClient, *, stream: bool, **asked: Any) -> httpx.Request:
        values: dict[str, Any] = {
            "model": "sim:small",
            "system": "",
            "prompt": PROMPT,
            "limit": 500,
            "schema": None,
        }
        values |= asked
        body = self.body(values, stream)
        return client.build_request(
            "POST", self.path(values["model"], stream), json=body, headers=self.headers, timeout=20
        )

    async def ask(self, client: httpx.AsyncClient, *, stream: bool = False, **asked: Any) -> Heard:
        reply = await client.send(self.request(client, stream=stream, **asked))
        return self.hear(reply.status_code, reply.content, reply.headers, stream)

    def hear(self, status: int, content: bytes, headers: httpx.Headers, stream: bool) -> Heard:
        heard = Heard(status, headers=headers)
        if status != 200:
            heard.error = content.decode()
        elif not stream:
            self.whole(orjson.loads(content), heard)
        else:
            for page in events(content, headers["content-type"]):
                heard.events.append(page)
                self.event(page, heard)
        return heard


def events(content: bytes, kind: str) -> list[Any]:
    """The pages of an NDJSON or SSE stream; the name of an SSE event must be the type of its data."""
    if kind.startswith("application/x-ndjson"):
        return [orjson.loads(line) for line in content.splitlines()]
    assert kind.startswith("text/event-stream")
    pages: list[Any] = []
    for block in content.decode().replace("\r\n", "\n").split("\n\n"):
        named = ""
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            if name == "event":
                named = value
            if name == "data":
                pages.append(value if value == "[DONE]" else orjson.loads(value))
                assert not named or pages[-1]["type"] == named
    return pages


# --- Ollama -------------------------------------------------------------------------------------------------


def _ollama_body(asked: dict[str, Any], stream: bool) -> dict[str, Any]:
    messages = [{"role": "system", "content": asked["system"]}] if asked["system"] else []
    return {
        "model": asked["model"],
        "messages": [*messages, {"role": "user", "content": asked["prompt"]}],
        "stream": stream,
        "format": asked["schema"],
        "options": {"num_predict": asked["limit"]},
    }


def _ollama_end(page: dict[str, Any], heard: Heard) -> None:
    assert page["simulated"] is True
    heard.model = page["model"]
    heard.text += page["message"]["content"]
    if page["done"]:
        heard.finish = page["done_reason"]
        heard.tokens_in, heard.tokens_out = page["prompt_eval_count"], page["eval_count"]


def _ollama_event(page: dict[str, Any], heard: Heard) -> None:
    if "error" in page:
        heard.error = page["error"]
        return
    heard.pieces += bool(page["message"]["content"])
    _ollama_end(page, heard)


# --- OpenAI -------------------------------------------------------------------------------------------------


def _openai_body(asked: dict[str, Any], stream: bool) -> dict[str, Any]:
    body = _ollama_body(asked, stream)
    body = {"model": body["model"], "messages": body["messages"], "stream": stream}
    body |= {"max_tokens": asked["limit"], "stream_options": {"include_usage": True} if stream else None}
    if asked["schema"]:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": asked["schema"]}}
    return body


def _openai_usage(page: dict[str, Any], heard: Heard) -> None:
    usage = page["usage"]
    heard.tokens_in, heard.tokens_out = usage["prompt_tokens"], usage["completion_tokens"]
    heard.cached = usage["prompt_tokens_details"]["cached_tokens"]


def _openai_whole(page: dict[str, Any], heard: Heard) -> None:
    assert page["system_fingerprint"] == "penstock-simulator"
    (choice,) = page["choices"]
    heard.model, heard.finish = page["model"], choice["finish_reason"]
    heard.text = choice["message"]["content"] or ""
    heard.error = choice["message"].get("refusal") or ""
    _openai_usage(page, heard)


def _openai_event(page: Any, heard: Heard) -> None:
    if page == "[DONE]":
        return
    if "error" in page:
        heard.error = page["error"]["message"]
        return
    heard.model = page["model"]
    if not page["choices"]:
        _openai_usage(page, heard)
        return
    (choice,) = page["choices"]
    heard.text += choice["delta"].get("content") or ""
    heard.pieces += bool(choice["delta"].get("content"))
    heard.error += choice["delta"].get("refusal") or ""
    heard.finish = choice["finish_reason"] or heard.finish


# --- Anthropic ----------------------------------------------------------------------------------------------


def _anthropic_body(asked: dict[str, Any], stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": asked["model"],
        "max_tokens": asked["limit"],
        "messages": [{"role": "user", "content": asked["prompt"]}],
        "stream": stream,
    }
    if asked["system"]:
        block = {"type": "text", "text": asked["system"], "cache_control": {"type": "ephemeral"}}
        body["system"] = [block]
    if asked["schema"]:
        body["output_config"] = {"format": {"type": "json_schema", "schema": asked["schema"]}}
    return body


def _anthropic_usage(usage: dict[str, Any], heard: Heard) -> None:
    heard.cached = usage["cache_read_input_tokens"]
    heard.tokens_in = usage["input_tokens"] + usage["cache_creation_input_tokens"] + heard.cached
    heard.tokens_out = usage["output_tokens"]


def _anthropic_whole(page: dict[str, Any], heard: Heard) -> None:
    assert page["type"] == "message"
    heard.model, heard.finish = page["model"], page["stop_reason"]
    heard.text = "".join(block["text"] for block in page["content"])
    _anthropic_usage(page["usage"], heard)


def _anthropic_event(page: dict[str, Any], heard: Heard) -> None:
    match page["type"]:
        case "message_start":
            heard.model = page["message"]["model"]
            _anthropic_usage(page["message"]["usage"], heard)
        case "content_block_delta":
            heard.text += page["delta"]["text"]
            heard.pieces += 1
        case "message_delta":
            heard.finish = page["delta"]["stop_reason"]
            heard.tokens_out = page["usage"]["output_tokens"]
        case "error":
            heard.error = page["error"]["message"]


# --- Gemini -------------------------------------------------------------------------------------------------


def _gemini_body(asked: dict[str, Any], stream: bool) -> dict[str, Any]:
    config: dict[str, Any] = {"maxOutputTokens": asked["limit"]}
    if asked["schema"]:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": asked["schema"]}
    body = {
        "contents": [{"role": "user", "parts": [{"text": asked["prompt"]}]}],
        "generationConfig": config,
    }
    if asked["system"]:
        body["systemInstruction"] = {"parts": [{"text": asked["system"]}]}
    return body


def _gemini_event(page: dict[str, Any], heard: Heard) -> None:
    if "error" in page:
        heard.error = page["error"]["message"]
        return
    heard.model = page["modelVersion"]
    usage = page["usageMetadata"]
    heard.tokens_in, heard.tokens_out = usage["promptTokenCount"], usage["candidatesTokenCount"]
    heard.cached = usage.get("cachedContentTokenCount", 0)
    for candidate in page.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            heard.text += part.get("text", "")
            heard.pieces += bool(part.get("text"))
        heard.finish = candidate.get("finishReason", heard.finish)
    heard.error = page.get("promptFeedback", {}).get("blockReason", "")


OLLAMA = Speaks("ollama", lambda model, stream: "/api/chat", _ollama_body, _ollama_end, _ollama_event)
OPENAI = Speaks(
    "openai", lambda model, stream: "/v1/chat/completions", _openai_body, _openai_whole, _openai_event
)
ANTHROPIC = Speaks(
    "anthropic",
    lambda model, stream: "/v1/messages",
    _anthropic_body,
    _anthropic_whole,
    _anthropic_event,
    {"anthropic-version": "2023-06-01"},
    "end_turn",
)
GEMINI = Speaks(
    "gemini",
    lambda model, stream: (
        f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
    ),
    _gemini_body,
    _gemini_event,
    _gemini_event,
    {},
    "STOP",
)
ALL = (OLLAMA, OPENAI, ANTHROPIC, GEMINI)
