"""An environment of their own for the peers, in bench/.peers: made once, from versions and hashes in peers.txt."""

from __future__ import annotations

import hashlib
import subprocess
import venv
from pathlib import Path

from bench.harness import PEERS, say

PINS = Path(__file__).parent / "peers.txt"
MINUTES = 10


class NotInstalled(Exception):
    """In words for the row of the peer."""


def python() -> str:
    """The interpreter of the peers' environment. Raises NotInstalled."""
    folder = PEERS / "pressure"
    found = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return str(found)
    say(f"installing the peers into {folder}")
    try:
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
        command = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "-r", str(PINS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalled(_short(str(error))) from None
    if done.returncode:
        wrong = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled(_short(wrong[-1] if wrong else done.stderr.strip()))
    stamp.write_text(wanted, encoding="utf-8")
    return str(found)


def _short(words: str) -> str:
    """No address gets into the results, nor a page of them."""
    plain = " ".join(word for word in words.split() if "://" not in word)
    return plain[:120] or "no reason given"
