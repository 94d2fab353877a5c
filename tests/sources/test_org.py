"""org-mode files."""

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
from sources.org import blocker_ids

WORK = """\
#+TITLE: Work
#+TODO: TODO(t) DRAFT(d) WAITING(w@/!) | SENT(s) DROPPED(x)
#+SEQ_TODO: FIRST SECOND
# - [ ] a comment

* Projects                                          :work:
** TODO [#A] Move the build [1/3]                   :infra:ci:
   DEADLINE: <2026-03-01 Sun 10:00 +1w> SCHEDULED: <2026-02-16 Mon>
   :PROPERTIES:
   :ID:       build-1
   :CUSTOM_ID: build
   :Effort:   4:00
   :END:
   :LOGBOOK:
   - [ ] in a drawer
   :END:
   The old ones go away.
   - [X] list what runs
     it was long
   - [ ] caches
   - [-] secrets [1/2]
     - plain
       - [X] deploy key
     - [ ] signing key
   - [ ]
*** DRAFT Pull request
*** SENT Quota
    CLOSED: [2026-02-05 Thu 16:40]
*** SECOND place
** Documentation
*** WAITING [#C] Page
    #+begin_src markdown
    - [ ] step
    ,* TODO not a headline
    #+end_src
** COMMENT Later
*** TODO hidden
    - [ ] hidden, too
* DROPPED Video
* TODO
"""


def read(text: str, name: str = "x.org") -> ParsedBoard:
    return parse(text.encode(), name)


def item(board: ParsedBoard, title: str) -> ParsedItem:
    return next(item for item in board.items if item.title == title)


def test_headlines_and_boxes() -> None:
    board = read(WORK)
    assert (board.dialect, board.title) == ("org", "Work")
    assert [(item.line, item.title, str(item.status), item.parent_line) for item in board.items] == [
        (7, "Move the build", "todo", None),
        (18, "list what runs", "done", 7),
        (20, "caches", "todo", 7),
        (21, "secrets", "partial", 7),
        (23, "deploy key", "done", 21),
        (24, "signing key", "todo", 21),
        (26, "Pull request", "todo", 7),
        (27, "Quota", "done", 7),
        (29, "place", "done", 7),
        (31, "Page", "blocked", None),
        (39, "Video", "done", None),
    ]


def test_fields() -> None:
    board = read(WORK)
    build = item(board, "Move the build")
    assert (build.ext_id, build.priority) == ("build-1", 1)
    assert build.labels == {
        "keyword": "TODO", "tags": "infra, ci", "progress": "1/3", "section": "Projects", "due": "2026-03-01 10:00",
        "scheduled": "2026-02-16", "recurrence": "+1w", "estimate": "4:00",
    }  # fmt: skip
    assert build.body == "The old ones go away."
    assert item(board, "list what runs").body == "it was long"
    assert item(board, "secrets").labels["progress"] == "1/2"
    assert item(board, "Quota").labels["completed"] == "2026-02-05 16:40"
    page = item(board, "Page")
    assert page.priority == 3
    assert "- [ ] step\n" in page.body


def test_what_is_no_item_is_accounted_for() -> None:
    board = read(WORK)
    assert [(line, reason) for line, reason in board.not_items] == [
        (4, "comment"), (15, "comment"), (25, "empty"), (33, "code"), (34, "code"), (37, "comment"), (38, "comment"),
        (40, "empty"),
    ]  # fmt: skip
    assert [(finding.code, finding.line) for finding in board.findings] == [("empty_item", 40)]


@pytest.mark.parametrize(
    ("keyword", "status"),
    [
        ("TODO", "todo"), ("NEXT", "todo"), ("STARTED", "in_progress"), ("DOING", "in_progress"),
        ("INPROGRESS", "in_progress"), ("WAITING", "blocked"), ("WAIT", "blocked"),
        ("HOLD", "blocked"), ("BLOCKED", "blocked"), ("DONE", "done"),
        ("CANCELLED", "skipped"), ("CANCELED", "skipped"),
    ],
)  # fmt: skip
def test_keywords(keyword: str, status: str) -> None:
    assert [str(item.status) for item in read(f"* {keyword} x\n").items] == [status]
    assert read(f"* {keyword}S x\n* {keyword.lower()} x\n* {keyword}: x\n").items == []


def test_boxes_as_keywords() -> None:
    board = read("* [ ] one\n* [X] two\n** [#A] [-] three\n* [1] four\n")
    assert [(item.title, str(item.status)) for item in board.items] == [
        ("one", "todo"), ("two", "done"), ("three", "partial"),
    ]  # fmt: skip
    third = board.items[2].mark
    assert third is not None
    assert "** [#A] [-] three"[third.start : third.end] == "-"


def test_blocks_end_and_unclosed_ones_are_text() -> None:
    quote, centre = "#+BEGIN_QUOTE\n- [ ] d\n#+end_quote", "#+begin_center\n- [ ] e\n#+end_center"
    board = read(f"* TODO a\n#+begin_src\n- [ ] b\n* TODO c\n{quote}\n{centre}\n")
    assert [item.title for item in board.items] == ["a", "b", "c", "e"]
    assert [(line, reason) for line, reason in board.not_items] == [(6, "quote")]


def test_a_drawer_that_is_never_closed_is_text() -> None:
    assert [item.title for item in read("* TODO a\n:NOTES:\n- [ ] b\n* TODO c\n:END:\n").items] == [
        "a",
        "b",
        "c",
    ]


def test_ordered_children_wait_for_one_another() -> None:
    text = """\
* House
:PROPERTIES:
:ORDERED: t
:END:
** TODO walls
:PROPERTIES:
:ID: w
:END:
** TODO roof
*** TODO tiles
*** TODO gutter
** Note
** TODO paint
"""
    board = read(text)
    assert {item.title: item.needs for item in board.items} == {
        "walls": [], "roof": ["w"], "tiles": [], "gutter": [], "paint": ["line:9"],
    }  # fmt: skip
    assert board.findings == []


def test_blockers() -> None:
    text = """\
* TODO one
  :PROPERTIES:
  :ID: id-1
  :CUSTOM_ID: first
  :END:
* TODO two
  :PROPERTIES:
  :BLOCKER: previous-sibling
  :END:
* TODO three
  :PROPERTIES:
  :BLOCKER: ids("id:id-1" first)
  :END:
* TODO four
  :PROPERTIES:
  :BLOCKER: first
  :END:
"""
    board = read(text)
    assert [item.needs for item in board.items] == [[], ["id-1"], ["id-1"], ["id-1"]]
    assert board.findings == []
    assert blocker_ids("todo!(DONE)") == []


def test_writing_back() -> None:
    text = WORK.replace("\n", "\r\n")
    board = read(text)
    edits = [
        Edit(item.mark, Declared.DONE)
        for item in board.items
        if item.mark and item.status is not Declared.DONE
    ]
    written = rewrite(text.encode(), "x.org", edits, date(2026, 3, 1), 10_000).data.decode()
    assert "** SENT [#A] Move the build [1/3]                   :infra:ci:\r\n" in written
    assert "   - [X] secrets [1/2]\r\n" in written
    assert [len(line) for line in written.split("\r\n") if "hidden" in line] == [15, 21]
    assert all(item.status is Declared.DONE for item in read(written).items)


@pytest.mark.parametrize(
    "text",
    [
        "* TODO one\n* DONE two\n",
        "** TODO deep\n",
        "#+TITLE: x\n* Notes\n- [ ] a\n",
        "#+TODO: DRAFT | SENT\n* DRAFT a\n",
        "* TODO a\n  DEADLINE: <2026-01-01 Thu>\n",
        "# comment\n* TODO a\n:PROPERTIES:\n:ID: x\n:END:\n",
    ],
)
def test_org_of_another_name(text: str) -> None:
    assert read(text, "notes.txt").dialect == "org"


@pytest.mark.parametrize(
    "text",
    [
        "# List\n\n* TODO one\n* DONE two\n",
        "* one\n* TODO two\n* three\n",
        "* [ ] one\n* [x] two\n",
        "* TODO: one\n",
        "**TODO** one\n* two\n",
        "## Work\n- [ ] TODO one\n",
        "#+1: agreed\n* a\n",
    ],
)
def test_markdown_is_not_org(text: str) -> None:
    assert read(text, "x.md").dialect != "org"


PIECES = [
    "* ", "** ", "*** ", "TODO ", "DONE ", "NEXT ", "OWN ", "[#A] ", "[1/2] ", ":tag:", "- [ ] ", "- [X] ", "1. [-] ",
    "+ ", "  ", "\t", "[ ] ", "#+TODO: OWN | END", "#+begin_src", "#+end_src", "#+BEGIN_quote", "#+end_quote",
    ":PROPERTIES:", ":END:", ":ID: a", ":ORDERED: t", ":BLOCKER: a b", "DEADLINE: <2026-01-01>", "# ",
    "COMMENT ", ":LOGBOOK:",
]  # fmt: skip
LINES = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=5).map("".join)


@given(st.lists(LINES, max_size=20))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_sound_board(lines: list[str]) -> None:
    try:
        board = parse("\n".join(lines).encode("utf-8", "surrogatepass"), "x.org", "org")
    except SourceError:
        return  # control characters made it a binary file
    raw = board.text.replace("\ufeff", "").replace("\u200b", "").replace("\u2060", "").split("\n")
    by_line = {item.line: item for item in board.items}
    accounted = {line for line, _ in board.not_items}
    assert len(by_line) == len(board.items)
    assert not accounted & by_line.keys()
    for number, line in enumerate(raw, 1):
        if line.lstrip(" \t").startswith(("- [ ]", "- [X]", "1. [-] ", "[ ] ")):
            assert number in by_line or number in accounted
    for item in board.items:
        assert item.title.strip()
        assert item.mark is not None
        assert item.parent_line is None or by_line[item.parent_line].depth == item.depth - 1
        text = raw[item.line - 1][item.mark.start : item.mark.end]
        if item.mark.style == "org_box":
            assert raw[item.line - 1][item.mark.start - 1 : item.mark.end + 1] == f"[{text}]"
        else:
            assert text == item.labels["keyword"]
