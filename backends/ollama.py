"""Ollama's native API: `POST /api/chat`, so that context length and schema can be set, and cutting be
forbidden.

Success is: status 200, a last line with `done: true` and a `done_reason` of `stop`, the model that was
asked for, a prompt count that fits what was sent, and some text (docs/protocols.md).
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, ClassVar

from backends import replies
from backends.served import Heard, Served, dict_or_nothing, dicts, text_or_nothing
from backends.transport import Reply
from models.calls import ModelCallError, ModelInfo, ModelRequest, Probe
from models.enums import ErrorType

SHOWN = 8
"""Models whose context length is asked for one by one, where the list does not tell it."""


class OllamaBackend(Served):
    """One Ollama server."""

    FINISHED: ClassVar[frozenset[str]] = frozenset({"stop"})
    CUT: ClassVar[frozenset[str]] = frozenset({"length"})

    # --- asking ---------------------------------------------------------------------------------------------

    def _path(self, request: ModelRequest) -> str:
        return "/api/chat"

    def _payload(self, request: ModelRequest) -> dict[str, Any]:
        messages = [{"role": "system", "content": request.system}] if request.system else []
        user: dict[str, Any] = {"role": "user", "content": request.prompt}
        if request.images:
            user["images"] = [base64.b64encode(image.data).decode() for image in request.images]
        payload = self._pinned(request.model, request.context_tokens)
        payload["options"] |= {"num_predict": request.max_tokens, "temperature": request.temperature}
        if request.schema is not None:
            payload["format"] = request.schema
        return payload | {"messages": [*messages, user], "stream": True}

    def _pinned(self, model: str, context_tokens: int) -> dict[str, Any]:
        """One value for all calls: another num_ctx or shift makes Ollama load the model again."""
        return {
            "model": model,
            "keep_alive": self.endpoint.keep_alive,
            "truncate": False,
            "shift": False,
            "options": {"num_ctx": context_tokens},
        }

    def _page(self, page: dict[str, Any], heard: Heard) -> bool:
        message = page.get("message")
        if not isinstance(message, dict):
            raise ModelCallError(ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a message.")
        heard.understood = True
        text = text_or_nothing(message.get("content"))
        thought = bool(text_or_nothing(message.get("thinking")))
        if text:
            heard.text.append(text)
        heard.thought |= thought
        heard.model = text_or_nothing(page.get("model")) or heard.model
        if page.get("done") is True:
            # Servers before 0.2 finish without giving a reason; `done` is their word for it.
            heard.finish = text_or_nothing(page.get("done_reason", "stop"))
            heard.prompt_tokens = replies.count(page.get("prompt_eval_count"))
            heard.completion_tokens = replies.count(page.get("eval_count"))
            load = page.get("load_duration")
            heard.load_seconds = load / 1e9 if isinstance(load, int) else None
            heard.done = True
        return bool(text) or thought or heard.done

    # --- loading --------------------------------------------------------------------------------------------

    async def can_load(self, deadline: float) -> bool:
        """As models.calls.Loads says: every Ollama does."""
        return True

    async def load(self, model: str, deadline: float) -> float:
        """As models.calls.Loads says."""
        clock = asyncio.get_running_loop().time
        started = clock()
        await self._hold(self._pinned(model, self.endpoint.context_tokens), model, deadline)
        return clock() - started

    async def unload(self, model: str, deadline: float) -> None:
        await self._hold({"model": model, "keep_alive": 0}, model, deadline)

    async def _hold(self, payload: dict[str, Any], model: str, deadline: float) -> None:
        """A chat without messages: nothing is answered, the model is loaded or let go."""
        reply = await self._http.question("/api/chat", payload | {"messages": [], "stream": False}, deadline)
        if reply.status != 200:
            raise self._http.failure(reply, model)
        page = replies.json_object(reply.body, self.url)
        if (error := replies.error_of(page, self.url, self.WORDS)) is not None:
            raise error
        if page.get("done") is not True:
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self.url} did not say that it has done so with {model!r}."
            )

    # --- probing --------------------------------------------------------------------------------------------

    async def probe(self, deadline: float) -> Probe:
        try:
            # /api/version tells Ollama from llama-server and LM Studio, which answer some of its other paths.
            version = await self._http.get("/api/version", deadline)
            if "version" not in _object(version):
                return self._stranger(version)
            tags = await self._http.get("/api/tags", deadline)
            ps = await self._http.get("/api/ps", deadline)
            if not isinstance(_object(tags).get("models"), list):
                return self._stranger(tags)
            loaded = {entry["name"] for entry in _named(_object(ps))} if ps.status == 200 else None
            models = [
                _info(entry, None if loaded is None else entry["name"] in loaded)
                for entry in _named(_object(tags))
            ]
            for number, model in enumerate(models[:SHOWN]):
                if model.context_tokens is None:
                    models[number] = await self._shown(model, deadline)
        except ModelCallError as error:
            return Probe.failed(error)
        plural = "model" if len(models) == 1 else "models"
        warm = "" if loaded is None else f", {', '.join(sorted(loaded)) or 'none'} loaded"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}{warm}",
            models=tuple(models),
            simulated=tags.simulated,
        )

    async def _shown(self, model: ModelInfo, deadline: float) -> ModelInfo:
        """With what /api/show adds: the context length it was trained for, whether it only embeds."""
        try:
            page = _object(await self._http.question("/api/show", {"model": model.name}, deadline))
        except ModelCallError:
            return model  # an extra; what the list says stands
        details = dict_or_nothing(page.get("model_info"))
        context = next(
            (replies.count(value) for key, value in details.items() if key.endswith(".context_length")), None
        )
        can = page.get("capabilities")
        embeds = isinstance(can, list) and bool(can) and "completion" not in can
        return ModelInfo(model.name, model.digest, context, model.loaded, model.embedding or embeds)

    async def identify(self, model: str, deadline: float) -> str | None:
        """As models.calls.Identifies says."""
        try:
            tags = await self._http.get("/api/tags", deadline)
        except ModelCallError:
            return None
        digests = {entry["name"]: _info(entry, None).digest for entry in _named(_object(tags))}
        if model in digests:
            return digests[model]
        return next((digests[name] for name in digests if replies.same_model(model, name)), None)

    def _stranger(self, reply: Reply) -> Probe:
        if reply.status in (401, 403):
            return Probe.failed(self._http.failure(reply, ""))
        return Probe(
            reachable=False, detail=f"{self.url} answers {reply.status}, but not as an Ollama server does"
        )


def _object(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        return {}
    try:
        return dict_or_nothing(reply.json())
    except ValueError:
        return {}


def _named(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in dicts(data.get("models")) if isinstance(entry.get("name"), str)]


def _info(entry: dict[str, Any], loaded: bool | None) -> ModelInfo:
    digest, can = entry.get("digest"), entry.get("capabilities")
    return ModelInfo(
        name=entry["name"],
        digest=digest if isinstance(digest, str) and digest else None,
        context_tokens=replies.count(dict_or_nothing(entry.get("details")).get("context_length")),
        loaded=loaded,
        embedding=isinstance(can, list) and bool(can) and "completion" not in can,
    )
