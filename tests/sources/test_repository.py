"""FOLDER@REV:PATH: boards out of a git repository, bare or hostile, without a checkout."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.errors import ServiceError, SourceError
from sources import Origin, expand, read
from sources.git import Git as Runner
from sources.repository import place_of

Git = Callable[..., str]
Make = Callable[..., Path]

FILES = {
    "plan.md": "- [ ] a\n", "docs/plan.md": "- [ ] b\n", "docs/deep/notes.txt": "text\n", "docs/image.png": "x",
    "docs/Makefile": "all:\n", ".github/issue.md": "hidden\n", ".taskmaster/tasks/tasks.json": "{}\n",
    "node_modules/x/README.md": "no\n", "out/report.md": "<!-- penstock report -->\n# Penstock report\n",
}  # fmt: skip


def inside(origins: list[Origin]) -> list[str]:
    return [origin.blob.path for origin in origins if origin.blob is not None]


@pytest.fixture
def repo(repository: Make) -> Path:
    return repository(FILES)


ALL = [".taskmaster/tasks/tasks.json", "docs/deep/notes.txt", "docs/plan.md", "plan.md"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("repo@main", ALL),
        ("git:repo@main", ALL),
        ("git:repo", ALL),
        ("repo@main:", ALL),
        ("repo@main:.", ALL),
        ("repo@HEAD^{commit}", ALL),
        ("repo/.git@main", ALL),
        ("repo@main:docs", ["docs/deep/notes.txt", "docs/plan.md"]),
        ("repo@main:docs/", ["docs/deep/notes.txt", "docs/plan.md"]),
        ("git:repo:docs/plan.md", ["docs/plan.md"]),
        ("repo/docs@main:plan.md", ["docs/plan.md"]),
        ("repo/docs@main", ["docs/deep/notes.txt", "docs/plan.md"]),
        ("repo/docs@main:../plan.md", ["plan.md"]),
        ("repo@main:docs/Makefile", ["docs/Makefile"]),
        ("repo@main:out/report.md", ["out/report.md"]),
        ("repo@main:.github", [".github/issue.md"]),
        ("repo@main:*.md", ["plan.md"]),
        ("repo@main:*/*.md", ["docs/plan.md", "out/report.md"]),
        ("repo@main:**/plan.md", ["docs/plan.md", "plan.md"]),
        ("repo@main:docs/**", ["docs/deep/notes.txt", "docs/plan.md"]),
        ("repo@main:docs/[p]*", ["docs/plan.md"]),
        ("repo@main:docs/image.*", ["docs/image.png"]),
    ],
)
def test_what_a_place_means(
    repo: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: list[str]
) -> None:
    monkeypatch.chdir(repo.parent)
    found = expand([given])
    assert inside(found) == expected
    assert [read(origin).decode() for origin in found] == [FILES[path] for path in expected]


def test_the_name_can_be_given_again(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.parent)
    for text in ("repo@main", "git:repo:docs", "repo/docs@main", "repo@main:docs/plan.md"):
        for origin in expand([text]):
            assert inside(expand([origin.name])) == inside([origin])


def test_an_older_revision_is_the_same_board(repo: Path, git: Git) -> None:
    (repo / "plan.md").write_text("- [x] a\n")
    git(repo, "commit", "-q", "-a", "-m", "second")
    git(repo, "tag", "-a", "v1@2", "-m", "x", "HEAD~1")
    git(repo, "worktree", "add", "-q", str(repo.parent / "other"))
    new, old, other, loose = (
        expand([f"{repo}@{where}"])[0]
        for where in ("main:plan.md", "v1@2:plan.md", "HEAD:plan.md", "main:docs/../plan.md")
    )
    elsewhere = expand([f"{repo.parent / 'other'}@HEAD:plan.md"])[0]
    assert (read(new), read(old)) == (b"- [x] a\n", b"- [ ] a\n")
    assert {origin.source("") for origin in (new, old, other, loose, elsewhere)} == {f"git:{repo}:plan.md"}
    assert (
        new.revision
        == git(repo, "rev-parse", "main")
        != old.revision
        == git(repo, "rev-parse", "v1@2^{commit}")
    )


def test_a_bare_repository(repo: Path, git: Git) -> None:
    git(repo.parent, "clone", "-q", "--bare", str(repo), "bare.git")
    bare = repo.parent / "bare.git"
    assert inside(expand([f"{bare}@main"])) == ALL
    assert inside(expand([f"git:{bare}:docs/plan.md"])) == ["docs/plan.md"]
    assert expand([f"{bare}@main:plan.md"])[0].source("") == f"git:{bare}:plan.md"
    with pytest.raises(SourceError, match=r"It is a bare git repository: write .*bare\.git@main"):
        expand([str(bare)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("repo@nope", r"^repo@nope: the repository /.*/repo has no commit 'nope'\. Give a branch"),
        ("repo@", r"has no commit ''"),
        ("repo@main:nope.md", r"^repo@main:nope\.md: that revision has no 'nope\.md'\. Check"),
        ("repo@main:docs/image", r"that revision has no 'docs/image'"),
        ("repo@main:*.nope", r"no file of that revision matches\. Check the pattern"),
        ("repo@main:../../etc/passwd", r"is no path inside the repository"),
        ("repo@main:/etc/passwd", r"is no path inside the repository"),
        ("repo@--output=x", r"has no commit '--output=x'"),
        ("repo@-h", r"has no commit '-h'"),
        ("repo@main..main", r"has no commit"),
        ("repo@^main", r"has no commit"),
        ("repo@HEAD:plan.md\0", r"that revision has no"),
        ("repo@HEAD\0", r"has no commit"),
        (
            "plain@main",
            r"^plain@main: there is no such file, and as a revision .*/plain is not a git repository",
        ),
        ("nowhere@main", r"^nowhere@main: no such file or folder"),
        ("git:nowhere@main", r"^git:nowhere@main: there is no such folder\. Write git:FOLDER@REV:PATH"),
        ("git:https://example.org/x.git", r"only repositories of this machine are read\. Clone it"),
        ("empty@main", r"has no commit 'main'"),
        ("repo@main:docs/deep/notes.txt/x", r"that revision has no"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    (repo.parent / "plain").mkdir()
    (repo.parent / "empty").mkdir()
    git(repo.parent / "empty", "init", "-q")
    monkeypatch.chdir(repo.parent)
    with pytest.raises(SourceError, match=message):
        expand([given])
    assert not (repo.parent / "x").exists()


def test_a_folder_without_boards_in_that_revision(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository({"src/x.py": "x"}))
    with pytest.raises(SourceError, match=r"the folder has no \.markdown, \.md, .* file in that revision"):
        expand([".@main:src"])


def test_a_file_wins_over_a_revision(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.parent)
    Path("repo@main").write_text("- [ ] a file\n")
    assert expand(["repo@main"])[0].path == Path("repo@main")
    assert inside(expand(["git:repo@main"])) == ALL


def test_folders_with_signs_in_their_names(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    repository({"plan.md": "- [ ] a\n"}, "work@home:2")
    monkeypatch.chdir(repository({"b.md": "x"}, "work").parent)
    assert inside(expand(["work@home:2@main"])) == ["plan.md"]
    assert inside(expand(["git:work@home:2:plan.md"])) == ["plan.md"]
    assert inside(expand(["work@main"])) == ["b.md"]


def test_links_and_submodules_are_left_out_and_said(repo: Path, git: Git) -> None:
    (repo / "link.md").symlink_to("/etc/passwd")
    (repo / "folder.md").symlink_to("docs")
    git(repo, "submodule", "--quiet", "add", str(repo), "sub")
    git(repo, "add", "-A", "-f")
    git(repo, "commit", "-q", "-m", "links")
    *found, problem = expand([f"{repo}@main"])
    assert inside(found) == ALL
    with pytest.raises(
        SourceError, match=r"2 symbolic link\(s\) and 1 submodule\(s\) left out \(folder\.md, link"
    ):
        read(problem)
    for path in ("link.md", "sub"):
        with pytest.raises(SourceError, match=rf"left out \({path}\)"):
            expand([f"{repo}@main:{path}"])


def test_contents_are_as_stored(repo: Path, git: Git, tmp_path: Path) -> None:
    """No filter, no conversion of line ends, no text conversion; a pointer of LFS is no board."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    (repo / "crlf.md").write_bytes(b"- [ ] a\r\n")
    (repo / "big.md").write_text(pointer)
    (repo / ".gitattributes").write_text("*.md filter=evil diff=evil text eol=crlf export-subst ident\n")
    git(repo, "add", "-A", "-f")
    blob = git(repo, "hash-object", "-w", "--no-filters", "crlf.md")
    git(repo, "update-index", "--cacheinfo", f"100644,{blob},crlf.md")
    git(repo, "commit", "-q", "-m", "attributes")
    hostile(repo, git, tmp_path)
    assert read(expand([f"{repo}@main:crlf.md"])[0]) == b"- [ ] a\r\n"
    with pytest.raises(SourceError, match=r"big\.md: a pointer of Git LFS"):
        read(expand([f"{repo}@main:big.md"])[0])
    assert not (tmp_path / "owned").exists()


def hostile(repo: Path, git: Git, tmp_path: Path) -> None:
    """Every setting by which a repository can have a program run when somebody looks at it."""
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\necho ran >> '{tmp_path}/owned'\ncat\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for key in (
        "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy",
        "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.smudge", "filter.evil.clean",
        "filter.evil.process", "pager.ls-tree", "pager.cat-file", "alias.cat-file", "gpg.program",
        "uploadpack.packObjectsHook", "credential.helper", "interactive.diffFilter", "core.alternateRefsCommand",
    ):  # fmt: skip
        git(repo, "config", key, str(program))
    git(repo, "config", "core.hooksPath", str(tmp_path / "hooks"))
    (tmp_path / "hooks").mkdir(exist_ok=True)
    for hook in ("post-checkout", "post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (tmp_path / "hooks" / hook).symlink_to(program)


def test_a_hostile_repository_runs_nothing_and_is_not_written_to(
    repo: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(repo, git, tmp_path)
    (repo / "plan.md").write_text("not committed\n")
    before = {path: path.stat().st_mtime_ns for path in sorted((repo / ".git").rglob("*"))}
    for name, value in {
        "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "GIT_EXTERNAL_DIFF": str(tmp_path / "evil.sh"),
        "GIT_SSH_COMMAND": str(tmp_path / "evil.sh"), "GIT_TRACE": str(tmp_path / "owned"),
        "GIT_PAGER": str(tmp_path / "evil.sh"),
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": str(tmp_path / "evil.sh"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    origins = expand([f"{repo}@main"])
    assert [read(origin).decode() for origin in origins] == [FILES[path] for path in ALL]
    assert not (tmp_path / "owned").exists()
    assert {path: path.stat().st_mtime_ns for path in sorted((repo / ".git").rglob("*"))} == before


def test_a_partial_clone_fetches_nothing(repo: Path, git: Git) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(repo.parent, "clone", "-q", "--bare", "--filter=blob:none", f"file://{repo}", "partial.git")
    partial = repo.parent / "partial.git"
    objects = sorted(partial.rglob("*"))
    with pytest.raises(SourceError, match=r"partial clone.* full clone"):
        read(expand([f"{partial}@main"])[0])
    assert sorted(partial.rglob("*")) == objects


def test_a_large_file_is_refused_before_it_is_read(repository: Make) -> None:
    repo = repository({"big.md": "x" * 3000, "small.md": "y"})
    big, small = expand([f"{repo}@main"])
    with pytest.raises(SourceError, match=r"big\.md: 3,000 bytes or more, the limit is 2,000"):
        read(big, 2000)
    assert read(small, 2000) == b"y"


def test_names_of_any_bytes(repo: Path, git: Git) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", stdin=b"- [ ] x\n")
    names = [b"caf\xe9.md", "план.md".encode(), b"new\nline.md", b'quo"te.md', b"tab\tname.md"]
    lines = b"".join(b"100644 blob " + blob.encode() + b"\t" + name + b"\0" for name in names)
    tree = git(repo, "mktree", "-z", stdin=lines)
    commit = git(repo, "commit-tree", "-m", "names", tree)
    found = expand([f"{repo}@{commit}"])
    assert [os.fsencode(path) for path in inside(found)] == sorted(names)
    for origin in found:
        assert origin.name.isprintable()
        assert origin.source("").encode().isascii() or "план" in origin.name
        assert read(origin) == b"- [ ] x\n"
    assert inside(expand([f"{repo}@{commit}:план.md"])) == ["план.md"]


def test_git_is_not_there(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repo / "docs"))
    with pytest.raises(ServiceError, match=r"git is not installed or not on the PATH; install it"):
        expand([f"{repo}@main"])


def test_a_git_that_hangs_has_a_deadline(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    with pytest.raises(ServiceError, match=r"took longer than 0\.2 s"):
        Runner(repo, 0.2).place()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("ab@:{}/.*-^~ \0é"), max_size=12))
@example("a@{10:30}:b")
@example("~:")
@example("^@")
def test_any_text_is_a_place_or_one_sentence(repo: Path, text: str) -> None:
    """Never a traceback, never another error than those that are said."""
    for given_ in (f"{repo}@{text}", f"git:{repo}{text}", text, f"git:{text}"):
        with suppress(SourceError):
            for origin in expand([given_]):
                if origin.blob is not None and not origin.problem:
                    read(origin)


def test_a_colon_in_braces_is_of_the_revision(tmp_path: Path) -> None:
    place = place_of(f"{tmp_path}@main@{{2026-01-01 10:30:00}}:docs/a.md")
    assert place is not None
    assert (place.folder, place.revision, place.path) == (tmp_path, "main@{2026-01-01 10:30:00}", "docs/a.md")
