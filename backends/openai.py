"""Any OpenAI-compatible server (vLLM, llama-server, LM Studio, LiteLLM, the cloud): `POST
{url}/chat/completions`.

Success is: status 200, a finish reason that says "finished", the model that was asked for, a
prompt count that fits what was sent, and some text. Everything else is a ModelCallError (docs/protocols.md). The end
of a stream is no success, nor is `[DONE]` alone: servers send both after an answer that broke off.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from backends import replies
from backends.failures import Words, error_text
from backends.openai_batches import OpenAIBatches
from backends.served import Heard, Served, dict_or_nothing, dicts, text_or_nothing
from backends.sleeping import SleepMode, Sleeps
from backends.transport import Reply
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import Endpoint
from models.enums import ErrorType

_FORMATS = ("json_schema", "json_object", "none")

DEFAULT_MODEL = "default_model"
"""What mlx_lm.server calls the model it was started with; it lists none when it has no cache folder."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """What this server was found to accept. Learnt from its 400s, kept for the life of the backend."""

    format: str = "json_schema"
    length_key: str = "max_tokens"
    temperature: bool = True
    usage: bool = True


class OpenAIBackend(Sleeps, Served):
    """One OpenAI-compatible endpoint."""

    FINISHED: ClassVar[frozenset[str]] = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
    CUT: ClassVar[frozenset[str]] = frozenset({"length", "max_tokens", "model_length"})
    WORDS: ClassVar[Words] = {
        "insufficient_quota": ErrorType.AUTH,  # 429, and waiting does not help: the account has no money
        "billing_hard_limit_reached": ErrorType.AUTH,
        "context_length_exceeded": ErrorType.CONTEXT_TOO_LONG,
        "exceed_context_size_error": ErrorType.CONTEXT_TOO_LONG,
        "model_not_found": ErrorType.MODEL_MISSING,
        "content_policy_violation": ErrorType.REFUSED,
        "content_filter": ErrorType.REFUSED,
        "rate_limit_exceeded": ErrorType.RATE_LIMITED,
        "rate_limit_error": ErrorType.RATE_LIMITED,
        "overloaded_error": ErrorType.OVERLOADED,
        "server_overloaded": ErrorType.OVERLOADED,
        "invalid_api_key": ErrorType.AUTH,
        "authentication_error": ErrorType.AUTH,
    }

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._dialect = _Dialect()
        self.batches = OpenAIBatches(self, self._http)
        self._aliases: set[tuple[str, str]] = set()  # (asked, returned) names found to be one model
        self._sleep = SleepMode(self._http, self.url)

    # --- asking ---------------------------------------------------------------------------------------------

    def _path(self, request: ModelRequest) -> str:
        return "/chat/completions"

    async def _ask(self, request: ModelRequest, deadline: float, heard: Heard) -> Reply:
        dialect = known = self._dialect
        while True:
            payload = self._payload_in(dialect, request)
            reply = await self._exchange(self._path(request), payload, deadline, heard)
            if reply.status == 200:
                if dialect is not known:
                    self._dialect = dialect  # remembered only once it worked
                return reply
            error = self._http.failure(reply, request.model)
            adapted = (
                self._adapted(dialect, request, reply) if error.error_type is ErrorType.MALFORMED else None
            )
            if adapted is None:
                raise error
            dialect = adapted

    def _payload(self, request: ModelRequest) -> dict[str, Any]:
        return self._payload_in(self._dialect, request)

    def _payload_in(self, dialect: _Dialect, request: ModelRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": request.model,
            dialect.length_key: request.max_tokens,  # absent means unlimited to llama-server
            "stream": True,
        }
        if dialect.usage:
            payload["stream_options"] = {"include_usage": True}
        if dialect.temperature:
            payload["temperature"] = request.temperature
        if request.schema is not None:
            if dialect.format == "json_schema":
                payload["response_format"] = {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
                }
            elif dialect.format == "json_object":
                payload["response_format"] = {"type": "json_object"}
        messages = [{"role": "system", "content": request.system}] if request.system else []
        payload["messages"] = [*messages, {"role": "user", "content": _content(request)}]
        return payload

    @staticmethod
    def _adapted(dialect: _Dialect, request: ModelRequest, reply: Reply) -> _Dialect | None:
        """The next dialect to try after a 400 or 422 that blames neither model nor length; None when none is
        left.
        """
        if reply.status not in (400, 422):
            return None
        said = error_text(reply.body).lower()
        if "max_completion_tokens" in said and dialect.length_key == "max_tokens":
            return replace(dialect, length_key="max_completion_tokens")
        if "stream_options" in said and dialect.usage:
            return replace(dialect, usage=False)
        if "temperature" in said and dialect.temperature:
            return replace(dialect, temperature=False)
        if request.schema is None or dialect.format == _FORMATS[-1]:
            return None
        return replace(dialect, format=_FORMATS[_FORMATS.index(dialect.format) + 1])

    # --- reading --------------------------------------------------------------------------------------------

    def _page(self, page: dict[str, Any], heard: Heard) -> bool:
        choices = page.get("choices")
        if not isinstance(choices, list):
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a choice that has a message."
            )
        heard.model = text_or_nothing(page.get("model")) or heard.model
        if isinstance(usage := page.get("usage"), dict):
            heard.prompt_tokens = replies.count(usage.get("prompt_tokens"))
            heard.completion_tokens = replies.count(usage.get("completion_tokens"))
            details = dict_or_nothing(usage.get("prompt_tokens_details"))
            heard.cached_tokens = replies.count(details.get("cached_tokens"))
        choice = choices[0] if choices else None
        if not isinstance(choice, dict):
            return False
        message = choice.get("delta")
        if not isinstance(message, dict):
            message = choice.get("message")
        if not isinstance(message, dict):
            return False
        heard.understood = True
        text = _text(message.get("content"))
        thought = bool(
            text_or_nothing(message.get("reasoning_content")) or text_or_nothing(message.get("reasoning"))
        )
        refusal = text_or_nothing(message.get("refusal"))
        finish = text_or_nothing(choice.get("finish_reason"))
        if text:
            heard.text.append(text)
        heard.thought |= thought
        heard.refusal += refusal
        if finish:
            heard.finish = finish
            if finish == "content_filter" and not heard.refusal:
                heard.refusal = "the content filter stopped the answer"
        return bool(text or thought or refusal or finish)

    async def _check_model(self, request: ModelRequest, answer: ModelAnswer, deadline: float) -> None:
        asked, returned = request.model, answer.model
        if not returned or (asked, returned) in self._aliases or self._same(asked, returned):
            return
        if asked == DEFAULT_MODEL or _is_alias(await self._models(deadline), asked, returned):
            self._aliases.add((asked, returned))
            return
        raise ModelCallError(
            ErrorType.MODEL_MISSING,
            f"{self.url} was asked for {asked!r} and answered with {returned!r}, which it does not list as "
            f"the same "
            f"model. Load {asked!r} there, or set model = {returned!r} for this endpoint.",
            partial=answer,
        )

    async def _models(self, deadline: float) -> list[dict[str, Any]]:
        reply = await self._http.get("/models", deadline)
        try:
            return _listed(reply.json()) if reply.status == 200 else []
        except ValueError:
            return []

    # --- probing --------------------------------------------------------------------------------------------

    async def probe(self, deadline: float) -> Probe:
        try:
            reply = await self._http.get("/models", deadline)
        except ModelCallError as error:
            return Probe.failed(error)
        if reply.status != 200 or not reply.body.strip():
            return await self._probe_unlisted(reply, deadline)
        try:
            data = reply.json()
        except ValueError:
            data = None
        if not isinstance(data, dict) or not isinstance(data.get("data"), list):
            return Probe(
                reachable=False,
                detail=f"{self.url}/models answers, but not as an OpenAI-compatible server does",
            )
        listed = _listed(data)
        # Only vLLM (and what is made like it) tells this length; nobody else is asked whether it sleeps.
        vllm = any("max_model_len" in entry for entry in listed)
        asleep = await self._sleep.asleep(deadline) if vllm else None
        models = tuple(_info(entry, None if asleep is None else not asleep) for entry in listed)
        names = ", ".join(model.name for model in models[:3]) or "none"
        plural = "model" if len(models) == 1 else "models"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}: {names}"
            + (" ..." if len(models) > 3 else "")
            + (", asleep" if asleep else ""),
            models=models,
            slots=await self._slots_of_llama(listed, deadline),
            simulated=reply.simulated,
        )

    async def _probe_unlisted(self, reply: Reply, deadline: float) -> Probe:
        """`transformers serve` can't list models without a cache folder; /health tells it."""
        if reply.status in (200, 500):
            if await self._healthy(deadline):
                return Probe(reachable=True, detail="answers, but lists no models", simulated=reply.simulated)
            if reply.status == 200:
                return Probe(reachable=False, detail=f"{self.url}/models answers with nothing")
        error = self._http.failure(reply, "/models")
        hint = "" if self.url.endswith("/v1") else "; the URL of such a server usually ends in /v1"
        return Probe(
            reachable=False,
            detail=str(error).rstrip(".") + hint,
            loading=reply.status == 503 and error.error_type is ErrorType.UNAVAILABLE,
            error=error.error_type,
        )

    async def _healthy(self, deadline: float) -> bool:
        try:
            health = await self._http.get("/health", deadline, base=self.url.removesuffix("/v1"))
            return health.status == 200 and isinstance(health.json(), dict)
        except (ModelCallError, ValueError):
            return False  # no second sign of such a server: what /models said stands

    async def _slots_of_llama(self, listed: list[dict[str, Any]], deadline: float) -> int | None:
        if not any(entry.get("owned_by") == "llamacpp" for entry in listed):
            return None
        try:
            data = (await self._http.get("/props", deadline, base=self.url.removesuffix("/v1"))).json()
        except (ModelCallError, ValueError):
            return None  # an extra; the server was found already
        return replies.count(dict_or_nothing(data).get("total_slots"))


def _content(request: ModelRequest) -> Any:
    if not request.images:
        return request.prompt
    urls = [
        f"data:{each.media_type};base64,{base64.b64encode(each.data).decode()}" for each in request.images
    ]
    pictures: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*pictures, {"type": "text", "text": request.prompt}]


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as Mistral's servers send them
        return "".join(text_or_nothing(part.get("text")) for part in dicts(content))
    return text_or_nothing(content)


def _listed(data: Any) -> list[dict[str, Any]]:
    return [entry for entry in dicts(dict_or_nothing(data).get("data")) if isinstance(entry.get("id"), str)]


def _info(entry: dict[str, Any], loaded: bool | None) -> ModelInfo:
    context = replies.count(entry.get("max_model_len"))  # vLLM
    if context is None:
        context = replies.count(dict_or_nothing(entry.get("meta")).get("n_ctx"))  # llama-server
    return ModelInfo(name=entry["id"], context_tokens=context or None, loaded=loaded)


def _is_alias(listed: list[dict[str, Any]], asked: str, returned: str) -> bool:
    """Does one entry of /models carry both names?"""
    for entry in listed:
        other = entry.get("aliases")
        names = {
            entry["id"],
            *(name for name in (other if isinstance(other, list) else ()) if isinstance(name, str)),
        }
        if asked in names and any(replies.same_model(name, returned) for name in names):
            return True
    return False
