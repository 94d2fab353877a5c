from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

OWNER = """
import sys
from pathlib import Path
from models.errors import DatabaseError
from sql.embedded import EmbeddedPostgres
try:
    server = EmbeddedPostgres(Path(sys.argv[1]), {"fsync": "off"}, start_timeout=30)
    server.open()
except DatabaseError as error:
    sys.exit(f"refused: {error}")
print((Path(sys.argv[1]) / "postgres/data/postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
server.close()
"""


class Owner:
    """A process of its own that has the embedded Postgres open, until it is told to leave or is killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def postmaster(self) -> int:
        """Wait until it is open; the pid of the server it uses."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=30)[1]
        return int(line)

    def leave(self) -> None:
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)


@pytest.fixture
def owner() -> Iterator[Callable[[Path], Owner]]:
    """Starts owners; those still there at the end leave."""
    started: list[Owner] = []

    def start(home: Path) -> Owner:
        started.append(Owner(home))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
