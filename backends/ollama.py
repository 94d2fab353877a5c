"""Ollama's native API: `POST /api/chat`, so that context length and schema can be set, and cutting be
forbidden.

Success is: status 200, a JSON object with `done: true` and a `done_reason` of `stop`, the model that was
asked for, a prompt count that fits what was sent, and some text (docs/backends.md).
"""

from __future__ import annotations

from typing import Any

from backends import replies
from backends.transport import Reply, Transport
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.enums import ErrorType
from models.settings import Endpoint

KEEP_ALIVE = "10m"
"""How long the model stays loaded after a call: longer than any pause between batches, short enough to be
polite."""

FINISHED = frozenset({"stop"})
CUT = frozenset({"length"})


class OllamaBackend:
    """One Ollama server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = str(endpoint.backend)
        self.url = endpoint.url.rstrip("/")
        self._http = Transport(endpoint)

    async def close(self) -> None:
        await self._http.close()

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        least = replies.check_fits(request, self.url)
        messages = [{"role": "system", "content": request.system}] if request.system else []
        payload: dict[str, Any] = {
            "model": request.model,
            "messages": [*messages, {"role": "user", "content": request.prompt}],
            "stream": False,
            "keep_alive": KEEP_ALIVE,
            # One value for all calls: another num_ctx or shift makes Ollama load the model again.
            "truncate": False,
            "shift": False,
            "options": {
                "num_ctx": request.context_tokens,
                "num_predict": request.max_tokens,
                "temperature": request.temperature,
            },
        }
        if request.schema is not None:
            payload["format"] = request.schema
        reply = await self._http.post("/api/chat", payload, deadline)
        if reply.status != 200:
            raise self._http.failure(reply, request.model)
        answer = self._read(reply, request)
        if not replies.same_model(request.model, answer.model):
            raise ModelCallError(
                ErrorType.MODEL_MISSING,
                f"{self.url} was asked for {request.model!r} and answered with {answer.model!r}.",
                partial=answer,
            )
        if replies.was_cut(least, answer.prompt_tokens):
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"{self.url} read {answer.prompt_tokens} tokens of a prompt that has at least {least}: it "
                f"cut the "
                "prompt in silence. Raise the endpoint's context_tokens, or update Ollama.",
                partial=answer,
            )
        return answer

    def _read(self, reply: Reply, request: ModelRequest) -> ModelAnswer:
        data = replies.json_object(reply.body, self.url)
        message = data.get("message")
        if not isinstance(message, dict):
            raise ModelCallError(ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a message.")
        raw = message.get("content")
        raw = raw if isinstance(raw, str) else ""
        thought = message.get("thinking")
        load = data.get("load_duration")
        # Servers before 0.2 finish without giving a reason; `done` is their word for it.
        finish = data.get("done_reason", "stop") if data.get("done") is True else ""
        answer = ModelAnswer(
            text=replies.visible(raw),
            model=data["model"] if isinstance(data.get("model"), str) else "",
            finish_reason=finish if isinstance(finish, str) else "",
            prompt_tokens=replies.count(data.get("prompt_eval_count")),
            completion_tokens=replies.count(data.get("eval_count")),
            seconds=reply.seconds,
            load_seconds=load / 1e9 if isinstance(load, int) else None,
            simulated=reply.simulated,
            headers=reply.kept_headers(),
        )
        written = raw or (thought if isinstance(thought, str) else "")
        replies.check_finished(answer, written, request, self.url, finished=FINISHED, cut=CUT)
        return answer

    async def probe(self, deadline: float) -> Probe:
        try:
            # /api/version tells Ollama from llama-server and LM Studio, which answer some of its other paths.
            version = await self._http.get("/api/version", deadline)
            if "version" not in _object(version):
                return Probe(reachable=False, detail=self._stranger(version))
            tags = await self._http.get("/api/tags", deadline)
            ps = await self._http.get("/api/ps", deadline)
        except ModelCallError as error:
            return Probe(reachable=False, detail=str(error).rstrip("."))
        if not isinstance(_object(tags).get("models"), list):
            return Probe(reachable=False, detail=self._stranger(tags))
        loaded = {entry["name"] for entry in _named(_object(ps))} if ps.status == 200 else None
        models = tuple(
            _info(entry, None if loaded is None else entry["name"] in loaded)
            for entry in _named(_object(tags))
        )
        plural = "model" if len(models) == 1 else "models"
        warm = "" if loaded is None else f", {', '.join(sorted(loaded)) or 'none'} loaded"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}{warm}",
            models=models,
            simulated=tags.simulated,
        )

    def _stranger(self, reply: Reply) -> str:
        if reply.status in (401, 403):
            return str(self._http.failure(reply, "")).rstrip(".")
        return f"{self.url} answers {reply.status}, but not as an Ollama server does"


def _object(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        return {}
    try:
        data = reply.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _named(data: dict[str, Any]) -> list[dict[str, Any]]:
    entries = data.get("models")
    entries = entries if isinstance(entries, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]


def _info(entry: dict[str, Any], loaded: bool | None) -> ModelInfo:
    digest, details, can = entry.get("digest"), entry.get("details"), entry.get("capabilities")
    return ModelInfo(
        name=entry["name"],
        digest=digest if isinstance(digest, str) and digest else None,
        context_tokens=replies.count(details.get("context_length")) if isinstance(details, dict) else None,
        loaded=loaded,
        embedding=isinstance(can, list) and bool(can) and "completion" not in can,
    )
