"""Files of a board's folder or repository: what is found in them, and what never leaves its root."""

from __future__ import annotations

import asyncio
import os
import string
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.calls import Passage
from tasks.files import files_for_items, giving, index, root_of
from tasks.files.index import Index
from tasks.files.roots import is_secret, read_within
from tasks.remember.chunking import MOST


@dataclass
class Item:
    source: str
    question: str


PUMP = """\
'The pump.'

MOST_LITRES = 4270


def drain_basin(level: int) -> int:
    'Drain it.'
    return level - 1
"""

Ask = Callable[..., list[Passage]]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No index of another test; and each look at the disk is a look."""
    monkeypatch.setattr(index, "FRESH", 0.0)
    giving._indexes.clear()
    yield
    giving._indexes.clear()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in {
        "docs/plan.md": "# Plan\n\n- [ ] Which pump drains the basin?\n",
        "docs/pumps.md": "# Pumps\n\nThe basin is drained by pump seven.\n\n## Next\n\n- [ ] the basin by pump nine\n",
        "src/pump.py": PUMP,
        "src/notes.txt": "Nothing about it.\n",
        "node.log": "the basin is drained, log\n",
        "build/out.txt": "the basin is drained by what was built\n",
        ".gitignore": "build/\n*.log\n",
        ".hidden/x.md": "the basin is drained in secret\n",
        ".env": "BASIN=drained\n",
        "server.pem": "the basin is drained\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (tmp_path / "outside.md").write_text("the basin is drained outside\n", encoding="utf-8")
    return root


@pytest.fixture
def ask(repository: Path, tmp_path: Path) -> Ask:
    def run(
        question: str, known: Sequence[Passage] = (), *, limit: int = 4, source: str = "docs/plan.md"
    ) -> list[Passage]:
        path = source if ":" in source else str(repository / source)
        [found] = asyncio.run(files_for_items([Item(path, question)], limit, [known], home=tmp_path / "home"))
        return found

    return run


def test_what_is_like_the_item_is_found_by_its_words(ask: Ask) -> None:
    found = ask("Which pump drains the basin?")
    assert [passage.cite for passage in found] == ["src/pump.py:1-8", "docs/pumps.md:1-3"] or [
        passage.cite for passage in found
    ] == ["docs/pumps.md:1-3", "src/pump.py:1-8"]
    assert not any(passage.file for passage in found)
    assert all("nine" not in passage.text for passage in found), "another item is a claim, not evidence"
    assert all("- [ ]" not in passage.text for passage in found), "nor are its own lines"
    assert ask("Zzyzx?") == []


def test_names_of_code_are_words(ask: Ask) -> None:
    assert ask("What does drainBasin do with the level?")[0].cite == "src/pump.py:1-8"


@pytest.mark.parametrize(
    "path", ["src/pump.py", "../src/pump.py", "pump.py", "`./src/pump.py`", "(src/pump.py)."]
)
def test_a_file_that_is_named_is_given_whole_and_first(ask: Ask, path: str) -> None:
    memory = [Passage("memo.md:1", "The basin is drained by hand.", 0.03)]
    found = ask(f"Look at {path} and say which pump drains the basin", memory)
    assert (found[0].cite, found[0].file, found[0].text) == (
        "src/pump.py:1-8",
        "src/pump.py",
        PUMP.removesuffix("\n"),
    )
    assert found[0].score > 0.03 > found[-1].score
    assert found[1] == memory[0]


@pytest.mark.parametrize("lines", [":6-8", "#L6-L8", ":6–8", "#L6-8"])
def test_lines_that_are_named_are_given(ask: Ask, lines: str) -> None:
    found = ask(f"Why does src/pump.py{lines} take one?", limit=1)
    assert [(passage.cite, passage.file) for passage in found] == [("src/pump.py:6-8", "")]
    assert found[0].text.startswith("def drain_basin")
    assert ask("see src/pump.py:7", limit=1)[0].text == "    'Drain it.'"
    assert ask("see src/pump.py:900-901", limit=1)[0].cite != "src/pump.py:900-901"


def test_what_is_remembered_is_not_given_twice(ask: Ask) -> None:
    memory = [Passage("docs/pumps.md:3", "The basin is drained by pump seven.", 0.03)]
    found = ask("Which pump drains the basin? See docs/pumps.md", memory)
    assert sum("pump seven" in passage.text for passage in found) == 1
    assert len({passage.cite for passage in found}) == len(found)


def test_what_changes_is_read_again(ask: Ask, repository: Path) -> None:
    assert ask("siphon") == []
    (repository / "src/notes.txt").write_text("A siphon does it.\n", encoding="utf-8")
    assert [passage.cite for passage in ask("siphon")] == ["src/notes.txt:1-1"]
    (repository / "src/notes.txt").unlink()
    assert ask("siphon") == []


def test_nothing_but_text_files_of_the_root_is_given(ask: Ask, repository: Path, tmp_path: Path) -> None:
    (repository / "link.md").symlink_to(tmp_path / "outside.md")
    (repository / "folder").symlink_to(tmp_path)
    os.mkfifo(repository / "pipe.md")
    (repository / "binary.md").write_bytes(b"the basin is drained\0\x01\x02")
    (repository / "huge.md").write_text("the basin is drained\n" * 20_000, encoding="utf-8")
    german = "Das Becken wird über die Grüne Pumpe geleert, so ist es für alle.\n"
    (repository / "latin.md").write_bytes(german.encode("cp1252"))
    (repository / "wide.md").write_text("Basin siphon wide\n", encoding="utf-16")
    outside = tmp_path / "outside.md"
    named = (
        f"{outside} ../../outside.md ../outside.md folder/outside.md link.md pipe.md binary.md huge.md .env ../.env"
        " /etc/passwd server.pem .hidden/x.md build/out.txt node.log .git/config ../.git/config docs/plan.md plan.md"
    )
    found = ask(f"Is the basin drained? {named}", limit=50)
    files = {"docs/pumps.md", "src/pump.py", "src/notes.txt", "latin.md", "wide.md"}
    assert {passage.cite.partition(":")[0] for passage in found} <= files
    assert "Grüne" in ask("die Grüne Pumpe")[0].text
    assert ask("siphon wide")[0].cite == "wide.md:1-1"


def test_a_board_without_a_folder_is_given_nothing(ask: Ask, repository: Path, tmp_path: Path) -> None:
    for source in ("stdin:abc", "github:a/b", f"git:{repository}:docs/plan.md"):
        assert ask("Which pump drains the basin? src/pump.py", source=source) == []
    inbox = tmp_path / "home" / "inbox"
    inbox.mkdir(parents=True)
    assert root_of(str(inbox / "plan.md"), tmp_path / "home") is None
    assert root_of(str(tmp_path / "gone" / "plan.md"), tmp_path / "home") is None


def test_the_root_is_the_repository_else_the_folder_and_never_a_home(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "elsewhere"
    away.mkdir()
    home = tmp_path / "home"
    assert root_of(str(repository / "docs/plan.md"), home) == repository.resolve()
    assert root_of(str(away / "plan.md"), home) == away.resolve()
    monkeypatch.setenv("HOME", str(repository))
    assert root_of(str(repository / "docs/plan.md"), home) == (repository / "docs").resolve(), "dot files"
    assert root_of(str(repository / "plan.md"), home) is None
    assert root_of("/plan.md", home) is None


def test_files_of_penstock_itself_are_none_of_the_project(repository: Path) -> None:
    home = repository / "state"
    (home / "inbox").mkdir(parents=True)
    (home / "inbox" / "other.md").write_text("The basin of somebody else.\n", encoding="utf-8")
    [found] = asyncio.run(
        files_for_items(
            [Item(str(repository / "docs/plan.md"), "basin state/inbox/other.md")], 9, [[]], home=home
        )
    )
    assert found
    assert all("somebody" not in passage.text for passage in found)


def test_a_private_key_is_gone_before_its_file_is_in_pieces(ask: Ask, repository: Path) -> None:
    rows = "\n".join(string.ascii_letters[n:] + "0123456789ab" for n in range(40))
    text = f"basin settings\n-----BEGIN PRIVATE KEY-----\n{rows}\n-----END PRIVATE KEY-----\nbasin end\n"
    (repository / "settings.md").write_text(text, encoding="utf-8")
    found = ask("What are the basin settings and the basin end? settings.md", limit=9)
    whole = next(passage for passage in found if passage.file == "settings.md")
    assert whole.text.count("\n") == text.count("\n") - 1, "lines keep their numbers"
    assert "[redacted: private-key]" in whole.text
    assert all(rows[:40] not in passage.text for passage in found)


KEPT_BACK = (
    ".env", ".env.local", "prod.env", "a/id_rsa", "id_ed25519.pub", "x.pem", "tls.key", "secrets.yaml",
    "credentials.json", "terraform.tfstate.backup", "prod.tfvars", ".npmrc", "service-account-prod.json",
    "secrets/any.md", "kubeconfig",
)  # fmt: skip
GIVEN = ("environment.md", ".env.example", "secret_sharing.py", "keys.py", "docs/credentials.md", "key.md")


def test_files_that_hold_secrets_are_known_by_name() -> None:
    assert [name for name in KEPT_BACK if not is_secret(name)] == []
    assert [name for name in GIVEN if is_secret(name)] == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "", "a", "link", "up", "x.md", "\0", "/", "etc", "passwd"]), max_size=6
    )
)
def test_no_path_leads_out_of_the_root(tmp_path: Path, parts: list[str]) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True, exist_ok=True)
    (root / "a" / "x.md").write_text("inside", encoding="utf-8")
    (tmp_path / "x.md").write_text("outside", encoding="utf-8")
    for name, target in (("link", tmp_path), ("a/up", tmp_path), ("a/link", tmp_path / "x.md")):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    found = read_within(root, "/".join(parts))
    assert found is None or found[0] == b"inside"


@settings(deadline=None)
@given(st.text(st.sampled_from("ab c\n\t#-"), max_size=4_000))
def test_pieces_of_code_are_its_lines(text: str) -> None:
    lines = tuple(text.split("\n"))
    pieces = index._of_code("a.py", lines)
    for piece in pieces:
        assert piece.text == "\n".join(lines[piece.first - 1 : piece.last])
        assert len(piece.text) <= MOST
    covered = {number for piece in pieces for number in range(piece.first, piece.last + 1)}
    assert covered >= {number for number, line in enumerate(lines, 1) if line.strip() and len(line) < MOST}
    assert all(one.last < other.first for one, other in pairwise(pieces))


def test_a_huge_folder_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"f{number:02}.txt").write_text("word\n", encoding="utf-8")
    monkeypatch.setattr(index, "MOST_FILES", 10)
    part = Index(tmp_path)
    part.refresh()
    assert (len(part.paths), part.whole) == (10, False)
    monkeypatch.setattr(index, "MOST_FILES", 100)
    part.refresh()
    assert (len(part.paths), part.whole) == (30, True)
