"""Gemini's API: `POST {url}/models/MODEL:streamGenerateContent`, text and pictures both ways.

Success is: status 200, a candidate with `finishReason` `STOP`, the model that was asked for, and some text (or the
picture that was wanted). A blocked prompt has no candidate at all; a picture that was not drawn is `NO_IMAGE`
(docs/protocols.md).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, ClassVar
from urllib.parse import quote

from backends import replies
from backends.failures import Words
from backends.gemini_batches import GeminiBatches
from backends.served import Heard, Served, dict_or_nothing, dicts, text_or_nothing
from backends.transport import Reply
from models.calls import Image, ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Probe
from models.endpoint import Endpoint
from models.enums import ErrorType

MOST_BYTES = 20 * 1024 * 1024
"""Of one request with what is inside it; larger pictures need the Files API, which is not used here."""

REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)

_REVISION = re.compile(r"-\d{3}$")


class GeminiBackend(Served):
    """Google's Gemini API."""

    KEY_HEADER: ClassVar[str] = "x-goog-api-key"
    FINISHED: ClassVar[frozenset[str]] = frozenset({"STOP"})
    CUT: ClassVar[frozenset[str]] = frozenset({"MAX_TOKENS"})
    OPTIONAL: ClassVar[tuple[str, ...]] = ("responsejsonschema",)
    WORDS: ClassVar[Words] = {
        "resource_exhausted": ErrorType.RATE_LIMITED,
        "unavailable": ErrorType.OVERLOADED,
        "deadline_exceeded": ErrorType.TIMEOUT,
        "not_found": ErrorType.MODEL_MISSING,
        "permission_denied": ErrorType.AUTH,
        "unauthenticated": ErrorType.AUTH,
        "failed_precondition": ErrorType.AUTH,  # no billing, or not served in this country
        "invalid_argument": ErrorType.MALFORMED,
        "internal": ErrorType.SERVER_ERROR,
    }

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.batches = GeminiBatches(self, self._http)

    # --- asking ---------------------------------------------------------------------------------------------

    def _path(self, request: ModelRequest) -> str:
        model = request.model if "/" in request.model else f"models/{request.model}"
        return f"/{quote(model, safe='/:@')}:streamGenerateContent?alt=sse"

    def _payload(self, request: ModelRequest) -> dict[str, Any]:
        pictures: list[dict[str, Any]] = [
            {"inlineData": {"mimeType": each.media_type, "data": base64.b64encode(each.data).decode()}}
            for each in request.images
        ]
        config: dict[str, Any] = {"temperature": request.temperature, "maxOutputTokens": request.max_tokens}
        if request.wants_image:
            config["responseModalities"] = ["TEXT", "IMAGE"]
        if request.schema is not None:
            config["responseMimeType"] = "application/json"
            if "responsejsonschema" not in self._without:
                config["responseJsonSchema"] = request.schema
        payload: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [*pictures, {"text": request.prompt}]}],
            "generationConfig": config,
        }
        if request.system:
            payload["systemInstruction"] = {"parts": [{"text": request.system}]}
        return payload

    async def _ask(self, request: ModelRequest, deadline: float, heard: Heard) -> Reply:
        size = sum(len(image.data) for image in request.images) * 4 // 3
        size += 2 * (len(request.prompt) + len(request.system))
        if size > MOST_BYTES:
            raise ModelCallError(
                ErrorType.CONTEXT_TOO_LONG,
                f"The request has some {size >> 20} MiB with its pictures; {self.url} takes {MOST_BYTES >> 20}. "
                "Make them smaller.",
            )
        return await super()._ask(request, deadline, heard)

    def _check_heard(self, request: ModelRequest, heard: Heard, answer: ModelAnswer) -> None:
        if heard.finish == "NO_IMAGE":
            raise ModelCallError(ErrorType.EMPTY, f"{request.model} drew no picture.", partial=answer)

    # --- reading --------------------------------------------------------------------------------------------

    def _page(self, page: dict[str, Any], heard: Heard) -> bool:
        feedback = dict_or_nothing(page.get("promptFeedback"))
        candidates = dicts(page.get("candidates"))
        if not (candidates or feedback or "usageMetadata" in page):
            raise ModelCallError(ErrorType.SERVER_ERROR, f"{self.url} answered 200 without a candidate.")
        heard.understood = True
        heard.model = text_or_nothing(page.get("modelVersion")) or heard.model
        self._usage(dict_or_nothing(page.get("usageMetadata")), heard)
        if blocked := text_or_nothing(feedback.get("blockReason")):
            heard.refusal = f"the prompt was blocked ({blocked})"
            return True
        if not candidates:
            return False
        content = dict_or_nothing(candidates[0].get("content"))
        tokens = [self._part(part, heard) for part in dicts(content.get("parts"))]
        finish = text_or_nothing(candidates[0].get("finishReason"))
        if finish:
            heard.finish = finish
            if finish in REFUSALS:
                why = text_or_nothing(candidates[0].get("finishMessage"))
                heard.refusal = f"the answer was stopped ({finish})" + (f": {why}" if why else "")
            elif finish.startswith("MALFORMED"):
                raise ModelCallError(ErrorType.MALFORMED, f"{self.url} ended the answer as {finish}.")
        return any(tokens) or bool(finish)

    def _part(self, part: dict[str, Any], heard: Heard) -> bool:
        text = text_or_nothing(part.get("text"))
        if part.get("thought") is True:
            heard.thought |= bool(text)
            return bool(text)
        if text:
            heard.text.append(text)
        inline = dict_or_nothing(part.get("inlineData"))
        if data := text_or_nothing(inline.get("data")):
            try:
                raw = base64.b64decode(data, validate=True)
            except binascii.Error:
                raise ModelCallError(
                    ErrorType.MALFORMED, f"{self.url} sent a picture that is no base64."
                ) from None
            heard.images.append(Image(text_or_nothing(inline.get("mimeType")) or "image/png", raw))
        return bool(text or data)

    def _usage(self, usage: dict[str, Any], heard: Heard) -> None:
        if (read := replies.count(usage.get("promptTokenCount"))) is not None:
            heard.prompt_tokens = read
            heard.cached_tokens = replies.count(usage.get("cachedContentTokenCount", 0))
        if (written := replies.count(usage.get("candidatesTokenCount"))) is not None:
            heard.completion_tokens = written + (replies.count(usage.get("thoughtsTokenCount")) or 0)

    def _same(self, asked: str, returned: str) -> bool:
        """A name without a revision is answered by one with it; what `-latest` is, Google alone knows."""
        bare = asked.rpartition("/")[2]
        if not returned or bare.endswith("-latest") or asked.startswith("tunedModels/"):
            return True
        return replies.same_model(bare, returned) or _REVISION.sub("", returned) == bare

    # --- probing --------------------------------------------------------------------------------------------

    async def probe(self, deadline: float) -> Probe:
        try:
            reply = await self._http.get("/models?pageSize=1000", deadline)
        except ModelCallError as error:
            return Probe.failed(error)
        if reply.status != 200:
            return Probe.failed(self._http.failure(reply, "/models"))
        try:
            listed = dict_or_nothing(reply.json()).get("models")
        except ValueError:
            listed = None
        if not isinstance(listed, list):
            return Probe(reachable=False, detail=f"{self.url}/models answers, but not as Gemini's API does")
        models = tuple(_info(entry) for entry in dicts(listed) if isinstance(entry.get("name"), str))
        plural = "model" if len(models) == 1 else "models"
        return Probe(
            reachable=True,
            detail=f"answers, {len(models)} {plural}",
            models=models,
            simulated=reply.simulated,
        )


def _info(entry: dict[str, Any]) -> ModelInfo:
    can = entry.get("supportedGenerationMethods")
    return ModelInfo(
        name=entry["name"].removeprefix("models/"),
        context_tokens=replies.count(entry.get("inputTokenLimit")) or None,
        embedding=isinstance(can, list) and "generateContent" not in can,
    )
