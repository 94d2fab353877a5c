"""Spec Kit's tasks.md."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.errors import SourceError
from sources import parse

BOARD = """# Tasks: Albums

**Input**: Design documents from `/specs/001-albums/`

## Format: `[ID] [P?] [Story] Description`

- **[P]**: Can run in parallel
- [ ] T000 [P] [US0] how a line looks

## Path Conventions

- **Single project**: `src/`, `tests/`

## Phase 1: Setup (Shared Infrastructure)

**Purpose**: Project initialization

- [x] T001 Create structure
- [x] T002 [P] Configure linting

---

## Phase 2: Foundational

- [ ] T003 Setup schema in src/db.ts
- [ ] T004 [P] Metadata reader
- [ ] T005 [P] Date helper
- [ ] T006 Models (depends on T001, T009)

**Checkpoint**: Foundation ready

## Phase 3: User Story 1 - Create (Priority: P1) 🎯 MVP

### Tests

- [ ] T007 [P] [US1] Contract test
- [ ] T008 [P] [US1] Integration test

### Implementation

- [~] **T009** [US1] Service
  - [ ] with undo
- [ ] T010 [P] [US1, US2] Page

## Final Polish

- [ ] T011 [P] Docs
- [ ] TXXX Whatever comes

## Dependencies & Execution Order

### Phase Dependencies

- **Setup (Phase 1)**: no dependencies
- T003 blocks T011
- Tests (T007-T008) before implementation (T010)
- T005 depends on T002; T004 depends on T099
- [ ] T012 is no task here

## Parallel Example: User Story 1

- [ ] T007 [P] [US1] Contract test

## Notes

- [P] tasks = different files
"""


def read(text: str, dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), "tasks.md", dialect)


def task(board: ParsedBoard, name: str) -> ParsedItem:
    (found,) = [item for item in board.items if item.ext_id == name]
    return found


def test_tasks_and_what_is_none() -> None:
    board = read(BOARD)
    assert (board.dialect, board.title) == ("spec_kit", "Tasks: Albums")
    assert [item.ext_id for item in board.items] == [
        *(f"T{n:03}" for n in range(1, 10)), None, "T010", "T011",
    ]  # fmt: skip
    lines = BOARD.split("\n")
    copy = len(lines) - lines[::-1].index("- [ ] T007 [P] [US1] Contract test")
    xxx, dependency = (
        lines.index("- [ ] TXXX Whatever comes") + 1,
        lines.index("- [ ] T012 is no task here") + 1,
    )
    assert board.not_items == [
        (8, "template"),
        (xxx, "placeholder"),
        (dependency, "legend"),
        (copy, "template"),
    ]
    assert [(f.code, f.line) for f in board.findings] == [("placeholder_item", xxx)]
    service = task(board, "T009")
    assert (service.title, service.labels["story"], str(service.status)) == ("Service", "US1", "in_progress")
    assert board.items[9].parent_line == service.line
    assert task(board, "T010").labels["story"] == "US1, US2"
    assert task(board, "T002").labels["parallel"] == "true"


def test_phases_are_barriers_in_their_order() -> None:
    board = read(BOARD)
    assert [(item.labels["phase"], item.labels["phase_order"]) for item in board.items if item.ext_id] == [
        *[("Phase 1", "0")] * 2, *[("Phase 2", "1")] * 4, *[("Phase 3", "2")] * 4, ("Final Polish", "3"),
    ]  # fmt: skip
    assert task(board, "T001").labels["goal"] == "Project initialization"
    assert (task(board, "T009").priority, task(board, "T003").priority) == (1, 2)


def test_what_a_task_waits_for() -> None:
    board = read(BOARD)
    needs = {item.ext_id: item.needs for item in board.items if item.ext_id}
    assert needs == {
        "T001": [],
        "T002": ["T001"],
        "T003": [],
        "T004": ["T003"],
        "T005": ["T003", "T002"],
        "T006": ["T003", "T004", "T005", "T001", "T009"],
        "T007": [],
        "T008": [],
        "T009": ["T007", "T008"],
        "T010": ["T009", "T007", "T008"],
        "T011": ["T003"],
    }


def test_a_copied_number_is_found_and_each_keeps_its_place() -> None:
    board = read("## Phase 1: A\n- [ ] T001 a\n- [ ] T001 b\n- [ ] T002 c\n- [ ] T003 d (depends on T042)\n")
    assert [item.needs for item in board.items] == [[], ["line:2"], ["line:3"], ["T002", "T042"]]
    assert [(f.code, f.line) for f in board.findings] == [("duplicate_id", 3), ("unknown_dependency", 5)]


def test_the_template_itself_holds_no_work() -> None:
    board = read(
        "# Tasks: [FEATURE NAME]\n\n## Phase 1: Setup\n\n- [ ] T001 Create\n- [ ] T002 [P] Initialize [language]\n"
    )
    assert (board.items, board.not_items) == ([], [(5, "template"), (6, "template")])
    assert [f.code for f in board.findings] == ["no_items", "template_section"]


def test_without_phases_there_are_no_barriers() -> None:
    board = read("# Tasks\n## Backend\n- [ ] T001 a\n- [ ] T002 b\n## Site\n- [ ] T003 c\n")
    assert [item.needs for item in board.items] == [[], ["T001"], []]
    assert not any("phase_order" in item.labels or "phase" in item.labels for item in board.items)


def test_older_files_and_plain_checkboxes() -> None:
    board = read(
        "## Phase 3.1: Setup\n- [ ] T001: a\n- [ ] read the spec\n\n## Phase 3.2: Tests\n1. [X] T002 b\n"
    )
    assert [(item.ext_id, item.title, item.labels["phase_order"]) for item in board.items] == [
        ("T001", "a", "0"),
        (None, "read the spec", "0"),
        ("T002", "b", "1"),
    ]
    assert board.items[1].needs == ["T001"]


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        ("(depends on T001–T003)", ["T001", "T002", "T003"]),
        ("(nach T002)", ["T002"]),
        ("（依赖 T002、T003）", ["T002", "T003"]),
        ("(зависит от T003)", ["T003"]),
        ("(depends on the weather)", []),
        ("(T001)", []),
        ("(depends on T003-T001)", ["T003"]),
    ],
)
def test_needs_in_words(said: str, needs: list[str]) -> None:
    text = (
        "".join(f"## Phase {n}: x\n- [ ] T00{n} x\n" for n in (1, 2, 3))
        + f"## Phase 4: y\n- [ ] T004 y {said}\n"
    )
    assert task(read(text), "T004").needs == needs


PIECES = st.sampled_from(
    [
        "## Phase 1: A", "## Phase 2: B", "### Tests", "## Dependencies", "## Parallel Example", "## Notes",
        "# Tasks: [FEATURE NAME]", "- [ ] T001 a", "- [x] T002 [P] b", "- [ ] T003 [US1] c (depends on T001-T002)",
        "- [ ] T003 d", "- [ ] TXXX e", "- [ ] plain", "  - [ ] T004 sub", "- T001 blocks T002",
        "- T001-T9999 before T002", "T003 → T001", "**Goal**: g", "```", "", "- [ ] T001",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=12), max_size=25).map("\n".join))
@settings(deadline=None)
def test_any_text_is_read(text: str) -> None:
    try:
        board = read(text, "spec_kit")
    except SourceError:
        return
    lines = [item.line for item in board.items]
    assert lines == sorted(set(lines))
    assert not {line for line, _ in board.not_items} & set(lines)
    known = {item.ext_id for item in board.items} | {f"line:{line}" for line in lines}
    told = {finding.line for finding in board.findings if finding.code == "unknown_dependency"}
    assert all(item.line in told or set(item.needs) <= known for item in board.items)
    assert all(item.labels.get("phase_order", "0").isdecimal() for item in board.items)
