"""Servers that are not there, answer 500, nonsense, nothing or never, or are something else altogether."""

from __future__ import annotations

import asyncio
import socket

import orjson
import pytest

from backends.registry import make
from backends.transport import Transport
from models.calls import Identifies, ModelCallError, Probe
from models.enums import BackendName, ErrorType
from models.errors import SettingsError
from models.settings import Endpoint

from .conftest import SCHEMA, Answering, http, in_seconds, make_request, odd_server

KINDS = [BackendName.OPENAI, BackendName.OLLAMA]
JSON = "Content-Type: application/json"


def always(reply: bytes | None) -> Answering:
    async def answering(method: str, path: str) -> bytes | None:
        return reply

    return answering


async def never(method: str, path: str) -> bytes | None:
    await asyncio.Event().wait()
    return None


async def ask(
    kind: BackendName, answering: Answering, seconds: float = 5, key: str | None = None
) -> tuple[Probe, ModelCallError]:
    """What a probe and a call make of a server."""
    async with odd_server(answering) as url:
        backend = make(Endpoint.model_validate({"backend": kind, "url": url, "api_key": key}))
        try:
            probe = await backend.probe(in_seconds(seconds))
            with pytest.raises(ModelCallError) as caught:
                await backend.answer(make_request("m"), in_seconds(seconds))
        finally:
            await backend.close()
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    return probe, caught.value


SERVERS = {
    "closes at once": (None, ErrorType.CONNECTION),
    "is no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", ErrorType.CONNECTION),
    "answers garbage": (b"\x00\xff\xfe" * 500, ErrorType.CONNECTION),
    "500 with nothing": (http(500, ""), ErrorType.SERVER_ERROR),
    "500 with text": (http(500, "Internal Server Error"), ErrorType.SERVER_ERROR),
    "502 of a proxy": (http(502, "<html>Bad Gateway</html>"), ErrorType.SERVER_ERROR),
    "404 of a web server": (http(404, "<html>Not Found</html>"), ErrorType.MODEL_MISSING),
    "a web page": (http(200, "<html>It works!</html>"), ErrorType.SERVER_ERROR),
    "nothing": (http(200, ""), ErrorType.SERVER_ERROR),
    "a number": (http(200, "42", JSON), ErrorType.SERVER_ERROR),
    "an empty object": (http(200, "{}", JSON), ErrorType.SERVER_ERROR),
    "a list": (http(200, "[]", JSON), ErrorType.SERVER_ERROR),
    "wrong types": (
        http(200, '{"choices": [7], "message": 7, "models": 7, "data": 7, "version": 7}', JSON),
        ErrorType.SERVER_ERROR,
    ),
    "an error with 200": (http(200, '{"error": "the runner died"}', JSON), ErrorType.SERVER_ERROR),
    "an exhausted server": (http(500, '{"error": "CUDA out of memory"}', JSON), ErrorType.OUT_OF_MEMORY),
    "a body that is cut": (http(200, '{"a": 1}', JSON)[:-3], ErrorType.CONNECTION),
    "a false encoding": (http(200, "not gzip", "Content-Encoding: gzip"), ErrorType.SERVER_ERROR),
    "a redirect": (http(307, "", "Location: http://127.0.0.1:1/"), ErrorType.UNAVAILABLE),
    "no permission": (http(401, '{"error": {"message": "Invalid API Key"}}', JSON), ErrorType.AUTH),
    "a loading server": (
        http(503, '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}', JSON),
        ErrorType.UNAVAILABLE,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", SERVERS)
async def test_each_gives_one_clear_error(kind: BackendName, said: str) -> None:
    reply, expected = SERVERS[said]
    probe, error = await ask(kind, always(reply))
    assert not probe.reachable
    assert probe.detail
    assert error.error_type is expected
    if kind is BackendName.OPENAI:
        assert probe.loading is (said == "a loading server")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_never_answers(kind: BackendName) -> None:
    probe, error = await ask(kind, never, seconds=0.1)
    assert not probe.reachable
    assert error.error_type is ErrorType.TIMEOUT


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_sends_without_end(kind: BackendName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.following.BODY_LIMIT", 1024)
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100_000
    _, error = await ask(kind, always(endless))
    assert error.error_type is ErrorType.MALFORMED


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there(kind: BackendName) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        backend = make(Endpoint(backend=kind, url=url))
        probe = await backend.probe(in_seconds(5))
        with pytest.raises(ModelCallError, match=url) as caught:
            await backend.answer(make_request(), in_seconds(5))
        await backend.close()
    assert not probe.reachable
    assert url in probe.detail
    assert caught.value.error_type is ErrorType.CONNECTION


async def test_a_key_is_sent_and_never_shown() -> None:
    seen = []

    async def echoing(method: str, path: str) -> bytes:
        seen.append(path)
        return http(401, '{"error": {"message": "Incorrect API key provided: sk-very-secret."}}', JSON)

    probe, error = await ask(BackendName.OPENAI, echoing, key="sk-very-secret")
    assert seen == ["/models", "/chat/completions"]
    assert "sk-very-secret" not in probe.detail + str(error) + repr(error)
    assert "***" in str(error)


@pytest.mark.parametrize("key", ["", "a b", "line\nbreak", "ключ"])
def test_a_key_that_can_not_be_one_is_refused_unseen(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make(Endpoint.model_validate({"backend": "openai", "url": "http://127.0.0.1:1/v1", "api_key": key}))
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host/", "http://", "http://host:99999/v1", "/v1", "http://[::1"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no URL"):
        make(Endpoint(backend=BackendName.OPENAI, url=url))


@pytest.mark.parametrize("url", ["http://me:pass@host/v1", "http://host/v1?key=pass", "http://host/#pass"])
def test_a_url_with_secrets_is_refused_unseen(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make(Endpoint(backend=BackendName.OPENAI, url=url))
    assert "pass@" not in str(caught.value)
    assert "=pass" not in str(caught.value)


def openai_answer(text: str = "It starts at 02:30.", model: str = "m", finish: str | None = "stop") -> bytes:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return http(200, orjson.dumps({"model": model, "choices": [choice]}), JSON)


async def test_a_server_that_rejects_schemas_is_asked_without_and_remembered() -> None:
    formats: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        wanted = orjson.loads(await reader.readexactly(length)).get("response_format", {}).get("type")
        formats.append(wanted)
        reply = http(400, '{"error": "bad response_format"}', JSON) if wanted else openai_answer()
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    backend = make(Endpoint(backend=BackendName.OPENAI, url=url))
    for _ in range(2):
        await backend.answer(make_request("m", schema=SCHEMA), in_seconds(5))
    assert formats == ["json_schema", "json_object", None, None]
    await backend.close()
    server.close()


async def test_a_400_that_blames_nothing_ends_and_changes_nothing() -> None:
    asked = []

    async def answering(method: str, path: str) -> bytes:
        asked.append(path)
        return http(400, '{"error": "no"}', JSON)

    async with odd_server(answering) as url:
        backend = make(Endpoint(backend=BackendName.OPENAI, url=url))
        for _ in range(2):
            with pytest.raises(ModelCallError) as caught:
                await backend.answer(make_request("m", schema=SCHEMA), in_seconds(5))
            assert caught.value.error_type is ErrorType.MALFORMED
        await backend.close()
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("entry", "good"),
    [
        ({"id": "m.gguf", "aliases": ["m"]}, True),
        ({"id": "m", "aliases": ["m.gguf"]}, True),
        ({"id": "m.gguf"}, False),
        ({"id": "m"}, False),
    ],
)
async def test_another_name_counts_only_as_a_listed_alias(entry: dict[str, object], good: bool) -> None:
    async def answering(method: str, path: str) -> bytes:
        if method == "GET":
            return http(200, orjson.dumps({"data": [entry]}), JSON)
        return openai_answer(model="m.gguf")

    async with odd_server(answering) as url:
        backend = make(Endpoint(backend=BackendName.OPENAI, url=url))
        if good:
            assert (await backend.answer(make_request("m"), in_seconds(5))).model == "m.gguf"
        else:
            with pytest.raises(ModelCallError, match=r"m\.gguf") as caught:
                await backend.answer(make_request("m"), in_seconds(5))
            assert caught.value.error_type is ErrorType.MODEL_MISSING
        await backend.close()


async def test_mlx_without_a_cache_lists_nothing_and_is_known_by_its_health() -> None:
    async def answering(method: str, path: str) -> bytes:
        return http(200, '{"status": "ok"}', JSON) if path == "/health" else http(200, "", JSON)

    async with odd_server(answering) as url:
        backend = make(Endpoint(backend=BackendName.MLX, url=f"{url}/v1"))
        probe = await backend.probe(in_seconds(5))
        await backend.close()
    assert probe.reachable
    assert probe.models == ()


async def test_llama_server_tells_slots_and_context_and_is_no_ollama() -> None:
    models = {
        "models": [{"name": "tiny"}],
        "object": "list",
        "data": [{"id": "tiny", "owned_by": "llamacpp", "meta": {"n_ctx": 2048}}],
    }

    async def answering(method: str, path: str) -> bytes:
        if path in ("/v1/models", "/api/tags"):
            return http(200, orjson.dumps(models), JSON)
        if path == "/props":
            return http(200, '{"total_slots": 3}', JSON)
        return http(404, '{"error":{"message":"File Not Found","type":"not_found_error","code":404}}', JSON)

    async with odd_server(answering) as url:
        as_openai = make(Endpoint(backend=BackendName.OPENAI, url=f"{url}/v1"))
        as_ollama = make(Endpoint(backend=BackendName.OLLAMA, url=url))
        known = await as_openai.probe(in_seconds(5))
        stranger = await as_ollama.probe(in_seconds(5))
        await as_openai.close()
        await as_ollama.close()
    assert (known.reachable, known.slots, known.models[0].context_tokens) == (True, 3, 2048)
    assert not stranger.reachable
    assert "not as an Ollama server" in stranger.detail


async def test_ollama_tells_digests_loaded_and_embedding_models() -> None:
    tags = {
        "models": [
            {"name": "e:latest", "digest": "aa", "capabilities": ["embedding"]},
            {
                "name": "q:8b",
                "digest": "bb",
                "capabilities": ["completion"],
                "details": {"context_length": 4096},
            },
        ]
    }
    pages: dict[str, object] = {
        "/api/version": {"version": "0.9"},
        "/api/tags": tags,
        "/api/ps": {"models": [{"name": "q:8b"}]},
        "/api/show": {},
    }

    async def answering(method: str, path: str) -> bytes:
        return http(200, orjson.dumps(pages[path]), JSON)

    async with odd_server(answering) as url:
        backend = make(Endpoint(backend=BackendName.OLLAMA, url=url))
        embedding, chat = (await backend.probe(in_seconds(5))).models
        assert isinstance(backend, Identifies)
        named = [await backend.identify(name, in_seconds(5)) for name in ("q:8b", "e", "none:1b")]
        pages["/api/tags"] = {"models": "broken"}
        named.append(await backend.identify("q:8b", in_seconds(5)))
        await backend.close()
    gone = make(Endpoint(backend=BackendName.OLLAMA, url=url))
    assert isinstance(gone, Identifies)
    named.append(await gone.identify("q:8b", in_seconds(5)))
    await gone.close()
    assert named == ["bb", "aa", None, None, None]
    assert (embedding.embedding, embedding.loaded) == (True, False)
    assert (chat.digest, chat.loaded, chat.embedding, chat.context_tokens) == ("bb", True, False, 4096)


async def test_only_wanted_headers_are_kept() -> None:
    reply = http(200, "{}", "X-Request-Id: 7", "Set-Cookie: session=1", "X-RateLimit-Remaining-Requests: 3")
    async with odd_server(always(reply)) as url:
        transport = Transport(Endpoint(backend=BackendName.OPENAI, url=url))
        kept = (await transport.get("/", in_seconds(5))).kept_headers()
        await transport.close()
    assert kept == {"x-request-id": "7", "x-ratelimit-remaining-requests": "3"}


async def test_no_proxy_of_the_environment_sees_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with odd_server(always(openai_answer())) as url:
        backend = make(Endpoint(backend=BackendName.OPENAI, url=url))
        assert (await backend.answer(make_request("m"), in_seconds(5))).text
        await backend.close()
