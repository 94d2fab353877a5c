"""What the doctor says of one endpoint: against real servers of each kind, real ports and none."""

from __future__ import annotations

import asyncio

import pytest

from backends.simulator import inside
from deployments.doctor import judge
from deployments.doctor.endpoints import near_names
from deployments.doctor.facts import Asked, Facts, Road, Seen
from models.calls import ModelInfo, Probe
from models.endpoint import Endpoint
from models.enums import Severity

from .conftest import Declare, codes, diagnosed, of, page, saying


async def test_nothing_listens(declare: Declare, nowhere: int) -> None:
    url = f"http://127.0.0.1:{nowhere}"
    found = of(await diagnosed(declare({"backend": "ollama", "url": url})), "nothing_listens")
    assert found.severity is Severity.ERROR
    assert found.place == f"ollama {url}"
    assert f"Nothing listens on port {nowhere} of 127.0.0.1" in found.what
    assert "ollama serve" in found.do


async def test_a_host_that_has_no_address(declare: Declare) -> None:
    found = await diagnosed(declare({"backend": "openai", "url": "http://gpu-7.invalid:8000/v1"}))
    assert "'gpu-7.invalid'" in of(found, "unknown_host").what


async def test_a_machine_that_is_not_reached_is_told_from_one_that_refuses(declare: Declare) -> None:
    endpoint = Endpoint(backend="openai", url="http://10.9.8.7:8000/v1")
    settings = declare()
    for road, words in ((Road.SILENT, "no answer at all"), (Road.NO_ROUTE, "no route to 10.9.8.7")):
        seen = Seen(endpoint, True, Probe(False, ""), road=road, machine="10.9.8.7", address="10.9.8.7")
        assert words in of(judge(Facts(settings, (seen,))), road.value).what


async def test_a_port_that_takes_connections_and_never_answers(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.doctor.looking.DECLARED_SECONDS", 0.2)
    async with saying(None) as url:
        found = await diagnosed(declare({"backend": "ollama", "url": url}))
    assert "nothing answered in time" in of(found, "silent_server").what


@pytest.mark.parametrize(
    ("declared", "flavour", "right"),
    [
        ("ollama", "vllm", "openai"),
        ("ollama", "llama", "openai"),
        ("openai", "ollama", "ollama"),
        ("mlx", "ollama", "ollama"),
        ("openai", "vllm", "openai"),  # without its /v1
    ],
)
async def test_another_kind_of_server(declare: Declare, declared: str, flavour: str, right: str) -> None:
    async with inside(flavour=flavour) as server:
        entry = {"backend": declared, "url": server.url, "api_key": "sk-test-secret"}
        found = await diagnosed(declare(entry))
    trouble = of(found, "other_server")
    there = server.url + ("" if right == "ollama" else "/v1")
    assert f'Declare backend = "{right}" and url = "{there}"' in trouble.do
    assert "sk-test-secret" not in trouble.line()


async def test_the_key_is_not_shown_to_a_server_of_another_kind(declare: Declare) -> None:
    """What is asked besides the declared protocol goes without it: who answers may be a stranger."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(page("404 Not Found", "{}"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await diagnosed(declare({"backend": "openai", "url": f"{url}/v1", "api_key": "sk-test-secret"}))
    with_key = [each.split(b" ")[1] for each in asked if b"sk-test-secret" in each]
    assert len(asked) > len(with_key)
    assert set(with_key) == {b"/v1/models"}


async def test_a_web_server_on_the_port(declare: Declare) -> None:
    async with saying(page("200 OK", "<html>It works!</html>", "text/html")) as url:
        found = await diagnosed(declare({"backend": "openai", "url": f"{url}/v1"}))
    assert "does not answer as an OpenAI-compatible server" in of(found, "other_server").what


async def test_ollama_through_its_other_protocol(declare: Declare) -> None:
    async with inside(flavour="ollama") as server:
        found = await diagnosed(
            declare({"backend": "openai", "url": server.openai_url, "model": "sim:small"})
        )
    assert f'url = "{server.url}"' in of(found, "ollama_as_other").do


@pytest.mark.parametrize("flavour", ["ollama", "vllm"])
async def test_the_port_is_open_and_there_is_no_model(declare: Declare, flavour: str) -> None:
    async with inside(flavour=flavour) as server:
        server.models([])
        backend = "ollama" if flavour == "ollama" else "openai"
        url = server.url if flavour == "ollama" else server.openai_url
        found = await diagnosed(declare({"backend": backend, "url": url}))
    assert "has no model" in of(found, "no_model").what


async def test_a_model_that_is_missing_with_those_that_may_be_meant(declare: Declare) -> None:
    async with inside(flavour="ollama", models=["qwen3:8b", "gemma3:27b", "nomic"]) as server:
        found = await diagnosed(
            declare(
                {
                    "backend": "ollama",
                    "url": server.url,
                    "model": "qwen3:14b",
                    "models": {"gema3:27b": {"weight": 2}},
                }
            )
        )
    missing = of(found, "model_missing")
    assert "'qwen3:14b'; it has qwen3:8b, gemma3:27b, nomic:latest. Did you mean qwen3:8b?" in missing.what
    assert "ollama pull qwen3:14b" in missing.do
    described = of(found, "unknown_model_described")
    assert (described.severity, "to gemma3:27b" in described.do) == (Severity.WARNING, True)


def test_names_that_may_be_meant() -> None:
    names = ["Qwen/Qwen3-8B", "mlx-community/Qwen3-8B-4bit", "gemma3:27b"]
    assert near_names("qwen3-8b", names) == ["Qwen/Qwen3-8B"]
    assert near_names("gemma3", names) == ["gemma3:27b"]
    assert near_names("llama", names) == []


async def test_several_models_and_none_named(declare: Declare) -> None:
    async with inside(flavour="vllm", models=["a", "b"]) as server:
        found = await diagnosed(declare({"backend": "openai", "url": server.openai_url}))
    assert of(found, "model_not_named").severity is Severity.INFO


@pytest.mark.parametrize(
    ("backend", "flavour"),
    [("ollama", "ollama"), ("openai", "vllm"), ("openai", "llama"), ("gemini", "gemini")],
)
async def test_a_context_above_what_the_server_takes(declare: Declare, backend: str, flavour: str) -> None:
    path = {"ollama": "", "openai": "/v1", "gemini": "/v1beta"}[backend]
    async with inside(flavour=flavour, models=["m"], context=4096) as server:
        entry = {"backend": backend, "url": server.url + path, "model": "m"}
        wrong = await diagnosed(declare(entry))
        right = await diagnosed(declare(entry | {"context_tokens": 4096}))
    trouble = of(wrong, "context_too_large")
    assert "context_tokens is 8192, the default, and the server takes 4096" in trouble.what
    assert "context_too_large" not in codes(right)


async def test_slots_above_and_below_those_of_the_server(declare: Declare) -> None:
    async with inside(flavour="llama", models=["m"], slots=2) as server:
        for slots, code in ((8, "slots_too_many"), (1, "slots_unused"), (2, "")):
            entry = {"backend": "openai", "url": server.openai_url, "model": "m", "slots": slots}
            found = await diagnosed(declare(entry))
            assert codes(found) == ({code} if code else set())
            if slots == 8:
                assert "6 wait inside it" in of(found, code).what


async def test_keys_that_are_missing_and_keys_that_are_refused(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(flavour="vllm", api_key="sk-right-one") as server:
        place = {"backend": "openai", "url": server.openai_url, "model": "sim:small"}
        assert "asks" not in of(await diagnosed(declare(place)), "key_missing").do
        wrong = await diagnosed(declare(place | {"api_key": "sk-wrong-one"}))
        monkeypatch.setenv("A_KEY", "sk-right-one")
        right = await diagnosed(declare(place | {"api_key_env": "A_KEY"}))
        unset = await diagnosed(declare(place | {"api_key_env": "NO_SUCH_KEY"}))
    refused = of(wrong, "key_refused")
    assert "401" in refused.what
    assert "sk-wrong-one" not in refused.line()
    assert "The variable NO_SUCH_KEY" in of(unset, "key_missing").what
    assert codes(right) == set()


def test_a_key_in_clear(declare: Declare) -> None:
    for url, severity in (
        ("http://192.168.1.9:8000/v1", Severity.WARNING),
        ("http://9.9.9.9:8000/v1", Severity.ERROR),
        ("https://9.9.9.9/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ):
        endpoint = Endpoint.model_validate({"backend": "openai", "url": url, "api_key": "sk-x"})
        seen = Seen(endpoint, True, Probe(False, ""), road=Road.REFUSED)
        found = judge(Facts(declare(), (seen,)))
        there = [trouble.severity for trouble in found.troubles if trouble.code == "key_in_clear"]
        assert there == ([severity] if severity else []), url


async def test_an_url_that_is_none_and_a_program_that_is_none(declare: Declare) -> None:
    found = await diagnosed(
        declare(
            {"backend": "openai", "url": "ftp://h/v1"},
            {"backend": "command", "command": {"run": ["no-such-program-here"]}},
        )
    )
    assert "ftp://h/v1" in of(found, "unusable").what
    assert "There is no program no-such-program-here" in of(found, "no_program").what


async def test_a_server_that_loads_its_model(declare: Declare) -> None:
    async with inside(flavour="llama", start_seconds=60) as server:
        found = await diagnosed(declare({"backend": "openai", "url": server.openai_url}))
    assert of(found, "loading").severity is Severity.WARNING


async def test_a_simulator_is_said_to_be_one(declare: Declare) -> None:
    async with inside(flavour="vllm") as server:
        found = await diagnosed(
            declare({"backend": "openai", "url": server.openai_url, "model": "sim:small"})
        )
    assert of(found, "simulated").severity is Severity.WARNING


async def test_usual_ports_that_answer_and_are_not_declared(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inside(flavour="ollama") as usual, inside(flavour="mlx", models=["m"]) as other:
        monkeypatch.setattr("deployments.doctor.looking.DEFAULT_URLS", {"ollama": usual.url})
        alone = await diagnosed(declare())
        beside = await diagnosed(declare({"backend": "mlx", "url": other.openai_url, "model": "m"}))
        named = usual.url.replace("127.0.0.1", "localhost")
        declared = await diagnosed(declare({"backend": "ollama", "url": named, "model": "sim:small"}))
    assert of(alone, "undeclared_server").severity is Severity.INFO
    trouble = of(beside, "undeclared_server")
    assert trouble.severity is Severity.WARNING
    assert "what it does is not counted" in trouble.what
    assert "undeclared_server" not in {each.code for each in declared.troubles}


async def test_a_real_question(declare: Declare) -> None:
    async with inside(flavour="ollama", models=["m"], load_seconds=0.05) as server:
        place = {"backend": "ollama", "url": server.url}
        well = await diagnosed(declare(place), ask=True)
        missing = await diagnosed(declare(place | {"model": "n"}), ask=True)
        server.script(["error500"])
        ill = await diagnosed(declare(place), ask=True)
    asked = well.facts.seen[0].asked
    assert isinstance(asked, Asked)
    assert (asked.model, asked.error) == ("m:latest", "")
    assert asked.seconds > 0.05
    assert missing.facts.seen[0].asked is None  # what is not there is a finding already
    assert "(server_error)" in of(ill, "no_token").what
    assert "no_token" not in codes(well)


async def test_models_of_one_device_are_asked_one_after_the_other(declare: Declare) -> None:
    async with inside(flavour="ollama", models=["a", "b"]) as one:
        twice = [{"backend": "ollama", "url": one.url, "model": name, "device": "gpu"} for name in ("a", "b")]
        found = await diagnosed(declare(*twice, devices=[{"name": "gpu"}]), ask=True)
        assert one.stats()["max_in_flight"] == 1
    assert all(seen.asked is not None and not seen.asked.error for seen in found.facts.seen)


def test_the_model_of_an_endpoint_is_the_one_it_would_be_asked_for() -> None:
    models = (ModelInfo("nomic-embed-text"), ModelInfo("only", embedding=True), ModelInfo("qwen3:8b"))
    seen = Seen(Endpoint(backend="ollama", url="http://h"), True, Probe(True, "", models))
    assert seen.model is models[2]


@pytest.mark.parametrize(
    ("backend", "flavour", "path"),
    [
        ("openai", "vllm", "/v1"),
        ("openai", "openai", "/v1"),
        ("openai", "llama", "/v1"),
        ("mlx", "mlx", "/v1"),
        ("anthropic", "anthropic", ""),
        ("gemini", "gemini", "/v1beta"),
    ],
)
async def test_one_token_of_each_kind_of_server(
    declare: Declare, backend: str, flavour: str, path: str
) -> None:
    async with inside(flavour=flavour, models=["m"]) as server:
        entry = {"backend": backend, "url": server.url + path, "model": "m", "api_key": "sk-test-secret"}
        found = await diagnosed(declare(entry), ask=True)
        assert server.stats()["tokens_out"] <= 2  # mlx_lm.server is asked for one when it is probed, too
    asked = found.facts.declared[0].asked
    assert asked is not None
    assert asked.error == ""
    assert codes(found) == set()
