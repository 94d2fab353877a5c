"""Real git repositories, made in a moment: `project` is one with code and documents on `main`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sql.connection import Database
from tasks.doc_sync import SyncResult, sync_documents

MODULE = '''\
"""Loads things."""
import os

MAX_RETRY_COUNT = "three times"


def load_board(path, limit=10):
    return path[:limit] + os.environ["APP_CACHE_DIR"]


def run(name):
    return name * 2


class BoardStore:
    def save_all(self, items):
        return list(items)
'''


class Repo:
    """A repository under test. Every commit has the same author and a date that moves on by a minute."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        self.minutes = 0
        self.git("init", "-q", "-b", "main", *(["--bare"] if bare else []), str(path), where=path.parent)

    def git(self, *arguments: str, where: Path | None = None, stdin: bytes | None = None) -> str:
        stamp = f"2026-01-01T{self.minutes // 60:02}:{self.minutes % 60:02}:00Z"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": stamp,
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": stamp,
        }  # fmt: skip
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=where or self.path, env=environment, capture_output=True, input=stdin, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, **files: str | bytes) -> None:
        for path, content in files.items():
            self.put(path, content)

    def put(self, path: str | bytes, content: str | bytes) -> None:
        target = os.path.join(os.fsencode(self.path), os.fsencode(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str, **files: str | bytes | None) -> str:
        """Write (None: delete) the files, commit everything. Keys are paths; `put` first for odd names."""
        for path, content in files.items():
            if content is None:
                (self.path / path).unlink()
            else:
                self.put(path, content)
        self.minutes += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file of the repository, .git included: change time, size, content."""
        found = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                facts = path.lstat()
                found[str(path)] = (
                    facts.st_mtime_ns,
                    facts.st_size,
                    b"" if path.is_symlink() else path.read_bytes(),
                )
        return found


@pytest.fixture
def make_repo(tmp_path: Path) -> Callable[..., Repo]:
    def make(name: str = "project", *, bare: bool = False) -> Repo:
        return Repo(tmp_path / name, bare=bare)

    return make


@pytest.fixture
def project(make_repo: Callable[..., Repo]) -> Repo:
    repo = make_repo()
    repo.commit("The start", **{"app/loader.py": MODULE, "README.md": "# Project\n\nSay hello.\n"})
    return repo


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as opened:
        yield opened


Sync = Callable[..., SyncResult]


@pytest.fixture
def sync(connection: psycopg.Connection[Any], home: Path) -> Sync:
    """Sync a repository, having looked that not a byte and not a time of it changes."""

    def run(repo: Repo, **options: Any) -> SyncResult:
        before = repo.snapshot()
        result = sync_documents(connection, options.pop("path", repo.path), home=home, **options)
        assert repo.snapshot() == before
        return result

    return run
