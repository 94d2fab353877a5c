"""The contract of models.calls.Backend: the same checks for every implementation, over real HTTP and real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import psutil
import pytest
import pytest_asyncio

from backends.registry import extractive_endpoint, make
from backends.simulator import Simulator
from backends.testing import CHECKS, HANG_CHECKS, Case, Check, eventually, fails
from models.calls import Loads, ModelCallError
from models.enums import BackendName, ErrorType, TimeoutKind
from models.settings import Endpoint

from .conftest import SCHEMA, in_seconds, make_request
from .queueing import SPEC, queue

SERVED = [
    BackendName.OPENAI,
    BackendName.MLX,
    BackendName.OLLAMA,
    BackendName.ANTHROPIC,
    BackendName.GEMINI,
]
DESCRIBED = [BackendName.COMMAND, BackendName.POLL]
ALL = [*SERVED, *DESCRIBED, BackendName.EXTRACTIVE]
PATHS = {BackendName.OLLAMA: "", BackendName.ANTHROPIC: "", BackendName.GEMINI: "/v1beta"}
AGENT = Path(__file__).with_name("agent.py")


def endpoint_of(kind: BackendName, simulator: Simulator, **values: Any) -> Endpoint:
    if kind is BackendName.EXTRACTIVE:
        return extractive_endpoint()
    url = simulator.url + PATHS.get(kind, "/v1")
    if kind is BackendName.COMMAND:
        run = [sys.executable, str(AGENT), "claude", url]
        given = {
            "agent": "claude",
            "run": run,
            "model_args": ["{model}"],
            "check": [],
            "env": ["COVERAGE_PROCESS_START"],
        }
        values |= {"command": given, "url": "command://agent"}
    quick = {"first_token_timeout": 0.3, "stall_timeout": 0.3, "model": "sim:small"}
    return Endpoint.model_validate(quick | {"backend": kind, "url": url} | values)


def case_of(kind: BackendName, simulator: Simulator, endpoint: Endpoint) -> Case:
    served = kind in SERVED
    return Case(
        make(endpoint),
        "extractive" if kind is BackendName.EXTRACTIVE else "sim:small",
        schema=kind not in (*DESCRIBED, BackendName.MLX),
        many=6 if kind is BackendName.COMMAND else 40,
        asked=None if kind is BackendName.EXTRACTIVE else lambda: int(simulator.stats()["requests"]),
        hang=lambda: simulator.script(["hang"]),
        # A job that was submitted to a queue goes on there.
        left=(lambda: int(simulator.stats()["disconnects"]))
        if served or kind is BackendName.COMMAND
        else None,
    )


@dataclass
class Served:
    """A case over HTTP, and the simulator behind it."""

    kind: BackendName
    simulator: Simulator
    case: Case


@pytest.fixture
def simulator_of(request: pytest.FixtureRequest) -> Callable[[BackendName], Simulator]:
    def find(kind: BackendName) -> Simulator:
        name = "mlx_simulator_process" if kind is BackendName.MLX else "simulator_process"
        simulator: Simulator = request.getfixturevalue(name)
        simulator.reset()
        return simulator

    return find


@pytest_asyncio.fixture(params=ALL)
async def case(
    request: pytest.FixtureRequest, simulator_of: Callable[[BackendName], Simulator]
) -> AsyncIterator[Case]:
    kind, simulator = request.param, simulator_of(request.param)
    async with AsyncExitStack() as stack:
        values: dict[str, Any] = {}
        if kind is BackendName.POLL:
            service = await stack.enter_async_context(queue(simulator.openai_url))
            values = {"url": service.url, "poll": SPEC}
        endpoint = endpoint_of(kind, simulator, **values)
        case = case_of(kind, simulator, endpoint)
        stack.push_async_callback(case.backend.close)
        yield case


@pytest_asyncio.fixture(params=SERVED)
async def served(
    request: pytest.FixtureRequest, simulator_of: Callable[[BackendName], Simulator]
) -> AsyncIterator[Served]:
    simulator = simulator_of(request.param)
    case = case_of(request.param, simulator, endpoint_of(request.param, simulator))
    yield Served(request.param, simulator, case)
    await case.backend.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(case: Case, check: Check) -> None:
    await check(case)


@pytest.mark.parametrize("check", HANG_CHECKS, ids=lambda check: check.__name__)
async def test_contract_of_a_server_that_hangs(case: Case, check: Check) -> None:
    if case.backend.name == BackendName.EXTRACTIVE:
        assert case.asked is None  # there is no server that could
        return
    await check(case)


async def test_names_and_marks(case: Case) -> None:
    simulated = case.backend.name not in (*DESCRIBED, BackendName.EXTRACTIVE)
    assert (await case.backend.probe(in_seconds(5))).simulated is simulated
    answer = await case.answer()
    assert answer.simulated is simulated
    assert answer.model == case.model


async def test_same_request_same_answer(case: Case) -> None:
    first, second = [(await case.answer(schema=SCHEMA)).text for _ in range(2)]
    assert first == second


async def test_an_answer_by_schema_is_valid_and_quotes_the_passage(case: Case) -> None:
    answer = await case.answer(schema=SCHEMA if case.schema else None)
    if not case.schema:
        assert "02:30" in answer.text
        return
    data = orjson.loads(answer.text)
    jsonschema.validate(data, SCHEMA)
    (citation,) = data["citations"]
    assert citation["cite"] == case.request().passages[0].cite
    assert "02:30" in citation["quote"]
    assert citation["quote"] in case.request().passages[0].text


async def test_streams_inside_and_counts(served: Served) -> None:
    answer = await served.case.answer()
    assert answer.prompt_tokens is not None
    assert answer.prompt_tokens > 10
    assert answer.completion_tokens
    assert answer.first_seconds is not None
    assert 0 <= answer.first_seconds <= answer.seconds
    if served.kind is BackendName.OLLAMA:
        assert answer.load_seconds == 0


async def test_tokens_from_the_cache_are_counted(served: Served) -> None:
    system = "The same for all of them. " * 40
    first, second = [await served.case.answer(system=system) for _ in range(2)]
    if served.kind is BackendName.OLLAMA:  # the protocol does not say
        assert second.cached_tokens is None
        return
    assert not first.cached_tokens
    assert second.cached_tokens
    assert second.cached_tokens > 100
    assert second.prompt_tokens == first.prompt_tokens  # those from the cache are in it


async def test_close_releases_the_connections(served: Served) -> None:
    port = int(served.simulator.url.rpartition(":")[2])

    def connections() -> int:
        return sum(
            bool(c.raddr) and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED
            for c in psutil.Process().net_connections("tcp")
        )

    before = connections()
    await served.case.answer()
    if served.kind is not BackendName.MLX:  # which closes each by itself
        assert connections() > before
    await served.case.backend.close()
    await eventually(lambda: connections() <= before, "the connections are closed")
    with pytest.raises(RuntimeError, match="closed"):
        await served.case.answer()


@pytest.mark.parametrize("kind", SERVED)
async def test_never_more_in_flight_than_slots(kind: BackendName, slow_simulator: Simulator) -> None:
    backend = make(endpoint_of(kind, slow_simulator, slots=3, first_token_timeout=20, stall_timeout=20))
    try:
        requests = [make_request(item_id=n, system=str(n)) for n in range(12)]
        work = asyncio.gather(*(backend.answer(r, in_seconds(20)) for r in requests))
        await asyncio.sleep(0)
        if kind is not BackendName.MLX:  # whose probe is a call
            assert (await backend.probe(in_seconds(5))).reachable  # a probe does not wait behind the calls
        await work
    finally:
        await backend.close()
    assert slow_simulator.stats()["max_in_flight"] == 3


FAULTS: dict[str, ErrorType] = {
    "error500": ErrorType.SERVER_ERROR,
    "error503": ErrorType.OVERLOADED,
    "rate_limited": ErrorType.RATE_LIMITED,
    "out_of_memory": ErrorType.OUT_OF_MEMORY,
    "hang": ErrorType.TIMEOUT,
    "stall": ErrorType.TIMEOUT,
    "broken": ErrorType.SERVER_ERROR,
    "cut": ErrorType.CONNECTION,
    "nonsense": ErrorType.SERVER_ERROR,
    "empty": ErrorType.EMPTY,
    "refusal": ErrorType.REFUSED,
    "blocked": ErrorType.REFUSED,
    "no_image": ErrorType.EMPTY,
    "truncated": ErrorType.TRUNCATED,
    "unfinished": ErrorType.SERVER_ERROR,
    "wrong_model": ErrorType.MODEL_MISSING,
    "cut_prompt": ErrorType.CONTEXT_TOO_LONG,
}
EXCEPT: dict[tuple[str, str], ErrorType | None] = {
    ("ollama", "refusal"): None,  # it has no way to say no but words, and they are for the checks
    ("ollama", "blocked"): None,
    ("mlx", "cut"): ErrorType.SERVER_ERROR,  # HTTP/1.0: the end of the connection is the end of the body
    ("anthropic", "broken"): ErrorType.OVERLOADED,  # what its event says
}
ARRIVED = {
    "stall",
    "broken",
    "cut",
    "truncated",
    "unfinished",
    "wrong_model",
    "cut_prompt",
    "empty",
    "no_image",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_faults(served: Served, fault: str) -> None:
    expected = EXCEPT.get((served.kind, fault), FAULTS[fault])
    served.simulator.script([fault])
    system = "read all of this " * 100
    if expected is None:
        assert (await served.case.answer(system=system)).text
        return
    error = await fails(served.case, system=system)
    assert error.error_type is expected
    assert error.retry_after == {"error503": 1.0, "rate_limited": 2.0}.get(fault)
    kinds = {"hang": TimeoutKind.FIRST_TOKEN, "stall": TimeoutKind.STALL}
    assert error.timeout is kinds.get(fault)
    if fault in ARRIVED:
        assert error.partial is not None
        assert error.partial.simulated
        assert bool(error.partial.text) is (fault not in ("empty", "no_image"))
    assert (await served.case.answer()).text  # the next call is a new one


async def test_a_refusal_says_why(served: Served) -> None:
    if served.kind is BackendName.OLLAMA:
        return
    served.simulator.script(["refusal"])
    error = await fails(served.case)
    assert ("SAFETY" if served.kind is BackendName.GEMINI else "can't help") in str(error)


async def test_a_hanging_server_is_left(served: Served) -> None:
    served.simulator.script(["stall"])
    await fails(served.case)
    await eventually(lambda: served.simulator.stats()["disconnects"] == 1, "the server is left")
    assert served.simulator.stats()["in_flight"] == 0


@pytest.mark.parametrize("fault", ["ok", "fenced", "think", "echo"])
async def test_what_is_for_the_checks_passes(served: Served, fault: str) -> None:
    served.simulator.script([fault])
    answer = await served.case.answer(schema=SCHEMA)
    assert answer.text
    assert "<think>" not in answer.text
    if fault == "think" and served.case.schema:
        jsonschema.validate(orjson.loads(answer.text), SCHEMA)


async def test_an_unknown_model_is_missing(served: Served) -> None:
    served.case.model = "nope"
    error = await fails(served.case)
    assert error.error_type is ErrorType.MODEL_MISSING
    assert "nope" in str(error)


async def test_a_prompt_that_can_not_fit_is_not_sent(case: Case) -> None:
    if case.backend.name == BackendName.EXTRACTIVE:
        return
    error = await fails(case, prompt="many words " * 5000)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG
    assert "context_tokens = 8192" in str(error)
    assert case.asked is not None
    assert case.asked() == 0


async def test_a_prompt_that_the_server_finds_too_long(served: Served) -> None:
    error = await fails(served.case, prompt="x" * 40_000)
    assert error.error_type is ErrorType.CONTEXT_TOO_LONG
    if (
        served.kind is BackendName.MLX
    ):  # it has no limit: it answered, and what it counted is what gives it away
        assert "no limit of its own" in str(error)
        assert error.partial is not None


async def test_an_answer_longer_than_max_tokens_is_truncated(served: Served) -> None:
    error = await fails(served.case, max_tokens=2)
    assert error.error_type is ErrorType.TRUNCATED
    assert "max_tokens = 2" in str(error)


async def test_all_calls_load_the_model_once(served: Served) -> None:
    for n in range(3):
        await served.case.answer(system=str(n), max_tokens=100 + n)
    assert served.simulator.stats()["loads"] == 1


async def test_ollama_loads_and_unloads_when_told(simulator: Simulator) -> None:
    backend = make(endpoint_of(BackendName.OLLAMA, simulator))
    assert isinstance(backend, Loads)

    async def loaded() -> list[str]:
        return [m.name for m in (await backend.probe(in_seconds(5))).models if m.loaded]

    assert await loaded() == []
    assert await backend.load("sim:small", in_seconds(5)) >= 0
    assert await loaded() == ["sim:small"]
    await backend.answer(make_request(), in_seconds(5))
    assert simulator.stats()["loads"] == 1  # it was loaded as calls want it
    await backend.unload("sim:small", in_seconds(5))
    assert await loaded() == []
    with pytest.raises(ModelCallError) as caught:
        await backend.load("nope", in_seconds(5))
    assert caught.value.error_type is ErrorType.MODEL_MISSING
    await backend.close()
