"""Names and paths that came from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interfaces.http.errors import Refusal
from interfaces.http.inbox import allowed_path, board_path, safe_name, store


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("plan", "plan.md"),
        ("plan.txt", "plan.txt"),
        (" План 2.md ", "План 2.md"),
        ("a_b-c.d.md", "a_b-c.d.md"),
    ],
)
def test_a_name_is_kept(name: str, becomes: str) -> None:
    assert safe_name(name) == becomes


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a\0b",
        ".hidden",
        "-rf",
        "a..b",
        "x.",
        "é" * 61,
        "a\nb",
        "~x",
        "$HOME",
        "a:b",
        "C:x",
        "a;b",
        "file*",
    ],
)
def test_what_is_a_path_or_no_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        safe_name(name)
    assert caught.value.code == "bad_name"


@given(st.text(max_size=150))
def test_whatever_passes_stays_in_its_folder(name: str) -> None:
    folder = Path("/inbox")
    try:
        path = board_path(folder, name)
    except Refusal:
        return
    assert path.parent == folder
    assert path.resolve().parent == folder.resolve()
    assert not path.name.startswith((".", "-"))
    assert safe_name(path.name) == path.name


def test_only_what_is_inside_the_folders_is_found(tmp_path: Path) -> None:
    root, other, outside = tmp_path / "root", tmp_path / "other", tmp_path / "outside"
    for folder in (root / "deep", other, outside):
        folder.mkdir(parents=True)
    for path in (root / "a.md", root / "deep" / "b.md", other / "c.md", outside / "secret.md"):
        path.write_text("x")
    (root / "out.md").symlink_to(outside / "secret.md")
    (root / "in.md").symlink_to(root / "a.md")
    roots = [root, other]
    assert allowed_path("a.md", roots) == root / "a.md"
    assert allowed_path("deep/b.md", roots) == root / "deep" / "b.md"
    assert allowed_path("deep", roots) == root / "deep"
    assert allowed_path("c.md", roots) == other / "c.md"
    assert allowed_path(str(root / "a.md"), roots) == root / "a.md"
    assert allowed_path("in.md", roots) == root / "a.md"
    assert allowed_path("../other/c.md", roots) == other / "c.md"  # inside another allowed folder
    for wrong in (
        "../outside/secret.md",
        str(outside / "secret.md"),
        "out.md",
        "nowhere.md",
        "/etc/passwd",
        "x" * 300,
        "a.md/b",
    ):
        with pytest.raises(Refusal) as caught:
            allowed_path(wrong, roots)
        # What is outside and what is nowhere get the same answer.
        assert caught.value.code == "no_such_board"
    (root / ".env").write_text("KEY=1")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    (root / "env.md").symlink_to(root / ".env")
    (root / "home" / "inbox").mkdir(parents=True)
    (root / "home" / "secrets.json").write_text("{}")
    for wrong in (".env", ".git", "deep/../.git/config", "env.md", "home/secrets.json", "home"):
        with pytest.raises(Refusal) as caught:
            allowed_path(wrong, roots, root / "home")
        assert caught.value.code == "no_such_board", wrong
    for wrong in ("", " ", "a\0b", "x" * 5000):
        with pytest.raises(Refusal) as caught:
            allowed_path(wrong, roots)
        assert caught.value.code == "bad_path"


def test_a_stored_board_is_whole_and_closed(tmp_path: Path) -> None:
    store(tmp_path / "a.md", b"one")
    store(tmp_path / "a.md", b"two")
    assert (tmp_path / "a.md").read_bytes() == b"two"
    assert (tmp_path / "a.md").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]
