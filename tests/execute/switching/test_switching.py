"""Model switches under real leases: one drain, and the time that loads take."""

from __future__ import annotations

import asyncio

import pytest

from models.calls import ModelCallError
from models.endpoint import ModelSpec
from models.enums import ErrorType, TimeoutKind
from tasks.execute.loading import Way
from tasks.execute.switching import Loaded
from tests.execute.switching.conftest import Gpu, machine, ollama, scripted, soon, until


async def test_a_model_is_loaded_and_answers_before_it_is_used(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        assert (drain.switch.way, drain.switch.resident) == (Way.TOLD, frozenset())
        loaded = await drain.switch.to("small", soon(20))
        stats = server.stats()
        assert loaded.seconds >= 0.03
        assert (stats["loads"], stats["answers"], stats["tokens_out"]) == (1, 1, 1)
        assert gpu.residency() == [("small", "loaded")]
        assert drain.switch.resident >= {"small"}
        assert (await drain.ask("small")).text
        assert server.stats()["loads"] == 1, "calls have the context length that it was loaded with"
        assert server.engine.loaded["small"].context == drain.endpoint.context_tokens


async def test_what_the_server_has_loaded_is_known_at_the_start(gpu: Gpu) -> None:
    async with machine() as server:
        first = await gpu.drain(ollama(server.url))
        await first.ask("large")  # whoever asked for it
        gpu.dies(first)
        second = await gpu.drain(ollama(server.url))
        assert gpu.rows("select model, memory, state from residency") == [("large", 14.0, "loaded")]
        assert await second.switch.to("large") == Loaded()
        assert server.stats()["loads"] == 1


async def test_the_longest_unused_model_goes_when_there_is_no_room(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        for model in ("middle", "small", "middle", "large"):
            await drain.switch.to(model)
        stats = server.stats()
        assert set(stats["loaded"]) == {"middle", "large"}
        assert (stats["max_memory"], stats["unloads"], stats["unloads_of_busy"]) == (23, 1, 0)
        assert gpu.residency() == [("large", "loaded"), ("middle", "loaded")]


async def test_an_endpoint_keeps_as_many_models_as_it_is_declared_to(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, resident=1, models={}))
        for model in ("small", "middle", "small"):
            await drain.switch.to(model)
            assert list(server.stats()["loaded"]) == [model]
        assert (server.stats()["loads"], server.stats()["unloads"]) == (3, 2)


async def test_a_model_that_the_server_dropped_is_loaded_again(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        await drain.switch.to("small")
        server.engine.memory.unload("small")  # the server was restarted
        drain.switch.doubt()
        assert (await drain.switch.to("small")).seconds > 0
        assert server.stats()["loads"] == 2


async def test_a_model_that_was_idle_for_its_keep_alive_is_asked_for(gpu: Gpu) -> None:
    """The server dropped it, as it was told to: that is known without being told."""
    now = [0.0]
    async with machine() as server:
        loop = asyncio.get_running_loop()
        drain = await gpu.drain(ollama(server.url, keep_alive="5m"), clock=lambda: loop.time() + now[0])
        await drain.switch.to("small")
        now[0] = 200
        await drain.switch.touch()
        now[0] = 400
        assert drain.switch.resident
        assert await drain.switch.to("small") == Loaded()
        server.engine.memory.unload("small")
        now[0] = 800
        assert not drain.switch.resident
        assert (await drain.switch.to("small")).seconds > 0


async def test_one_that_never_fits_says_so(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, models={"large": ModelSpec(memory=25)}))
        with pytest.raises(ModelCallError, match="needs 25 GiB") as caught:
            await drain.switch.to("large")
        assert caught.value.error_type is ErrorType.OUT_OF_MEMORY
        assert (gpu.residency(), server.stats()["loads"]) == ([], 0)


async def test_a_model_that_is_there_costs_no_request(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    assert (await drain.switch.to("small")).waited == 0
    before, used = server.calls, gpu.rows("select used_at from residency")
    assert await drain.switch.to("small") == Loaded()
    assert await drain.switch.to("small:latest") == Loaded(), "another name of the same model"
    await drain.switch.touch()
    assert (server.calls, len(server.budgets)) == (before, 1)
    assert gpu.rows("select used_at from residency") > used
    assert drain.switch.resident == {"small", "small:latest"}


async def test_the_time_that_a_load_may_take_is_learned(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, models={"large": ModelSpec(load_timeout=200)})
    for takes in (100, 100, 20, 5, 5, 5, 5, 5, 5, 5):
        server.takes, server.loaded = takes, None
        drain.switch.doubt()
        assert (await drain.switch.to("large")).seconds == takes
    learned = [100.0, 100.0]
    for takes in (20, 5, 5, 5, 5, 5, 5):
        learned.append(learned[-1] + 0.3 * (takes - learned[-1]))
    assert server.budgets == pytest.approx([200] + [max(30, 3 * usual) for usual in learned])
    ((seconds, loads),) = gpu.rows("select load_seconds, loads from model_state where model = 'large'")
    assert (seconds, loads) == (pytest.approx(learned[-1] + 0.3 * (5 - learned[-1])), 10)
    assert drain.switch.load_seconds == {"large": pytest.approx(seconds)}


async def test_a_load_ends_at_the_deadline_too(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    await drain.switch.to("small", 7.0)
    assert server.budgets == [7.0]


async def test_a_load_that_takes_too_long_is_given_up_and_let_go(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, models={"large": ModelSpec(load_timeout=60)})
    server.takes = 61
    with pytest.raises(ModelCallError, match=r"large was not loaded .* within 60\.0 s") as caught:
        await drain.switch.to("large")
    assert (caught.value.error_type, caught.value.timeout) == (ErrorType.TIMEOUT, TimeoutKind.FIRST_TOKEN)
    assert (gpu.residency(), server.unloaded, drain.switch.resident) == ([], ["large"], frozenset())
    assert gpu.rows("select * from model_state") == []


async def test_memory_is_free_when_the_server_says_so(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, resident=1)
    await drain.switch.to("small")
    server.lingers = 3
    assert (await drain.switch.to("middle")).waited == 4
    assert gpu.residency() == [("middle", "loaded")]


async def test_a_model_that_does_not_go_is_an_error_and_counts_still(gpu: Gpu) -> None:
    server, drain = await scripted(gpu, resident=1)
    await drain.switch.to("small")
    server.lingers = 1000
    with pytest.raises(ModelCallError, match="small was told to go at test://gpu and is loaded still"):
        await drain.switch.to("middle")
    assert gpu.residency() == [("small", "loaded")]
    assert server.now == pytest.approx(30, abs=2)


async def test_an_error_of_a_load_is_told_as_it_is(gpu: Gpu) -> None:
    server, drain = await scripted(gpu)
    server.error = ModelCallError(ErrorType.OUT_OF_MEMORY, "No memory.")
    with pytest.raises(ModelCallError, match="No memory") as caught:
        await drain.switch.to("small")
    assert caught.value is server.error
    assert gpu.residency() == []
    server.error = None
    await drain.switch.to("small")
    assert gpu.residency() == [("small", "loaded")]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error500", ErrorType.SERVER_ERROR),
        ("out_of_memory", ErrorType.OUT_OF_MEMORY),
        ("wrong_model", ErrorType.MODEL_MISSING),
    ],
)
async def test_a_model_that_is_loaded_and_does_not_answer_is_not_ready(
    gpu: Gpu, fault: str, error: ErrorType
) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url))
        server.script([fault])
        with pytest.raises(ModelCallError) as caught:
            await drain.switch.to("small")
        assert caught.value.error_type is error
        assert gpu.residency() == []
        assert drain.switch.resident == frozenset()


async def test_warm_ups_are_never_the_same_question(gpu: Gpu) -> None:
    async with machine() as server:
        drain = await gpu.drain(ollama(server.url, resident=1))
        for model in ("small", "middle", "small", "middle"):
            await drain.switch.to(model)
        stats = server.stats()
        assert (stats["answers"], stats["answered_twice"], stats["wasted_tokens"]) == (4, 0, 0)


async def test_a_switch_that_is_cancelled_leaves_the_memory_counted_until_the_server_was_asked(
    gpu: Gpu,
) -> None:
    async with machine(load_seconds=30) as server:
        drain = await gpu.drain(ollama(server.url))
        switching = asyncio.ensure_future(drain.switch.to("large"))
        await until(lambda: gpu.residency() == [("large", "loading")])
        switching.cancel()
        await asyncio.gather(switching, return_exceptions=True)
        assert (gpu.residency(), drain.switch.resident) == ([("large", "loaded")], frozenset())
        await drain.switch.start()
        assert gpu.residency() == []
