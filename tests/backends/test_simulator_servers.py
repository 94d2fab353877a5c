"""What each kind of server does differently: as it was observed on real ones (docs/protocols.md)."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from backends.registry import make
from backends.simulator import Inside, answers, inside
from models.enums import BackendName
from models.settings import Endpoint

from .conftest import in_seconds, make_request
from .speaking import ANTHROPIC, GEMINI, OLLAMA, OPENAI, events

CHAT: dict[str, Any] = {"model": "sim:small", "messages": [{"role": "user", "content": "hi"}]}


async def until(holds: Callable[[], bool]) -> None:
    give_up = in_seconds(5)
    while not holds():
        assert in_seconds(0) < give_up
        await asyncio.sleep(0.005)


@asynccontextmanager
async def started(**options: Any) -> AsyncIterator[tuple[Inside, httpx.AsyncClient]]:
    async with (
        inside(**options) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=10) as client,
    ):
        yield server, client


# --- Ollama -------------------------------------------------------------------------------------------------


async def test_ollama_loads_and_unloads_as_asked() -> None:
    async with started(flavour="ollama", load_seconds=0.03, models=["tiny"]) as (server, client):
        assert (await client.get("/api/ps")).json() == {"models": []}
        loaded = (await client.post("/api/chat", json={"model": "tiny", "keep_alive": "1h30m"})).json()
        assert (loaded["done"], loaded["done_reason"]) == (True, "load")
        assert server.stats()["loads"] == 1
        (entry,) = (await client.get("/api/ps")).json()["models"]
        assert (entry["name"], entry["context_length"]) == ("tiny:latest", 8192)
        assert server.engine.loaded["tiny"].expires - in_seconds(0) == pytest.approx(5400, abs=5)
        warm = await OLLAMA.ask(client, model="tiny")
        assert warm.status == 200
        gone = (await client.post("/api/generate", json={"model": "tiny", "keep_alive": 0})).json()
        assert gone["done_reason"] == "unload"
        assert (await client.get("/api/ps")).json() == {"models": []}
        assert server.stats()["requests"] == 1  # loading is no request to a model


@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [("10m", 600), (30, 30), ("1.5s", 1.5), (-1, float("inf")), ("-1s", float("inf")), (None, 300)],
)
async def test_ollama_keep_alive(keep_alive: Any, seconds: float) -> None:
    async with started(flavour="ollama") as (server, client):
        await client.post("/api/chat", json={**CHAT, "stream": False, "keep_alive": keep_alive})
        left = server.engine.loaded["sim:small"].expires - in_seconds(0)
        assert left == pytest.approx(seconds, abs=2)
        (entry,) = (await client.get("/api/ps")).json()["models"]
        assert entry["expires_at"].startswith("2319") is (seconds == float("inf"))


async def test_ollama_reloads_for_another_context_length() -> None:
    async with started(flavour="ollama") as (server, client):
        for size in (1024, 1024, 2048):
            body = {**CHAT, "stream": False, "options": {"num_ctx": size}}
            assert (await client.post("/api/chat", json=body)).status_code == 200
        assert (server.stats()["loads"], server.stats()["reloads"]) == (2, 1)


async def test_ollama_refuses_a_burst_on_a_cold_model() -> None:
    async with started(flavour="ollama", slots=2, load_queue=1, load_seconds=0.1) as (_, client):
        cold = await asyncio.gather(*(OLLAMA.ask(client, prompt=str(n)) for n in range(8)))
        warm = await asyncio.gather(*(OLLAMA.ask(client, prompt=str(n)) for n in range(8)))
    assert sorted(each.status for each in cold) == [200] * 2 + [503] * 6
    assert {each.status for each in warm} == {200}
    refused = next(each for each in cold if each.status == 503)
    assert "maximum pending requests exceeded" in refused.error
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/chat", {}, 400, "model is required"),
        ("/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/embed", {"model": "nope", "input": "x"}, 404, "try pulling it first"),
        ("/api/embed", {"model": "sim:small", "input": "x"}, 501, "does not support embeddings"),
        ("/api/chat", {**CHAT, "model": "embed"}, 400, "does not support chat"),
        ("/api/chat", {**CHAT, "keep_alive": "soon"}, 400, 'time: invalid duration "soon"'),
        ("/api/chat", {**CHAT, "options": {"num_predict": "many"}}, 500, "must be of type integer"),
        ("/api/chat", {**CHAT, "format": "yaml"}, 500, "invalid format"),
        ("/api/show", {"model": "nope"}, 404, "not found"),
        ("/health", {}, 404, "404 page not found"),
    ],
)
async def test_ollama_errors(path: str, body: dict[str, Any], status: int, said: str) -> None:
    async with started(flavour="ollama", models=["sim:small", "embed"]) as (_, client):
        reply = await client.post(path, json=body)
    assert reply.status_code == status
    assert said in reply.text.replace('\\"', '"')


async def test_ollama_generates_without_chat_too() -> None:
    async with started() as (_, client):
        body = {"model": "sim:small", "prompt": "hi"}
        lines = [orjson.loads(x) for x in (await client.post("/api/generate", json=body)).text.splitlines()]
    assert "".join(line["response"] for line in lines).startswith("Simulated")
    assert lines[-1]["done_reason"] == "stop"
    assert lines[-1]["load_duration"] == 0


async def test_ollama_ends_a_broken_stream_of_v1_as_if_all_were_well() -> None:
    async with started(flavour="ollama") as (server, client):
        server.script(["broken"])
        heard = await OPENAI.ask(client, stream=True)
    assert (heard.error, heard.finish) == ("", None)
    assert "[DONE]" not in heard.events


async def test_ollama_says_names_with_their_tag_and_knows_no_other_protocols_paths() -> None:
    async with started(flavour="ollama", models=["tiny"]) as (_, client):
        assert (await client.get("/api/tags")).json()["models"][0]["name"] == "tiny:latest"
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "tiny:latest"
        assert (await OLLAMA.ask(client, model="tiny:latest")).model == "tiny:latest"
        assert (await ANTHROPIC.ask(client, model="tiny")).status == 200
        assert (await GEMINI.ask(client, model="tiny")).status == 404


# --- llama-server, vLLM, mlx --------------------------------------------------------------------------------


async def test_llama_server_says_that_it_loads_then_serves_one_model_for_any_name() -> None:
    async with started(flavour="llama", start_seconds=0.15, slots=2, models=["a.gguf"]) as (server, client):
        ready = in_seconds(0.2)
        for path in ("/health", "/v1/models", "/nothing"):
            reply = await client.get(path)
            assert (reply.status_code, reply.headers["connection"]) == (503, "close")
            assert reply.json()["error"]["message"] == "Loading model"
        backend = make(Endpoint(backend=BackendName.MLX, url=server.openai_url))
        assert (await backend.probe(in_seconds(5))).loading
        await until(lambda: server.engine.now() > ready)
        probe = await backend.probe(in_seconds(5))
        await backend.close()
        assert (probe.reachable, probe.slots, probe.models[0].context_tokens) == (True, 2, 8192)
        heard = await OPENAI.ask(client, model="whatever")
        assert heard.model == "a.gguf"
        whole = (await client.post("/v1/chat/completions", json={**CHAT, "model": "x"})).json()
        assert whole["timings"]["prompt_n"] == 1
        assert (await client.post("/v1/chat/completions", content="{")).status_code == 500
        unknown = await client.get("/api/tags")
        assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")


async def test_llama_server_tells_its_busy_slots() -> None:
    async with started(flavour="llama", slots=2) as (server, client):
        server.script(["hang"] * 2)
        hung = [asyncio.ensure_future(OPENAI.ask(client, prompt=str(n))) for n in range(2)]
        await until(lambda: server.stats()["running"] == 2)
        assert [slot["is_processing"] for slot in (await client.get("/slots")).json()] == [True, True]
        busy = await client.get("/slots", params={"fail_on_no_slot": 1})
        assert (busy.status_code, busy.json()["error"]["message"]) == (503, "no slot available")
        assert (await client.get("/health")).status_code == 200
        assert "llamacpp:requests_processing 2" in (await client.get("/metrics")).text
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)


async def test_vllm_refuses_connections_until_it_is_ready_and_can_sleep() -> None:
    async with started(flavour="vllm", start_seconds=0.1, models=["m"], load_seconds=0.05) as (
        server,
        client,
    ):
        with pytest.raises(httpx.ConnectError):
            await client.get("/health")
        give_up = in_seconds(5)
        while True:
            try:
                assert (await client.get("/health")).content == b""
                break
            except httpx.ConnectError:
                assert in_seconds(0) < give_up
                await asyncio.sleep(0.01)
        assert (await OPENAI.ask(client, model="m")).status == 200
        assert (await OPENAI.ask(client, model="other")).status == 404
        assert (await client.get("/nothing")).json() == {"detail": "Not Found"}
        metrics = (await client.get("/metrics")).text
        assert 'vllm:num_requests_running{model_name="m"} 0' in metrics
        assert "llamacpp" not in metrics
        assert (await client.post("/sleep?level=1")).status_code == 200
        assert (await client.get("/is_sleeping")).json() == {"is_sleeping": True}
        assert server.stats()["memory"] == 0
        waiting = asyncio.ensure_future(OPENAI.ask(client, model="m"))
        await client.post("/wake_up")
        assert (await waiting).status == 200
        assert (await client.get("/is_sleeping")).json() == {"is_sleeping": False}
        assert server.stats()["loads"] == 1


async def test_mlx_speaks_http_1_0_and_sends_keepalive_comments() -> None:
    async with started(flavour="mlx", prefill_per_second=100_000, models=["org/m"]) as (server, client):
        listed = await client.get("/v1/models")
        assert (listed.status_code, listed.content, listed.http_version) == (200, b"", "HTTP/1.0")
        assert (await client.get("/health")).json() == {"status": "ok"}
        whole = await client.post("/v1/chat/completions", json={"messages": CHAT["messages"]})
        assert (whole.json()["model"], whole.headers["connection"]) == ("org/m", "close")
        body = {**CHAT, "model": "default_model", "stream": True, "stream_options": {"include_usage": True}}
        reply = await client.post("/v1/chat/completions", json=body)
        assert "transfer-encoding" not in reply.headers
        assert reply.text.startswith(": keepalive 1/1\n\n")
        pages = events(reply.content, reply.headers["content-type"])
        assert all(page["choices"][0]["delta"].get("role") for page in pages[:-3])
        assert (pages[-1], pages[-2]["object"]) == ("[DONE]", "chat.completion")
        error = await client.post("/v1/chat/completions", content="{")
        assert (error.status_code, type(error.json()["error"])) == (400, str)
        unknown = await client.get("/api/tags")
        assert (unknown.status_code, unknown.content) == (404, b"Not Found")
        schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
        free = await client.post(
            "/v1/chat/completions", json={**body, "stream": False, "response_format": schema}
        )
        assert free.json()["choices"][0]["message"]["content"].startswith("Simulated")
        long = {**CHAT, "model": "org/m", "messages": [{"role": "user", "content": "x" * 40_000}]}
        assert (await client.post("/v1/chat/completions", json=long)).status_code == 200
        backend = make(Endpoint(backend=BackendName.MLX, url=server.openai_url))
        assert (await backend.probe(in_seconds(5))).detail == "answers, but lists no models"
        assert (await backend.answer(make_request("org/m"), in_seconds(5))).text
        await backend.close()


async def test_mlx_keeps_the_connection_alive_while_it_reads() -> None:
    async with started(flavour="mlx", slots=1, models=["m"]) as (server, client):
        server.script(["hang"])
        comments = 0
        request = OPENAI.request(client, stream=True, model="m")
        reply = await client.send(request, stream=True)
        async for line in reply.aiter_lines():
            comments += line.startswith(": keepalive")
            if comments == 2:  # the second after a second
                break
        await reply.aclose()


# --- Anthropic, Gemini --------------------------------------------------------------------------------------


async def test_anthropic_says_what_is_missing_and_names_each_request() -> None:
    async with started(flavour="anthropic") as (_, client):
        body = {"model": "sim:small", "max_tokens": 5, "messages": CHAT["messages"]}
        unversioned = await client.post("/v1/messages", json=body)
        assert "anthropic-version" in unversioned.json()["error"]["message"]
        client.headers["anthropic-version"] = "2023-06-01"
        unlimited = await client.post("/v1/messages", json={**body, "max_tokens": None})
        assert unlimited.json()["error"] == {
            "type": "invalid_request_error",
            "message": "max_tokens: Field required",
        }
        assert unlimited.json()["request_id"] == unlimited.headers["request-id"]
        ids = {(await client.post("/v1/messages", json=body)).headers["request-id"] for _ in range(3)}
        assert len(ids) == 3
        counted = await client.post("/v1/messages/count_tokens", json={**body, "system": "x" * 40})
        assert counted.json() == {"input_tokens": 11}
        models = (await client.get("/v1/models")).json()
        assert [model["id"] for model in models["data"]] == ["sim:small", "sim:large"]
        assert (await client.get("/v1/models/sim:small")).json()["type"] == "model"
        assert (await client.get("/v1/models/nope")).status_code == 404
        assert (await client.post("/api/chat", json=CHAT)).json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_calls_the_tool_that_it_is_told_to(stream: bool) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    body = {
        "model": "sim:small",
        "max_tokens": 500,
        "messages": CHAT["messages"],
        "tools": [{"name": "give", "input_schema": schema}],
        "tool_choice": {"type": "tool", "name": "give"},
        "stream": stream,
    }
    async with started() as (_, client):
        reply = await client.post("/v1/messages", json=body, headers=ANTHROPIC.headers)
    if stream:
        pages = events(reply.content, reply.headers["content-type"])
        assert pages[1]["content_block"]["name"] == "give"
        deltas = [page["delta"]["partial_json"] for page in pages if page["type"] == "content_block_delta"]
        assert orjson.loads("".join(deltas))["answer"].startswith("Simulated")
        assert pages[-2]["delta"]["stop_reason"] == "tool_use"
    else:
        (block,) = reply.json()["content"]
        assert (block["type"], reply.json()["stop_reason"]) == ("tool_use", "tool_use")
        assert block["input"]["answer"].startswith("Simulated")


async def test_anthropic_caches_only_what_it_is_told_to() -> None:
    long = "word " * 300
    async with started() as (server, client):
        for _ in range(2):
            assert (await ANTHROPIC.ask(client, prompt=long)).cached == 0
        heard = [await ANTHROPIC.ask(client, system=long) for _ in range(2)]
    assert heard[0].cached == 0
    assert heard[1].cached > 250
    assert server.stats()["callers"] == {}


async def test_gemini_counts_lists_and_draws() -> None:
    contents = [
        {
            "parts": [
                {"text": "draw"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
            ]
        }
    ]
    async with started(flavour="gemini") as (server, client):
        for version in ("v1", "v1beta"):
            counted = await client.post(
                f"/{version}/models/sim:small:countTokens", json={"contents": contents}
            )
            assert counted.json() == {"totalTokens": 259}
            listed = (await client.get(f"/{version}/models")).json()["models"]
            assert [model["name"] for model in listed] == ["models/sim:small", "models/sim:large"]
        body = {"contents": contents, "generationConfig": {"responseModalities": ["IMAGE"]}}
        drawn = (await client.post("/v1/models/sim:small:generateContent", json=body)).json()
        (image,) = [
            part["inlineData"] for part in drawn["candidates"][0]["content"]["parts"] if "inlineData" in part
        ]
        assert base64.b64decode(image["data"]).startswith(b"\x89PNG")
        server.script(["no_image"])
        none = (await client.post("/v1/models/sim:small:generateContent", json=body)).json()
        assert none["candidates"] == [{"index": 0, "finishReason": "NO_IMAGE"}]
        empty = await client.post("/v1/models/sim:small:generateContent", json={})
        assert empty.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert (await client.get("/v1/models/nope")).json()["error"]["status"] == "NOT_FOUND"


async def test_gemini_takes_its_own_schema_and_streams_a_list_without_sse() -> None:
    config = {
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"answer": {"type": "STRING"}}},
    }
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config}
    async with started() as (server, client):
        reply = await client.post("/v1/models/sim:small:streamGenerateContent", json=body)
        pages = reply.json()
        text = "".join(part["candidates"][0]["content"]["parts"][0]["text"] for part in pages)
        assert orjson.loads(text)["answer"].startswith("Simulated")
        server.script(["rate_limited"])
        refused = await client.post("/v1/models/sim:small:streamGenerateContent", json=body)
        assert refused.json()[0]["error"]["code"] == 429


# --- embeddings ---------------------------------------------------------------------------------------------


async def test_embeddings_in_each_protocol() -> None:
    texts = ["the cat sat", "the cat ran", "something else"]
    async with started(models=["embed", "sim:small"], dimensions=64) as (server, client):
        native = (await client.post("/api/embed", json={"model": "embed", "input": texts})).json()
        openai = (await client.post("/v1/embeddings", json={"model": "embed", "input": texts})).json()
        packed = (
            await client.post(
                "/v1/embeddings", json={"model": "embed", "input": texts, "encoding_format": "base64"}
            )
        ).json()
        requests = [{"content": {"parts": [{"text": text}]}} for text in texts]
        google = (
            await client.post("/v1/models/embed:batchEmbedContents", json={"requests": requests})
        ).json()
        empty = (await client.post("/api/embed", json={"model": "embed", "input": ""})).json()
        chat_only = await client.post("/v1/embeddings", json={"model": "sim:small", "input": texts})
        assert server.stats()["models"]["embed"]["answered"] == 5
        assert server.stats()["tokens_out"] == 0
    vectors = native["embeddings"]
    assert [entry["embedding"] for entry in openai["data"]] == vectors
    assert [entry["values"] for entry in google["embeddings"]] == vectors
    unpacked = [struct.unpack("<64f", base64.b64decode(entry["embedding"])) for entry in packed["data"]]
    assert unpacked == [pytest.approx(vector) for vector in vectors]
    assert empty["embeddings"] == []
    assert chat_only.status_code == 501
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert near > far
    assert sum(value**2 for value in vectors[0]) == pytest.approx(1)
    assert answers.embedding("", 8) == answers.embedding("", 8)
