"""Whole syncs of real repositories: what was merged, what is proposed, what is stored."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from models.errors import InputError, SettingsError, SourceError
from tasks.doc_sync import SyncResult, sync_documents

if TYPE_CHECKING:
    from tests.doc_sync.conftest import Repo

Sync = Callable[..., SyncResult]
Connection = psycopg.Connection[Any]

GUIDE = """\
# Guide

Call `load_board(path)` to read.

Set `APP_CACHE_DIR` first.

It is tried MAX_RETRY_COUNT times.

One can run it, or `run(name)` it.
"""


def start(repo: Repo, sync: Sync, guide: str = GUIDE, path: str = "docs/guide.md") -> str:
    """Commit the guide, and sync once so that only what follows counts."""
    repo.commit("Guide", **{path: guide})
    assert sync(repo).proposals == []
    return repo.git("rev-parse", "HEAD")


def module(repo: Repo, *pairs: tuple[str, str]) -> dict[str, str]:
    source = (repo.path / "app/loader.py").read_text()
    for old, new in pairs:
        assert old in source
        source = source.replace(old, new)
    return {"app/loader.py": source}


def patched(repo: Repo, result: SyncResult, tmp_path: Path) -> dict[str, bytes]:
    """The proposals' documents after `git apply`, in a clone that is at the tip."""
    clone = tmp_path / "applied"
    shutil.rmtree(clone, ignore_errors=True)
    repo.git("clone", "-q", "--no-hardlinks", str(repo.path), str(clone))
    repo.git("checkout", "-q", result.tip, where=clone)
    for found in result.proposals:
        repo.git("apply", "--check", "-", where=clone, stdin=found.patch)
        repo.git("apply", "-", where=clone, stdin=found.patch)
    return {found.path: (clone / found.path).read_bytes() for found in result.proposals}


def opened(connection: Connection) -> list[dict[str, Any]]:
    cursor = connection.execute("select * from review where decided_at is null order by subject")
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def test_a_removed_function_marks_its_mention_and_a_renamed_one_is_replaced(
    project: Repo, sync: Sync, connection: Connection, tmp_path: Path
) -> None:
    start(project, sync, GUIDE + "\n`BoardStore.save_all` stores.\n")
    without_run = ("def run(name):\n    return name * 2\n\n\n", "")
    tip = project.commit("Clean (#12)", **module(project, ("load_board", "read_board"), without_run))
    result = sync(project)
    assert [found.path for found in result.proposals] == ["docs/guide.md"]
    assert (result.state, result.merges[0].kind, result.merges[0].pull_request) == ("synced", "squash", 12)
    text = patched(project, result, tmp_path)["docs/guide.md"].decode()
    expected = GUIDE.replace("load_board", "read_board").replace(
        "`run(name)` it.",
        f"`run(name)` it. <!-- penstock: `run` was removed in {tip[:7]} (app/loader.py) -->",
    )
    assert text == expected + "\n`BoardStore.save_all` stores.\n"
    (review,) = opened(connection)
    assert review["subject"] == f"document:{project.path}:docs/guide.md"
    assert (review["kind"], review["error_type"]) == ("document", "human_only")
    assert 'Line 9 says "One can run it' in review["reason"]
    assert f'in {tip[:7]} ("Clean (#12)"); it was at app/loader.py:11.' in review["reason"]
    assert Path(review["patch_path"]).read_bytes().decode() == review["proposal"]
    assert review["details"]["mentions"][0]["line"] == 3


def test_a_changed_signature_marks_only_calls_that_cannot_work_any_more(
    project: Repo, sync: Sync, tmp_path: Path
) -> None:
    guide = "`load_board(path)`\n\n`load_board(path, limit=3)`\n\n`load_board()`\n\nAbout load_board.\n"
    start(project, sync, guide)
    tip = project.commit(
        "Size", **module(project, ("(path, limit=10)", "(path, size=10)"), ("[:limit]", "[:size]"))
    )
    result = sync(project)
    lines = patched(project, result, tmp_path)["docs/guide.md"].decode().split("\n")
    now = "`load_board(path, limit=10)` is now `load_board(path, size=10)`"
    marker = f"<!-- penstock: {now} in {tip[:7]} (app/loader.py) -->"
    assert lines[2] == f"`load_board(path, limit=3)` {marker}"
    assert [line for line in lines if "penstock" in line] == [lines[2]]


def test_constants_variables_options_settings_endpoints_and_files(
    project: Repo, sync: Sync, tmp_path: Path
) -> None:
    more = {
        "app/cli.py": 'p.add_argument("--dry-run", help="Only look")\np.add_argument("--old-way")\n',
        "app/http.py": '@app.get("/v1/old/items")\ndef items():\n    return 1\n',
        "app/settings.toml": "[cache]\nold_size = 3\nsize = 4\n",
        "scripts/old_tool.sh": "#!/bin/sh\nmake_everything() {\n  true\n}\n",
    }
    project.commit("More", **more)
    guide = """MAX_RETRY_COUNT
APP_CACHE_DIR
use --old-way or --old-way-too
use --dry-run
curl http://localhost:8000/v1/old/items
`cache.old_size` and old_size
see scripts/old_tool.sh, or [it](../scripts/old_tool.sh), or other/scripts/old_tool.sh
make_everything
kept: `cache.size`
"""
    start(project, sync, "\n\n\n\n\n\n".join(guide.splitlines()) + "\n")
    removed: dict[str, str | None] = {
        "app/cli.py": 'p.add_argument("--try-run", help="Only look")\n',
        "app/http.py": "x = 1\n",
        "app/settings.toml": "[cache]\nsize = 4\n",
        "scripts/old_tool.sh": None,
    }
    source = module(
        project, ('MAX_RETRY_COUNT = "three times"\n', ""), (' + os.environ["APP_CACHE_DIR"]', "")
    )
    project.commit("Remove", **removed, **source)
    result = sync(project)
    text = patched(project, result, tmp_path)["docs/guide.md"].decode()
    marked = [line for line in text.splitlines() if line]
    assert [line.count("penstock: `") for line in marked] == [1, 1, 1, 0, 1, 1, 1, 1, 0]
    assert marked[3] == "use --try-run"
    assert "`--old-way` was removed" in marked[2]


def test_renamed_files_folders_and_modules_are_written_out(project: Repo, sync: Sync, tmp_path: Path) -> None:
    guide = (
        "Read `app/loader.py`, [code](../app/loader.py#L3), ./app/loader.py:7, loader.py and app.loader.run.\n"
        "Not my_app/loader.py, app/loader.pyc or https://example.org/app/loader.py.\n\n\n\n\n"
        "All of app/ is here.\n"
    )
    start(project, sync, guide)
    project.git("mv", "app", "core")
    project.git("mv", "core/loader.py", "core/new loader.py")
    project.commit("Move")
    text = patched(project, sync(project), tmp_path)["docs/guide.md"].decode()
    assert text.startswith(
        "Read `core/new loader.py`, [code](../core/new%20loader.py#L3), ./core/new loader.py:7, new"
    )
    assert "Not my_app/loader.py, app/loader.pyc or https://example.org/app/loader.py.\n" in text
    assert "`app.loader` was removed" in text  # what it is called now is no module's name


def test_a_moved_function_only_changes_its_dotted_name(project: Repo, sync: Sync, tmp_path: Path) -> None:
    start(project, sync, "`app.loader.run` runs; `run()` too.\n")
    body = "def run(name):\n    return name * 2\n\n\n"
    project.commit("Move", **module(project, (body, "")), **{"app/runner.py": body})
    text = patched(project, sync(project), tmp_path)["docs/guide.md"].decode()
    assert text == "`app.runner.run` runs; `run()` too.\n"


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_every_way_of_merging_is_seen(project: Repo, sync: Sync, how: str) -> None:
    start(project, sync)
    project.git("checkout", "-q", "-b", "feature")
    project.commit("Rename one", **module(project, ("load_board", "read_board")))
    project.commit("Rename another", **module(project, ("MAX_RETRY_COUNT", "RETRY_COUNT_MAX")))
    project.git("checkout", "-q", "main")
    project.commit("Elsewhere", other="x")
    if how == "merge":
        project.git("merge", "-q", "--no-ff", "-m", "Merge pull request #7 from a/feature", "feature")
    elif how == "squash":
        project.git("merge", "-q", "--squash", "feature")
        project.commit("Rename (#7)")
    else:
        project.git("checkout", "-q", "feature")
        project.git("rebase", "-q", "main")
        project.git("checkout", "-q", "main")
        project.git("merge", "-q", "--ff-only", "feature")
    tip = project.git("rev-parse", "HEAD")
    result = sync(project)
    assert [merge.kind for merge in result.merges] == (["commit"] * 3 if how == "rebase" else ["commit", how])
    (found,) = result.proposals
    commits = {mention.change.old: mention.change.commit for mention in found.mentions}
    assert commits["MAX_RETRY_COUNT"] == tip
    assert commits["load_board"] == (tip if how != "rebase" else project.git("rev-parse", "HEAD~1"))
    assert result.merges[-1].pull_request == (None if how == "rebase" else 7)


def test_nothing_merged_costs_one_git_call(
    project: Repo, sync: Sync, connection: Connection, home: Path
) -> None:
    start(project, sync)
    before = connection.execute("select * from doc_sync").fetchall()
    result = sync(project)
    assert (result.state, result.git_calls) == ("unchanged", 1)
    assert "nothing was merged" in result.sentence
    assert connection.execute("select * from doc_sync").fetchall() == before
    assert not (home / "proposals").exists()


def test_a_change_that_no_document_mentions_proposes_nothing(
    project: Repo, sync: Sync, connection: Connection
) -> None:
    start(project, sync, "Run the store; a board is a run.\n")
    tip = project.commit("Rename", **module(project, ("def run(", "def walk("), ("BoardStore", "Shelf")))
    result = sync(project)
    assert (result.state, result.proposals) == ("synced", [])
    assert connection.execute("select last_commit from doc_sync").fetchall() == [(tip,)]


def test_dry_run_stores_nothing(project: Repo, sync: Sync, connection: Connection, home: Path) -> None:
    last = start(project, sync)
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    result = sync(project, dry_run=True)
    assert (result.state, len(result.proposals), result.proposals[0].file) == ("dry_run", 1, None)
    assert connection.execute("select last_commit from doc_sync").fetchall() == [(last,)]
    assert opened(connection) == []
    assert not (home / "proposals").exists()


def test_a_name_that_lives_on_is_not_removed(project: Repo, sync: Sync) -> None:
    start(project, sync, "`load_board` and APP_CACHE_DIR and `run(name)` and `BoardStore.save_all`\n")
    source = module(
        project,
        ("def load_board(path, limit=10):\n    return path[:limit] + os.environ[\"APP_CACHE_DIR\"]\n", ""),
        ("def run(name):\n    return name * 2\n", ""),
        ("class BoardStore:\n    def save_all(self, items):\n        return list(items)\n",
         "from other import Base\n\n\nclass BoardStore(Base):\n    pass\n"),
    )  # fmt: skip
    other = "import os\n\n\ndef load_board(path):\n    return os.getenv('APP_CACHE_DIR')\n\n\n"
    other += "class Base:\n    def save_all(self):\n        pass\n"
    project.commit("Move", **source, **{"other.py": other, "run.py": "run = 1\n"})
    assert sync(project).proposals == []


def test_a_document_that_was_corrected_with_the_code_is_left_alone(project: Repo, sync: Sync) -> None:
    far = "\n".join(f"Line {number}" for number in range(20))
    start(project, sync, f"`load_board` here.\n{far}\nAnd `load_board` there.\n")
    guide = f"Since today `load_board` is history.\n{far}\nAnd `load_board` there.\n"
    project.commit("Rename", **module(project, ("load_board", "read_board")), **{"docs/guide.md": guide})
    (found,) = sync(project).proposals
    assert [mention.line for mention in found.mentions] == [22]


def test_records_protected_blocks_and_test_data_are_never_touched(
    project: Repo, sync: Sync, tmp_path: Path
) -> None:
    guide = (
        "load_board\n\n<!-- penstock:off -->\nload_board\n\nload_board\n<!-- penstock:on -->\nload_board\n"
    )
    others = [
        "CHANGELOG.md",
        "docs/adr/0001-use-it.md",
        "docs/archive/old.md",
        "HISTORY.rst",
        "tests/data/a.md",
    ]
    project.commit("Others", **dict.fromkeys(others, "load_board\n"))
    start(project, sync, guide)
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    files = patched(project, sync(project), tmp_path)
    assert files == {
        "docs/guide.md": b"read_board\n\n<!-- penstock:off -->\nload_board\n\n"
        b"load_board\n<!-- penstock:on -->\nread_board\n"
    }


def test_an_open_proposal_grows_and_settles(
    project: Repo, sync: Sync, connection: Connection, tmp_path: Path
) -> None:
    start(project, sync)
    project.commit("One", **module(project, ("load_board", "read_board")))
    sync(project)
    (first,) = opened(connection)
    project.commit(
        "Two", **module(project, ("MAX_RETRY_COUNT", "RETRY_COUNT_MAX"), ("read_board", "fetch_board"))
    )
    result = sync(project)
    (second,) = opened(connection)
    assert second["id"] == first["id"]
    text = patched(project, result, tmp_path)["docs/guide.md"].decode()
    assert text == GUIDE.replace("load_board", "fetch_board").replace("MAX_RETRY_COUNT", "RETRY_COUNT_MAX")
    project.commit("Correct", **{"docs/guide.md": text})
    assert sync(project).settled == 1
    assert opened(connection) == []
    assert connection.execute("select decision, decided_by from review").fetchall() == [
        ("accept", "doc_sync")
    ]


def test_a_rejected_proposal_is_not_asked_again(project: Repo, sync: Sync, connection: Connection) -> None:
    base = start(project, sync)
    project.commit("One", **module(project, ("load_board", "read_board")))
    sync(project)
    connection.execute("update review set decision = 'reject', decided_at = now(), decided_by = 'me'")
    sync(project, since=base)
    assert opened(connection) == []
    assert connection.execute("select count(*) from review").fetchone() == (1,)


def test_a_revert_settles_the_open_proposal(project: Repo, sync: Sync, connection: Connection) -> None:
    start(project, sync)
    project.commit("One", **module(project, ("load_board", "read_board")))
    sync(project)
    project.git("revert", "--no-edit", "HEAD")
    assert sync(project).settled == 1
    assert opened(connection) == []


def test_a_folder_that_came_back_settles_the_open_proposal(
    project: Repo, sync: Sync, connection: Connection
) -> None:
    start(project, sync, "See `app/loader.py` and the rest of `app/`.\n")
    project.git("mv", "app", "core")
    project.commit("Move")
    assert len(sync(project).proposals[0].mentions) == 2
    project.git("mv", "core", "app")
    project.commit("Move back")
    assert sync(project).settled == 1
    assert opened(connection) == []


def test_a_force_push_falls_back_to_the_common_ancestor(project: Repo, sync: Sync) -> None:
    base = start(project, sync)
    project.commit("Lost", lost="1")
    sync(project)
    project.git("reset", "-q", "--hard", base)
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    result = sync(project)
    assert [finding.code for finding in result.findings] == ["history_rewritten"]
    assert (result.base, len(result.proposals)) == (base, 1)


def test_an_unknown_last_commit_starts_over(project: Repo, sync: Sync, connection: Connection) -> None:
    start(project, sync)
    connection.execute("update doc_sync set last_commit = %s", ["0123456789" * 4])
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    result = sync(project)
    assert [finding.code for finding in result.findings] == ["unknown_commit"]
    assert len(result.proposals) == 1


def test_two_syncs_at_once_store_once(project: Repo, connection: Connection, home: Path, sync: Sync) -> None:
    start(project, sync)
    project.commit("Rename", **module(project, ("load_board", "read_board")))

    class Slow:
        """Lets another sync through just before this one stores."""

        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

        def execute(self, query: Any, parameters: Any = None) -> Any:
            if b"insert into doc_sync" in query:
                connection.execute("update doc_sync set last_commit = 'the other one'")
            return connection.execute(query, parameters)

    slow: Any = Slow()
    result = sync_documents(slow, project.path, home=home)
    assert result.state == "superseded"
    assert opened(connection) == []


def test_a_first_sync_goes_back_a_bounded_way_or_to_since(
    project: Repo, sync: Sync, connection: Connection
) -> None:
    project.commit("Guide", **{"docs/guide.md": GUIDE})
    base = project.git("rev-parse", "HEAD")
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    for number in range(51):
        project.commit(f"Later {number}")
    assert len(sync(project, dry_run=True).merges) == 50
    assert sync(project, dry_run=True).proposals == []
    assert len(sync(project, since=base, dry_run=True).proposals) == 1
    assert len(sync(project, since="2026-01-01", dry_run=True).merges) == 53


@pytest.mark.parametrize("kind", ["bare", "shallow", "detached", "worktree", "subfolder"])
def test_every_shape_of_clone(
    project: Repo, sync: Sync, connection: Connection, tmp_path: Path, home: Path, kind: str
) -> None:
    project.commit("Guide", **{"docs/guide.md": GUIDE})
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    place, url = tmp_path / "there", f"file://{project.path}"
    if kind == "bare":
        project.git("clone", "-q", "--bare", url, str(place))
    elif kind == "shallow":
        project.git("clone", "-q", "--depth=2", url, str(place))
    elif kind == "worktree":
        project.git("worktree", "add", "-q", "-b", "side", str(place))
    elif kind == "detached":
        project.git("clone", "-q", url, str(place))
        project.git("checkout", "-q", "--detach", "HEAD~1", where=place)
    else:
        place = project.path / "app"
    result = sync(project, path=place)
    assert result.branch == "main"
    assert len(result.proposals) == 1
    assert sync(project, path=place).state == "unchanged"
    expected = project.path if kind in {"worktree", "subfolder"} else place
    assert connection.execute("select repo from doc_sync").fetchall() == [(str(expected),)]


def test_a_partial_clone_is_never_filled(project: Repo, sync: Sync, tmp_path: Path) -> None:
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    project.git("config", "uploadpack.allowFilter", "true")
    url, place = f"file://{project.path}", tmp_path / "partial"
    project.git("clone", "-q", "--bare", "--filter=blob:none", url, str(place))
    here = copy.copy(project)
    here.path = place
    with pytest.raises(SourceError, match="partial clone"):
        sync(here)


def test_odd_contents_are_no_trouble(project: Repo, sync: Sync, tmp_path: Path) -> None:
    library = Path(tmp_path, "library")
    inner = type(project)(library)
    inner.commit("Inner", **{"a.py": "def inner_name(): pass\n"})
    project.git("submodule", "add", "-q", f"file://{library}", "sub")
    documents: dict[str, str | bytes] = {
        "docs/with space.md": "load_board\n",
        'docs/quo"te\\.md': "load_board\n",
        "docs/тест ü.md": "load_board — да\n",
        "docs/crlf.md": "load_board\r\nlast load_board",
        "docs/cp1251.txt": "функция load_board\n".encode("cp1251"),
        "docs/utf16.md": "load_board\n".encode("utf-16"),
        "docs/new\nline.md": "load_board\n",
        "-rf.md": "load_board\n",
        "image.md": b"\x89PNG\0load_board",
    }
    for path, content in documents.items():
        project.put(path, content)
    project.put(b"docs/bad\xff.md", "load_board\n")
    (project.path / "link.md").symlink_to("docs/crlf.md")
    project.commit("Documents")
    sync(project)
    project.git("rm", "-q", "-f", "sub")
    project.commit("Rename", **module(project, ("load_board", "read_board")))
    result = sync(project)
    files = patched(project, result, tmp_path)
    expected = {
        path: content if isinstance(content, bytes) else content.encode()
        for path, content in documents.items()
    }
    expected["docs/bad\udcff.md"] = b"load_board\n"
    assert files == {
        path: content.replace(b"load_board", b"read_board")
        for path, content in expected.items()
        if b"\0" not in content
    }
    assert {finding.code for finding in result.findings} == {"document_skipped"}
    assert len({found.file for found in result.proposals}) == len(files)


def test_programs_named_by_the_repository_are_never_started(
    project: Repo, sync: Sync, tmp_path: Path
) -> None:
    witness, program = tmp_path / "witness", tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {witness}\nexit 1\n")
    program.chmod(0o755)
    project.put(".gitattributes", "* diff=evil filter=evil\n")
    start(project, sync)
    for name in ("core.fsmonitor", "core.pager", "diff.external", "diff.evil.textconv", "diff.evil.command",
                 "filter.evil.smudge", "gpg.program", "core.sshCommand", "core.askPass"):  # fmt: skip
        project.git("config", name, str(program))
    project.git("config", "log.showSignature", "true")
    project.git("config", "core.hooksPath", str(tmp_path))
    project.git("config", "grep.column", "true")
    project.git("config", "color.ui", "always")
    for folder in ("docs", "app"):
        assert (project.path / folder).is_dir()
    source = module(project, ("load_board", "read_board"))["app/loader.py"]
    project.put("app/loader.py", source)
    blob = project.git("hash-object", "-w", "--no-filters", "app/loader.py")
    project.git("-c", "core.fsmonitor=false", "update-index", "--cacheinfo", f"100644,{blob},app/loader.py")
    tree = project.git("-c", "core.fsmonitor=false", "write-tree")
    commit = project.git("commit-tree", tree, "-p", "HEAD", "-m", "Rename")
    project.git("-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", commit)
    witness.unlink(missing_ok=True)
    assert len(sync(project).proposals) == 1
    assert not witness.exists()


@pytest.mark.parametrize("since", ["--output=/tmp/x", "-n1", "nope", "HEAD:app", "a\0b"])
def test_a_revision_that_is_none_is_one_sentence(project: Repo, sync: Sync, since: str) -> None:
    with pytest.raises(SourceError, match="names no commit"):
        sync(project, since=since)


@pytest.mark.parametrize("branch", ["--all", "nope", ""])
def test_a_branch_that_is_none_is_one_sentence(project: Repo, sync: Sync, branch: str) -> None:
    with pytest.raises(SourceError, match="has no branch"):
        sync(project, branch=branch)


def test_no_repository_no_folder_no_commit(
    tmp_path: Path, make_repo: Callable[..., Repo], connection: Connection, home: Path
) -> None:
    empty = make_repo("empty")
    plain = tmp_path / "plain"
    plain.mkdir()
    for place, words in (
        (tmp_path / "none", "not a folder"),
        (plain, "not a git repository"),
        (empty.path, "commit"),
    ):
        with pytest.raises(InputError, match=words):
            sync_documents(connection, place, home=home)


def test_home_inside_the_repository_is_refused(project: Repo, connection: Connection) -> None:
    with pytest.raises(SettingsError, match="inside the repository"):
        sync_documents(connection, project.path, home=project.path / ".penstock")


def test_the_default_branch_is_what_origin_says(project: Repo, sync: Sync, tmp_path: Path) -> None:
    project.git("checkout", "-q", "-b", "trunk")
    project.commit("On trunk", a="1")
    clone = tmp_path / "clone"
    project.git("clone", "-q", str(project.path), str(clone))
    project.git("checkout", "-q", "-b", "feature", "origin/main", where=clone)
    project.git("branch", "-q", "-D", "trunk", where=clone)
    result = sync(project, path=clone, dry_run=True)
    assert (result.branch, result.tip) == ("origin/trunk", project.git("rev-parse", "trunk"))
