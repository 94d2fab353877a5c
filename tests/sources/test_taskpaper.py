"""TaskPaper and PlainTasks."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared
from models.errors import SourceError
from sources import parse
from sources.marks import Edit, rewrite

RELEASE = """\
Inbox:
	- ask legal @due(2026-02-20)

Release 4.0: @start(2026-01-15)
	Before the fair.
	- translate
		The agency needs five days.
		- French @doing
		- Polish @waiting(agency)
		Website:
			- prices @priority(1) @today
	- freeze strings @started(2026-01-20) @done(2026-02-01)
	link: http://example.org/a - see page 4
	- call @ann about @fonts now
"""


def read(text: str, name: str = "x.taskpaper") -> ParsedBoard:
    return parse(text.encode(), name)


def item(board: ParsedBoard, title: str) -> ParsedItem:
    return next(item for item in board.items if item.title == title)


def test_projects_tasks_notes() -> None:
    board = read(RELEASE)
    assert board.dialect == "taskpaper"
    assert [(item.line, item.title, str(item.status), item.parent_line) for item in board.items] == [
        (2, "ask legal", "todo", None),
        (6, "translate", "todo", None),
        (8, "French", "in_progress", 6),
        (9, "Polish", "blocked", 6),
        (11, "prices", "todo", 6),
        (12, "freeze strings", "done", None),
        (14, "call @ann about @fonts now", "todo", None),
    ]
    assert item(board, "translate").body == "The agency needs five days."
    assert item(board, "translate").labels["project"] == "Release 4.0"
    assert item(board, "prices").labels == {"priority": "1", "tags": "today", "project": "Website"}
    assert item(board, "prices").priority == 0
    assert item(board, "ask legal").labels == {"due": "2026-02-20", "project": "Inbox"}
    assert item(board, "Polish").labels["waiting"] == "agency"
    assert item(board, "freeze strings").labels["completed"] == "2026-02-01"
    assert board.findings == []


def test_a_project_whose_tasks_are_not_indented() -> None:
    board = read("House:\n- roof @done\n- door @id(d)\nGarden:\n- tree @depends(d)\n")
    assert [(item.title, item.labels["project"]) for item in board.items] == [
        ("roof", "House"), ("door", "House"), ("tree", "Garden"),
    ]  # fmt: skip
    assert (board.items[1].ext_id, board.items[2].needs) == ("d", ["d"])


@pytest.mark.parametrize(
    ("tag", "status"),
    [
        ("@done", Declared.DONE),
        ("@completed(2026-01-01)", Declared.DONE),
        ("@cancelled", Declared.SKIPPED),
        ("@canceled", Declared.SKIPPED),
        ("@blocked", Declared.BLOCKED),
        ("@waiting(bank)", Declared.BLOCKED),
        ("@doing", Declared.IN_PROGRESS),
        ("@in-progress", Declared.IN_PROGRESS),
        ("@started(2026-01-01 10:00)", Declared.IN_PROGRESS),
        ("@готово", Declared.DONE),
        ("@erledigt", Declared.DONE),
        ("@next", Declared.TODO),
        ("@undone", Declared.TODO),
        ("x@done", Declared.TODO),
        ("@done(", Declared.TODO),
    ],
)
def test_tags(tag: str, status: Declared) -> None:
    assert read(f"P:\n\t- task {tag}\n").items[0].status is status


def test_plain_tasks() -> None:
    tasks = "  ☐ write @low\n    ✔ outline @done(26-01-18 14:30)\n  ✘ print\n  [x] send\n  [-] fax"
    text = f"Work:\n{tasks}\nArchive:\n  ✔ old\n"
    board = read(text, "x.todo")
    assert board.dialect == "taskpaper"
    assert [(item.title, str(item.status), item.parent_line) for item in board.items] == [
        ("write", "todo", None), ("outline", "done", 2), ("print", "skipped", None), ("send", "done", None),
        ("fax", "skipped", None), ("old", "done", None),
    ]  # fmt: skip


def test_brackets_that_are_no_box_are_text() -> None:
    assert [item.title for item in read("P:\n\t- [1] see the note\n\t- [ ] box\n\t- [a](b)\n").items] == [
        "[1] see the note", "box", "[a](b)",
    ]  # fmt: skip


def test_a_colon_at_the_end_of_a_task_makes_no_project() -> None:
    board = read("P:\n\t- [ ] two things:\n\t\t- one\n\t☐ more:\n")
    assert [(item.title, item.parent_line) for item in board.items] == [
        ("two things:", None), ("one", 2), ("more:", None),
    ]  # fmt: skip


def test_a_sign_without_a_meaning_is_found() -> None:
    board = read("P:\n\t- [?] maybe\n\t- [х] Cyrillic\n")
    assert [str(item.status) for item in board.items] == ["todo", "done"]
    assert [(finding.code, finding.line) for finding in board.findings] == [
        ("unknown_mark", 2),
        ("unknown_mark", 3),
    ]


def test_a_task_without_text() -> None:
    board = read("P:\n\t- @done\n\t- [ ]\n\t- x\n")
    assert [item.line for item in board.items] == [4]
    assert [(finding.code, finding.line) for finding in board.findings] == [
        ("empty_item", 2),
        ("empty_item", 3),
    ]
    assert [(line, reason) for line, reason in board.not_items] == [(3, "empty")]


def test_writing_back() -> None:
    text = "P:\n\t- one @doing @due(x)\n\t- two  \n\t- three @done(2026-01-01)\n\t- [ ] four\n"
    board = read(text)
    edits = [
        Edit(item.mark, Declared.DONE)
        for item in board.items
        if item.mark and item.status is not Declared.DONE
    ]
    written = rewrite(text.encode(), "x.taskpaper", edits, date(2026, 3, 1), 1000).data.decode()
    assert written == (
        "P:\n\t- one @done(2026-03-01) @due(x)\n\t- two @done(2026-03-01)  \n"
        "\t- three @done(2026-01-01)\n\t- [x] four\n"
    )
    assert all(item.status is Declared.DONE for item in read(written).items)


def test_a_text_of_another_name() -> None:
    assert read(RELEASE, "release.txt").dialect == "taskpaper"


@pytest.mark.parametrize(
    "text",
    [
        "Note:\n- one\n- two\n",
        "# Plan\n\nTodo:\n\n- ask about it @done\n",
        "Todo:\n- [ ] one @due(2026-01-01)\n- [x] two @done(2026-01-01)\n",
        "Attendees:\n- call @bob\n- mail @ann\n",
        "Changes:\n- a\n- b\n- c\n- d\n- e @done\n",
    ],
)
def test_markdown_lists_are_not_taskpaper(text: str) -> None:
    assert read(text, "x.md").dialect != "taskpaper"


PIECES = [
    "\t", "  ", "- ", "☐ ", "✔ ", "[ ] ", "[x] ", "[q]", "P:", ": ", "@done", " @due(", "x)", " @a(b)", "word ",
]  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join)


@given(st.lists(LINES, max_size=14), st.sampled_from(["x.taskpaper", "x.todo", "x.md"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_sound_board(lines: list[str], name: str, forced: bool) -> None:
    try:
        board = parse(
            "\n".join(lines).encode("utf-8", "surrogatepass"), name, "taskpaper" if forced else None
        )
    except SourceError:
        return  # control characters made it a binary file
    if board.dialect != "taskpaper":
        return
    raw = board.text.replace("\ufeff", "").replace("\u200b", "").replace("\u2060", "").split("\n")
    by_line = {item.line: item for item in board.items}
    accounted = {line for line, _ in board.not_items}
    assert not accounted & by_line.keys()
    for number, line in enumerate(raw, 1):
        if line.lstrip().startswith(("- [ ] ", "[x] ")):
            assert number in by_line or number in accounted
    for item in board.items:
        assert item.title.strip()
        assert item.mark is not None
        assert item.parent_line is None or by_line[item.parent_line].depth == item.depth - 1
        text = raw[item.line - 1][item.mark.start : item.mark.end]
        if item.mark.style == "taskpaper":
            assert not text or text.startswith("@")
        else:
            assert len(text) <= 1
