from __future__ import annotations

import subprocess
import sys


def test_the_package_imports_without_pandas_and_great_expectations() -> None:
    """Their import takes seconds, which no command line start may pay."""
    program = (
        "import sys, tasks.validate, tasks.recipes; from models.settings import Settings; "
        "tasks.recipes.load_recipes(Settings()); "
        "print([name for name in ('pandas', 'numpy', 'great_expectations') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_nothing_is_sent_and_nothing_is_drawn() -> None:
    """No connection is opened by import, validation or close, and no progress bar reaches the terminal."""
    program = """
import socket, sys
def refuse(*arguments):
    raise AssertionError(f"a connection to {arguments}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from tasks.validate import check_items, close, warm_up
warm_up()
items = [{"title": "t", "line": n, "status": "todo", "priority": 2, "depth": 0} for n in (1, 2, 2)]
print(len(check_items(items).findings))
close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "2", "")
