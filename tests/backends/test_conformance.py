"""The contract of models.calls.Backend: the same tests for every implementation, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import jsonschema
import orjson
import psutil
import pytest
import pytest_asyncio

from backends.registry import extractive_endpoint, make
from backends.simulator import Simulator
from models.calls import Backend, ModelCallError, ModelRequest
from models.enums import BackendName, ErrorType
from models.settings import Endpoint

from .conftest import SCHEMA, in_seconds, make_request

SERVED = [BackendName.OPENAI, BackendName.MLX, BackendName.OLLAMA]
ALL = [*SERVED, BackendName.EXTRACTIVE]


def endpoint_of(kind: BackendName, simulator: Simulator, **values: Any) -> Endpoint:
    if kind is BackendName.EXTRACTIVE:
        return extractive_endpoint()
    url = simulator.url if kind is BackendName.OLLAMA else simulator.openai_url
    return Endpoint(backend=kind, url=url, **values)


@dataclass
class Case:
    kind: BackendName
    simulator: Simulator
    backend: Backend
    model: str

    def request(self, **changes: Any) -> ModelRequest:
        return make_request(self.model, **changes)


@pytest_asyncio.fixture(params=ALL)
async def case(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[Case]:
    kind = request.param
    backend = make(endpoint_of(kind, simulator))
    model = "extractive" if kind is BackendName.EXTRACTIVE else "sim:small"
    yield Case(kind, simulator, backend, model)
    await backend.close()


@pytest_asyncio.fixture(params=SERVED)
async def served(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[Case]:
    backend = make(endpoint_of(request.param, simulator))
    yield Case(request.param, simulator, backend, "sim:small")
    await backend.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does; the deadline is for a test that fails."""
    give_up = in_seconds(5)
    while not holds():
        assert in_seconds(0) < give_up
        await asyncio.sleep(0.01)


async def failed(case: Case, seconds: float = 10, **changes: Any) -> ModelCallError:
    with pytest.raises(ModelCallError) as caught:
        await case.backend.answer(case.request(**changes), in_seconds(seconds))
    return caught.value


async def test_is_a_backend(case: Case) -> None:
    assert isinstance(case.backend, Backend)
    assert case.backend.name == case.kind
    assert case.backend.url


async def test_probe_names_the_models(case: Case) -> None:
    probe = await case.backend.probe(in_seconds(5))
    assert probe.reachable
    assert case.model in [model.name for model in probe.models]
    assert probe.simulated is (case.kind is not BackendName.EXTRACTIVE)
    assert probe.detail


async def test_answers_in_free_text(case: Case) -> None:
    answer = await case.backend.answer(case.request(), in_seconds(10))
    assert "02:30" in answer.text
    assert answer.model == case.model
    assert answer.finish_reason == "stop"
    assert answer.seconds >= 0
    assert answer.simulated is (case.kind is not BackendName.EXTRACTIVE)


async def test_answers_by_schema_with_a_quote_from_the_passage(case: Case) -> None:
    request = case.request(schema=SCHEMA)
    answer = orjson.loads((await case.backend.answer(request, in_seconds(10))).text)
    jsonschema.validate(answer, SCHEMA)
    (citation,) = answer["citations"]
    assert citation["cite"] == request.passages[0].cite
    assert citation["quote"] in request.passages[0].text
    assert "02:30" in citation["quote"]


async def test_same_request_same_answer(case: Case) -> None:
    first, second = [
        (await case.backend.answer(case.request(schema=SCHEMA), in_seconds(10))).text for _ in range(2)
    ]
    assert first == second


async def test_a_deadline_that_passed_is_a_timeout_and_asks_nobody(case: Case) -> None:
    error = await failed(case, seconds=-1)
    assert error.error_type is ErrorType.TIMEOUT
    assert case.simulator.stats()["requests"] == 0


async def test_text_that_is_no_unicode_is_sent_all_the_same(case: Case) -> None:
    answer = await case.backend.answer(case.request(system="a \udcff lone surrogate"), in_seconds(10))
    assert "02:30" in answer.text


async def test_many_at_once_are_all_answered(case: Case) -> None:
    requests = [case.request(item_id=n, system=f"item {n}") for n in range(40)]
    answers = await asyncio.gather(*(case.backend.answer(r, in_seconds(20)) for r in requests))
    assert all("02:30" in answer.text for answer in answers)
    if case.kind is not BackendName.EXTRACTIVE:
        assert case.simulator.stats()["answered_twice"] == 0


async def test_close_twice_is_fine(case: Case) -> None:
    await case.backend.close()
    await case.backend.close()


async def test_counts_tokens_and_load(served: Case) -> None:
    answer = await served.backend.answer(served.request(), in_seconds(10))
    assert answer.prompt_tokens is not None
    assert answer.prompt_tokens > 10
    assert answer.completion_tokens
    if served.kind is BackendName.OLLAMA:
        assert answer.load_seconds == 0


async def test_the_deadline_is_kept_and_the_server_is_left(served: Case) -> None:
    served.simulator.script(["hang"])
    started = in_seconds(0)
    error = await failed(served, seconds=0.1)
    assert error.error_type is ErrorType.TIMEOUT
    assert "0.1 s" in str(error)
    assert in_seconds(0) - started < 2
    await until(lambda: served.simulator.stats()["disconnects"] == 1)


async def test_cancelling_disconnects(served: Case) -> None:
    served.simulator.script(["hang"])
    task = asyncio.ensure_future(served.backend.answer(served.request(), in_seconds(60)))
    await until(lambda: served.simulator.stats()["in_flight"] == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: served.simulator.stats()["disconnects"] == 1)
    assert served.simulator.stats()["answered"] == {}
    assert (await served.backend.answer(served.request(), in_seconds(10))).text  # and works on


async def test_close_releases_the_connections(served: Case) -> None:
    port = int(served.simulator.url.rpartition(":")[2])

    def connections() -> int:
        return sum(
            bool(c.raddr) and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED
            for c in psutil.Process().net_connections("tcp")
        )

    await served.backend.answer(served.request(), in_seconds(10))
    before = connections()
    assert before >= 1
    await served.backend.close()
    await until(lambda: connections() < before)
    with pytest.raises(RuntimeError, match="closed"):
        await served.backend.answer(served.request(), in_seconds(10))


@pytest.mark.parametrize("kind", SERVED)
async def test_never_more_in_flight_than_slots(kind: BackendName, slow_simulator: Simulator) -> None:
    backend = make(endpoint_of(kind, slow_simulator, slots=3))
    try:
        requests = [make_request(item_id=n, system=str(n)) for n in range(12)]
        work = asyncio.gather(*(backend.answer(r, in_seconds(20)) for r in requests))
        await asyncio.sleep(0)
        assert (await backend.probe(in_seconds(5))).reachable  # a probe does not wait behind the calls
        await work
    finally:
        await backend.close()
    assert slow_simulator.stats()["max_in_flight"] == 3


FAULTS = {
    "error500": ErrorType.SERVER_ERROR,
    "error503": ErrorType.OVERLOADED,
    "rate_limited": ErrorType.RATE_LIMITED,
    "out_of_memory": ErrorType.OUT_OF_MEMORY,
    "cut": ErrorType.CONNECTION,
    "nonsense": ErrorType.SERVER_ERROR,
    "empty": ErrorType.EMPTY,
    "truncated": ErrorType.TRUNCATED,
    "unfinished": ErrorType.SERVER_ERROR,
    "wrong_model": ErrorType.MODEL_MISSING,
    "cut_prompt": ErrorType.CONTEXT_TOO_LONG,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults(served: Case, fault: str) -> None:
    served.simulator.script([fault])
    error = await failed(served, system="read all of this " * 100)
    assert error.error_type is FAULTS[fault]
    assert str(error).endswith((".", "…"))
    assert error.retry_after == {"error503": 1.0, "rate_limited": 2.0}.get(fault)
    assert (error.partial is not None) is (
        fault in ("truncated", "unfinished", "wrong_model", "cut_prompt", "empty")
    )
    if fault == "truncated":
        assert error.partial is not None
        assert error.partial.text
    assert (await served.backend.answer(served.request(), in_seconds(10))).text  # the next call is a new one


async def test_refusals(simulator: Simulator) -> None:
    backend = make(endpoint_of(BackendName.OPENAI, simulator))
    simulator.script(["refusal"])
    error = await failed(Case(BackendName.OPENAI, simulator, backend, "sim:small"))
    await backend.close()
    assert error.error_type is ErrorType.REFUSED
    assert "can't help" in str(error)


@pytest.mark.parametrize("fault", ["ok", "fenced", "think", "echo"])
async def test_what_is_for_the_checks_passes(served: Case, fault: str) -> None:
    served.simulator.script([fault])
    answer = await served.backend.answer(served.request(schema=SCHEMA), in_seconds(10))
    assert answer.text
    assert "<think>" not in answer.text
    if fault == "think":
        jsonschema.validate(orjson.loads(answer.text), SCHEMA)


async def test_an_unknown_model_is_missing(served: Case) -> None:
    served.model = "nope"
    error = await failed(served)
    assert error.error_type is ErrorType.MODEL_MISSING
    assert "nope" in str(error)


async def test_a_prompt_that_can_not_fit_is_not_sent(served: Case) -> None:
    error = await failed(served, prompt="many words " * 5000)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG
    assert "context_tokens = 8192" in str(error)
    assert served.simulator.stats()["requests"] == 0


async def test_a_prompt_that_the_server_finds_too_long(served: Case) -> None:
    error = await failed(served, prompt="x" * 40_000)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG


async def test_an_answer_longer_than_max_tokens_is_truncated(served: Case) -> None:
    error = await failed(served, max_tokens=2)
    assert error.error_type is ErrorType.TRUNCATED
    assert "max_tokens = 2" in str(error)


async def test_all_calls_load_the_model_once(served: Case) -> None:
    for n in range(3):
        await served.backend.answer(served.request(system=str(n), max_tokens=100 + n), in_seconds(10))
    assert served.simulator.stats()["loads"] == 1
