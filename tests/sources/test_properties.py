"""What holds for every board, however strange."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard
from models.errors import SourceError
from sources import parse
from sources.dialects import DIALECTS
from sources.issues import read_issues
from sources.structure import ancestors_of
from sources.vocabulary import latin_id

FRAGMENTS = st.sampled_from(
    [
        "- [ ] ", "[x] ", "* [~] ", "1. [X] ", "[DONE] ", "- [TODO] ", "  ", "\t", "\u2003", "    ", "EP ", "US ", "T ",
        "PHC-1", "PHC-1.2", "PHC-1.2.1a", ".GOV", ".GOV.1", " — ", "CONSULT", "REFLECT — ", "XXX", "# ", "## Phase 1",
        "## Phase 1А — x (owner: a)", "## High priority",
        "## Next step", "## Template", "## Legend", "---", "```", "~~~",
        "<!--", "-->", "> ", "| a | Status |", "|---|---|", "| x | done |", "| Phase | Issues |", "| A - b | #1–3 |",
        "| # | Check |", "| 1 | y |", "#5-3, ", "#1–9999999", "**", "**Commit:** abcdef1",
        "depends on: PHC-1", "owner: me",
        "(1/2)", "word ", "слово ", "\r", "\r\n", "\x0c", "\u2028", "\ufeff", "\u200b", "?????? ????", "либо",
    ]
)  # fmt: skip
LINES = st.lists(FRAGMENTS | st.text(max_size=8), max_size=6).map("".join)
TEXTS = st.lists(LINES, max_size=30).map("\n".join)


def check(board: ParsedBoard) -> None:
    count = board.text.count("\n") + 1
    keys = [(item.line, item.ordinal) for item in board.items]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    assert all(1 <= line <= count for line, _ in keys)
    assert all(0 <= finding.line <= count for finding in board.findings)
    assert [finding.line for finding in board.findings] == sorted(finding.line for finding in board.findings)
    places = {(item.line, item.ordinal): item for item in board.items}
    for item in board.items:
        assert item.title.strip()
        assert 0 <= item.priority <= 4
        assert item.ordinal == 0 or (item.line, item.ordinal - 1) in places
        seen, at, depth = {(item.line, item.ordinal)}, item, 0
        while at.parent_line is not None:
            at = places[at.parent_line, at.parent_ordinal]
            depth += 1
            assert (at.line, at.ordinal) not in seen, "a parent cycle"
            seen.add((at.line, at.ordinal))
        assert depth == item.depth
    counts = board.counts()
    assert counts["total"] + counts["steps"] == len(board.items)
    assert counts["open"] + counts["done"] + counts["skipped"] == counts["total"]


@given(TEXTS, st.sampled_from([None, *DIALECTS]))
@settings(max_examples=400, deadline=None)
@example("[ ] T A-1.5.1 — x\n  [ ] T A-1.5 — y", "kanban")
@example("| Phase | Issues |\n|---|---|\n| #1 | #2 |", "handoff")
def test_any_text_gives_a_sound_board(text: str, dialect: str | None) -> None:
    try:
        board = parse(text.encode("utf-8", "surrogatepass"), "x.md", dialect)
    except SourceError:
        return  # control characters made it a binary file
    check(board)
    again = parse(text.encode("utf-8", "surrogatepass"), "x.md", dialect)
    assert board.as_json() == again.as_json()


@given(st.binary(max_size=400) | st.binary(max_size=60).map(lambda tail: b"- [ ] a\n" + tail))
@settings(deadline=None)
def test_any_bytes_give_a_board_or_one_sentence(data: bytes) -> None:
    try:
        board = parse(data, "x.md")
    except SourceError as error:
        sentence = str(error)
    else:
        check(board)
        return
    assert sentence.startswith("x.md: not a text file")
    assert "\n" not in sentence


WORDS = st.text(alphabet="abcdefgжзи ", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
CHECKBOX = st.builds(
    "{}{}[{}] {}".format,
    st.sampled_from(["", "  ", "    ", "\t", "\u2003"]),
    st.sampled_from(["- ", "* ", "+ ", "3. ", ""]),
    st.sampled_from([" ", "x", "X", "~", "-"]),
    WORDS,
)
BLOCKS = st.one_of(
    CHECKBOX.map(lambda line: (line, True)),
    CHECKBOX.map(lambda line: (f"```\n{line}\n```", False)),
    CHECKBOX.map(lambda line: (f"<!--\n{line}\n-->", False)),
    CHECKBOX.map(lambda line: (f"<!-- {line} -->", False)),
    CHECKBOX.map(lambda line: (f"> {line}", False)),
    CHECKBOX.map(lambda line: (f"## The template\n- [ ] EP XXX — name\n{line}\n## Work", False)),
    WORDS.map(lambda text: (f"## {text}", False)),
    WORDS.map(lambda text: (f"- {text}", False)),
    WORDS.map(lambda text: (f"{text}\n", False)),
    st.sampled_from(["", "---", "| a | b |\n|---|---|\n| c | d |", "## Phase 2 - x", "## High priority"]).map(
        lambda text: (text, False)
    ),
)


OF_THEIR_OWN = {"backlog_md", "github_issues", "org", "prd", "task_master", "taskpaper", "todo_txt"}
"""Dialects with other rules of what is an item: each has a property test of its own."""


@given(st.lists(BLOCKS, max_size=25), st.sampled_from([None, *sorted(DIALECTS.keys() - OF_THEIR_OWN)]))
@settings(max_examples=300, deadline=None)
def test_every_checkbox_is_an_item_or_accounted_for(
    blocks: list[tuple[str, bool]], dialect: str | None
) -> None:
    if blocks and blocks[0][0] == "---":
        blocks = blocks[1:]  # it would begin front matter
    expected: list[int] = []
    lines: list[str] = []
    for text, is_item in blocks:
        if is_item:
            expected.append(len(lines) + 1)
        lines.extend(text.split("\n"))
    board = parse("\n".join(lines).encode(), "x.md", dialect)
    found = {item.line for item in board.items if item.kind != "step"}
    accounted = {line for line, _ in board.not_items}
    assert found <= set(expected)
    assert set(expected) - found <= accounted
    assert not found & accounted
    # A deep line that follows a blank line or a heading outside a list is code to Markdown: nothing else is left out.
    reasons = dict(board.not_items)
    assert all(
        reasons[line] == "code" and lines[line - 1].startswith(("    ", "\t"))
        for line in set(expected) - found
    )


@given(st.text(max_size=60))
@settings(deadline=None)
def test_issue_lists(text: str) -> None:
    issues = read_issues(text)
    assert len(set(issues.numbers)) == len(issues.numbers)
    assert issues.closed <= set(issues.numbers)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("#55–59", range(55, 60)),
        ("#50, #70–73", [50, 70, 71, 72, 73]),
        ("#32–49, #51–53", [*range(32, 50), 51, 52, 53]),
        ("#55-#73", range(55, 74)),
        ("#97–#123", range(97, 124)),
        ("#1,#2", [1, 2]),
        ("#3, 4", [3, 4]),
        ("#170✓ → #172✓", [170, 172]),
        ("~~#32~~", [32]),
        ("[#41–45](https://example.org/issues/41#99)", range(41, 46)),
        ("#12, 80 % of it", [12]),
        ("# 12 and v1-2", []),
    ],
)
def test_issue_lists_as_people_write_them(text: str, numbers: list[int]) -> None:
    assert read_issues(text).numbers == tuple(numbers)


@given(st.from_regex(r"[A-Z]{1,4}-[0-9]{1,2}(\.([0-9]{1,2}[a-z]?|GOV)){0,5}", fullmatch=True))
@settings(deadline=None)
def test_ancestors_get_shorter(ext_id: str) -> None:
    chain = [ext_id, *ancestors_of(ext_id)]
    assert all(a.startswith(b) and len(b) < len(a) for a, b in pairwise(chain))
    assert latin_id(ext_id) == ext_id


HOSTILE = {
    "spaces": "- [ ] a" + " " * 300_000 + "b",
    "heading": "# a" + " " * 300_000 + "b",
    "pipes": "|" * 300_000,
    "rule": "|---" * 75_000 + "x\n" + "|---" * 75_000,
    "question marks": "?" * 300_000 + " x",
    "comments": "<!--x-->" * 40_000,
    "open comments": "<!--" * 75_000,
    "ticks": "`" * 300_000,
    "brackets": "- [" * 100_000,
    "parentheses": "## Phase 1 - " + "(:" * 150_000,
    "dots": "- [ ] T A-1" + ".1" * 150_000 + " — x",
    "path": "## Phase 1\n- [TODO] " + "a." * 150_000,
    "dashes": "- " * 150_000 + "x",
    "stars": "*" * 300_000 + "x",
    "issues": "## Next step\n#1–2 " + "#1-2," * 60_000,
    "nesting": "\n".join(" " * min(i, 900) + "- [ ] x" for i in range(900)),
    "gates": "\n".join(f"{'- [ ] EP A-1 — x' if not i else f'  [ ] US A-1.{i}.GOV — g'}" for i in range(4000))
    + "\n"
    + "\n".join(f"  [x] FEAT A-1.{i} — f" for i in range(5000, 9000)),
    "next steps": "## Next step\n- [ ] x\n" * 15_000,
    "tables": "| Task | Status |\n|---|---|\n| a | done |\n\n" * 8000,
    "issue tables": "| Phase | Issues |\n|---|---|\n| A | #1 |\n\n" * 8000,
    "results": "## High priority\n- [ ] **a**\n" + "  - step\n  <!-- 1/2 -->\n" * 15_000,
    "needs of one word": "- [ ] x (depends on " + "a" * 300_000 + ")",
    "needs in a detail": "- [ ] x\n  - depends on: " + "A1" * 150_000,
    "needs of dots": "- [ ] x (depends on 1" + "." * 300_000 + ")",
    "templates": "\n".join(f"## template {i}\n- [ ] EP XXX — n" for i in range(8000)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("dialect", [None, "kanban", "handoff", "phase_plan"])
def test_hostile_text_takes_linear_time(name: str, dialect: str | None) -> None:
    data = HOSTILE[name].encode()
    start = time.process_time()
    check(parse(data, "x.md", dialect))
    assert time.process_time() - start < 5.0  # a quadratic scan of these takes minutes
