"""vLLM's sleep mode: found where it is offered, and nowhere else; whether it sleeps is what the server says."""

from __future__ import annotations

import pytest

from backends.openai import OpenAIBackend
from backends.simulator import inside
from models.calls import Loads, ModelCallError
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType

from .conftest import http, in_seconds, odd_server


def backend_at(url: str) -> OpenAIBackend:
    return OpenAIBackend(Endpoint(backend=BackendName.OPENAI, url=f"{url}/v1"))


async def test_it_sleeps_wakes_and_tells() -> None:
    async with inside(flavour="vllm", models=["m"], load_seconds=0.2) as server:
        backend = backend_at(server.url)
        assert isinstance(backend, Loads)
        assert await backend.can_load(in_seconds(5))
        await server.engine.load("m", server.engine.options.context, -1)
        assert [each.loaded for each in (await backend.probe(in_seconds(5))).models] == [True]
        await backend.unload("m", in_seconds(5))
        probe = await backend.probe(in_seconds(5))
        assert [each.loaded for each in probe.models] == [False]
        assert probe.detail == "answers, 1 model: m, asleep"
        assert server.stats()["memory"] == 0
        assert 0.02 <= await backend.load("m", in_seconds(5)) < 0.2
        assert [each.loaded for each in (await backend.probe(in_seconds(5))).models] == [True]
        await backend.close()


@pytest.mark.parametrize("flavour", ["openai", "llama", "mlx"])
async def test_other_servers_do_not_offer_it(flavour: str) -> None:
    async with inside(flavour=flavour) as server:
        backend = backend_at(server.url)
        assert not await backend.can_load(in_seconds(5))
        assert {each.loaded for each in (await backend.probe(in_seconds(5))).models} <= {None}
        await backend.close()


@pytest.mark.parametrize(
    ("reply", "offered"),
    [
        (http(200, '{"is_sleeping": false}'), True),
        (http(200, '{"is_sleeping": true}'), True),
        (http(200, '{"is_sleeping": "no"}'), False),
        (http(200, "[]"), False),
        (http(200, "<html>"), False),
        (http(404, '{"detail": "Not Found"}'), False),
        (http(401, '{"error": "Unauthorized"}'), False),
        (None, False),
    ],
)
async def test_only_a_clear_yes_counts(reply: bytes | None, offered: bool) -> None:
    async def answer(method: str, path: str) -> bytes | None:
        assert (method, path) == ("GET", "/is_sleeping")
        return reply

    async with odd_server(answer) as url:
        backend = backend_at(url)
        assert await backend.can_load(in_seconds(5)) is offered
        await backend.close()


async def test_a_server_that_could_not_be_asked_is_asked_again_and_one_that_said_no_is_not() -> None:
    asked = 0

    async def answer(method: str, path: str) -> bytes | None:
        nonlocal asked
        asked += 1
        return http(503, "starting") if asked == 1 else http(404, "no")

    async with odd_server(answer) as url:
        backend = backend_at(url)
        for _ in range(4):
            assert not await backend.can_load(in_seconds(5))
        assert asked == 2
        await backend.close()


async def test_an_error_of_it_is_one() -> None:
    async def answer(method: str, path: str) -> bytes | None:
        return http(500, '{"error": "CUDA error: out of memory"}')

    async with odd_server(answer) as url:
        backend = backend_at(url)
        with pytest.raises(ModelCallError) as caught:
            await backend.load("m", in_seconds(5))
        assert caught.value.error_type is ErrorType.OUT_OF_MEMORY
        with pytest.raises(ModelCallError):
            await backend.unload("m", in_seconds(5))
        await backend.close()
