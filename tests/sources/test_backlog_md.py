"""Backlog.md task files, and the notes and pages that look like them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard
from models.enums import Declared
from models.errors import SourceError
from sources import parse

TASK = """\
---
id: BACK-217.03
title: 'Sequences: move tasks'
status: In Progress
assignee:
  - '@mira'
created_date: '2025-08-23 19:13'
labels: [web, sequences]
dependencies: [BACK-217.02, BACK-1.10]
parent_task_id: BACK-217
priority: high
milestone: m-8
---

## Description

<!-- SECTION:DESCRIPTION:BEGIN -->
Move tasks within a sequence.
<!-- SECTION:DESCRIPTION:END -->

## Acceptance Criteria
<!-- AC:BEGIN -->
- [x] #1 Dragging moves
- [ ] #2 An error is shown
<!-- AC:END -->

## Definition of Done
- [ ] #1 Tests pass

```
- [ ] no criterion, an example
```
"""


def read(text: str, name: str = "task-1 - x.md") -> ParsedBoard:
    return parse(text.encode(), name)


def codes(board: ParsedBoard) -> list[str]:
    return [finding.code for finding in board.findings]


def test_the_file_is_one_item() -> None:
    board = read(TASK)
    assert board.dialect == "backlog_md"
    (item,) = board.items
    assert (item.line, item.ext_id, item.title) == (3, "BACK-217.03", "Sequences: move tasks")
    assert (item.status, item.priority, item.depth, item.parent_line) == (Declared.IN_PROGRESS, 1, 0, None)
    assert item.needs == ["BACK-217.02", "BACK-1.10"]
    assert item.labels == {
        "parent": "BACK-217", "owner": "@mira", "labels": "web, sequences", "milestone": "m-8", "priority": "high",
        "created": "2025-08-23 19:13", "criteria": "1/3",
    }  # fmt: skip
    assert board.findings == []


def test_criteria_stay_in_the_body_under_their_heading() -> None:
    board = read(TASK)
    assert (
        "## Acceptance Criteria\n- [x] #1 Dragging moves\n- [ ] #2 An error is shown" in board.items[0].body
    )
    assert "SECTION" not in board.items[0].body
    assert board.items[0].body.endswith("- [ ] no criterion, an example\n```")
    assert [(line, reason) for line, reason in board.not_items] == [
        (23, "criterion"), (24, "criterion"), (28, "criterion"), (31, "code"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status: To Do", "To Do"),
        ("status: 'In Progress'", "In Progress"),
        ('status:   "Done"  # since Monday', "Done"),
        ("status: Done", "Done"),
    ],
)
def test_the_mark_is_the_text_of_the_status(line: str, said: str) -> None:
    text = f"---\nid: task-1\ntitle: a\n{line}\n---\n"
    (item,) = read(text).items
    assert item.mark is not None
    assert (item.mark.line, item.mark.style) == (4, "front")
    assert line[item.mark.start : item.mark.end] == said


@pytest.mark.parametrize(
    ("said", "status", "finding"),
    [
        ("To Do", Declared.TODO, False),
        ("Draft", Declared.TODO, False),
        ("○ To Do", Declared.TODO, False),
        ("Blocked", Declared.BLOCKED, False),
        ("Review", Declared.IN_PROGRESS, False),
        ("✔ Done", Declared.DONE, False),
        ("Готово", Declared.DONE, False),
        ("Triage", Declared.TODO, True),
    ],
)
def test_columns(said: str, status: Declared, finding: bool) -> None:
    board = read(f"---\nid: task-1\ntitle: a\nstatus: {said}\npriority: low\n---\n")
    assert board.items[0].status is status
    assert ("unknown_status" in codes(board)) is finding


def test_front_matter_that_is_no_yaml_is_read_line_by_line() -> None:
    text = (
        "---\nid: task-3\ntitle: Fix: the door\nstatus: Done\nassignee: @mira\n"
        "dependencies:\n  - task-1\n  - task-2\n---\n"
    )
    board = read(text)
    (item,) = board.items
    assert (item.line, item.title, item.status) == (3, "Fix: the door", Declared.DONE)
    assert item.needs == ["task-1", "task-2"]
    assert item.labels["owner"] == "@mira"
    assert item.mark is not None
    assert text.split("\n")[3][item.mark.start : item.mark.end] == "Done"
    assert [(finding.code, finding.line) for finding in board.findings] == [("malformed_front_matter", 3)]


def test_texts_stay_as_they_are_written() -> None:
    board = read("---\nid: 0012\ntitle: on\nstatus: To Do\ndependencies: [1.10, 007]\ndue: 2026-99-99\n---\n")
    (item,) = board.items
    assert (item.ext_id, item.title, item.needs, item.labels["due"]) == (
        "0012", "on", ["1.10", "007"], "2026-99-99",
    )  # fmt: skip


def test_an_alias_is_refused() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a, *a]\nlabels: [*b, *b, *b]\n"
    board = read(f"---\nid: task-1\ntitle: t\nstatus: To Do\n{bomb}---\n")
    assert board.items[0].title == "t"
    assert codes(board) == ["malformed_front_matter"]


@pytest.mark.parametrize("value", ["[" * 60_000, "{a: " * 15_000, "- " * 30_000, "x" * 70_000])
def test_hostile_front_matter(value: str) -> None:
    board = read(f"---\nid: task-1\ntitle: t\nstatus: To Do\nlabels: {value}\n---\n")
    assert (board.items[0].ext_id, board.items[0].status) == ("task-1", Declared.TODO)
    assert codes(board) == ["malformed_front_matter"]


def test_closed_with_open_criteria() -> None:
    board = read(TASK.replace("In Progress", "Done"))
    assert [(finding.code, finding.line) for finding in board.findings] == [("evidence_conflict", 3)]
    assert "2 of its 3 criteria are not ticked, first on line 24" in board.findings[0].message


def test_an_obsidian_task_note() -> None:
    fields = "title: Oil the gate\nstatus: open\npriority: normal\nscheduled: 2026-03-01\ntags:\n  - task"
    text = f"---\n{fields}\n---\nGraphite.\n"
    board = read(text, "Oil the gate.md")
    assert board.dialect == "backlog_md"
    assert board.items[0].labels["scheduled"] == "2026-03-01"
    assert board.items[0].body == "Graphite."


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: A post\nstatus: published\ndate: 2026-01-01\n---\nText.\n",
        "---\nid: intro\ntitle: Introduction\n---\nText.\n",
        "---\nid: decision-1\ntitle: Use Postgres\ndate: 2026-01-01\nstatus: accepted\n---\nText.\n",
        "---\ntitle: Weekly\nstatus: active\npriority: high\n---\n- [ ] one\n- [x] two\n",
        "---\nkanban-plugin: board\n---\n## Todo\n- [ ] one\n",
    ],
)
def test_other_front_matter_is_no_task(text: str) -> None:
    assert read(text, "page.md").dialect != "backlog_md"


def test_named_for_a_file_without_front_matter() -> None:
    board = parse(b"- [ ] a\n", "x.md", "backlog_md")
    assert [item.title for item in board.items] == ["a"]
    assert "no_front_matter" in codes(board)


FIELDS = [
    "id: task-1", "title: x", "title: ", "status: Done", "status: [a, b]", "dependencies: [a, *b]", "labels: {a: b}",
    "  - y", "- [ ] z", "title: >-", "  folded", "? [a]: b", "parent: &a b", "\tx: y", "priority: '", "x: \x85y",
    "description: |", "acceptance_criteria: [a]", "status: \u2028'In Progress'",
]  # fmt: skip
FRONT = st.lists(st.sampled_from(FIELDS) | st.text(max_size=12), max_size=10).map("\n".join)


@given(FRONT, st.text(max_size=40), st.sampled_from([None, "backlog_md"]))
@settings(max_examples=300, deadline=None)
def test_any_front_matter_gives_a_sound_board(front: str, body: str, dialect: str | None) -> None:
    text = f"---\n{front}\n---\n{body}\n- [ ] last"
    try:
        board = parse(text.encode("utf-8", "surrogatepass"), "x.md", dialect)
    except SourceError:
        return  # control characters made it a binary file
    lines = board.text.split("\n")
    found = {item.line for item in board.items}
    assert all(item.title.strip() for item in board.items)
    assert found.isdisjoint(line for line, _ in board.not_items)
    assert len(lines) in found | {line for line, _ in board.not_items}
    for item in board.items:
        if item.mark is not None:
            assert item.mark.start < item.mark.end <= len(lines[item.mark.line - 1])
