"""mlx_lm.server: OpenAI's protocol, from a server that says little of itself and not all of it true.

Its /health says ok whatever its model does, and without a cache folder it lists no models: so a probe asks for one
token. It has no limit of the prompt: what it read is compared with `context_tokens` afterwards. It ignores schemas:
recipes have theirs in the prompt as well, and the validate stage checks.
"""

from __future__ import annotations

from dataclasses import replace

from backends.openai import DEFAULT_MODEL, OpenAIBackend
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.enums import ErrorType


class MlxBackend(OpenAIBackend):
    """One mlx_lm.server; a llama-server on its port is as welcome."""

    async def probe(self, deadline: float) -> Probe:
        found = await super().probe(deadline)
        if not found.reachable or found.slots is not None:  # a llama-server tells itself when it is ready
            return found
        if not await self._healthy(deadline):
            return found if found.models else replace(found, reachable=False)
        model = self.endpoint.model or DEFAULT_MODEL
        ask = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
        try:
            reply = await self._http.question("/chat/completions", ask, deadline)
        except ModelCallError as error:
            silent = error.error_type is ErrorType.TIMEOUT
            said = (
                f"{self.url} is up, and its model gave no token in time" if silent else str(error).rstrip(".")
            )
            return replace(Probe.failed(error), detail=said, models=found.models, loading=silent)
        if reply.status == 404 and found.models and self.endpoint.model is None:
            return found  # it knows no default_model, so it is another server, which lists what it has
        if reply.status != 200:
            return replace(Probe.failed(self._http.failure(reply, model)), models=found.models)
        models = found.models or ((ModelInfo(name=self.endpoint.model),) if self.endpoint.model else ())
        # It has just given a token, so it is loaded; of others nothing is known.
        models = tuple(replace(each, loaded=True) if each.name == model else each for each in models)
        return replace(found, models=models, simulated=reply.simulated)

    async def _check_model(self, request: ModelRequest, answer: ModelAnswer, deadline: float) -> None:
        await super()._check_model(request, answer, deadline)
        if answer.prompt_tokens is not None and answer.prompt_tokens > request.context_tokens:
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"{self.url} read {answer.prompt_tokens} tokens, and it is declared with context_tokens = "
                f"{request.context_tokens}. This server has no limit of its own, and what a model writes beyond its "
                "context is worth nothing. Split the item, or raise context_tokens if the model can take it.",
                partial=answer,
            )
