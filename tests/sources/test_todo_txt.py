"""todo.txt files."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared
from models.errors import SourceError
from sources import parse
from sources.marks import Edit, rewrite


def read(text: str, name: str = "todo.txt") -> ParsedBoard:
    return parse(text.encode(), name)


def one(line: str) -> ParsedItem:
    board = parse(line.encode(), "todo.txt", "todo_txt")
    (item,) = board.items
    return item


def test_an_open_line() -> None:
    item = one(
        "(A) 2026-02-01 Call the plumber about +boiler today @phone +house due:2026-02-05 t:2026-02-03 rec:+1m"
    )
    assert item.title == "Call the plumber about +boiler today"
    assert (item.status, item.priority) == (Declared.TODO, 0)
    assert item.labels == {
        "priority": "A", "created": "2026-02-01", "project": "boiler, house", "context": "phone", "due": "2026-02-05",
        "start": "2026-02-03", "recurrence": "+1m",
    }  # fmt: skip


def test_a_closed_line_keeps_its_priority_by_convention() -> None:
    item = one("x 2026-01-29 2026-01-20 Pay council tax +money pri:B")
    assert (item.title, item.status, item.priority) == ("Pay council tax", Declared.DONE, 1)
    assert (item.labels["completed"], item.labels["created"]) == ("2026-01-29", "2026-01-20")
    assert item.mark is None
    assert one("x 2026-01-29 (C) 2026-01-20 Pay").title == "Pay"
    assert one("x (A) Pay").priority == 0


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("xylophone lessons: ask @school", "xylophone lessons: ask"),
        ("X marks the spot", "X marks the spot"),
        ("(A)no blank", "(A)no blank"),
        ("(a) small letter", "(a) small letter"),
        ("2026-01-30 Return books", "Return books"),
        ("2026-1-3 no date", "2026-1-3 no date"),
        ("Learn (see https://example.org/a?b=2#c) +radio", "Learn (see https://example.org/a?b=2#c)"),
        ("at 12:30 meet Ann", "at 12:30 meet Ann"),
        ("+project @context", "+project @context"),
        ("(A) ", "(A)"),
        ("x", "x"),
        ("mail ann@example.org", "mail ann@example.org"),
    ],
)
def test_what_is_text(line: str, title: str) -> None:
    item = one(line)
    assert (item.title, item.status) == (title, Declared.TODO)


def test_ids_and_needs() -> None:
    board = read("(A) dig id:1\n(B) plant id:2 dep:1\nx 2026-01-01 buy p:2\nwater dep:1,2\nweed dep:9\n")
    assert [item.ext_id for item in board.items] == ["1", "2", None, None, None]
    assert [item.needs for item in board.items] == [[], ["1"], [], ["1", "2"], ["9"]]
    assert board.items[2].labels["parent"] == "2"
    assert [finding.code for finding in board.findings] == ["unknown_dependency"]


def test_a_date_that_is_no_day_is_told() -> None:
    board = parse(
        b"(A) Pay the rent due:2026-02-30\nx 2026-13-01 2026-02-28 Call t:2026-02-29 due:2024-02-29\nAsk due:May\n",
        "todo.txt",
    )
    assert [(found.code, found.line) for found in board.findings] == [
        ("invalid_date", 1),
        ("invalid_date", 2),
        ("invalid_date", 2),
    ]
    assert "the due date '2026-02-30'" in board.findings[0].message
    assert board.items[0].labels["due"] == "2026-02-30", "it is kept as text"


def test_lines_with_a_hash_are_headings() -> None:
    board = read("# this week\n(A) one +p\n\n#later\ntwo @home\n# - [ ] three\n")
    assert [(item.line, item.labels["section"]) for item in board.items] == [(2, "this week"), (5, "later")]
    assert [(line, reason) for line, reason in board.not_items] == [(6, "comment")]


def test_boxes_are_read_where_people_write_them() -> None:
    board = read("(A) one +p\n(B) [x] two\ncall @home\nbuy @town\n")
    assert [(item.title, str(item.status)) for item in board.items][:2] == [("one", "todo"), ("two", "done")]


def test_writing_back() -> None:
    text = "(A) 2026-02-01 Call +house\r\nBuy lamp @town\r\n  indented +a\r\nx done\r\n"
    board = read(text)
    marks = [item.mark for item in board.items if item.mark]
    assert len(marks) == 3
    edits = [Edit(mark, Declared.DONE) for mark in marks]
    written = rewrite(text.encode(), "todo.txt", edits, date(2026, 3, 1), 1000).data.decode()
    assert written == (
        "x 2026-03-01 2026-02-01 Call +house pri:A\r\nx 2026-03-01 Buy lamp @town\r\n"
        "  x 2026-03-01 indented +a\r\nx done\r\n"
    )
    assert all(item.status is Declared.DONE for item in read(written).items)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("TODO\n====\n\n* rewrite the parser\n* document it\n", "TODO.txt"),
        ("- [ ] one\n- [x] two\n", "todo.txt"),
        (f"This text is about the things that we would like to do {'one ' * 20}day.\n", "todo.txt"),
        ("(A) Paris\n(B) London\n(C) Rome\n", "quiz.txt"),
        ("x is a variable.\ny is another one.\nz is the third.\n", "algebra.txt"),
        ("2026-01-01 started the service\n2026-01-02 stopped it\n", "log.txt"),
        ("Mail Ann @ work. Then 1+1.\nIt is due: now.\n", "note.txt"),
        ("+def f():\n+    pass\n-x = 1\n x +y\n", "change.txt"),
    ],
)  # fmt: skip
def test_other_texts(text: str, name: str) -> None:
    assert read(text, name).dialect != "todo_txt"


def test_any_name_with_signs_on_most_lines() -> None:
    text = "(A) call Ann @phone\nx 2026-01-01 buy milk +house\n(B) dig due:2026-02-01\nrest\n"
    assert read(text, "tasks.txt").dialect == "todo_txt"


PIECES = [
    "x ", "X ", "(A) ", "(Z)", "2026-01-01 ", "+p ", "@c ", "due:", "pri:A", "# ", "[ ] ", "- [x] ", " ", "\t",
]  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=8).map("".join)


@given(st.lists(LINES, max_size=12))
@settings(max_examples=300, deadline=None)
def test_every_line_is_an_item_or_a_comment(lines: list[str]) -> None:
    try:
        board = parse("\n".join(lines).encode("utf-8", "surrogatepass"), "todo.txt", "todo_txt")
    except SourceError:
        return  # control characters made it a binary file
    read_lines = board.text.replace("\ufeff", "").replace("\u200b", "").replace("\u2060", "").split("\n")
    expected = [
        n for n, line in enumerate(read_lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    assert [item.line for item in board.items] == expected
    for item in board.items:
        assert item.title.strip()
        assert item.mark is not None or item.status is Declared.DONE
        if item.mark is not None and item.mark.style == "todo_txt":
            line = read_lines[item.line - 1]
            assert re.fullmatch(r"(?:\([A-Z]\)\s+)?", line[item.mark.start : item.mark.end])
            assert not line[: item.mark.start].strip()
