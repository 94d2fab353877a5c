"""The simulator as a process that dies when memory runs out, and as a command."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from backends.simulator import Simulator, running
from backends.simulator.arguments import parser
from backends.simulator.faults import FAULTS
from backends.simulator.options import FLAVOURS, Options, of_model

from .conftest import in_seconds
from .speaking import ALL, OPENAI


async def back(simulator: Simulator) -> int:
    """Connections that were refused until it served again."""
    refused, give_up = 0, in_seconds(20)
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert in_seconds(0) < give_up
            try:
                await client.get(simulator.url)
                return refused
            except httpx.ConnectError:
                refused += 1
                await asyncio.sleep(0.02)


async def test_out_of_memory_kills_the_process_and_it_comes_back_on_its_port() -> None:
    with running(restart_seconds=0.3, slots=4, latency=0.2) as simulator:
        async with httpx.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            assert (await OPENAI.ask(client, prompt="first")).status == 200
            before = simulator.stats()
            simulator.script(["ok", "out_of_memory", "rate_limited"])
            asked = [speaks.ask(client, stream=n % 2 == 1) for n, speaks in enumerate(ALL[:2])]
            lost = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, httpx.TransportError) for error in lost)  # whoever was there is cut off
        assert await back(simulator) > 3
        assert not psutil.pid_exists(before["pid"])
        after = simulator.stats()
        assert after["pid"] != before["pid"]
        assert after["deaths"] == 1
        assert (after["requests"], after["in_flight"], after["running"]) == (3, 0, 0)
        assert after["outcomes"] == {"answered": 1, "died": 2}
        assert after["faults"] == {"out_of_memory": 1}
        assert after["loaded"] == {}  # what was loaded is gone
        async with httpx.AsyncClient(base_url=simulator.url, trust_env=False) as client:
            assert (await OPENAI.ask(client)).status == 429  # the rest of the script
            assert (await OPENAI.ask(client)).status == 200
        assert simulator.stats()["loads"] == before["loads"] + 1


async def test_killed_from_outside_it_comes_back_too() -> None:
    with running(restart_seconds=0.0) as simulator:
        served = simulator.stats()["pid"]
        os.kill(served, signal.SIGKILL)
        await back(simulator)
        assert simulator.stats()["pid"] not in (served, simulator.pid)
        again = simulator.stats()["pid"]
    give_up = in_seconds(10)
    while psutil.pid_exists(again):  # the block's end ends them all
        assert in_seconds(0) < give_up
        await asyncio.sleep(0.01)


def test_help_names_everything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backends.simulator", "--help"], capture_output=True, text=True, check=True
    )
    for name in Options.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in done.stdout
    for name in (*FAULTS, *FLAVOURS, "/simulator/stats", "--restart-seconds"):
        assert name in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_numbers_for_each_model() -> None:
    given = parser().parse_args(["--load-seconds", "a:1=2,b=x=3,*=0.5", "--answer-tokens", "50-200"])
    assert [of_model(given.load_seconds, name) for name in ("a:1", "b=x", "c")] == [2, 3, 0.5]
    assert given.answer_tokens == (50, 200)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--slots", "0"),
        ("--load-seconds", "-1"),
        ("--load-seconds", "a=soon"),
        ("--rates", "empty=2"),
        ("--rates", "nope=0.1"),
        ("--answer-tokens", "9-3"),
        ("--flavour", "cuda"),
        ("--latency", "nan"),
    ],
)
def test_values_that_make_no_sense(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"{option}={value}"])
    assert option in capsys.readouterr().err


def test_interrupting_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "backends.simulator"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert b'"simulated": true' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
