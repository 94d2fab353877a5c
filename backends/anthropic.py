"""Anthropic's Messages API: `POST {url}/v1/messages`, streamed.

Success is: status 200, a `stop_reason` of `end_turn` or `stop_sequence`, the model that was asked for, and some text.
A refusal is a `stop_reason`, an overload is status 529, or an `error` event after a 200 (docs/protocols.md).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from backends import replies
from backends.anthropic_batches import AnthropicBatches
from backends.failures import Words
from backends.served import Heard, Served, dict_or_nothing, dicts, text_or_nothing
from models.calls import ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import Endpoint
from models.enums import ErrorType

_DATED = re.compile(r"-(?:latest|0|20\d{6})$")


class AnthropicBackend(Served):
    """Anthropic's API, or a server that speaks it (llama-server and Ollama do)."""

    KEY_HEADER: ClassVar[str] = "x-api-key"
    HEADERS: ClassVar[Mapping[str, str]] = {"anthropic-version": "2023-06-01"}
    FINISHED: ClassVar[frozenset[str]] = frozenset({"end_turn", "stop_sequence"})
    CUT: ClassVar[frozenset[str]] = frozenset({"max_tokens"})
    OPTIONAL: ClassVar[tuple[str, ...]] = ("outputconfig", "temperature")  # older models, newer ones
    WORDS: ClassVar[Words] = {
        "authentication_error": ErrorType.AUTH,
        "permission_error": ErrorType.AUTH,
        "billing_error": ErrorType.AUTH,
        "rate_limit_error": ErrorType.RATE_LIMITED,
        "overloaded_error": ErrorType.OVERLOADED,
        "timeout_error": ErrorType.TIMEOUT,
        "not_found_error": ErrorType.MODEL_MISSING,
        "request_too_large": ErrorType.CONTEXT_TOO_LONG,
        "invalid_request_error": ErrorType.MALFORMED,
        "api_error": ErrorType.SERVER_ERROR,
    }

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.batches = AnthropicBatches(self, self._http)

    def _path(self, request: ModelRequest) -> str:
        return "/v1/messages"

    def _payload(self, request: ModelRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens,
            "stream": True,
            "messages": [{"role": "user", "content": _content(request)}],
        }
        if request.system:
            # The same for every item of a recipe: marked, it is read once and then from the cache.
            block = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
            payload["system"] = [block]
        if "temperature" not in self._without:
            payload["temperature"] = request.temperature
        if request.schema is not None and "outputconfig" not in self._without:
            payload["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
        return payload

    def _page(self, page: dict[str, Any], heard: Heard) -> bool:
        match page.get("type"):
            case "message":
                self._begin(page, heard)
                for block in dicts(page.get("content")):
                    self._add(block, heard)
                self._end(page, heard)
                return True
            case "message_start":
                self._begin(dict_or_nothing(page.get("message")), heard)
                return False
            case "content_block_start":
                return self._add(dict_or_nothing(page.get("content_block")), heard)
            case "content_block_delta":
                return self._add(dict_or_nothing(page.get("delta")), heard)
            case "message_delta":
                self._end(dict_or_nothing(page.get("delta")), heard)
                self._usage(page.get("usage"), heard)
                return True
            case "message_stop":
                heard.done = True
                return False
            case "ping" | "content_block_stop":
                return False
            case _ if heard.understood:
                return False  # the API may add kinds of events
            case _:
                raise ModelCallError(ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a message.")

    def _begin(self, message: dict[str, Any], heard: Heard) -> None:
        heard.understood = True
        heard.model = text_or_nothing(message.get("model"))
        self._usage(message.get("usage"), heard)

    def _add(self, block: dict[str, Any], heard: Heard) -> bool:
        text = text_or_nothing(block.get("text"))
        thought = bool(text_or_nothing(block.get("thinking")))
        if text:
            heard.text.append(text)
        heard.thought |= thought
        return bool(text) or thought

    def _end(self, said: dict[str, Any], heard: Heard) -> None:
        reason = text_or_nothing(said.get("stop_reason"))
        if reason:
            heard.finish = reason
        if reason == "refusal":
            details = dict_or_nothing(said.get("stop_details"))
            why = text_or_nothing(details.get("explanation")) or "".join(heard.text).strip()
            heard.refusal = why or "its stop reason is refusal"
        if reason == "model_context_window_exceeded":
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"{self.url} stopped: prompt and answer do not fit its context window.",
            )

    def _usage(self, usage: Any, heard: Heard) -> None:
        """Later counts are totals and replace earlier ones. Of the prompt a part may come from the cache."""
        usage = dict_or_nothing(usage)
        written = replies.count(usage.get("output_tokens"))
        if written is not None:
            heard.completion_tokens = written
        fresh = replies.count(usage.get("input_tokens"))
        if fresh is not None:
            made = replies.count(usage.get("cache_creation_input_tokens")) or 0
            found = replies.count(usage.get("cache_read_input_tokens"))
            heard.prompt_tokens = fresh + made + (found or 0)
            heard.cached_tokens = found

    def _same(self, asked: str, returned: str) -> bool:
        """An alias (`-latest`, `-0`, or no date) is answered by the name of a dated snapshot."""
        alias, snapshot = _DATED.sub("", asked), _DATED.sub("", returned)
        return replies.same_model(asked, returned) or (alias == snapshot and not asked[-8:].isdigit())

    async def probe(self, deadline: float) -> Probe:
        try:
            reply = await self._http.get("/v1/models?limit=1000", deadline)
        except ModelCallError as error:
            return Probe.failed(error)
        if reply.status != 200:
            return Probe.failed(self._http.failure(reply, "/v1/models"))
        try:
            data = reply.json()
        except ValueError:
            data = None
        if not isinstance(data, dict) or not isinstance(data.get("data"), list):
            return Probe(
                reachable=False, detail=f"{self.url}/v1/models answers, but not as Anthropic's API does"
            )
        models = tuple(
            ModelInfo(name=entry["id"]) for entry in dicts(data["data"]) if isinstance(entry.get("id"), str)
        )
        plural = "model" if len(models) == 1 else "models"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}",
            models=models,
            simulated=reply.simulated,
        )


def _content(request: ModelRequest) -> Any:
    if not request.images:
        return request.prompt
    pictures: list[Mapping[str, Any]] = [
        {
            "type": "image",
            "source": {
                "type": "base64",
                "media_type": image.media_type,
                "data": base64.b64encode(image.data).decode(),
            },
        }
        for image in request.images
    ]
    return [*pictures, {"type": "text", "text": request.prompt}]
