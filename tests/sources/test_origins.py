"""PATH... to files: folders, globs, ignored files, links, and what is not there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import SourceError
from sources import STDIN, Origin, expand, folder, read

Git = Callable[..., str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.md", "a.markdown", "c.txt", "image.png", "sub/d.MD", "sub/deep/e.md", ".hidden/f.md", ".g.md",
        "node_modules/h.md", ".venv/i.md", "build/j.md", "sub/keep.md", "sub/draft.md", "package.json",
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


def test_what_other_tools_keep_is_found(tmp_path: Path) -> None:
    boards = [
        ".backlog/tasks/task-1.md", ".taskmaster/tasks/tasks.json", "a.org", "b.taskpaper", "c.TODO", "done.txt",
        "backlog/tasks/task-2.md", "tasks.json", "todo.txt", "web/.taskmaster/tasks/tasks.json",
    ]  # fmt: skip
    others = [
        ".taskmaster/tasks/task_001.md", ".taskmaster/docs/prd.md", ".vscode/tasks.json", "issues.json", "x.todo.bak",
        "node_modules/a/.taskmaster/tasks/tasks.json",
    ]  # fmt: skip
    for name in (*boards, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    assert sorted(names(expand([str(tmp_path)]), tmp_path)) == sorted(boards)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("**/.taskmaster/tasks/\n")
    assert {name for name in boards if ".taskmaster" in name}.isdisjoint(
        names(expand([str(tmp_path)]), tmp_path)
    )


def test_info_exclude_counts_and_gitignore_has_the_last_word(tree: Path) -> None:
    (tree / ".git/info").mkdir(parents=True)
    (tree / ".git/info/exclude").write_text("keep.md\nc.txt\n")
    (tree / "sub/.gitignore").write_text("!keep.md\n")
    assert names(expand([str(tree)]), tree) == [
        "a.markdown",
        "b.md",
        "sub/d.MD",
        "sub/keep.md",
        "sub/deep/e.md",
    ]
    assert names(expand([str(tree / "sub")]), tree)[:2] == ["sub/d.MD", "sub/keep.md"]


def test_info_exclude_of_a_further_checkout(
    repository: Callable[..., Path], git: Git, tmp_path: Path
) -> None:
    main = repository({"a.md": "- [ ] a\n", "b.md": "- [ ] b\n"})
    git(main, "worktree", "add", "-q", str(tmp_path / "other"))
    (main / ".git/info").mkdir(exist_ok=True)
    (main / ".git/info/exclude").write_text("/b.md\n")
    assert names(expand([str(tmp_path / "other")]), tmp_path / "other") == ["a.md"]


NAMES = ["a", "b.md", "*", "*.md", "sub", "d?ep", "[ab]", "[!a]*", "x.md", "#x"]


@given(
    patterns=st.lists(
        st.tuples(
            st.sampled_from(["", "!", "/", "!/"]),
            st.lists(st.sampled_from([*NAMES, "**"]), max_size=2).map(
                lambda some: "".join(f"{n}/" for n in some)
            ),
            st.sampled_from(NAMES),  # pathspec reads a/**/ otherwise than git
            st.sampled_from(["", "/"]),
        ).map("".join),
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None)
def test_what_is_ignored_is_what_git_ignores(git: Git, patterns: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = ["b.md", "a/b.md", "a/x.md", "sub/b.md", "sub/deep/b.md", "sub/deep/x.md", "x.md"]
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("x\n")
        git(root, "init", "-q")
        (root / ".gitignore").write_text("\n".join(patterns) + "\n")
        listed = git(root, "ls-files", "-o", "--exclude-standard", "--", "*.md").split()
        found = [origin.path.relative_to(root).as_posix() for origin in expanded(root) if origin.path]
        assert sorted(found) == sorted(listed)


def expanded(root: Path) -> list[Origin]:
    try:
        return expand([str(root)])
    except SourceError:
        return []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_said_and_the_rest_goes_on(tree: Path) -> None:
    (tree / "sub/deep").chmod(0)
    *found, problem = expand([str(tree)])
    (tree / "sub/deep").chmod(0o755)
    assert "sub/keep.md" in names(found, tree)
    with pytest.raises(SourceError, match=r"sub/deep: Permission denied\. Check the folder's permissions"):
        read(problem)


def test_a_folder_goes_away_during_the_search(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def gone(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("deep"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone)
    *found, problem = expand([str(tree)])
    assert "sub/keep.md" in names(found, tree)
    with pytest.raises(SourceError, match=r"sub/deep: No such file or directory"):
        read(problem)


def test_a_name_that_is_no_utf_8_can_be_printed_and_stored(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("- [ ] a\n")
    (origin,) = expand([str(tmp_path)])
    assert origin.name.endswith("caf\\xe9.md")
    assert origin.source("").encode()
    assert read(origin) == b"- [ ] a\n"


def test_a_pointer_of_git_lfs_is_no_board(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    (tmp_path / "big.md").write_text(pointer)
    with pytest.raises(SourceError, match=r"big\.md: a pointer of Git LFS.*git lfs pull"):
        read(expand([str(tmp_path)])[0])


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
    with pytest.raises(
        SourceError, match=r"has no \.markdown, \.md, \.org, \.taskpaper, \.todo, \.txt file to read"
    ):
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


@pytest.mark.parametrize(
    "line", ["!", "\\", "draft\\", "[z-a]", "[[:foo:]]", "*a" * 12 + "b", "**/a/" * 12 + "b"]
)
def test_a_line_that_is_no_pattern_or_takes_for_ever_stops_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text(f"{line}\ndraft.md\n")
    long = "a" * 100 + ".md"
    deep = tmp_path / "/".join("a" * 40)
    deep.mkdir(parents=True)
    for file in (tmp_path / "draft.md", tmp_path / long, deep / "c.md"):
        file.write_text("- [ ] one\n")
    assert {os.path.basename(str(path)) for path in folder.search(tmp_path)} == {long, "c.md"}
    assert set(map(os.path.basename, folder.tracked(tmp_path))) == {long, "c.md"}


def test_many_stars_ignore_more_and_never_less() -> None:
    assert folder._simple("a*b*c*.md") == "a*b*c*.md"
    assert folder._simple("x/*a*b*c*d.md") == "x/*d.md"
    assert folder._patterns("!*a*b*c*d.md") == [], "what it took back stays ignored"
