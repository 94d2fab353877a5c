"""Switches on servers of other kinds: one model, no word to let it go, sleeping ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backends.simulator import inside
from models.calls import ModelCallError
from models.endpoint import Endpoint, ModelSpec
from models.enums import BackendName, ErrorType
from models.errors import NoRoom
from models.settings import Settings
from tasks.execute.loading import Way
from tasks.execute.switching import Loaded
from tests.execute.switching.conftest import (
    GPU,
    SIZES,
    SPECS,
    Gpu,
    Pair,
    Scripted,
    machine,
    ollama,
    soon,
    until,
)


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(backend=BackendName.EXTRACTIVE, url="extractive://local"),
        Endpoint(backend=BackendName.ANTHROPIC, url="http://127.0.0.1:9"),
        Endpoint(backend=BackendName.GEMINI, url="http://127.0.0.1:9"),
        Endpoint(backend=BackendName.OPENAI, url="https://127.0.0.1:9/v1"),
    ],
    ids=lambda endpoint: endpoint.backend,
)
async def test_where_nothing_is_loaded_nothing_is_done(gpu: Gpu, endpoint: Endpoint) -> None:
    drain = await gpu.drain(endpoint)
    assert drain.switch.way is Way.NOTHING
    assert await drain.switch.to("any", soon(5)) == Loaded()
    await drain.switch.touch()
    await drain.switch.leave()
    assert await drain.contested() is None
    assert gpu.residency() == []


@pytest.mark.parametrize(("flavour", "warmed"), [("llama", 1), ("mlx", 0)])
async def test_a_server_of_one_model_has_only_to_answer(gpu: Gpu, flavour: str, warmed: int) -> None:
    """mlx_lm.server is asked for a token when it is probed, so it is known to answer."""
    async with inside(flavour=flavour, models=["only"]) as server:
        kind = BackendName.MLX if flavour == "mlx" else BackendName.OPENAI
        drain = await gpu.drain(Endpoint(backend=kind, url=server.openai_url, model="only"))
        assert drain.switch.way is Way.FIXED
        before = server.stats()["answers"]
        for _ in range(2):
            await drain.switch.to("only", soon(10))
        assert server.stats()["answers"] - before == warmed
        assert gpu.residency() == []


async def test_the_memory_of_a_fixed_model_is_taken_as_long_as_its_server_answers(gpu: Gpu) -> None:
    """The Mac of docs/backends.md: Ollama beside an mlx_lm.server, which nobody can tell to let its model go."""
    async with machine() as server, inside(flavour="mlx", models=["only"]) as beside:
        fixed = Endpoint(
            backend=BackendName.MLX,
            url=beside.openai_url,
            device="gpu",
            model="only",
            models={"only": ModelSpec(memory=12)},
            keep_alive=0,
        )
        gpu.settings = Settings(devices=[GPU], endpoints=[fixed, ollama(server.url)])
        drain = await gpu.drain(ollama(server.url))
        assert gpu.residency() == [("only", "loaded")]
        assert beside.stats()["requests"] == 0, "it is not asked for a token by who does not hold it"
        await drain.switch.to("middle", soon(20))
        await drain.switch.to("small", soon(20))
        assert list(server.stats()["loaded"]) == ["small"], "with the other one, only 12 GiB are left"
        with pytest.raises(ModelCallError, match=r"large needs 14 GiB .* always has 12 GiB") as caught:
            await drain.switch.to("large", soon(20))
        assert caught.value.error_type is ErrorType.OUT_OF_MEMORY
        own = await gpu.drain(fixed)
        assert await own.switch.to("only", soon(20)) == Loaded()
        await own.switch.leave()
        gpu.dies(own)
        assert gpu.residency() == [("only", "loaded"), ("small", "loaded")]
    another = await gpu.drain(ollama("http://gpu:1"), Scripted())
    await another.switch.to("large", soon(20))  # its server is no more, and its keep_alive is over
    assert ("only", "loaded") not in gpu.residency()


async def test_a_fixed_model_that_does_not_answer_is_an_error(gpu: Gpu) -> None:
    drain = await gpu.drain(Endpoint(backend=BackendName.OPENAI, url="http://127.0.0.1:9/v1", model="m"))
    assert drain.switch.way is None, "it could not be asked"
    with pytest.raises(ModelCallError) as caught:
        await drain.switch.to("m", soon(5))
    assert caught.value.error_type is ErrorType.CONNECTION


async def test_a_server_that_loads_what_it_is_asked_for(gpu: Gpu) -> None:
    async with inside(flavour="openai", models=list(SIZES), load_seconds=0.02, model_memory=SIZES) as server:
        endpoint = Endpoint(
            backend=BackendName.OPENAI, url=server.openai_url, device="gpu", models=SPECS, keep_alive="5m"
        )
        drain = await gpu.drain(endpoint)
        assert drain.switch.way is Way.ASKED
        for model in ("large", "large", "middle"):
            await drain.switch.to(model, soon(20))
            assert gpu.residency() == [(model, "loaded")], "it drops what it had"
        assert (server.stats()["answers"], server.stats()["loads"]) == (2, 2)
        assert drain.switch.load_seconds.keys() == {"large", "middle"}


async def test_what_a_server_cannot_be_told_to_let_go_counts_while_its_drain_lives(gpu: Gpu) -> None:
    """Another one waits, longer than `max_wait`: the model that is there can only be replaced, and counts till then."""
    options: dict[str, Any] = {"load_seconds": 0.02, "model_memory": SIZES}
    async with inside(flavour="openai", models=list(SIZES), **options) as server, machine() as other:
        kept = Endpoint(backend=BackendName.OPENAI, url=server.openai_url, device="gpu", models=SPECS)
        gpu.settings = Settings(devices=[GPU], endpoints=[kept, ollama(other.url)], max_wait=0.01)
        keeps, waits = [await gpu.drain(each) for each in gpu.settings.endpoints]
        await keeps.switch.to("large", soon(20))
        waiting = asyncio.ensure_future(waits.switch.to("large", soon(20)))
        await until(lambda: ("large", "wanted") in gpu.residency())
        await asyncio.sleep(0.05)
        assert await keeps.contested() is None, "it has nothing that it could give"
        other.engine.memory.beside(server.engine.memory)  # one judge of what both have
        assert other.stats()["loads"] == 0
        await keeps.switch.to("middle", soon(20))  # smaller: now there is room
        assert server.stats()["loads"] == 2
        async with asyncio.timeout(10):
            await waiting
        assert gpu.residency() == [("large", "loaded"), ("middle", "loaded")]
        assert max(float(each.stats()["max_memory"]) for each in (server, other)) <= 24


async def test_two_that_cannot_let_go_do_not_wait_for_each_other_for_ever(gpu: Gpu) -> None:
    options: dict[str, Any] = {"flavour": "openai", "models": list(SIZES), "model_memory": SIZES}
    async with inside(**options) as one, inside(**options) as other:
        gpu.settings = Settings(
            devices=[GPU],
            endpoints=[
                Endpoint(backend=BackendName.OPENAI, url=each.openai_url, device="gpu", models=SPECS)
                for each in (one, other)
            ],
            max_wait=0.1,
        )
        drains = [await gpu.drain(each) for each in gpu.settings.endpoints]
        for drain in drains:
            await drain.switch.to("middle", soon(20))
        both = [drain.switch.to("large") for drain in drains]  # 14 and 14, of 24
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*both, return_exceptions=True)
        assert any(isinstance(end, NoRoom) for end in ends)
        assert gpu.rows("select sum(memory) from residency where state <> 'wanted'")[0][0] <= 24


@asynccontextmanager
async def sleepers(gpu: Gpu) -> AsyncIterator[Pair]:
    """Two vLLM with a model each, that don't fit at once."""
    options: dict[str, Any] = {"flavour": "vllm", "model_memory": 14, "load_seconds": 0.3}
    async with inside(models=["a"], **options) as one, inside(models=["b"], **options) as other:
        endpoints = [
            Endpoint(
                backend=BackendName.OPENAI,
                url=server.openai_url,
                device="gpu",
                model=model,
                models={model: ModelSpec(memory=14)},
            )
            for server, model in ((one, "a"), (other, "b"))
        ]
        gpu.settings = Settings(devices=[GPU], endpoints=endpoints)
        yield Pair([one, other])


async def test_vllm_sleeps_and_wakes(gpu: Gpu) -> None:
    async with sleepers(gpu) as both:
        servers = both.servers
        for server in servers:
            await server.engine.load(server.engine.models[0], server.engine.options.context, -1)
            await server.engine.memory.sleep(1)  # as an operator starts them
        servers[1].engine.memory.beside(servers[0].engine.memory)
        drains = [await gpu.drain(endpoint) for endpoint in gpu.settings.endpoints]
        assert [drain.switch.way for drain in drains] == [Way.TOLD, Way.TOLD]
        one, other = drains
        woken = await one.switch.to("a", soon(20))
        assert 0.03 <= woken.seconds < 0.3, "waking is faster than loading"
        waiting = asyncio.ensure_future(other.switch.to("b", soon(20)))
        await until(lambda: ("b", "wanted") in gpu.residency())
        assert (await one.ask("a")).text
        await one.switch.leave()
        await waiting
        assert (await other.ask("b")).text
        assert [server.engine.memory.asleep for server in servers] == [1, 0]
        assert [server.stats()["wakes"] for server in servers] == [1, 1]
        assert (both.most("max_memory"), both.total("unloads_of_busy")) == (14, 0)
        assert gpu.residency() == [("b", "loaded")]
        gpu.dies(other)
        await one.switch.to("a", soon(20))  # nobody drains the other: it is put to sleep
        assert [server.engine.memory.asleep for server in servers] == [0, 1]


async def test_vllm_that_is_awake_is_left_so(gpu: Gpu) -> None:
    async with sleepers(gpu):
        drain = await gpu.drain(gpu.settings.endpoints[0])
        assert await drain.switch.to("a") == Loaded()
        assert gpu.rows("select model, memory from residency order by model") == [("a", 14.0), ("b", 14.0)]
