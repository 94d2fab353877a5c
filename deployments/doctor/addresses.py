"""Which machine an address is of, and who can reach a port of this one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

import psutil

from deployments.doctor.facts import Road

CONNECT_SECONDS = 1.0
HERE = "this machine"


def host_and_port(url: str) -> tuple[str, int] | None:
    """Where an HTTP URL leads; None for what is no place in the network."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """Is it this machine by a name or address that no other machine can use?"""
    if host.lower().rstrip(".") == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1
        return (mapped or address).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """An address of the internet; not one of a private network, nor a name."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False


def own_addresses() -> frozenset[str]:
    """Those of this machine's interfaces."""
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        each.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in families
    )


def machine_of(host: str, addresses: Collection[str], own: Collection[str]) -> str:
    """The same word for all URLs of one machine, however they are written."""
    if is_loopback(host) or any(is_loopback(each) or each in own for each in addresses):
        return HERE
    return min(addresses, default=host.lower())


async def road_to(host: str, port: int, seconds: float) -> tuple[Road, list[str]]:
    """How far a connection comes within `seconds`, and the addresses of the host; without a proxy."""
    try:
        async with asyncio.timeout(seconds):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a resolver that does not answer in time is an OSError, too
        return Road.UNKNOWN_HOST, []
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    roads = await asyncio.gather(*(_knock(address, port, seconds) for address in addresses))
    # The one that says most: of two addresses of `localhost` often only one is listened on.
    return next((road for road in Road if road in roads), Road.UNKNOWN_HOST), addresses


async def _knock(address: str, port: int, seconds: float) -> Road:
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return Road.SILENT
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL):
            return Road.NO_ROUTE
        return Road.SILENT if error.errno == errno.EHOSTDOWN else Road.REFUSED
    writer.close()
    with contextlib.suppress(OSError):  # it was open, which is all that was asked
        await writer.wait_closed()
    return Road.OPEN


def listening(ports: Collection[int], own: Iterable[str]) -> dict[int, tuple[str, ...]]:
    """Which of these ports of this machine can be reached from other ones, and on which addresses they listen."""
    if not ports:
        return {}
    found: dict[int, set[str]] = {}
    try:
        for each in psutil.net_connections("tcp"):
            if each.status != psutil.CONN_LISTEN or not each.laddr:
                continue
            address, port = each.laddr
            if port in ports and not is_loopback(address):
                found.setdefault(port, set()).add(address)
    except psutil.AccessDenied:  # macOS shows all sockets to root alone
        return reached_from_outside(ports, own)
    return {port: tuple(sorted(addresses)) for port, addresses in sorted(found.items())}


def reached_from_outside(ports: Collection[int], own: Iterable[str]) -> dict[int, tuple[str, ...]]:
    """The same by trying: what answers on an address of the network listens there."""
    outside = sorted(each for each in own if not is_loopback(each) and not each.lower().startswith("fe80"))
    found: dict[int, tuple[str, ...]] = {}
    for port in sorted(ports):
        open_on = tuple(address for address in outside if _takes(address, port))
        if open_on:
            found[port] = open_on
    return found


def _takes(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), CONNECT_SECONDS):
            return True
    except OSError:
        return False


def everywhere(addresses: Collection[str]) -> bool:
    return any(each in ("0.0.0.0", "::") for each in addresses)  # noqa: S104  compared, not bound
