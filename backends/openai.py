"""Any OpenAI-compatible server (vLLM, llama-server, mlx_lm.server, LiteLLM ...): `POST
{url}/chat/completions`.

Success is: status 200, a JSON object, a finish reason that says "finished", the model that was asked for, a
prompt count that fits what was sent, and some text. Everything else is a ModelCallError (docs/backends.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import replies
from backends.transport import Reply, Transport
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.enums import ErrorType
from models.settings import Endpoint

FINISHED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
CUT = frozenset({"length", "max_tokens", "model_length"})

_FORMATS = ("json_schema", "json_object", "none")


@dataclass(slots=True)
class _Dialect:
    """What this server was found to accept. Learnt from its 400s, kept for the life of the backend."""

    format: str = "json_schema"
    length_key: str = "max_tokens"
    temperature: bool = True


class OpenAIBackend:
    """One OpenAI-compatible endpoint; `mlx` is one of them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = str(endpoint.backend)
        self.url = endpoint.url.rstrip("/")
        self._http = Transport(endpoint)
        self._dialect = _Dialect()
        self._same: set[tuple[str, str]] = set()  # (asked, returned) names found to be one model

    async def close(self) -> None:
        await self._http.close()

    # --- asking ---------------------------------------------------------------------------------------------

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        least = replies.check_fits(request, self.url)
        dialect = known = self._dialect
        while True:
            reply = await self._http.post("/chat/completions", self._payload(request, dialect), deadline)
            if reply.status == 200:
                if dialect is not known:
                    self._dialect = dialect  # remembered only once it worked
                break
            error = self._http.failure(reply, request.model)
            adapted = (
                self._adapted(dialect, request, reply) if error.error_type is ErrorType.MALFORMED else None
            )
            if adapted is None:
                raise error
            dialect = adapted
        answer = self._read(reply, request)
        await self._check_model(request, answer, deadline)
        if replies.was_cut(least, answer.prompt_tokens):
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"{self.url} read {answer.prompt_tokens} tokens of a prompt that has at least {least}: it "
                f"cut the "
                "prompt in silence. Raise the server's context length, or lower the endpoint's "
                "context_tokens.",
                partial=answer,
            )
        return answer

    def _payload(self, request: ModelRequest, dialect: _Dialect) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": request.model,
            dialect.length_key: request.max_tokens,  # absent means unlimited to llama-server
            "stream": False,
        }
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
        payload["messages"] = [*messages, {"role": "user", "content": request.prompt}]
        return payload

    @staticmethod
    def _adapted(dialect: _Dialect, request: ModelRequest, reply: Reply) -> _Dialect | None:
        """The next dialect to try after a 400 or 422 that blames neither model nor length; None when none is
        left.
        """
        if reply.status not in (400, 422):
            return None
        said = replies.error_text(reply.body).lower()
        if "max_completion_tokens" in said and dialect.length_key == "max_tokens":
            return _Dialect(dialect.format, "max_completion_tokens", dialect.temperature)
        if "temperature" in said and dialect.temperature:
            return _Dialect(dialect.format, dialect.length_key, temperature=False)
        if request.schema is None or dialect.format == _FORMATS[-1]:
            return None
        plainer = _FORMATS[_FORMATS.index(dialect.format) + 1]
        return _Dialect(plainer, dialect.length_key, dialect.temperature)

    # --- reading --------------------------------------------------------------------------------------------

    def _read(self, reply: Reply, request: ModelRequest) -> ModelAnswer:
        data = replies.json_object(reply.body, self.url)
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            raise ModelCallError(
                ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a choice that has a message."
            )
        finish = choice.get("finish_reason")
        raw = _text(message.get("content"))
        usage = data.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        answer = ModelAnswer(
            text=replies.visible(raw),
            model=data["model"] if isinstance(data.get("model"), str) else "",
            finish_reason=finish if isinstance(finish, str) else "",
            prompt_tokens=replies.count(usage.get("prompt_tokens")),
            completion_tokens=replies.count(usage.get("completion_tokens")),
            seconds=reply.seconds,
            simulated=reply.simulated,
            headers=reply.kept_headers(),
        )
        refusal = message.get("refusal")
        if (isinstance(refusal, str) and refusal) or finish == "content_filter":
            said = (
                refusal if isinstance(refusal, str) and refusal else "the content filter stopped the answer"
            )
            raise ModelCallError(
                ErrorType.REFUSED, f"{request.model} refused: {said[: replies.SNIPPET]}", partial=answer
            )
        replies.check_finished(answer, raw, request, self.url, finished=FINISHED, cut=CUT)
        return answer

    async def _check_model(self, request: ModelRequest, answer: ModelAnswer, deadline: float) -> None:
        asked, returned = request.model, answer.model
        if not returned or (asked, returned) in self._same or replies.same_model(asked, returned):
            return
        if asked == DEFAULT_MODEL or _aliases(await self._models(deadline), asked, returned):
            self._same.add((asked, returned))
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
            return Probe(reachable=False, detail=str(error).rstrip("."))
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
        models = tuple(_info(entry) for entry in listed)
        names = ", ".join(model.name for model in models[:3]) or "none"
        plural = "model" if len(models) == 1 else "models"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}: {names}" + (" ..." if len(models) > 3 else ""),
            models=models,
            slots=await self._slots_of_llama(listed, deadline),
            simulated=reply.simulated,
        )

    async def _probe_unlisted(self, reply: Reply, deadline: float) -> Probe:
        """mlx_lm.server and `transformers serve` can't list models without a cache folder; /health tells
        them.
        """
        if reply.status in (200, 500):
            try:
                health = await self._http.get("/health", deadline, base=self.url.removesuffix("/v1"))
                if health.status == 200 and isinstance(health.json(), dict):
                    return Probe(reachable=True, detail="answers, but lists no models")
            except (ModelCallError, ValueError):
                pass  # no second sign of such a server: what /models said stands
            if reply.status == 200:
                return Probe(reachable=False, detail=f"{self.url}/models answers with nothing")
        error = self._http.failure(reply, "/models")
        hint = "" if self.url.endswith("/v1") else "; the URL of such a server usually ends in /v1"
        return Probe(
            reachable=False,
            detail=str(error).rstrip(".") + hint,
            loading=reply.status == 503 and error.error_type is ErrorType.UNAVAILABLE,
        )

    async def _slots_of_llama(self, listed: list[dict[str, Any]], deadline: float) -> int | None:
        if not any(entry.get("owned_by") == "llamacpp" for entry in listed):
            return None
        try:
            data = (await self._http.get("/props", deadline, base=self.url.removesuffix("/v1"))).json()
        except (ModelCallError, ValueError):
            return None  # an extra; the server was found already
        return replies.count(data.get("total_slots")) if isinstance(data, dict) else None


DEFAULT_MODEL = "default_model"
"""What mlx_lm.server calls the model it was started with; it lists none when it has no cache folder."""


def _text(content: Any) -> str:
    if isinstance(content, list):  # parts, as Mistral's servers send them
        return "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def _listed(data: Any) -> list[dict[str, Any]]:
    entries = data.get("data") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _info(entry: dict[str, Any]) -> ModelInfo:
    meta = entry.get("meta")
    context = replies.count(entry.get("max_model_len"))  # vLLM
    if context is None and isinstance(meta, dict):
        context = replies.count(meta.get("n_ctx"))  # llama-server
    return ModelInfo(name=entry["id"], context_tokens=context or None)


def _aliases(listed: list[dict[str, Any]], asked: str, returned: str) -> bool:
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
