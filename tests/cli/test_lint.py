"""`penstock lint`: findings alone, without a database, a model or a network."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.lint import make
from interfaces.cli import main
from interfaces.cli.lint import _progress
from models.findings import FINDINGS
from sources.folder import NAMES, SUFFIXES, is_source

ROOT = Path(__file__).resolve().parents[2]
PLACE = re.compile(
    r"(?P<file>.+?):(?P<line>\d+): +(?P<severity>info|warning|error) +(?P<code>\w+) +(?P<message>\S.*)"
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    def found(self) -> list[tuple[str, int, str]]:
        """(file, line, code) of each finding of --json."""
        return [(each["file"], each["line"], each["code"]) for each in self.json()["findings"]]

    def lines(self) -> list[re.Match[str]]:
        return [match for match in map(PLACE.fullmatch, self.out.splitlines()) if match]


Lint = Callable[..., Said]


@pytest.fixture
def lint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lint:
    """Calls `penstock lint ...` in a folder of its own, where no database could be opened."""
    home = tmp_path / "home"
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PENSTOCK_HOME", str(home))
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql://127.0.0.1:9/none")

    def call(*arguments: str, stdin: bytes = b"") -> Said:
        out, err = io.StringIO(), io.StringIO()
        code: int | str | None = 0
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["penstock", "lint", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as end:
                    code = end.code
        assert "Traceback" not in out.getvalue() + err.getvalue()
        assert "Something went wrong" not in err.getvalue(), err.getvalue()
        assert not home.exists(), "lint keeps nothing"
        return Said(int(code or 0), out.getvalue(), err.getvalue())

    return call


def write(name: str, text: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def repository(folder: str = ".") -> None:
    subprocess.run(["git", "init", "-q", folder], check=True)


# What comes out


def test_a_clean_board_says_so_and_ends_with_0(lint: Lint) -> None:
    write("plan.md", "- [ ] Grease the pump\n- [x] Order oil\n")
    said = lint("plan.md")
    assert said.code == 0
    assert "2 items, 1 open, 1 done." in said.out
    assert "Nothing was found." in said.out
    assert not said.err


def test_a_secret_is_named_by_line_and_kind_and_never_shown(lint: Lint) -> None:
    token = "gl" + "pat-" + "aB3dE5fG7hI9jK1lM3nO"
    write(
        "plan.md",
        f"- [ ] Rotate\n  the token is {token}\n- [ ] Look at 53553d2f0c8a1b2c3d4e5f60718293a4b5c6d7e8\n",
    )
    for arguments in ((), ("--json",), ("--sarif",)):
        said = lint(*arguments, "plan.md")
        assert "secret" in said.out
        assert "gitlab-token" in said.out
        assert token not in said.out + said.err
    assert "plan.md:2" in lint("plan.md").out


def test_findings_have_file_line_severity_code_and_message(lint: Lint) -> None:
    write("a.md", "- [x] Parent\n  - [ ] Child\n- [?] Odd\n")
    write("docs/b.md", "# B\n\n- [ ]\n- [ ] T\n```\n")
    said = lint(".")
    assert said.code == 1
    assert [(each["file"], each["line"], each["severity"], each["code"]) for each in said.lines()] == [
        ("a.md", "1", "warning", "done_parent_open_child"),
        ("a.md", "3", "info", "unknown_mark"),
        ("docs/b.md", "3", "info", "empty_item"),
        ("docs/b.md", "5", "warning", "unclosed_fence"),
    ]
    [first, second, *_] = said.lines()
    assert first.start("message") == second.start("message"), "the columns of a file are aligned"
    assert "Close them or reopen it." in said.out
    assert "4 findings in 2 files: 2 warnings, 2 info." in said.out


def test_the_summary_of_many_files_counts_by_dialect_code_and_file(lint: Lint) -> None:
    for number in range(9):
        write(f"{number}.md", "- [x] P\n  - [ ] C\n" * (number + 1) + "- [?] Q\n")
    write("notes.md", "# Notes\n\nNothing to do here.\n")
    write("broken.txt", b"\x00\x01\x02 no text")
    said = lint(".")
    tail = said.out[said.out.rindex("9 boards read: 9 gfm.") :]
    assert "1 text without items." in tail
    assert "99 items, 54 open, 45 done." in tail
    assert "55 findings in 10 files: 1 error, 45 warnings, 9 info." in tail
    assert re.search(r"45 +9 +done_parent_open_child +A closed item has open parts", tail)
    assert re.search(r"9 +9 +unknown_mark ", tail)
    assert re.search(r"10 +8\.md", tail)
    assert "0.md" not in tail, "only the worst are named"
    assert "1 file could not be read:" in tail
    assert "broken.txt: not a text file" in tail


def test_json_is_one_object(lint: Lint) -> None:
    write("a.md", "- [x] P\n  - [ ] C\n")
    write("b.md", "Text\n")
    said = lint("a.md", "b.md", "--json")
    assert said.code == 1
    data = said.json()
    assert set(data) == {"version", "summary", "findings"}
    assert re.fullmatch(r"\d+\.\d+.*", data["version"])
    assert data["findings"][0] == {
        "file": "a.md",
        "line": 1,
        "code": "done_parent_open_child",
        "severity": "warning",
        "message": data["findings"][0]["message"],
    }
    assert data["summary"] == {
        "files": 2,
        "unreadable": [],
        "dialects": {"gfm": 1, "document": 1},
        "items": 2,
        "open": 1,
        "done": 1,
        "findings": 1,
        "severities": {"error": 0, "warning": 1, "info": 0},
        "codes": {"done_parent_open_child": 1},
        "files_with_findings": 1,
        "worst_files": {"a.md": 1},
    }


def test_what_a_requirements_document_leaves_out_is_named(lint: Lint) -> None:
    write(
        "prd.md", "# PRD: tides\n\n## Goals\nQuiet.\n\n## Requirements\n- Show the tide\n- Print the tide\n"
    )
    said = lint("prd.md", "--json")
    assert said.found() == [("prd.md", 1, "prd_sections"), ("prd.md", 3, "sections_left_out")]
    assert "'Goals' (line 3)" in said.out


def test_a_document_is_news_only_where_it_alone_was_named(lint: Lint) -> None:
    repository("repo")
    write("repo/docs/one.md", "Text\n")
    git = ["git", "-C", "repo", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    assert lint("repo@HEAD", "--json").found() == []
    assert lint("repo@HEAD:docs", "--json").found() == []
    [found] = lint("repo@HEAD:docs/one.md", "--json").found()
    assert found[1:] == (0, "no_items")
    write("two.md", "Text\n")
    assert lint("two.md", "repo/docs/one.md", "--json").found() == []


def test_documents_that_a_folder_has_are_no_news(lint: Lint) -> None:
    write("docs/text.md", "Text\n")
    write("plan.md", "- [ ] Do\n")
    assert lint(".", "--json").found() == []
    assert lint("docs/text.md", "--json").found() == [("docs/text.md", 0, "no_items")]
    assert lint("docs/*.md", "--json").found() == []


def test_standard_input_is_read(lint: Lint) -> None:
    said = lint("-", stdin=b"- [x] P\n  - [ ] C\n")
    assert said.code == 1
    assert [(each["file"], each["code"]) for each in said.lines()] == [("-", "done_parent_open_child")]


def test_out_takes_the_findings_and_the_summary_is_printed(lint: Lint) -> None:
    write("a.md", "- [x] P\n  - [ ] C\n")
    for form in ([], ["--json"], ["--sarif"]):
        said = lint("a.md", "--out", "out", *form)
        assert said.code == 1
        assert "1 finding in 1 file: 1 warning." in said.out
        assert "done_parent_open_child" not in said.out
        assert "done_parent_open_child" in Path("out").read_text()
    said = lint("a.md", "--out", "no/such/folder/out")
    assert said.code == 2
    assert "no/such/folder/out" in said.err


def test_long_messages_are_wrapped_on_a_terminal_and_not_elsewhere(
    lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    import interfaces.cli.lint_views as views

    title = "看板のとても長い題名" * 6 + " and many more words" * 8
    write("a.md", f"- [x] {title}\n  - [ ] {title}\n")
    write("a/folder/with/a/very/long/name/for/a/board.md", "- [x] P\n  - [ ] C\n")
    plain = lint(".")
    assert len(plain.lines()) == 2

    terminal = Console(force_terminal=True, width=80, color_system="standard", highlight=False)
    monkeypatch.setattr(views, "console", lambda: terminal)
    shown = lint(".").out
    assert "\x1b[33mwarning" in shown
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    from rich.cells import cell_len

    assert max(map(cell_len, bare.splitlines())) <= 80
    for word in ("depends", "Close", "reopen"):
        assert bare.count(word) == plain.out.count(word)


def test_control_characters_of_a_board_reach_no_terminal(lint: Lint) -> None:
    write("a.md", "- [x] P\x1b[2J\x9b\n  - [ ] C\r\n")
    for form in ([], ["--json"], ["--sarif"]):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", lint("a.md", *form).out)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_told_on_a_terminal_that_waits(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with _progress() as told:
        told(1, 2000)
    assert stream.getvalue() == "", "a second is no wait"
    monkeypatch.setattr(_progress, "FIRST", 0.0)
    with _progress() as told:
        told(1, 2000)
    assert stream.getvalue() == ("\r1 of 2,000 files read\r\x1b[K" if terminal else "")


# Which findings, and how it ends


def test_select_and_ignore(lint: Lint) -> None:
    write("a.md", "- [x] P\n  - [ ] C\n- [?] Q\n- [ ]\n")
    everything = [code for _, _, code in lint("a.md", "--json").found()]
    assert everything == ["done_parent_open_child", "unknown_mark", "empty_item"]
    some = lint("a.md", "--json", "--select", "unknown_mark,empty_item", "--ignore", "empty_item")
    assert [code for _, _, code in some.found()] == ["unknown_mark"]
    assert some.code == 0, "an info alone is no failure"
    two = lint("a.md", "--json", "--ignore", "unknown_mark", "--ignore", "empty_item")
    assert [code for _, _, code in two.found()] == ["done_parent_open_child"]
    wrong = lint("a.md", "--select", "unknown_marks")
    assert wrong.code == 2
    assert "Is it unknown_mark?" in wrong.err


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        ("- [?] info\n", [], 0),
        ("- [?] info\n", ["--fail-on", "info"], 1),
        ("- [x] P\n  - [ ] C\n", [], 1),
        ("- [x] P\n  - [ ] C\n", ["--fail-on", "error"], 0),
        ("- [x] P\n  - [ ] C\n", ["--severity", "error"], 0),
        ("- [x] P\n  - [ ] C\n", ["--ignore", "done_parent_open_child"], 0),
        ("\N{REPLACEMENT CHARACTER}\n- [ ] x\n", ["--fail-on", "error"], 1),
        ("\N{REPLACEMENT CHARACTER}\n- [ ] x\n", ["--fail-on", "never"], 0),
    ],
)
def test_how_it_ends(lint: Lint, text: str, options: list[str], code: int) -> None:
    write("a.md", text)
    assert lint("a.md", *options).code == code


def test_severity_hides_what_is_less(lint: Lint) -> None:
    write("a.md", "- [x] P\n  - [ ] C\n- [?] Q\n")
    said = lint("a.md", "--severity", "warning")
    assert [each["code"] for each in said.lines()] == ["done_parent_open_child"]
    assert "1 finding in 1 file: 1 warning." in said.out


def test_input_that_cannot_be_used_ends_with_2(lint: Lint) -> None:
    write("a.md", "- [ ] x\n")
    write("only/binary.md", b"\x00\x00\x00")
    for arguments, words in (
        (["nowhere.md"], "no such file"),
        ([], "no path given"),
        (["a.md", "--dialect", "nope"], "unknown dialect 'nope'"),
        (["a.md", "--json", "--sarif"], "--json and --sarif"),
        (["only"], "not a text file"),
    ):
        said = lint(*arguments)
        assert said.code == 2, arguments
        assert words in said.err
        assert not said.out
    assert lint("a.md", "--severity", "loud").code == 2


def test_one_file_of_many_that_cannot_be_read_is_a_finding(lint: Lint) -> None:
    write("a.md", "- [ ] x\n")
    write("b.md", b"\x89PNG\r\n\x1a\n")
    said = lint(".", "--json")
    assert said.code == 1
    assert said.found() == [("b.md", 0, "unreadable_file")]
    assert said.json()["summary"]["unreadable"] == ["b.md"]
    assert lint(".", "--ignore", "unreadable_file").code == 0


def test_codes_lists_all(lint: Lint) -> None:
    said = lint("--codes")
    assert said.code == 0
    for rule in FINDINGS.values():
        assert f"{rule.code} ({rule.severity};" in said.out
    assert {each["code"] for each in json.loads(lint("--codes", "--json").out)} == set(FINDINGS)


# The graph, over files


def task(number: int, needs: str = "") -> str:
    return f"---\nid: task-{number}\ntitle: Task {number}\nstatus: To Do\ndependencies: [{needs}]\n---\n\nText.\n"


def test_a_ring_on_one_board_is_found(lint: Lint) -> None:
    write("a.md", "[ ] T A-1 — one (depends on A-2)\n[ ] T A-2 — two (depends on A-1)\n[ ] T A-3 — three\n")
    said = lint("a.md", "--json")
    assert said.code == 1
    [cycle] = [each for each in said.json()["findings"] if each["code"] == "cycle"]
    assert (cycle["line"], cycle["severity"]) == (1, "error")
    assert "A-1 (line 1) and A-2 (line 2)" in cycle["message"]


def test_a_ring_through_a_phase_is_found(lint: Lint) -> None:
    write("a.md", "## Phase 1 — a\n- [TODO] one (after line:4)\n## Phase 2 — b\n- [TODO] two\n")
    assert ("a.md", 2, "cycle") in lint("a.md", "--json").found()


def test_ids_of_other_files_are_known_and_others_are_not(lint: Lint) -> None:
    write("tasks/task-1 - One.md", task(1, "task-2"))
    write("tasks/task-2 - Two.md", task(2, "task-9"))
    said = lint("tasks", "--json")
    assert said.found() == [("tasks/task-2 - Two.md", 3, "unknown_dependency")]
    assert "task-9" in said.json()["findings"][0]["message"]
    write("boards/a.md", "[ ] T A-1 — one (depends on B-1)\n[ ] T A-2 — two (depends on C-1)\n")
    write("boards/b.md", "[ ] T B-1 — other\n[ ] T B-2 — more\n")
    assert lint("boards/a.md", "--json", "--select", "unknown_dependency").found() == [
        ("boards/a.md", 1, "unknown_dependency"),
        ("boards/a.md", 2, "unknown_dependency"),
    ]
    assert lint("boards", "--json", "--select", "unknown_dependency").found() == [
        ("boards/a.md", 2, "unknown_dependency")
    ]


def test_a_hook_that_is_given_one_task_file_looks_at_its_neighbours(lint: Lint) -> None:
    write("backlog/tasks/task-1 - One.md", task(1, "task-2, task-3"))
    write("backlog/tasks/task-2 - Two.md", task(2))
    write("backlog/completed/task-3 - Three.md", task(3))
    assert lint("backlog/tasks/task-1 - One.md", "--json").found() == []


def test_a_ring_over_files_is_found(lint: Lint) -> None:
    for number, needs in ((1, "task-2"), (2, "task-3"), (3, "task-1"), (4, "task-1")):
        write(f"tasks/task-{number} - T.md", task(number, needs))
    said = lint("tasks", "--json")
    [cycle] = said.json()["findings"]
    assert (cycle["file"], cycle["line"], cycle["code"]) == ("tasks/task-1 - T.md", 3, "cycle")
    for number in (1, 2, 3):
        assert f"task-{number} (tasks/task-{number} - T.md:3)" in cycle["message"]
    assert "task-4" not in cycle["message"]
    write("tasks/task-3 - T.md", task(3, "task-1").replace("To Do", "Done"))
    assert lint("tasks", "--json").found() == [], "what is done holds nothing up"


# Paths


def test_broken_paths(lint: Lint) -> None:
    repository()
    write("docs/there.md", "Text\n")
    write("docs/plans/beside.md", "Text\n")
    write(
        "docs/plans/plan.md",
        "# Plan\n"
        "[beside](beside.md), [above](../there.md), [from the root](docs/there.md), [site](/docs/there.md)\n"
        "[gone](gone.md), again [gone](gone.md#part)\n"
        "- [x] Wrote `src/app.py` and `src/other.py:12`\n"
        "- [x] Removed `src/old.py`\n"
        "- [ ] Write `src/new.py`\n"
        "- [ ] Look at [the sketch](img/sketch.png)\n"
        "- [x] see [gone](gone.md)\n"
        "- [x] `src/*.py`, `<name>/x.md`, `slot.settings`, https://example.org/a.md, [u](https://example.org/b.md)\n"
        "```\n[code](code.md)\n```\n> [quote](quote.md)\n",
    )
    write("src/other.py", "")
    said = lint("docs/plans/plan.md", "--json")
    assert said.found() == [
        ("docs/plans/plan.md", 3, "broken_path"),
        ("docs/plans/plan.md", 4, "broken_path"),
        ("docs/plans/plan.md", 7, "broken_path"),
    ]
    gone, source, _ = [each["message"] for each in said.json()["findings"]]
    assert "gone.md" in gone
    assert "also on line 8" in gone
    assert "src/app.py" in source


def test_a_broken_path_names_what_was_meant(lint: Lint) -> None:
    write("docs/installation.md", "Text\n")
    write("plan.md", "[how](docs/instalation.md)\n- [ ] x\n")
    [finding] = lint("plan.md", "--json").json()["findings"]
    assert finding["message"].endswith("Is it docs/installation.md?")


def test_paths_are_also_looked_up_from_the_folder_that_is_given(lint: Lint) -> None:
    write("project/src/app.py", "")
    write(
        "project/plans/plan.md",
        "- [x] Wrote `src/app.py`\n- [x] Wrote `src/gone.py`\n- [x] Wrote `other/x.py`\n",
    )
    assert lint("project", "--json").found() == [("project/plans/plan.md", 2, "broken_path")], (
        "without a repository, a path below a folder that is not here may be of another project"
    )


def test_paths_at_a_revision_are_those_of_the_revision(lint: Lint) -> None:
    repository()
    write("plan.md", "[a](docs/a.md) [b](docs/b.md)\n- [ ] x\n")
    write("docs/a.md", "Text\n")
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "one"], check=True)
    Path("docs/a.md").unlink()
    write("docs/b.md", "Text\n")
    said = lint(".@HEAD:plan.md", "--json")
    assert [(code, line) for _, line, code in said.found()] == [("broken_path", 1)]
    assert "docs/b.md" in said.json()["findings"][0]["message"]


# SARIF


def results(said: Said) -> list[dict[str, Any]]:
    return list(json.loads(said.out)["runs"][0]["results"])


def test_sarif_has_what_code_scanning_asks_for(lint: Lint) -> None:
    repository()
    write("plans/a b.md", "- [x] P\n  - [ ] [C](c.md)\n- [?] Q\n")
    write("empty.md", "")
    write("bad.md", b"\x00\x00")
    data = json.loads(lint(".", "--sarif").out)
    assert data["version"] == "2.1.0"
    assert data["$schema"].endswith("sarif-2.1.0.json")
    [run] = data["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "Penstock"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", driver["semanticVersion"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids)) > 30
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("note", "warning", "error")
    found = []
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        assert re.fullmatch(r"[0-9a-f]{16}:\d+", result["partialFingerprints"]["primaryLocationLineHash"])
        [location] = result["locations"]
        artifact = location["physicalLocation"]["artifactLocation"]
        assert artifact["uriBaseId"] == "%SRCROOT%"
        assert artifact["uriBaseId"] in run["originalUriBaseIds"]
        line = location["physicalLocation"]["region"]["startLine"]
        found.append((artifact["uri"], line, result["ruleId"], result["level"]))
    assert sorted(found) == [
        ("bad.md", 1, "unreadable_file", "error"),
        ("empty.md", 1, "empty_board", "warning"),
        ("plans/a%20b.md", 1, "done_parent_open_child", "warning"),
        ("plans/a%20b.md", 2, "broken_path", "warning"),
        ("plans/a%20b.md", 3, "unknown_mark", "note"),
    ]


def test_uris_are_relative_to_the_root_of_the_repository(
    lint: Lint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository()
    write("team/plans/a.md", "- [?] Q\n")
    elsewhere = tmp_path / "elsewhere.md"
    elsewhere.write_text("- [?] Q\n")
    monkeypatch.chdir("team")

    def uris(*paths: str) -> list[dict[str, str]]:
        found = results(lint(*paths, "--sarif"))
        return [each["locations"][0]["physicalLocation"]["artifactLocation"] for each in found]

    assert uris("plans") == [{"uri": "team/plans/a.md", "uriBaseId": "%SRCROOT%"}]
    assert uris(str(elsewhere)) == [{"uri": elsewhere.as_uri()}]
    monkeypatch.chdir(tmp_path)
    assert uris("work/team") == [{"uri": "team/plans/a.md", "uriBaseId": "%SRCROOT%"}]


def test_fingerprints_stay_while_other_lines_change(lint: Lint) -> None:
    text = "- [?] one\n- [?] one\n- [x] P\n  - [ ] C\n"
    path = write("a.md", text)

    def fingerprints() -> list[tuple[str, str]]:
        found = results(lint("a.md", "--sarif"))
        return [(each["ruleId"], each["partialFingerprints"]["primaryLocationLineHash"]) for each in found]

    before = fingerprints()
    assert len(set(before)) == 3
    path.write_text("# A title\n\nWords.\n\n- [ ] New\n" + text + "- [?] last\n")
    after = fingerprints()
    assert [each for each in after if each in before] == before
    assert len(after) == 4
    path.write_text(text.replace("[?] one\n- [?] one", "[?] two\n- [?] one"))
    assert len(set(fingerprints()) & set(before)) == 2


def test_brackets_of_a_message_are_no_link(lint: Lint) -> None:
    write(
        "a.md",
        "- [ ] T\n  - [x] [C](https://example.org/c)\n- [x] P [see](https://example.org/p)\n  - [ ] C\n",
    )
    [text] = [
        each["message"]["text"]
        for each in results(lint("a.md", "--sarif"))
        if each["ruleId"] == "done_parent_open_child"
    ]
    assert r"\[see](" in text


# As a hook, and its size


def test_the_hook_takes_the_files_that_a_folder_search_takes() -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "penstock-lint"
    assert hook["language"] == "python"
    assert hook["entry"].split() == ["penstock", "lint"]
    files = re.compile(hook["files"])
    names = [f"docs/plan{suffix}" for suffix in SUFFIXES] + [f".taskmaster/tasks/{name}" for name in NAMES]
    others = ["src/app.py", "package.json", "mytasks.json", "plan.md.png"]
    for name in names + others:
        assert bool(files.search(name)) == is_source(name.rpartition("/")[2]), name


def test_what_is_heavy_is_not_imported(tmp_path: Path) -> None:
    board = tmp_path / "a.md"
    board.write_text("[ ] T A-1 — one (depends on A-2)\n[ ] T A-2 — two\n[x] T A-3 — `no/such.md`\n")
    script = (
        "import sys\n"
        "from interfaces.cli import main\n"
        "sys.argv = ['penstock', 'lint', '--fail-on', 'error', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'great_expectations', 'pandas', 'scipy', 'sklearn', 'prefect', 'httpx', 'fastapi', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'psycopg' in sys.modules or sys.argv[-1].endswith('b.md'), 'a board with needs has the graph'\n"
    )
    subprocess.run([sys.executable, "-c", script, str(board)], check=True, capture_output=True, timeout=60)


def test_a_thousand_mixed_files(lint: Lint, tmp_path: Path) -> None:
    lines = make(tmp_path / "mixed", 1000)
    assert lines > 30_000
    said = lint(str(tmp_path / "mixed"), "--json")
    assert said.code == 1
    summary = said.json()["summary"]
    assert summary["files"] + len(summary["unreadable"]) == 1000
    assert summary["unreadable"] == []
    assert len(summary["dialects"]) >= 12
    assert summary["findings"] == len(said.json()["findings"]) > 1000
    assert set(summary["codes"]) <= set(FINDINGS)
