from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers

from models.errors import DatabaseError, ServiceError
from sql.shared_process import SharedProcess

USER = """
import sys
from pathlib import Path
from sql.shared_process import SharedProcess
mark = Path(sys.argv[1]) / "running"
shared = SharedProcess(mark.parent, "thing", start=mark.touch, stop=mark.unlink)
shared.open()
print("open", flush=True)
sys.stdin.read()
"""


FORKING = USER.replace(
    "print(", "import os\nif os.fork() == 0: shared.close(); os._exit(0)\nos.wait()\nprint("
)


def marked(folder: Path) -> SharedProcess:
    """A 'server' that is a file: it runs while the file is there."""
    mark = folder / "running"
    return SharedProcess(folder, "thing", start=mark.touch, stop=mark.unlink)


def user(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


class Users(RuleBasedStateMachine):
    """Any order of opening and closing: it runs exactly while somebody has it open."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.open: list[SharedProcess] = []

    @rule()
    def enter(self) -> None:
        shared = marked(self.path)
        shared.open(timeout=5)
        self.open.append(shared)

    @rule(which=integers(min_value=0, max_value=9))
    def leave(self, which: int) -> None:
        if self.open:
            self.open.pop(which % len(self.open)).close(timeout=5)

    @invariant()
    def runs_while_used(self) -> None:
        assert (self.path / "running").exists() == bool(self.open)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for shared in self.open:
                shared.close(timeout=5)
            self.folder.cleanup()


TestUsers = Users.TestCase
TestUsers.settings = hypothesis_settings(max_examples=30, stateful_step_count=15, deadline=None)


def test_a_killed_user_is_not_counted(tmp_path: Path) -> None:
    victim = user(tmp_path)
    mine = marked(tmp_path)
    mine.open(timeout=5)
    victim.kill()
    victim.communicate(timeout=10)
    assert (tmp_path / "running").exists()
    mine.close()
    assert not (tmp_path / "running").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_all_were_killed_the_next_one_attaches_and_stops_it(tmp_path: Path, number: int) -> None:
    victims = [user(tmp_path), user(tmp_path)]
    for victim in victims:
        victim.send_signal(number)
        victim.communicate(timeout=10)
    assert (tmp_path / "running").exists()
    mine = marked(tmp_path)
    mine.open(timeout=5)
    mine.close()
    assert not (tmp_path / "running").exists()


def test_a_process_that_ends_without_closing_still_leaves(tmp_path: Path) -> None:
    leaver = user(tmp_path)
    leaver.communicate(timeout=10)
    assert leaver.returncode == 0
    assert not (tmp_path / "running").exists()


def test_a_forked_child_that_closes_leaves_the_parents_use_alone(tmp_path: Path) -> None:
    forking = USER.replace(
        "sys.stdin.read()", "import os\nif os.fork() == 0: shared.close(); os._exit(0)\nos.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", forking + "\nsys.stdin.read()", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "open\n"
    other = marked(tmp_path)
    other.open(timeout=5)
    other.close()
    assert (tmp_path / "running").exists()
    parent.communicate(timeout=10)
    assert not (tmp_path / "running").exists()


def test_a_start_that_fails_counts_nobody(tmp_path: Path) -> None:
    def broken() -> None:
        raise DatabaseError("no")

    failing = SharedProcess(tmp_path, "thing", start=broken, stop=lambda: None)
    with pytest.raises(DatabaseError, match="no"):
        failing.open(timeout=5)
    failing.close()
    mine = marked(tmp_path)
    mine.open(timeout=5)
    mine.close()
    assert not (tmp_path / "running").exists()


def test_waiting_for_another_starter_has_a_deadline(tmp_path: Path) -> None:
    second = marked(tmp_path)

    def start() -> None:
        with pytest.raises(ServiceError, match=r"thing\.boot\.lock"):
            second.open(timeout=0.1)

    first = SharedProcess(tmp_path, "thing", start=start, stop=lambda: None)
    first.open(timeout=5)
    first.close()


def test_an_unusable_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"thing\.boot\.lock can't be opened"):
        marked(tmp_path / "missing").open(timeout=1)
