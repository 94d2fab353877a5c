"""PATH... to files: folders, globs, ignored files, links, and what is not there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import SourceError
from sources import STDIN, Origin, expand, read


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.md", "a.markdown", "c.txt", "image.png", "sub/d.MD", "sub/deep/e.md", ".hidden/f.md", ".g.md",
        "node_modules/h.md", ".venv/i.md", "build/j.md", "sub/keep.md", "sub/draft.md",
    ):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"- [ ] {name}\n")
    (tmp_path / ".gitignore").write_text("build/\ndraft.md\n*.tmp\n")
    return tmp_path


def names(origins: list[Origin], base: Path) -> list[str]:
    return [origin.path.relative_to(base).as_posix() if origin.path else "-" for origin in origins]


def test_folder(tree: Path) -> None:
    assert names(expand([str(tree)]), tree) == [
        "a.markdown", "b.md", "c.txt", "sub/d.MD", "sub/keep.md", "sub/deep/e.md",
    ]  # fmt: skip


def test_a_nearer_gitignore_has_the_last_word(tree: Path) -> None:
    (tree / "sub/.gitignore").write_text("!draft.md\n/keep.md\n")
    assert "sub/draft.md" in names(expand([str(tree)]), tree)
    assert "sub/keep.md" not in names(expand([str(tree)]), tree)


def test_gitignore_above_the_folder_counts_inside_a_repository(tree: Path) -> None:
    assert "sub/draft.md" in names(expand([str(tree / "sub")]), tree)
    (tree / ".git").mkdir()
    assert "sub/draft.md" not in names(expand([str(tree / "sub")]), tree)


def test_links_are_not_followed_inside_a_folder(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.md"
    secret.write_text("- [ ] secret\n")
    (tree / "sub/loop").symlink_to(tree)
    (tree / "sub/out.md").symlink_to(secret)
    (tree / "sub/dangling.md").symlink_to(tree / "nowhere.md")
    found = names(expand([str(tree)]), tree)
    assert len(found) == 6
    assert [origin.path for origin in expand([str(tree / "sub/out.md")])] == [tree / "sub/out.md"]


def test_each_file_once_in_the_order_given(tree: Path) -> None:
    given = [str(tree / "c.txt"), "-", str(tree), "-", str(tree / "b.md")]
    assert names(expand(given), tree)[:4] == ["c.txt", "-", "a.markdown", "b.md"]
    assert len(expand(given)) == 7


def test_glob(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert [origin.name for origin in expand(["*.md", "s*/**/*.md"])] == [
        "b.md",
        "sub/deep/e.md",
        "sub/draft.md",
        "sub/keep.md",
    ]
    assert [origin.name for origin in expand(["*"])] == ["a.markdown", "b.md", "c.txt"]
    assert [origin.name for origin in expand(["b.md"])] == ["b.md"]


def test_a_name_with_brackets_is_a_file_first(tree: Path) -> None:
    (tree / "plan[1].md").write_text("x")
    assert names(expand([str(tree / "plan[1].md")]), tree) == ["plan[1].md"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["no/such.md"], r"^no/such\.md: no such file or folder\. Check"),
        (["*.nothing"], r"^\*\.nothing: no file matches\. "),
        (["a\0b"], r"^'a\\x00b': no such file"),
        (["x" * 5000], r"too long"),
        ([], r"^no path given\. "),
        (["/dev/null"], r"^/dev/null: not a regular file\. "),
    ],
)
def test_what_is_not_there_is_one_sentence(given: list[str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        expand(given)


def test_a_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no \.markdown, \.md, \.txt file to read"):
        expand([str(tmp_path)])


def test_read_refuses_a_large_file_before_reading_it(tmp_path: Path) -> None:
    big = tmp_path / "big.md"
    with big.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)  # sparse: 100 MiB that cost nothing
    with pytest.raises(SourceError, match="104,857,600 bytes or more, the limit is 20,971,520"):
        read(Origin("big.md", big))


def test_read_a_file_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^gone\.md: No such file"):
        read(Origin("gone.md", tmp_path / "gone.md"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tree: Path) -> None:
    (tree / "b.md").chmod(0)
    with pytest.raises(SourceError, match="Permission denied"):
        read(expand([str(tree / "b.md")])[0])


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"- [ ] piped\n" * 10)))
    assert expand(["-"]) == [STDIN]
    with pytest.raises(SourceError, match=r"^-: 101 bytes or more, the limit is 100"):
        read(STDIN, 100)


def test_a_pipe_of_the_shell_can_be_read(tree: Path) -> None:
    code = "import sys; from sources import expand, read; print(read(expand(sys.argv[1:])[0]))"
    command = f'exec "{sys.executable}" -c "{code}" <(printf piped)'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() == "b'piped'", done.stderr
