"""Boards out of repositories and of GitHub, through the step that the flow runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import sources
from flows.ingest import store
from models.errors import SourceError
from sql.connection import Database


def git(folder: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "team"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    for text in ("- [ ] a\n- [ ] b\n", "- [x] a\n- [ ] c\n"):
        (path / "plan.md").write_text(text)
        git(path, "add", "plan.md")
        git(path, "commit", "-q", "-m", "plan")
    (path / "other.md").write_text("text\n")
    git(path, "add", "other.md")
    git(path, "commit", "-q", "-m", "other")
    return path


def ingest(*paths: str) -> dict[str, Any]:
    found: dict[str, Any] = store.fn(sources.expand(paths), None)
    return found


def test_a_later_revision_is_an_edit_of_the_same_board(repo: Path, database_env: Database) -> None:
    def revision() -> Any:
        with database_env.connect() as connection:
            rows = connection.execute("select source, revision from board order by id").fetchall()
        assert [row[0] for row in rows] == [f"git:{repo}:plan.md"]
        return rows[0][1]

    (first,) = ingest(f"{repo}@HEAD~2:plan.md")["boards"]
    assert (first["source"], first["added"]) == (f"git:{repo}:plan.md", 2)
    assert revision() == git(repo, "rev-parse", "HEAD~2")
    (second,) = ingest(f"{repo}@HEAD~1:plan.md")["boards"]
    assert second["board_id"] == first["board_id"]
    assert (second["status_changed"], second["changed"] + second["added"]) == (1, 1)
    (third,) = ingest(f"git:{repo}:plan.md")["boards"]
    assert (third["unchanged"], third["added"], third["changed"]) == (2, 0, 0)
    assert revision() == git(repo, "rev-parse", "HEAD")  # the board is as it was, the commit is another


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(repo: Path, database_env: Database) -> None:
    (repo / "linked.md").symlink_to("plan.md")
    (repo / "binary.md").write_bytes(b"\x00\x01\x02")
    (repo / "pointer.md").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "odd")
    found = ingest(f"{repo}@main")
    assert sorted(Path(board["source"]).name for board in found["boards"]) == [
        "team:other.md",
        "team:plan.md",
    ]
    assert [sentence.partition(": ")[0] for sentence in found["unreadable"]] == [
        f"{repo}@main:binary.md", f"{repo}@main:pointer.md", f"{repo}@main",
    ]  # fmt: skip
    assert "1 symbolic link(s) left out (linked.md)" in found["unreadable"][2]


def test_issues_that_nobody_sent(database_env: Database) -> None:
    found = ingest("github:acme/pumps")
    assert found["boards"] == []
    assert "github:acme/pumps: no issue of this repository has come yet" in found["unreadable"][0]
    with pytest.raises(SourceError, match="these issues are in the database"):
        sources.read(sources.expand(["github:acme/pumps"])[0])
