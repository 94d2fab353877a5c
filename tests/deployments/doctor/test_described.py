"""The machines of docs/backends.md: each is valid, and the doctor finds nothing wrong where they are as described."""

from __future__ import annotations

import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from backends.simulator import inside
from deployments.doctor import Facts, House, Seen, judge
from deployments.doctor.addresses import HERE
from models.calls import ModelInfo, Probe
from models.settings import Settings

from .conftest import Declare, codes, diagnosed

DOCS = Path(__file__).parents[3] / "docs"
MACHINES = sorted((DOCS / "machines").glob("*.toml"))
PAGE = (DOCS / "backends.md").read_text("utf-8")


def described(name: str) -> dict[str, Any]:
    return tomllib.loads((DOCS / "machines" / f"{name}.toml").read_text("utf-8"))


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_each_machine_is_valid_and_stands_in_the_page(path: Path, settings_env: Path, tmp_path: Path) -> None:
    text = path.read_text("utf-8")
    assert f"```toml\n{text}```" in PAGE
    assert Settings.model_validate({"home": tmp_path, **tomllib.loads(text)}).endpoints


def test_the_page_has_no_other_machines() -> None:
    assert len(MACHINES) == 5
    assert PAGE.count("```toml") == len(MACHINES)


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_the_description(
    path: Path, settings_env: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every server answered with what was declared."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test-secret")
    settings = Settings.model_validate({"home": tmp_path, **tomllib.loads(path.read_text("utf-8"))})
    seen = []
    for endpoint in settings.endpoints:
        models = [ModelInfo(name, context_tokens=endpoint.context_tokens) for name in endpoint.models]
        if endpoint.model is not None and endpoint.model not in endpoint.models:
            models.append(ModelInfo(endpoint.model, context_tokens=endpoint.context_tokens))
        machine = HERE if "127.0.0.1" in endpoint.url else endpoint.url.split("/")[2].partition(":")[0]
        seen.append(Seen(endpoint, True, Probe(True, "answers", tuple(models)), machine=machine))
    found = judge(Facts(settings, tuple(seen), house=House(offset_here=2.0, offset_settings=2.0)))
    assert [trouble.line() for trouble in found.troubles] == []


@pytest.mark.parametrize("ask", [False, True], ids=["looked at", "asked"])
async def test_the_mac_with_two_servers_is_well(declare: Declare, ask: bool) -> None:
    mac = described("mac")
    ollama, mlx = mac["endpoints"]
    async with AsyncExitStack() as servers:
        one = await servers.enter_async_context(
            inside(flavour="ollama", models=list(ollama["models"]), context=40960, slots=2)
        )
        other = await servers.enter_async_context(inside(flavour="mlx", models=[mlx["model"]], slots=1))
        endpoints = [ollama | {"url": one.url}, mlx | {"url": other.openai_url}]
        found = await diagnosed(declare(*endpoints, devices=mac["devices"]), ask=ask)
    assert codes(found) == set()
    assert all(each.probe.reachable for each in found.facts.declared)
    if ask:
        assert all(each.asked is not None and not each.asked.error for each in found.facts.declared)


async def test_the_mac_without_its_device_is_not(declare: Declare) -> None:
    ollama, mlx = described("mac")["endpoints"]
    async with AsyncExitStack() as servers:
        one = await servers.enter_async_context(
            inside(flavour="ollama", models=list(ollama["models"]), context=8192)
        )
        other = await servers.enter_async_context(inside(flavour="mlx", models=[mlx["model"]]))
        endpoints = [ollama | {"url": one.url}, mlx | {"url": other.openai_url}]
        for each in endpoints:
            del each["device"]
        found = await diagnosed(declare(*endpoints))
    assert codes(found) == {"device_undeclared", "context_too_large"}
