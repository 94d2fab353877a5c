"""What is Anthropic's and Gemini's own: headers, caches, pictures, refusals, names."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from backends.anthropic import AnthropicBackend
from backends.gemini import GeminiBackend
from backends.registry import make
from backends.simulator import Simulator, inside, running
from backends.simulator.gemini import PNG
from models.calls import Backend, Image, ModelAnswer, ModelCallError, ModelRequest
from models.endpoint import Endpoint
from models.enums import ErrorType

from .conftest import http, in_seconds, make_request
from .queueing import page as raw_page
from .recording import Recorder, recording

SSE = "text/event-stream"


def sse(*pages: dict[str, Any]) -> bytes:
    events = b"".join(
        (f"event: {page['type']}\n".encode() if "type" in page else b"")
        + b"data: "
        + orjson.dumps(page)
        + b"\n\n"
        for page in pages
    )
    return raw_page(events, SSE)


@asynccontextmanager
async def asking(kind: str, *replies: bytes, **values: Any) -> AsyncIterator[tuple[Backend, Recorder]]:
    async with recording(*replies) as recorder:
        backend = make(Endpoint.model_validate({"backend": kind, "url": recorder.url, **values}))
        try:
            yield backend, recorder
        finally:
            await backend.close()


async def outcome(backend: Backend, **changes: Any) -> ModelAnswer | ModelCallError:
    try:
        return await backend.answer(make_request("m", **changes), in_seconds(5))
    except ModelCallError as error:
        return error


# --- Anthropic ----------------------------------------------------------------------------------------------


def message(text: str = "Yes.", stop: str = "end_turn", **more: Any) -> bytes:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
    usage = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 11,
        "output_tokens": 3,
    }
    whole = {"type": "message", "model": "m", "content": content, "stop_reason": stop, "usage": usage}
    return http(200, orjson.dumps(whole | more), "Content-Type: application/json", "request-id: req_1")


async def test_anthropic_sends_its_headers_and_marks_the_system_for_the_cache() -> None:
    async with asking("anthropic", message(), api_key="sk-a") as (backend, recorder):
        answer = await backend.answer(make_request("m"), in_seconds(5))
    (asked,) = recorder.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "sk-a"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in asked.headers
    assert asked.body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert asked.body["stream"] is True
    assert (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (23, 11, 3)
    assert answer.text == "Yes."
    assert answer.headers == {"request-id": "req_1"}


async def test_anthropics_headers_can_be_others() -> None:
    given = {"anthropic-version": "2026-10-21", "anthropic-beta": "x"}
    values = {"api_key": "sk-a", "key_header": "authorization", "headers": given}
    async with asking("anthropic", message(), **values) as (backend, recorder):
        await backend.answer(make_request("m"), in_seconds(5))
    headers = recorder.asked[0].headers
    assert headers["authorization"] == "Bearer sk-a"
    assert "x-api-key" not in headers
    assert (headers["anthropic-version"], headers["anthropic-beta"]) == ("2026-10-21", "x")


@pytest.mark.parametrize(
    ("asked", "returned", "same"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929", True),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514", True),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929", True),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20991231", False),
        ("claude-opus-4-1", "claude-sonnet-4-5-20250929", False),
        ("claude-sonnet-4-5", "", False),
    ],
)
def test_anthropics_names(asked: str, returned: str, same: bool) -> None:
    backend = AnthropicBackend(Endpoint(backend="anthropic", url="http://h"))
    assert backend._same(asked, returned) is same


async def test_a_refusal_says_its_reason_and_is_kept() -> None:
    details = {"stop_details": {"explanation": "It is about weapons."}}
    async with asking("anthropic", message("I can't", "refusal", **details)) as (backend, _):
        error = await outcome(backend)
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.REFUSED
    assert "weapons" in str(error)
    assert error.partial is not None


async def test_a_context_that_is_full_is_said() -> None:
    async with asking("anthropic", message("x", "model_context_window_exceeded")) as (backend, _):
        error = await outcome(backend)
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG


@pytest.mark.parametrize("stop", ["tool_use", "pause_turn", ""])
async def test_a_reason_that_is_no_end_is_none(stop: str) -> None:
    async with asking("anthropic", message("x", stop)) as (backend, _):
        error = await outcome(backend)
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.SERVER_ERROR


async def test_anthropic_events_that_nobody_knows_are_left_out() -> None:
    started = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5}}}
    block = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Yes."}}
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
    pages: list[dict[str, Any]] = [
        started,
        {"type": "ping"},
        {"type": "news"},
        block,
        ended,
        {"type": "message_stop"},
    ]
    async with asking("anthropic", sse(*pages)) as (backend, _):
        answer = await outcome(backend)
    assert isinstance(answer, ModelAnswer), answer
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Yes.", 5, 2)


async def test_pictures_go_to_anthropic_and_openai_before_the_prompt() -> None:
    picture = Image("image/png", b"png")
    encoded = base64.b64encode(b"png").decode()
    async with asking("anthropic", message()) as (backend, recorder):
        await outcome(backend, images=(picture,))
    first, second = recorder.asked[0].body["messages"][0]["content"]
    assert first["source"] == {"type": "base64", "media_type": "image/png", "data": encoded}
    assert second["type"] == "text"
    choice = {"message": {"content": "Yes."}, "finish_reason": "stop"}
    reply = http(200, orjson.dumps({"model": "m", "choices": [choice]}), "Content-Type: application/json")
    async with asking("openai", reply) as (backend, recorder):
        await outcome(backend, images=(picture,))
    first, second = recorder.asked[0].body["messages"][-1]["content"]
    assert first["image_url"]["url"] == f"data:image/png;base64,{encoded}"
    said = {"model": "m", "message": {"content": "Yes."}, "done": True, "done_reason": "stop"}
    async with asking("ollama", http(200, orjson.dumps(said), "Content-Type: application/json")) as (
        backend,
        recorder,
    ):
        await outcome(backend, images=(picture,))
    assert recorder.asked[0].body["messages"][-1]["images"] == [encoded]


async def test_what_a_model_does_not_know_is_left_out_from_then_on() -> None:
    def wrong(message: str) -> bytes:
        page = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        return http(400, orjson.dumps(page), "Content-Type: application/json")

    first, second = (
        wrong("output_config: Extra inputs are not permitted"),
        wrong("`temperature` is deprecated"),
    )
    async with asking("anthropic", first, second, message()) as (backend, recorder):
        for _ in range(2):
            assert isinstance(await outcome(backend, schema={"type": "object"}), ModelAnswer)
    keys = [{"output_config", "temperature"} & set(asked.body) for asked in recorder.asked]
    assert keys == [{"output_config", "temperature"}, {"temperature"}, set(), set()]
    unknown = {
        "error": {"code": 400, "message": 'Unknown name "responseJsonSchema"', "status": "INVALID_ARGUMENT"}
    }
    good = sse(candidate("STOP", {"text": "Yes."}))
    async with asking("gemini", http(400, orjson.dumps(unknown)), good) as (backend, recorder):
        assert isinstance(await outcome(backend, schema={"type": "object"}), ModelAnswer)
    configs = [asked.body["generationConfig"] for asked in recorder.asked]
    assert ["responseJsonSchema" in config for config in configs] == [True, False]
    assert configs[1]["responseMimeType"] == "application/json"


# --- Gemini -------------------------------------------------------------------------------------------------


def candidate(finish: str | None = "STOP", *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        found["finishReason"] = finish
    usage = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 4,
    }
    return {"candidates": [found | more], "usageMetadata": usage, "modelVersion": "m-001"}


async def test_gemini_sends_its_key_schema_and_system_in_their_places() -> None:
    schema = {"type": "object"}
    reply = sse(candidate(None, {"text": "thought", "thought": True}), candidate("STOP", {"text": "Yes."}))
    async with asking("gemini", reply, api_key="sk-g") as (backend, recorder):
        answer = await outcome(backend, schema=schema, images=(Image("image/png", b"p"),))
    (asked,) = recorder.asked
    assert asked.path == "/models/m:streamGenerateContent?alt=sse"
    assert asked.headers["x-goog-api-key"] == "sk-g"
    assert "authorization" not in asked.headers
    assert asked.body["systemInstruction"]["parts"][0]["text"]
    assert asked.body["generationConfig"]["responseJsonSchema"] == schema
    parts = asked.body["contents"][0]["parts"]
    assert [next(iter(part)) for part in parts] == ["inlineData", "text"]
    assert isinstance(answer, ModelAnswer), answer
    assert answer.text == "Yes."
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (9, 5, 4)


@pytest.mark.parametrize(
    "finish", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST", "IMAGE_SAFETY"]
)
async def test_gemini_refuses_in_many_words(finish: str) -> None:
    async with asking("gemini", sse(candidate(finish, finishMessage="no"))) as (backend, _):
        error = await outcome(backend)
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.REFUSED
    assert finish in str(error)


@pytest.mark.parametrize(
    ("pages", "kind"),
    [
        ([{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}], ErrorType.REFUSED),
        ([candidate("NO_IMAGE")], ErrorType.EMPTY),
        ([candidate("MALFORMED_FUNCTION_CALL")], ErrorType.MALFORMED),
        ([candidate("OTHER", {"text": "a"})], ErrorType.SERVER_ERROR),
        ([candidate(None, {"text": "a"})], ErrorType.SERVER_ERROR),
        ([candidate("MAX_TOKENS", {"text": "a"})], ErrorType.TRUNCATED),
        ([candidate("STOP")], ErrorType.EMPTY),
        ([candidate("STOP", {"inlineData": {"mimeType": "image/png", "data": "?"}})], ErrorType.MALFORMED),
        ([{"nothing": 1}], ErrorType.SERVER_ERROR),
        ([candidate("STOP", {"text": "a"}) | {"modelVersion": "other"}], ErrorType.MODEL_MISSING),
    ],
)
async def test_gemini_ends_that_are_none(pages: list[dict[str, Any]], kind: ErrorType) -> None:
    async with asking("gemini", sse(*pages)) as (backend, _):
        error = await outcome(backend)
    assert isinstance(error, ModelCallError), error
    assert error.error_type is kind


async def test_gemini_draws(simulator: Simulator) -> None:
    backend = make(Endpoint(backend="gemini", url=f"{simulator.url}/v1beta"))
    answer = await backend.answer(make_request(wants_image=True), in_seconds(5))
    (picture,) = answer.images
    assert (picture.media_type, picture.data) == ("image/png", base64.b64decode(PNG))
    assert picture.data not in repr(answer).encode()
    simulator.script(["no_image"])
    with pytest.raises(ModelCallError, match="drew no picture") as caught:
        await backend.answer(make_request(wants_image=True), in_seconds(5))
    assert caught.value.error_type is ErrorType.EMPTY
    await backend.close()


@pytest.mark.parametrize("kind", ["gemini", "anthropic"])
async def test_a_picture_that_was_wanted_and_only_talked_about_is_none(kind: str) -> None:
    reply = message() if kind == "anthropic" else sse(candidate("STOP", {"text": "Here it is."}))
    async with asking(kind, reply) as (backend, _):
        error = await outcome(backend, wants_image=True)
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.EMPTY


async def test_a_picture_too_large_for_one_request_is_not_sent() -> None:
    async with asking("gemini") as (backend, recorder):
        error = await outcome(backend, images=(Image("image/png", b"x" * (16 << 20)),))
    assert isinstance(error, ModelCallError)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("asked", "returned", "same"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash", True),
        ("models/gemini-2.5-flash", "gemini-2.5-flash", True),
        ("gemini-2.0-flash", "gemini-2.0-flash-001", True),
        ("gemini-flash-latest", "gemini-2.5-flash-preview-09-2025", True),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", False),
        ("gemini-2.5-flash", "gemini-2.5-pro", False),
    ],
)
def test_geminis_names(asked: str, returned: str, same: bool) -> None:
    assert GeminiBackend(Endpoint(backend="gemini", url="http://h"))._same(asked, returned) is same


@pytest.mark.parametrize("kind", ["anthropic", "gemini", "openai"])
async def test_a_provider_without_its_key(kind: str) -> None:
    with running(api_key="sk-right", flavour=kind) as simulator:
        path = {"anthropic": "", "gemini": "/v1beta"}.get(kind, "/v1")
        for key, good in (("sk-right", True), ("sk-wrong", False)):
            given = {"backend": kind, "url": simulator.url + path, "api_key": key}
            backend = make(Endpoint.model_validate(given))
            probe = await backend.probe(in_seconds(5))
            found = await _ask(backend, make_request())
            await backend.close()
            assert probe.reachable is good, probe
            assert isinstance(found, ModelAnswer) is good, found
            if isinstance(found, ModelCallError):
                assert found.error_type is ErrorType.AUTH
                assert "api_key" in str(found)


async def _ask(backend: Backend, request: ModelRequest) -> ModelAnswer | ModelCallError:
    try:
        return await backend.answer(request, in_seconds(5))
    except ModelCallError as error:
        return error


async def test_a_server_that_loads_says_so_and_one_that_has_stuck_is_seen() -> None:
    """mlx_lm.server says that it is well in both cases."""
    async with inside(flavour="mlx", models=["org/m"], script=["hang"]) as simulator:
        backend = make(Endpoint(backend="mlx", url=simulator.openai_url))
        stuck = await backend.probe(in_seconds(0.2))
        well = await backend.probe(in_seconds(5))
        await backend.close()
    assert not stuck.reachable
    assert "gave no token" in stuck.detail
    assert well.reachable
