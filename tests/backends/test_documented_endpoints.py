"""The endpoints of docs/protocols.md are tried: each as it stands there, against a server of its protocol."""

from __future__ import annotations

import asyncio
import os
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.poll import PollBackend
from backends.registry import make
from backends.simulator import inside
from models.calls import ModelAnswer
from models.endpoint import Endpoint
from models.enums import BackendName
from models.settings import Settings

from .conftest import in_seconds, make_request
from .queueing import PNG, queue

TEXT = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
BLOCKS = [block.partition("```")[0] for block in TEXT.split("```toml\n")[1:]]
ENDPOINTS = [entry for block in BLOCKS for entry in tomllib.loads(block).get("endpoints", [])]
PATHS = {"ollama": "", "anthropic": "", "gemini": "/v1beta"}

CLAUDE = """
import json, sys
assert sys.argv[1:] == ["-p", "--output-format", "stream-json", "--verbose", "--model", "sonnet"], sys.argv
assert "02:30" in sys.stdin.read()
usage = {"input_tokens": 5, "output_tokens": 2}
print(json.dumps({"type": "result", "is_error": False, "result": "At 02:30.", "usage": usage}))
"""
MY_AGENT = """
import json, os, sys
assert sys.argv[1:] == ["--json", "--most", "1024"], sys.argv
assert os.environ["MY_AGENT_KEY"]
print(json.dumps({"answer": {"text": "At 02:30."}}))
print(json.dumps({"done": True}))
"""


def test_every_kind_has_an_example() -> None:
    assert {entry["backend"] for entry in ENDPOINTS} == set(BackendName) - {"extractive"}


def test_the_examples_are_settings(tmp_path: Path) -> None:
    for block in BLOCKS:
        assert Settings.model_validate({"home": tmp_path, **tomllib.loads(block)}).endpoints


@asynccontextmanager
async def served(entry: dict[str, Any], folder: Path) -> AsyncIterator[dict[str, Any]]:
    """The example with the address of a server that is here."""
    kind, model = entry["backend"], entry.get("model", "m")
    if kind == "command":
        for name, code in (("claude", CLAUDE), ("my-agent", MY_AGENT)):
            (folder / name).write_text(f"#!{sys.executable}\n{code}")
            (folder / name).chmod(0o755)
        here = {"folder": str(folder)} if "folder" in entry["command"] else {}
        checked: dict[str, Any] = {"check": []} if "agent" in entry["command"] else {}
        yield entry | {"command": entry["command"] | here | checked}
    elif kind == "poll":
        async with inside() as simulator, queue(simulator.openai_url) as service:
            service.model = "sim:small"
            yield entry | {"url": service.url}
    else:
        async with inside(models=[model], flavour="mlx" if kind == "mlx" else "any") as simulator:
            yield entry | {"url": simulator.url + PATHS.get(kind, "/v1")}


@pytest.mark.parametrize("number", range(len(ENDPOINTS)), ids=lambda n: f"{n}-{ENDPOINTS[n]['backend']}")
async def test_the_example_answers(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENDPOINTS[number]
    for name in (entry.get("api_key_env"), "MY_AGENT_KEY"):
        if name:
            monkeypatch.setenv(name, "sk-example-key")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    async with served(entry, tmp_path) as here:
        endpoint = Endpoint.model_validate(here)
        backend = make(endpoint)
        if isinstance(backend, PollBackend):

            async def soon(seconds: float) -> None:
                assert seconds == 2.0
                await asyncio.sleep(0.01)

            backend = PollBackend(endpoint, pause=soon)
        probe = await backend.probe(in_seconds(10))
        assert probe.reachable, probe
        model = entry.get("model") or probe.models[0].name
        answer = await backend.answer(make_request(model), in_seconds(20))
        await backend.close()
    assert isinstance(answer, ModelAnswer)
    if entry["backend"] == "poll":
        assert answer.images[0].data == PNG
    else:
        assert "02:30" in answer.text
