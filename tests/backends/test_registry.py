"""Which endpoint a run takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from backends import registry
from backends.simulator import Simulator
from models.enums import BackendName
from models.errors import BackendUnavailable, SettingsError
from models.settings import Endpoint, Settings

from .conftest import http, in_seconds, odd_server


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A URL on which nothing listens, for the length of the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def usual_ports(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> dict[str, str]:
    """No test asks a server that happens to run on this machine."""
    urls: dict[str, str] = {
        BackendName.OLLAMA: nowhere,
        BackendName.OPENAI: f"{nowhere}/openai/v1",
        BackendName.MLX: f"{nowhere}/mlx/v1",
    }
    monkeypatch.setattr(registry, "DEFAULT_URLS", urls)
    return urls


def settings(tmp_path: Path, *endpoints: Endpoint) -> Settings:
    return Settings(home=tmp_path, endpoints=list(endpoints), backend="auto")


async def test_auto_with_nothing_there_quotes_the_sources_and_says_what_it_tried(
    tmp_path: Path, nowhere: str
) -> None:
    started = in_seconds(0)
    endpoint, probe = await registry.choose(settings(tmp_path), "auto")
    assert in_seconds(0) - started < 3
    assert (endpoint.backend, endpoint.url, endpoint.model) == (
        "extractive",
        "extractive://local",
        "extractive",
    )
    assert probe.reachable
    assert "no model" in probe.detail
    assert nowhere in probe.detail


async def test_auto_takes_the_first_declared_that_answers(
    tmp_path: Path, simulator: Simulator, nowhere: str
) -> None:
    dead = Endpoint(backend=BackendName.OPENAI, url=f"{nowhere}/v1")
    first = Endpoint(backend=BackendName.OLLAMA, url=simulator.url, slots=2)
    second = Endpoint(backend=BackendName.OPENAI, url=simulator.openai_url)
    endpoint, probe = await registry.choose(settings(tmp_path, dead, first, second), "auto")
    assert endpoint == first.model_copy(update={"model": "sim:small"})
    assert probe.simulated


async def test_auto_finds_a_server_on_its_usual_port(tmp_path: Path, usual_ports: dict[str, str]) -> None:
    pages = {"/api/version": {"version": "1"}, "/api/tags": {"models": [{"name": "q:8b"}]}, "/api/ps": {}}

    async def answering(method: str, path: str) -> bytes:
        return http(200, orjson.dumps(pages[path]))

    async with odd_server(answering) as url:
        usual_ports[BackendName.OLLAMA] = url
        endpoint, _ = await registry.choose(settings(tmp_path), "auto")
    assert (endpoint.backend, endpoint.url, endpoint.model) == ("ollama", url, "q:8b")


async def test_auto_takes_no_simulator_that_was_not_declared(
    tmp_path: Path, simulator: Simulator, usual_ports: dict[str, str]
) -> None:
    usual_ports[BackendName.OLLAMA] = simulator.url
    endpoint, probe = await registry.choose(settings(tmp_path), "auto")
    assert endpoint.backend == "extractive"
    assert "simulator" in probe.detail


async def test_a_wanted_kind_is_not_replaced_by_another(
    tmp_path: Path, simulator: Simulator, nowhere: str
) -> None:
    other = Endpoint(backend=BackendName.OPENAI, url=simulator.openai_url)
    with pytest.raises(BackendUnavailable, match="ollama serve") as caught:
        await registry.choose(settings(tmp_path, other), "ollama")
    assert nowhere in str(caught.value)
    assert caught.value.exit_code == 1


async def test_a_web_server_on_the_port_is_not_taken_for_a_model_server(tmp_path: Path) -> None:
    async def answering(method: str, path: str) -> bytes:
        return http(200, "<html>It works!</html>")

    async with odd_server(answering) as url:
        web = Endpoint(backend=BackendName.OPENAI, url=f"{url}/v1")
        with pytest.raises(BackendUnavailable, match="not as an OpenAI-compatible server does"):
            await registry.choose(settings(tmp_path, web), "openai")
        assert (await registry.choose(settings(tmp_path, web), "auto"))[0].backend == "extractive"


@pytest.mark.parametrize("wanted", ["auto", "ollama"])
async def test_a_declared_model_that_is_missing(tmp_path: Path, simulator: Simulator, wanted: str) -> None:
    declared = Endpoint(backend=BackendName.OLLAMA, url=simulator.url, model="nope")
    with pytest.raises(SettingsError, match="ollama pull nope") as caught:
        await registry.choose(settings(tmp_path, declared), wanted)
    assert "sim:small" in str(caught.value)


async def test_a_declared_model_that_is_there(tmp_path: Path, simulator: Simulator) -> None:
    declared = Endpoint(backend=BackendName.OPENAI, url=simulator.openai_url, model="sim:large")
    assert (await registry.choose(settings(tmp_path, declared), "openai"))[0] == declared


@pytest.mark.parametrize(
    "kind", [BackendName.GEMINI, BackendName.ANTHROPIC, BackendName.COMMAND, BackendName.POLL]
)
async def test_what_is_only_used_when_it_is_declared(tmp_path: Path, kind: BackendName) -> None:
    with pytest.raises(SettingsError, match=rf"No {kind} endpoint is declared, .*endpoints"):
        await registry.choose(settings(tmp_path), kind)


def test_every_name_has_its_module() -> None:
    assert set(registry.BUILT) == set(BackendName)


def test_providers_know_where_they_are() -> None:
    for kind in (BackendName.ANTHROPIC, BackendName.GEMINI):
        endpoint = Endpoint.model_validate({"backend": kind})
        assert endpoint.url.startswith("https://")
        assert registry.make(endpoint).url == endpoint.url


async def test_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="auto, ollama"):
        await registry.choose(settings(tmp_path), "lama")


async def test_extractive_when_it_is_wanted(tmp_path: Path, simulator: Simulator) -> None:
    declared = Endpoint(backend=BackendName.OLLAMA, url=simulator.url)
    endpoint, probe = await registry.choose(settings(tmp_path, declared), "extractive")
    assert endpoint.backend == "extractive"
    assert probe.reachable


@pytest.mark.parametrize(("patience", "backend"), [(10.0, "openai"), (0.0, "extractive")])
async def test_a_server_that_is_loading_is_waited_for(tmp_path: Path, patience: float, backend: str) -> None:
    asked = []

    async def answering(method: str, path: str) -> bytes:
        asked.append(path)
        if len(asked) < 2:
            return http(503, '{"error":{"message":"Loading model"}}')
        return http(200, '{"data": [{"id": "text-embed-1"}, {"id": "q"}]}')

    async with odd_server(answering) as url:
        slow = Endpoint(backend=BackendName.OPENAI, url=f"{url}/v1")
        endpoint, _ = await registry.choose(settings(tmp_path, slow), "auto", patience)
    assert endpoint.backend == backend
    if backend == "openai":
        assert endpoint.model == "q"  # the first that can chat


async def test_a_server_without_models_is_of_no_use(tmp_path: Path) -> None:
    async def answering(method: str, path: str) -> bytes:
        return http(200, '{"data": []}')

    async with odd_server(answering) as url:
        empty = Endpoint(backend=BackendName.OPENAI, url=f"{url}/v1")
        with pytest.raises(BackendUnavailable, match="no model to chat with"):
            await registry.choose(settings(tmp_path, empty), "openai")


async def test_find_lists_what_was_asked(tmp_path: Path, simulator: Simulator) -> None:
    declared = Endpoint(backend=BackendName.OLLAMA, url=simulator.url)
    found = await registry.find(settings(tmp_path, declared))
    assert found[0][0] == declared
    assert [probe.reachable for _, probe in found] == [True, False, False, False]
