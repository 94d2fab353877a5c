"""The pure parts: what sources offer, what is a document, and that patches apply and change only their lines."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.doc_sync.changes import Change
from tasks.doc_sync.documents import Document, is_document, is_record
from tasks.doc_sync.mentions import Mention
from tasks.doc_sync.proposal import edit, propose, safe_name, unified_diff
from tasks.doc_sync.symbols import module_name, symbols


def names(path: str, source: str) -> set[tuple[str, str]]:
    found = symbols(path, source.encode())
    assert found is not None
    return set(found)


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("a.py", "class A:\n    x = 1\n    def m(self): ...\n    def __repr__(self): ...\n",
         {("class", "A"), ("function", "A.m")}),
        ("a.py", "if x:\n    def f(): ...\nelse:\n    def g():\n        def inner(): ...\n",
         {("function", "f"), ("function", "g")}),
        ("a.py", "class S(BaseSettings):\n    max_size: int = 3\n", {("class", "S"), ("setting", "S.max_size")}),
        ("a.py", "import os\nos.environ['A_B']\nos.getenv('C_D')\nenviron.get('E_F')\nd.get('G_H')\n",
         {("environment", "A_B"), ("environment", "C_D"), ("environment", "E_F")}),
        ("a.py", "@app.command()\ndef go(name, *, dry_run=0): ...\n", {("function", "go"), ("option", "--dry-run")}),
        ("a.py", "o('--x/--no-x')\n['--y']\n", {("option", "--x"), ("option", "--no-x")}),
        ("a.js", "export async function doIt(a, b) {\n}\nexport const MAX_SIZE = 3;\nprocess.env.API_KEY\n",
         {("function", "doIt"), ("constant", "MAX_SIZE"), ("environment", "API_KEY")}),
        ("a.go", "func (s *S) Do(a int) error {\n}\ntype S struct {\n}\nos.Getenv(\"GO_X\")\n",
         {("function", "Do"), ("class", "S"), ("environment", "GO_X")}),
        ("a.rs", "pub fn go<T>(a: T) -> u8 {\n}\nfn private() {}\npub struct P;\n",
         {("function", "go"), ("class", "P")}),
        ("a.sh", "do_it() {\n}\ncase $1 in\n  --flag)\n  ;;\nesac\n", {("function", "do_it"), ("option", "--flag")}),
        ("a.yaml", "a:\n  b-c: 1\nd: &x [1]\n", {("setting", "a"), ("setting", "a.b-c"), ("setting", "d")}),
        ("a.ini", "[s]\nk = 1\n", {("setting", "s"), ("setting", "s.k")}),
        ("tests/a.py", "def f(): ...\n", set()),
        ("uv.lock", "[a]\n", set()),
        ("a.png", "def f(): ...\n", set()),
    ],
)  # fmt: skip
def test_what_a_source_offers(path: str, source: str, expected: set[tuple[str, str]]) -> None:
    assert names(path, source) == expected


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a.py", "def f(:\n"),
        ("a.py", "x\0y"),
        ("a.toml", "a ="),
        ("a.yaml", "a: &x [1]\nb: *x\n"),
        ("a.ini", "no section"),
    ],
)
def test_what_does_not_parse_makes_no_claim(path: str, source: str) -> None:
    assert not symbols(path, source.encode())


@given(
    st.binary(max_size=300), st.sampled_from([".py", ".js", ".go", ".toml", ".yaml", ".ini", ".sh", ".sql"])
)
def test_any_bytes_are_read_without_a_crash(data: bytes, suffix: str) -> None:
    symbols("a" + suffix, data)


def test_signatures_leave_annotations_and_self_out() -> None:
    found = symbols("a.py", b"class A:\n    def f(self, a: int, *, b: str = 'x') -> None: ...\n")
    assert found is not None
    assert found["function", "A.f"].signature == "(a, *, b='x')"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("src/a/b.py", "a.b"), ("a/__init__.py", "a"), ("a-b/c.py", None), ("a.md", None), ("a.py", "a")],
)
def test_module_names(path: str, expected: str | None) -> None:
    assert module_name(path) == expected


def test_what_is_a_document() -> None:
    for path in ("README", "README.md", "a/b.rst", "docs/x/page.html", "docs/Makefile", "notes.txt"):
        assert is_document(path), path
    for path in ("a.py", "docs/conf.py", "docs/a.png", "requirements-dev.txt", "LICENSE.txt", "CHANGELOG.md",
                 "docs/adr/001.md", "tests/a.md", "page.html", "changes.rst"):  # fmt: skip
        assert not is_document(path), path
    assert is_record("docs/release-notes/1.md")
    assert not is_record("app/history.py")


LINES = st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=12)
ENDS = st.sampled_from(["\n", "\r\n"])
PATHS = st.text(st.sampled_from("ab ü\"'\\\t-.т"), min_size=1, max_size=8).filter(
    lambda name: name.strip(".") != "" and name == name.strip()
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.tuples(LINES, ENDS), min_size=1, max_size=30),
    st.booleans(),
    PATHS,
    st.sets(st.integers(0, 29)),
    st.data(),
)
def test_every_patch_applies_and_changes_only_its_lines(
    lines: list[tuple[str, str]], last_end: bool, name: str, chosen: set[int], data: st.DataObject
) -> None:
    text = "".join(line + end for line, end in lines)
    if not last_end:
        text = text[: -len(lines[-1][1])]
    path = f"d/{name}.md"
    document = Document(path, text.encode())
    mentions = []
    for number in sorted(at for at in chosen if at < len(document.lines)):
        body = document.lines[number].rstrip("\r\n")
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, len(body)))
        change = Change("removed", "function", "load_board", None, "a.py", 1, commit="0" * 40)
        mentions.append(
            Mention(change, number + 1, start, end, data.draw(st.sampled_from([None, "other", "ü"])))
        )
    edited = edit(document, mentions)
    if not edited:
        return
    patch = unified_diff(document, edited)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, path)
        target.parent.mkdir()
        target.write_bytes(document.data)
        apply = ["git", "-c", "core.autocrlf=false", "apply", "--whitespace=nowarn"]
        for extra in (["--check"], []):
            done = subprocess.run(
                [*apply, *extra, "-"], cwd=folder, input=patch, capture_output=True, timeout=30
            )
            assert done.returncode == 0, (done.stderr, patch)
        expected = [edited.get(number, line) for number, line in enumerate(document.lines)]
        assert target.read_bytes() == "".join(expected).encode()
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_proposal_is_the_same_each_time_and_marks_once() -> None:
    document = Document("a.rst", b"load_board and load_board  \n")
    change = Change("removed", "function", "load_board", None, "a.py", 3, commit="a" * 40, subject="Clean")
    mentions = [Mention(change, 1, 0, 10, None), Mention(change, 1, 15, 25, None)]
    one, other = propose(document, mentions), propose(document, list(mentions))
    assert one == other
    assert one is not None
    assert (
        b"+load_board and load_board [penstock: `load_board` was removed in aaaaaaa (a.py)]  \n" in one.patch
    )


def test_a_document_of_unknown_encoding_takes_only_ascii() -> None:
    change = Change("renamed", "file", "a/b.py", "a/ü.py", "a/b.py", commit="a" * 40)
    assert propose(Document("a.md", b"\xff a/b.py\n"), [Mention(change, 1, 2, 8, "a/ü.py")]) is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_safe_names_are_safe_and_apart(one: str, other: str) -> None:
    name = safe_name(one)
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".")
    assert len(name) <= 100
    assert (safe_name(other) == name) == (one == other)
