"""The simulator itself: tests and benchmarks rest on what it counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import httpx
import jsonschema
import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.registry import make
from backends.simulator import Simulator, answers, running
from backends.simulator.faults import FAULTS
from models.calls import ModelCallError
from models.enums import BackendName, ErrorType
from models.settings import Endpoint

from .conftest import SCHEMA, in_seconds, make_request


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def ask_all(simulator: Simulator, asked: list[tuple[str, str]], **endpoint: Any) -> list[str]:
    """The outcomes of (model, system text) asked at once, over Ollama's protocol."""
    backend = make(Endpoint(backend=BackendName.OLLAMA, url=simulator.url, **{"slots": 64} | endpoint))

    async def one(model: str, text: str) -> str:
        try:
            await backend.answer(make_request(model, system=text), in_seconds(20))
        except ModelCallError as error:
            return str(error.error_type)
        return "ok"

    try:
        return list(await asyncio.gather(*(one(model, text) for model, text in asked)))
    finally:
        await backend.close()


def test_ends_with_its_block_also_when_that_fails() -> None:
    started: list[Simulator] = []

    def fail() -> None:
        with running() as simulator:
            started.append(simulator)
            raise LookupError(simulator.stats()["requests"])

    with pytest.raises(LookupError, match="0"):
        fail()
    (simulator,) = started
    assert gone(simulator.pid)
    with pytest.raises(URLError):
        urlopen(simulator.url, timeout=1)


def test_ends_when_its_parent_is_killed() -> None:
    code = (
        "from backends.simulator import running\n"
        "with running() as simulator:\n    print(simulator.pid, flush=True)\n    input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    give_up = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("option", [{"rates": {"nope": 1}}, {"script": ["nope"]}, {"slots": "many"}])
def test_wrong_options_end_it_at_once(option: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="did not start"), running(**option):
        pass
    assert next(iter(option)) in capfd.readouterr().err


async def test_slots_bound_what_runs_and_the_rest_waits() -> None:
    with running(slots=2, latency=0.02) as simulator:
        outcomes = await ask_all(simulator, [("sim:small", str(n)) for n in range(10)])
        stats = simulator.stats()
    assert outcomes == ["ok"] * 10
    assert stats["max_running"] == 2
    assert stats["max_in_flight"] == 10
    assert stats["in_flight"] == 0


async def test_a_full_queue_answers_503() -> None:
    with running(slots=1, latency=0.2, max_queue=2) as simulator:
        outcomes = await ask_all(simulator, [("sim:small", str(n)) for n in range(8)])
    assert sorted(outcomes) == ["ok"] * 3 + ["overloaded"] * 5


async def test_loads_and_switches_are_counted_and_single_flight(simulator: Simulator) -> None:
    small, large = ("sim:small", "a"), ("sim:large", "a")
    await ask_all(simulator, [small] * 8)
    assert (simulator.stats()["loads"], simulator.stats()["switches"]) == (1, 0)
    await ask_all(simulator, [large])
    await ask_all(simulator, [large])
    await ask_all(simulator, [small])
    assert (simulator.stats()["loads"], simulator.stats()["switches"]) == (3, 2)


async def test_mixed_models_on_all_slots_end() -> None:
    with running(slots=4, resident=1, load_seconds=0.01, latency=0.005) as simulator:
        asked = [(("sim:small", "sim:large")[n % 2], str(n)) for n in range(30)]
        assert await ask_all(simulator, asked) == ["ok"] * 30
        stats = simulator.stats()
    assert stats["loads"] == stats["switches"] + 1
    assert stats["answered_twice"] == 0


async def test_another_context_length_loads_again(simulator: Simulator) -> None:
    backend = make(Endpoint(backend=BackendName.OLLAMA, url=simulator.url))
    answers = [
        await backend.answer(make_request(context_tokens=tokens), in_seconds(5))
        for tokens in (1024, 2048, 2048)
    ]
    probe = await backend.probe(in_seconds(5))
    await backend.close()
    assert len(answers) == 3
    assert simulator.stats()["loads"] == 2
    assert {model.name: model.loaded for model in probe.models} == {"sim:small": True, "sim:large": False}


async def test_what_was_paid_twice_is_counted_by_prompt(simulator: Simulator) -> None:
    await ask_all(simulator, [("sim:small", text) for text in ("a", "b", "a", "a")])
    stats = simulator.stats()
    assert sorted(stats["answered"].values()) == [1, 3]
    assert stats["answered_twice"] == 2


async def test_a_script_is_followed_in_order_and_then_all_is_well(simulator: Simulator) -> None:
    simulator.script(["error500", "ok", "error503"])
    backend = make(Endpoint(backend=BackendName.OLLAMA, url=simulator.url))
    seen = []
    for n in range(5):
        try:
            await backend.answer(make_request(system=str(n)), in_seconds(5))
            seen.append("ok")
        except ModelCallError as error:
            seen.append(str(error.error_type))
    await backend.close()
    assert seen == ["server_error", "ok", "overloaded", "ok", "ok"]
    assert simulator.stats()["faults"] == {"error500": 1, "error503": 1}


async def test_rates_hit_the_same_prompts_in_any_order(simulator: Simulator) -> None:
    asked = [("sim:small", str(n)) for n in range(60)]
    simulator.rates({"error500": 0.3, "empty": 0.2})
    first = await ask_all(simulator, asked)
    simulator.reset()
    simulator.rates({"error500": 0.3, "empty": 0.2})
    second = await ask_all(simulator, asked[::-1], slots=1)
    assert first == second[::-1]
    assert {"ok", "server_error", "empty"} == set(first)


async def test_unknown_faults_are_refused(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.url) as client:
        reply = await client.post("/simulator/faults", json={"script": ["nope"]})
    assert reply.status_code == 400
    assert all(fault in reply.text for fault in FAULTS)


async def test_every_answer_is_marked(simulator: Simulator) -> None:
    chat = {"model": "sim:small", "stream": False, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(base_url=simulator.url) as client:
        native = await client.post("/api/chat", json=chat)
        openai = await client.post("/v1/chat/completions", json=chat)
        root = await client.get("/")
        shown = await client.post("/api/show", json={"model": "sim:small"})
        unknown = await client.get("/nothing")
    assert root.text == "Ollama is running"
    assert shown.json()["capabilities"] == ["completion"]
    assert unknown.status_code == 404
    assert native.json()["simulated"] is True
    assert openai.json()["system_fingerprint"] == "penstock-simulator"
    assert all(
        reply.headers["x-penstock-simulator"] == "1" for reply in (native, openai, root, shown, unknown)
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"model": 7}',
        '{"model": "sim:small", "messages": [7]}',
    ],
)
async def test_bad_requests_get_400(simulator: Simulator, body: str) -> None:
    async with httpx.AsyncClient(base_url=simulator.url) as client:
        for path in ("/api/chat", "/v1/chat/completions"):
            assert (await client.post(path, content=body)).status_code == 400


async def test_slow_tokens_take_their_time() -> None:
    with running(tokens_per_second=100) as simulator:
        backend = make(Endpoint(backend=BackendName.OPENAI, url=simulator.openai_url))
        answer = await backend.answer(make_request(), in_seconds(20))
        await backend.close()
    assert answer.completion_tokens is not None
    assert answer.seconds >= answer.completion_tokens / 100


async def test_a_load_is_felt_and_told() -> None:
    with running(load_seconds=0.1) as simulator:
        backend = make(Endpoint(backend=BackendName.OLLAMA, url=simulator.url))
        cold = await backend.answer(make_request(), in_seconds(20))
        warm = await backend.answer(make_request(), in_seconds(20))
        with pytest.raises(ModelCallError) as caught:
            await backend.answer(make_request("sim:large"), in_seconds(0.05))
        await backend.close()
    assert (cold.load_seconds, warm.load_seconds) == (0.1, 0)
    assert cold.seconds >= 0.1
    assert caught.value.error_type is ErrorType.TIMEOUT


SCHEMAS = st.recursive(
    st.one_of(
        st.builds(lambda n: {"type": "string", "minLength": n}, st.integers(0, 30)),
        st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 30)),
        st.builds(lambda n: {"type": "integer", "minimum": n}, st.integers(-5, 50)),
        st.builds(lambda n: {"type": "number", "maximum": n}, st.integers(-5, 50)),
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["a", 2]}, {"const": None}]),
    ),
    lambda parts: st.one_of(
        st.builds(
            lambda items, n: {"type": "array", "items": items, "minItems": n}, parts, st.integers(0, 3)
        ),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from(["answer", "title", "confidence", "citations", "cite"]), parts),
        ),
        st.builds(lambda part: {"anyOf": [part, {"type": "null"}]}, parts),
    ),
    max_leaves=8,
)


@given(SCHEMAS, st.sampled_from(["", "[[d.md:1]]\nThe door is on port 4270.\n"]))
def test_answers_fit_their_schema(schema: dict[str, Any], prompt: str) -> None:
    root = {"type": "object", "properties": {"value": {"$ref": "#/$defs/x"}}, "$defs": {"x": schema}}
    text = answers.answer(prompt, root)
    jsonschema.validate(orjson.loads(text), root)
    assert text == answers.answer(prompt, root)


def test_cites_the_first_passage_of_the_prompt() -> None:
    prompt = "The item:\n[[x]] is none\n\n[[docs/a.md:1-9]]\n# Head\n\nThe door is on port 4270.\n\n[[b]]\nOther.\n"
    answer = orjson.loads(answers.answer(prompt, SCHEMA))
    assert answer["citations"] == [{"cite": "docs/a.md:1-9", "quote": "The door is on port 4270."}]
    assert "Simulated" in answer["answer"]
    asks = "- answer: `HOLDS: `, `FAILS: ` or `UNKNOWN: `, then the reason"
    assert orjson.loads(answers.answer(prompt, SCHEMA, system=asks))["answer"] == f"HOLDS: {answer['answer']}"
    assert orjson.loads(answers.answer("nothing here", SCHEMA))["citations"] == []
