"""The same questions to the simulator in each protocol, whole and streamed: answers, faults, cached tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import jsonschema
import orjson
import pytest
import pytest_asyncio

from backends.simulator import Inside, inside
from backends.simulator.answers import ENGLISH, RUSSIAN
from backends.simulator.faults import FAULTS
from backends.simulator.packs import FAULTS as PACKS

from .conftest import SCHEMA, in_seconds
from .speaking import ALL, ANTHROPIC, GEMINI, OLLAMA, OPENAI, PROMPT, Heard, Speaks

SAID = "Simulated: The nightly backup starts at 02:30 UTC and is kept."
pytestmark = pytest.mark.parametrize("speaks", ALL, ids=lambda speaks: speaks.name)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Inside]:
    async with inside() as simulator:
        yield simulator


@pytest_asyncio.fixture
async def client(server: Inside) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


@STREAMED
async def test_answers(client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool) -> None:
    heard = await speaks.ask(client, stream=stream)
    assert (heard.status, heard.text, heard.finish, heard.error) == (200, SAID, speaks.ends, "")
    assert (heard.model, heard.headers["x-penstock-simulator"]) == ("sim:small", "1")
    assert (heard.tokens_in, heard.tokens_out) == (len(PROMPT) // 4, len(SAID) // 4)
    if stream:
        assert heard.pieces == heard.tokens_out
    stats = server.stats()
    assert (stats["tokens_in"], stats["tokens_out"]) == (heard.tokens_in, heard.tokens_out)
    assert stats["outcomes"] == {"answered": 1}
    assert (stats["in_flight"], stats["running"]) == (0, 0)


@STREAMED
async def test_fits_the_schema(client: httpx.AsyncClient, speaks: Speaks, stream: bool) -> None:
    heard = await speaks.ask(client, stream=stream, schema=SCHEMA)
    answer = orjson.loads(heard.text)
    jsonschema.validate(answer, SCHEMA)
    assert answer["answer"] == SAID


@STREAMED
async def test_max_tokens_cuts(client: httpx.AsyncClient, speaks: Speaks, stream: bool) -> None:
    heard = await speaks.ask(client, stream=stream, limit=3)
    assert (heard.text, heard.tokens_out) == (SAID[:12], 3)
    assert heard.finish == {"anthropic": "max_tokens", "gemini": "MAX_TOKENS"}.get(speaks.name, "length")


async def test_cached_tokens_are_reported(client: httpx.AsyncClient, server: Inside, speaks: Speaks) -> None:
    system = "Read all of this. " * 40  # 720 characters, 180 tokens
    heard = [await speaks.ask(client, system=system, prompt=prompt) for prompt in ("one", "two")]
    assert server.stats()["cached_tokens"] == 176
    if speaks is OLLAMA:
        assert heard[0].tokens_in == heard[1].tokens_in  # its count does not tell
    else:
        assert [each.cached for each in heard] == [0, 176]


async def test_an_unknown_model_is_404(client: httpx.AsyncClient, speaks: Speaks) -> None:
    heard = await speaks.ask(client, model="nope")
    assert heard.status == 404
    assert "nope" in heard.error


async def test_a_prompt_too_long_is_refused_or_cut(client: httpx.AsyncClient, speaks: Speaks) -> None:
    heard = await speaks.ask(client, prompt="x" * 40_000)
    if speaks is OLLAMA:
        assert (heard.status, heard.tokens_in) == (200, 8192)
    else:
        assert heard.status == 400
        assert "10000" in heard.error


async def test_tokens_come_one_after_another(speaks: Speaks) -> None:
    async with (
        inside(tokens_per_second=100, prefill_per_second=1000) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        times = []
        request = speaks.request(client, stream=True)
        begun = in_seconds(0)
        reply = await client.send(request, stream=True)
        async for chunk in reply.aiter_raw():
            times.append((in_seconds(0) - begun, chunk))
        await reply.aclose()
    first = next(at for at, chunk in times if b"Simu" in chunk)
    assert 0.02 <= first < times[-1][0] - 0.1  # 22 tokens are read in 22 ms, 15 written in 150 ms
    assert len(times) >= 10


async def test_a_client_that_leaves_a_stream_stops_it(speaks: Speaks) -> None:
    async with (
        inside(tokens_per_second=50, answer_tokens=5000) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        reply = await client.send(speaks.request(client, stream=True, limit=9999), stream=True)
        content = b""
        async for chunk in reply.aiter_raw():
            content += chunk
            if b"ight" in content:  # the fifth token
                break
        await reply.aclose()
        give_up = in_seconds(5)
        while server.stats()["in_flight"]:
            assert in_seconds(0) < give_up
            await asyncio.sleep(0.005)
        stats = server.stats()
    assert stats["outcomes"] == {"disconnected": 1}
    assert 0 < stats["wasted_left"] < 500


# --- faults -------------------------------------------------------------------------------------------------

STATUS = {"error500": 500, "error503": 503, "rate_limited": 429, "out_of_memory": 500}
TEXTS = {
    "slow_load": SAID,
    "wrong_model": SAID,
    "cut_prompt": SAID,
    "empty": "",
    "no_image": "",
    "echo": PROMPT,
    "echo_quoted": f'"{PROMPT}"',
    "echo_prefixed": f"Sure! Here is what you asked for:\n\n{PROMPT}",
    "echo_partial": PROMPT[: len(PROMPT) // 2],
    "echo_inside": PROMPT,
    "other_language": RUSSIAN,
    "no_json": ENGLISH,
    "fenced": f"Here it is:\n\n```json\n{SAID}\n```\n",
    "think": "<think>\nWhat is asked for? {braces}\n</think>\n\n" + SAID,
    "truncated": SAID[: len(SAID) // 2],
    "unfinished": SAID[: len(SAID) // 2],
    **dict.fromkeys(PACKS, SAID),  # this prompt is one request: tests/execute/test_packing.py has several
}
ENDS_BADLY = ("hang", "stall", "broken", "cut", "nonsense", "refusal", "blocked")


def test_all_faults_are_tested_here(speaks: Speaks) -> None:
    assert {*STATUS, *TEXTS, *ENDS_BADLY} == set(FAULTS)


@pytest.mark.parametrize("fault", STATUS)
@STREAMED
async def test_faults_with_a_status(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool, fault: str
) -> None:
    server.script([fault])
    heard = await speaks.ask(client, stream=stream)
    overloaded = 529 if speaks is ANTHROPIC else 503
    assert heard.status == (overloaded if fault == "error503" else STATUS[fault])
    wait = {"error503": "1", "rate_limited": "2"}.get(fault)
    if speaks is GEMINI and fault == "rate_limited":
        error = orjson.loads(heard.error)
        error = error[0] if isinstance(error, list) else error
        assert error["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert error["error"]["details"][0]["retryDelay"] == "2s"
    else:
        assert heard.headers.get("retry-after") == wait
    if fault == "out_of_memory":
        assert "out of memory" in heard.error
    assert server.stats()["outcomes"] == {fault: 1}
    assert (await speaks.ask(client, stream=stream)).text == SAID


@pytest.mark.parametrize("fault", TEXTS)
@STREAMED
async def test_faults_of_the_answer(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool, fault: str
) -> None:
    server.script([fault])
    heard = await speaks.ask(client, stream=stream)
    assert heard.status == 200
    assert heard.text == TEXTS[fault]
    match fault:
        case "unfinished":
            assert heard.finish is None
        case "truncated":
            assert heard.finish in ("length", "max_tokens", "MAX_TOKENS")
        case "no_image":
            assert heard.finish == ("NO_IMAGE" if speaks is GEMINI else speaks.ends)
        case _:
            assert heard.finish == speaks.ends
    assert heard.model == ("another-model" if fault == "wrong_model" else "sim:small")
    if fault == "cut_prompt":
        assert heard.tokens_in == len(PROMPT) // 40


@pytest.mark.parametrize("fault", ["refusal", "blocked"])
@STREAMED
async def test_refusals_in_the_words_of_the_protocol(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool, fault: str
) -> None:
    server.script([fault])
    heard = await speaks.ask(client, stream=stream)
    if speaks is OLLAMA:
        assert "can't help" in heard.text
    elif speaks is OPENAI:
        assert (heard.text, "can't help" in heard.error) == ("", True)
    elif speaks is ANTHROPIC:
        assert heard.finish == "refusal"
    elif fault == "refusal":
        assert (heard.text, heard.finish) == ("", "SAFETY")
    else:
        assert (heard.text, heard.finish, heard.error) == ("", None, "SAFETY")


@STREAMED
async def test_broken_in_the_middle(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool
) -> None:
    server.script(["broken"])
    heard = await speaks.ask(client, stream=stream)
    assert heard.error
    assert heard.finish is None
    if stream:
        assert (heard.status, heard.text) == (200, SAID[: len(heard.text)])
        assert heard.text
    else:
        assert heard.status == 500
    assert server.stats()["outcomes"] == {"broken": 1}
    assert server.stats()["loaded"] == {}  # its process died


async def receive(client: httpx.AsyncClient, request: httpx.Request, speaks: Speaks) -> tuple[Heard, bool]:
    """What came until the end or until nothing came for a while; and whether it was cut off."""
    content, cut = b"", False
    reply = None
    try:
        async with asyncio.timeout(0.4):
            reply = await client.send(request, stream=True)
            async for chunk in reply.aiter_raw():
                content += chunk
    except TimeoutError:
        pass
    except httpx.RemoteProtocolError:
        cut = True
    finally:
        if reply is not None:
            await reply.aclose()
    if reply is None:
        return Heard(0), cut
    return speaks.hear(reply.status_code, content, reply.headers, stream=True), cut


@pytest.mark.parametrize("fault", ["hang", "stall", "cut"])
async def test_streams_that_end_badly(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, fault: str
) -> None:
    server.script([fault])
    heard, cut = await receive(client, speaks.request(client, stream=True), speaks)
    assert cut is (fault == "cut")
    assert heard.finish is None
    if fault == "hang":
        assert heard.text == ""
    else:
        assert heard.text == SAID[: len(heard.text)]
        assert heard.pieces == len(SAID) // 4 // 2
    give_up = in_seconds(5)
    while server.stats()["in_flight"]:
        assert in_seconds(0) < give_up
        await asyncio.sleep(0.005)
    assert server.stats()["outcomes"] == {"cut" if fault == "cut" else "disconnected": 1}


@STREAMED
async def test_nonsense_is_a_page_of_html(
    client: httpx.AsyncClient, server: Inside, speaks: Speaks, stream: bool
) -> None:
    server.script(["nonsense"])
    reply = await client.send(speaks.request(client, stream=stream))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html")


async def test_a_server_without_models(client: httpx.AsyncClient, server: Inside, speaks: Speaks) -> None:
    server.models([])
    listing = {OLLAMA: "/api/tags", GEMINI: "/v1beta/models"}.get(speaks, "/v1/models")
    page = (await client.get(listing, headers=speaks.headers)).json()
    assert page["models" if speaks in (OLLAMA, GEMINI) else "data"] == []
    assert (await speaks.ask(client)).status == 404


async def test_a_full_queue(speaks: Speaks) -> None:
    async with (
        inside(slots=1, max_queue=1, latency=0.05) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        heard = await asyncio.gather(*(speaks.ask(client, prompt=str(n)) for n in range(5)))
        assert server.stats()["outcomes"] == {"answered": 2, "busy": 3}
    assert sorted(each.status for each in heard) == [200, 200, *[529 if speaks is ANTHROPIC else 503] * 3]


async def test_callers_by_header(client: httpx.AsyncClient, server: Inside, speaks: Speaks) -> None:
    client.headers["x-caller"] = "drain-7"
    await speaks.ask(client)
    assert server.stats()["callers"]["drain-7"]["answered"] == 1


async def test_a_key_that_is_asked_for(speaks: Speaks) -> None:
    async with (
        inside(api_key="secret") as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        assert (await speaks.ask(client)).status == (400 if speaks is GEMINI else 401)
        for headers in (
            {"authorization": "Bearer secret"},
            {"x-api-key": "secret"},
            {"x-goog-api-key": "secret"},
        ):
            reply = speaks.request(client, stream=False)
            reply.headers.update(headers)
            assert (await client.send(reply)).status_code == 200
