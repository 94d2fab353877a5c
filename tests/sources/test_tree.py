"""What is odd about a board, each with its line: every kind of damage that real boards had."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard
from models.enums import Declared
from models.errors import SourceError
from sources import parse
from sources.structure import MOST_CHARACTERS, ancestors_of


def read(text: str, dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), "board.md", dialect)


def at(board: ParsedBoard, code: str) -> list[int]:
    return [finding.line for finding in board.findings if finding.code == code]


DAMAGED = """> `[ ]` - not begun, `[~]` - begun, `[x]` - done

## TODO
- [x] EP PHC-1 — Ingest
  [x] US PHC-1.GOV — Governance
    [x] T PHC-1.GOV.1 — CONSULT — how many at once?
  [x] FEAT PHC-1.1 — API
    [x] US PHC-1.1.1 — Payload
        [x] T PHC-1.1.1.1 — Size limits

          [x] T PHC-1.1.1.1a — REFLECT — which way?
          [x] T PHC-1.1.1.1b — Build it
        [x] T PHC-1.1.1.1c — Test it
      [x] T PHC-1.1.1.2 — Temp files
    [x] FEAT PHC-1.2 — Providers
      [x] US PHC-1.2.0 — Base
        [x] T PHC-1.2.0.1 — REFLECT — which driver?
        [x] T PHC-1.2.0.2 — Wire it
        [x] T PHC-1.2.0.3 — CONSULT — which fields?

      [x] US PHC-1.2.2 — Gemini

- [ ] EP PHC-2 — Admin
  [ ] US PHC-2.GOV — Governance
    [x] T PHC-2.GOV.1 — REFLECT — how far?
  [x] FEAT PHC-2.0 — Contracts
  [ ] FEAT PHC-2.1 — Slots
    [x] US PHC-2.1.GOV — Governance
      [x] T PHC-2.1.GOV.1 — REFLECT — which fields?
      [x] T PHC-2.1.GOV.2 — CONSULT — which limits?
      [x] T PHC-2.1.GOV.3 — CONSULT — which forms?
  [ ] FEAT PHC-2.2 — Login
    [ ] T PHC-2.2.1 — REFLECT — which tokens?

- [ ] EP PHC-3 — Site
  [ ] US PHC-3.1.GOV — Governance
    [ ] T PHC-2.1.GOV.1 — REFLECT
    [ ] T PHC-2.1.GOV.3 — CONSULT
  [ ] FEAT PHC-3.2 — Pages
       [x] T PHC-3.2.1 — Markup
       [ ] T PHC-3.2.2 — Forms

- [ ] EP PHC-4 — Ops
  [ ] FEAT PHC-4.1 — Metrics
    [ ] T PHC-4.1.1.1 — Exporter
    [ ] T PHC-4.1.1.2 — Alerts

## DONE
- [x] REFLECT — look at the timeouts (2025-10-08)
- [x] EP PHC-0 — Start
\u2003[x] FEAT PHC-0.1 — Files
\u2003\u2003[x] T PHC-0.1.1 — Make them
\u2003\u2003\u2003- owner: codex
- [x] T PHC-0.1.2 — Remove the report
\u2003- owner: codex
"""
LINES = DAMAGED.split("\n")


def line(text: str, copy: int = 0) -> int:
    return [number for number, found in enumerate(LINES, 1) if text in found][copy]


class TestDamagedKanban:
    def test_no_item_is_lost(self) -> None:
        board = read(DAMAGED)
        assert board.dialect == "kanban"
        assert len(board.items) == sum(text.strip(" \u2003-").startswith("[") for text in LINES)

    def test_duplicates_and_questions_that_ask_nothing(self) -> None:
        board = read(DAMAGED)
        copies = [line("T PHC-2.1.GOV.1 ", 1), line("T PHC-2.1.GOV.3 ", 1)]
        assert at(board, "duplicate_id") == copies
        assert at(board, "consult_without_question") == copies

    def test_ids_that_do_not_fit_their_place(self) -> None:
        board = read(DAMAGED)
        assert at(board, "parent_mismatch") == [
            line("FEAT PHC-1.2 "), line("T PHC-2.1.GOV.1 ", 1), line("T PHC-2.1.GOV.3 ", 1),
        ]  # fmt: skip

    def test_indents(self) -> None:
        board = read(DAMAGED)
        assert at(board, "indent_jump") == [line("T PHC-1.1.1.1 "), line("T PHC-3.2.1 ")]
        assert at(board, "sibling_indent") == [line("PHC-1.1.1.1c"), line("PHC-1.1.1.2 "), line("PHC-0.1.2 ")]
        assert at(board, "wide_indent") == [line("FEAT PHC-0.1 ")]
        (wide,) = [finding for finding in board.findings if finding.code == "wide_indent"]
        assert "7 character(s) in the indents of 4 line(s), down to line" in wide.message
        assert "U+2003" in wide.message

    def test_blank_lines_do_not_end_a_branch(self) -> None:
        board = read(DAMAGED)
        above = {item.line: item.parent_line for item in board.items}
        assert above[line("PHC-1.1.1.1a")] == line("T PHC-1.1.1.1 ")
        assert above[line("US PHC-1.2.2 ")] == line("FEAT PHC-1.2 ")

    def test_parents_against_their_children(self) -> None:
        board = read(DAMAGED)
        assert at(board, "open_parent_all_done") == [line("US PHC-2.GOV "), line("FEAT PHC-2.1 ")]
        assert at(board, "open_parent_some_done") == [line("EP PHC-2 "), line("FEAT PHC-3.2 ")]
        assert at(board, "done_parent_open_child") == []

    def test_gates(self) -> None:
        board = read(DAMAGED)
        assert at(board, "gate_violation") == [line("FEAT PHC-2.0 "), line("T PHC-3.2.1 ")]
        assert at(board, "question_outside_gate") == [line("T PHC-1.2.0.1 "), line("T PHC-2.2.1 ")]

    def test_levels_and_numbers_that_are_not_there(self) -> None:
        board = read(DAMAGED)
        assert at(board, "missing_level") == [line("US PHC-3.1.GOV "), line("T PHC-4.1.1.1 ")]
        assert at(board, "missing_number") == [
            line("US PHC-1.2.2 "),  # no PHC-1.2.1
            line("T PHC-2.1.GOV.3 ", 1),  # copied: 1, 3
        ]

    def test_no_type_and_no_id(self) -> None:
        board = read(DAMAGED)
        assert at(board, "untyped_item") == [line("look at the timeouts")]

    def test_one_finding_for_one_cause(self) -> None:
        counted = Counter((finding.code, finding.line) for finding in read(DAMAGED).findings)
        assert set(counted.values()) == {1}


def test_only_the_topmost_parent_that_has_begun_is_told() -> None:
    tree = "[ ] EP A-1 — a\n  [x] FEAT A-1.1 — b\n  [ ] FEAT A-1.2 — c\n    [x] T A-1.2.1 — d\n    [ ] T A-1.2.2 — e\n"
    assert at(read(tree), "open_parent_some_done") == []  # the board has no mark for it
    assert at(read(tree + "  [~] FEAT A-1.3 — f\n"), "open_parent_some_done") == [1]
    assert (
        at(read("- [ ] a\n  - [x] b\n  - [ ] c\n"), "open_parent_some_done") == []
    )  # everyday in a plain list


def test_numbers_that_do_not_count_one_by_one_leave_nothing_out() -> None:
    board = read("[ ] EP A-1 — a\n" + "".join(f"  [ ] FEAT A-1.{n} — x\n" for n in (100, 200, 300)))
    assert at(board, "missing_number") == []
    board = read("[ ] EP A-1 — a\n" + "".join(f"  [ ] FEAT A-1.{n} — x\n" for n in (0, 1, 2, 5, 9)))
    assert at(board, "missing_number") == [5]
    assert "A-1.3, A-1.4, A-1.6, A-1.7 and 1 more" in board.findings[0].message


def test_numbers_without_types_make_a_tree() -> None:
    board = read(
        "- [ ] 4.5 Admin\n  - [x] 4.5.R1 REFLECT — which?\n    - [x] 4.5.R1a Read.\n  - [ ] 4.5.6a1 Wire\n"
        "- [ ] **3. Phase**\n"
    )
    assert board.dialect == "kanban"
    assert [(item.ext_id, item.parent_line) for item in board.items] == [
        ("4.5", None), ("4.5.R1", 1), ("4.5.R1a", 2), ("4.5.6a1", 1), (None, None),
    ]  # fmt: skip
    assert at(board, "untyped_item") == []
    assert read("- [ ] 1. One\n  - [ ] 1.1 Two\n- [ ] 2.5 hours of sleep\n").dialect == "gfm"


def test_ancestors_of_letters_and_numbers() -> None:
    assert list(ancestors_of("4.5.6a1")) == ["4.5.6a", "4.5.6", "4.5", "4"]
    assert list(ancestors_of("PHC-1.2.1f")) == ["PHC-1.2.1", "PHC-1.2", "PHC-1"]


def test_siblings_at_two_indents_in_a_plain_list() -> None:
    board = read("- [ ] a\n    - [ ] b\n  - [ ] c\n- [ ] d\n\t- [ ] e\n    - [ ] f\n")
    assert at(board, "sibling_indent") == [3]


def test_ideographic_spaces_before_prose_are_how_prose_is_written() -> None:
    assert at(read("- [ ] a\n\n\u3000\u3000段落\n"), "wide_indent") == []
    assert at(read("- [ ] a\n\u3000\u3000- [ ] b\n"), "wide_indent") == [2]


def test_an_item_that_no_prompt_holds() -> None:
    board = read("- [ ] a\n" + "  - words and words\n" * (MOST_CHARACTERS // 15) + "- [ ] b\n  - words\n")
    assert at(board, "oversized") == [1]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("## Phase 1 - a\n- [x] a\n  - [ ] b\n\n## Phase 2 - b\n- [ ] c\n", "done_parent_open_child", 2),
        ("## Фаза 1 — a\n- [DONE] a\n**Коммит:** later\n## Фаза 2\n- [TODO] c\n", "phase_done_without_commit", 1),
        ("## Phase 1 - a\n- [DONE] `src/a.py`\n## Phase 2\n- [TODO] `src/a.py` again\n", "repeated_across_phases", 4),
        ("## Next step\nfix it\n\n## Next step\nbuild it\n", "more_than_one_next_step", 5),
        ("## Nächster Schritt\n#4 bauen oder #5 testen.\n", "more_than_one_next_step", 2),
        ("## High priority\n- [x] **a** - b\n  <!-- 3/8 -->\n## Low priority\n- [ ] **c**\n", "evidence_conflict", 2),
    ],
)  # fmt: skip
def test_findings_of_other_dialects(text: str, code: str, line: int) -> None:
    assert at(read(text), code) == [line]


@pytest.mark.parametrize(
    "said",
    [
        "All 6 became #55–59.",
        "All 5 became #50, #70–73, #80.",
        "Все 17 задач: #32–49.",
        "Alle 20 Schwächen sind jetzt #55-#73.",
        "The 4 tasks #97–#99 are new.",
        "12 Aufgaben: #1–9, ~~#32~~ und #170✓.",
        "全部20个问题 #55–73",
        "5 tâches (#1–3, #7)",
    ],
)
def test_counts_that_their_ranges_do_not_have(said: str) -> None:
    assert at(read(f"# F\n## Next step\nfix it\n\n## History\n{said}\n"), "range_count_mismatch") == [6]


@pytest.mark.parametrize(
    "said",
    [
        "All 5 became #55–59.",
        "5 tasks: #50, #70–73.",
        "20 issues (#32–49, #51, ~~#52~~).",
        "3 of 12 % in #1–3",
        "Wave #1–3 took 40 hours.",
    ],
)
def test_counts_that_agree(said: str) -> None:
    assert at(read(f"# F\n## Next step\nfix it\n\n## History\n{said}\n"), "range_count_mismatch") == []


PIECES = st.sampled_from(
    ["[ ] ", "[x] ", "- [ ] ", "EP ", "US ", "T ", "A-1", "A-1.1", "A-1.3", "A-1.GOV", "A-1.GOV.2", "A-2.1.1", ".1",
     "a", " — ", "CONSULT", "REFLECT — x", "  ", "\u2003", "\t", "x"]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=7).map("".join), max_size=25).map("\n".join))
@settings(deadline=None)
def test_any_tree_is_looked_over(text: str) -> None:
    try:
        board = read(text, "kanban")
    except SourceError:
        return
    items = {item.line: item for item in board.items}
    for finding in board.findings:
        assert 0 <= finding.line <= text.count("\n") + 1
        if finding.code in ("missing_level", "missing_number", "question_outside_gate", "sibling_indent"):
            assert finding.line in items
        if finding.code == "open_parent_some_done":
            assert items[finding.line].status is Declared.TODO
