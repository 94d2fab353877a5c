"""Who can reach a server, what shares a device unsaid, what does not fit: with real sockets where there are some."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from backends.simulator import inside, running
from deployments.doctor import Facts, diagnose, judge
from deployments.doctor.addresses import (
    HERE,
    host_and_port,
    is_loopback,
    is_public,
    listening,
    machine_of,
    own_addresses,
    reached_from_outside,
)
from deployments.doctor.facts import Road, Seen
from models.calls import ModelInfo, Probe
from models.endpoint import Endpoint
from models.enums import Severity

from .conftest import Declare, codes, diagnosed, of


@contextmanager
def listener(host: str) -> Iterator[int]:
    with socket.create_server((host, 0)) as server:
        yield int(server.getsockname()[1])


def test_who_can_reach_a_port() -> None:
    with listener("127.0.0.1") as closed, listener("0.0.0.0") as opened:
        assert listening({closed, opened}, []) == {opened: ("0.0.0.0",)}
        assert listening(set(), []) == {}


def test_who_can_reach_a_port_where_sockets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS shows them to root alone: it is tried then on the addresses of this machine."""

    def denied(kind: str) -> Any:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    outside = [each for each in own_addresses() if ":" not in each and not is_loopback(each)]
    with listener("127.0.0.1") as closed, listener("0.0.0.0") as opened:
        found = listening({closed, opened}, outside)
        assert found == ({opened: tuple(sorted(outside))} if outside else {})
        # 127.0.0.2 stands for an address of a network: what listens on 127.0.0.1 alone is not reached there.
        monkeypatch.setattr("deployments.doctor.addresses.is_loopback", lambda host: False)
        if psutil.LINUX:
            assert reached_from_outside({closed, opened}, ["127.0.0.2"]) == {opened: ("127.0.0.2",)}


def test_a_model_server_that_everybody_reaches_and_one_that_nobody_else_does(declare: Declare) -> None:
    with running(flavour="ollama", host="0.0.0.0") as everybody, running(flavour="ollama") as alone:
        port = host_and_port(everybody.url)
        assert port is not None
        endpoints = [
            {"backend": "ollama", "url": url, "model": "sim:small", "device": "gpu"}
            for url in (f"http://127.0.0.1:{port[1]}", alone.url)
        ]
        said: list[str] = []
        found = diagnose(declare(*endpoints, devices=[{"name": "gpu"}]), tell=said.append)
    trouble = of(found, "public_interface")
    assert f"Port {port[1]} listens on all interfaces (0.0.0.0)" in trouble.what
    assert f"OLLAMA_HOST=127.0.0.1:{port[1]}" in trouble.do
    assert said
    assert "endpoints" in said[0]


def test_a_model_server_on_an_address_of_the_internet(declare: Declare) -> None:
    endpoint = Endpoint(backend="ollama", url="http://gpu.example.org:11434")
    seen = Seen(endpoint, True, Probe(True, ""), road=Road.OPEN, machine="9.9.9.9", address="9.9.9.9")
    assert "9.9.9.9" in of(judge(Facts(declare(), (seen,))), "public_interface").what


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.9", "penstock.example.org"])
def test_the_door_of_penstock_itself(declare: Declare, host: str) -> None:
    assert of(judge(Facts(declare(host=host), ())), "door_public").place == "host"
    for own in ("127.0.0.1", "::1", "localhost"):
        assert "door_public" not in codes(judge(Facts(declare(host=own), ())))


def test_addresses() -> None:
    assert host_and_port("https://h/v1") == ("h", 443)
    assert host_and_port("http://[::1]:8080/v1") == ("::1", 8080)
    assert [host_and_port(url) for url in ("command://x", "http://h:99999", "nothing")] == [None] * 3
    assert all(map(is_loopback, ("localhost", "127.0.0.9", "::1", "::ffff:127.0.0.1", "LOCALHOST.")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost.example.org", "gpu")))
    assert [is_public(each) for each in ("9.9.9.9", "10.0.0.1", "fe80::1%eth0", "gpu")] == [
        True,
        False,
        False,
        False,
    ]
    assert machine_of("gpu-1", ["10.0.0.5"], {"10.0.0.5"}) == HERE
    assert machine_of("gpu-1", ["10.0.0.5"], set()) == machine_of("10.0.0.5", ["10.0.0.5"], set())
    assert machine_of("GPU-1", [], set()) == "gpu-1"


async def test_two_servers_on_one_machine_without_a_device(declare: Declare) -> None:
    async with (
        inside(flavour="ollama", models=["a"]) as one,
        inside(flavour="mlx", models=["b"]) as other,
    ):
        first: dict[str, Any] = {"backend": "ollama", "url": one.url, "model": "a", "slots": 2}
        second: dict[str, Any] = {
            "backend": "mlx",
            "url": other.openai_url.replace("127.0.0.1", "localhost"),
            "model": "b",
        }
        apart = await diagnosed(declare(first, second))
        half = await diagnosed(declare(first | {"device": "gpu"}, second, devices=[{"name": "gpu"}]))
        gpu = {"device": "gpu"}
        shared = await diagnosed(declare(first | gpu, second | gpu, devices=[{"name": "gpu"}]))
        own = await diagnosed(
            declare(
                first | {"device": "0"},
                second | {"device": "1"},
                devices=[{"name": "0", "slots": 2}, {"name": "1"}],
            )
        )
    trouble = of(apart, "device_undeclared")
    assert trouble.place == HERE
    assert "together they may get 6 requests at once" in trouble.what
    assert codes(half) == {"device_undeclared"}
    assert "has no device and runs on the machine of the device gpu" in of(half, "device_undeclared").what
    assert codes(shared) == codes(own) == set()


def test_two_servers_on_another_machine(declare: Declare) -> None:
    def seen(url: str, machine: str, backend: str = "openai") -> Seen:
        return Seen(
            Endpoint(backend=backend, url=url), True, Probe(True, ""), road=Road.OPEN, machine=machine
        )

    def found(*there: Seen) -> set[str]:
        return codes(judge(Facts(declare(), there))) & {"device_undeclared", "declared_twice"}

    one = seen("http://gpu-2:8000/v1", "10.0.0.2")
    assert found(one, seen("http://10.0.0.2:11434", "10.0.0.2", "ollama")) == {"device_undeclared"}
    assert found(one, seen("http://gpu-3:11434", "10.0.0.3", "ollama")) == set()
    cloud = [seen(f"https://api.example.org/{n}/v1", "9.9.9.9") for n in (1, 2)]
    assert found(*cloud) == set()


async def test_one_server_declared_twice(declare: Declare) -> None:
    async with inside() as server:
        one = {"backend": "ollama", "url": server.url, "model": "sim:small"}
        other = {"backend": "openai", "url": server.openai_url, "model": "sim:small"}
        found = await diagnosed(declare(one, other))
        together = await diagnosed(
            declare(one | {"device": "gpu"}, other | {"device": "gpu"}, devices=[{"name": "gpu"}])
        )
    assert "up to 8 requests at once" in of(found, "declared_twice").what
    assert "device_undeclared" not in codes(found)
    assert "declared_twice" not in codes(together)


async def test_one_endpoint_declared_twice(declare: Declare) -> None:
    """A device does not help: they have one lease."""
    async with inside() as server:
        one = {"backend": "ollama", "url": server.url, "device": "gpu"}
        found = await diagnosed(
            declare(one | {"model": "sim:small"}, one | {"model": "sim:large"}, devices=[{"name": "gpu"}])
        )
    assert "the second adds nothing" in of(found, "declared_twice").what


def spec(**models: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): table for name, table in models.items()}


def test_models_that_do_not_fit_into_the_memory(declare: Declare) -> None:
    def found(memory: float, *endpoints: dict[str, Any]) -> Any:
        placed = [{"device": "gpu", "model": "big"} | each for each in endpoints]
        return judge(Facts(declare(*placed, devices=[{"name": "gpu", "slots": 4, "memory": memory}]), ()))

    big, small = {"memory": 18.0}, {"memory": 6.0}
    ollama = {"backend": "ollama", "url": "http://127.0.0.1:1", "models": {"big": big, "small": small}}
    mlx = {"backend": "mlx", "url": "http://127.0.0.1:2/v1", "models": {"big": big}}
    assert (
        "big of ollama http://127.0.0.1:1 takes 18 GiB, and the device has 12"
        in of(found(12, ollama), "memory_too_small").what
    )
    # One after the other they fit; at once only with enough memory.
    assert "memory_too_small" not in codes(found(20, ollama))
    assert (
        "takes 24 GiB, and the device has 20"
        in of(found(20, ollama | {"resident": 2}), "memory_too_small").what
    )
    assert "memory_too_small" not in codes(found(24, ollama | {"resident": 2}))
    # A server that frees nothing keeps its share.
    assert "takes 36 GiB, and the device has 32" in of(found(32, ollama, mlx), "memory_too_small").what
    assert "memory_too_small" not in codes(found(36, ollama, mlx))
    # vLLM frees it with its sleep mode, and says whether it has that.
    vllm = mlx | {"backend": "openai"}
    assert "memory_too_small" not in codes(found(32, ollama, vllm))
    settings = declare(
        *[each | {"device": "gpu", "model": "big"} for each in (ollama, vllm)],
        devices=[{"name": "gpu", "slots": 4, "memory": 32}],
    )
    for loaded, wrong in ((None, True), (True, False)):
        seen = Seen(settings.endpoints[1], True, Probe(True, "", (ModelInfo("big", loaded=loaded),)))
        assert ("memory_too_small" in codes(judge(Facts(settings, (seen,))))) is wrong
    assert "counts as 0 of the 32 GiB" in of(found(32, mlx | {"models": {}}), "memory_unknown").what
    assert "memory_unknown" not in codes(found(36, ollama, mlx))


def test_a_request_that_could_never_run(declare: Declare) -> None:
    endpoint = {
        "backend": "ollama",
        "url": "http://127.0.0.1:1",
        "slots": 4,
        "models": {"m": {"weight": 3, "slots": 5}},
    }
    shared = declare(endpoint | {"device": "gpu"}, devices=[{"name": "gpu", "slots": 2}])
    trouble = of(judge(Facts(shared, ())), "weight_too_large")
    assert "takes 3 slots, and its device gpu has 2" in trouble.what
    found = codes(judge(Facts(declare(endpoint), ())))
    assert "weight_too_large" not in found
    assert "model_slots_odd" in found


def test_devices_that_are_not_used(declare: Declare) -> None:
    endpoint = {"backend": "ollama", "url": "http://127.0.0.1:1", "slots": 2, "device": "gpu"}
    found = judge(Facts(declare(endpoint, devices=[{"name": "gpu", "slots": 6}, {"name": "spare"}]), ()))
    assert of(found, "device_unused").place == "device spare"
    assert of(found, "device_slots_unused").severity is Severity.INFO
