"""Writing a status back: only the mark changes, and what is read afterwards is what was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.accuracy import CORPUS, boards_of
from models.board import Mark, ParsedBoard, ParsedItem
from models.enums import Declared
from models.errors import SourceError
from sources import parse
from sources.marks import STYLES, Edit, rewrite

TODAY = date(2026, 3, 4)
LIMIT = 20 * 1024 * 1024
BOARDS = [path for path, _ in boards_of(CORPUS)]
ENDS = re.compile(rb"\r\n|\r|\n")


def write(data: bytes, edits: Sequence[Edit], source: str = "x.md") -> bytes:
    return rewrite(data, source, edits, TODAY, LIMIT).data


def facts(item: ParsedItem) -> tuple[Any, ...]:
    return (
        item.line,
        item.ordinal,
        item.title,
        item.kind,
        item.ext_id,
        item.parent_line,
        item.depth,
        item.body,
    )


def check_written(data: bytes, board: ParsedBoard, chosen: Sequence[ParsedItem], status: Declared) -> None:
    """What every write-back must hold to, whatever the dialect."""
    edits = [Edit(item.mark, status) for item in chosen if item.mark is not None]
    made = rewrite(data, board.source, edits, TODAY, LIMIT)
    done = {edit.mark for edit in edits} - {edit.mark for edit in made.refused}
    again = parse(made.data, board.source)
    assert again.dialect == board.dialect
    assert [facts(item) for item in again.items] == [facts(item) for item in board.items]
    for before, after in zip(board.items, again.items, strict=True):
        if before.mark is not None and before.mark in done:
            assert after.status is status, (before.line, before.title)
        elif before.explicit_status:
            assert after.status is before.status, (before.line, before.title)
    lines, written = data.splitlines(keepends=True), made.data.splitlines(keepends=True)
    assert len(written) == len(lines)
    touched = {mark.line for mark in done}
    if ENDS.sub(b"", data).count(b"\x00") == 0:  # UTF-16 has its line ends elsewhere
        for number, (line, new) in enumerate(zip(data.split(b"\n"), made.data.split(b"\n"), strict=True), 1):
            assert line == new or number in touched or b"\r" in line


@pytest.mark.parametrize("path", BOARDS, ids=[path.relative_to(CORPUS).as_posix() for path in BOARDS])
@pytest.mark.parametrize("status", [Declared.DONE, Declared.SKIPPED])
def test_every_board_of_the_corpus_can_be_written(path: Path, status: Declared) -> None:
    data = path.read_bytes()
    board = parse(data, str(path))
    still_open = [item for item in board.items if item.status.is_open and item.mark is not None]
    check_written(data, board, still_open, status)
    assert write(data, [], str(path)) == data


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_choice_of_marks_changes_only_them(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(BOARDS))
    raw = path.read_bytes()
    if not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
        raw = end.join(ENDS.split(raw.removeprefix(b"\xef\xbb\xbf")))
        raw = raw.rstrip(b"\r\n") if data.draw(st.booleans()) else raw
        raw = b"\xef\xbb\xbf" + raw if data.draw(st.booleans()) and _is_utf8(raw) else raw
    board = parse(raw, str(path))
    writable = [item for item in board.items if item.status.is_open and item.mark is not None]
    chosen = data.draw(st.lists(st.sampled_from(writable), unique_by=id)) if writable else []
    check_written(raw, board, chosen, Declared.DONE)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.text(alphabet="-*+[]( )xX~\t\n\r#|a", max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_with_marks_is_written_without_loss(text: str) -> None:
    data = text.encode()
    board = parse(data, "x.md")
    edits = [
        Edit(item.mark, Declared.DONE)
        for item in board.items
        if item.mark is not None and item.status.is_open
    ]
    made = rewrite(data, "x.md", edits, TODAY, LIMIT)
    assert not made.refused
    again = parse(made.data, "x.md")
    assert [item.line for item in again.items] == [item.line for item in board.items]
    assert len(made.data) <= len(data) + len(edits)  # "[]" gains a sign


def test_line_ends_mark_and_last_line_stay() -> None:
    data = "\ufeff# T\r\n- [ ] a\r\n  - [~] b  \r\n\u200b- [ ] c".encode()
    edits = [Edit(item.mark, Declared.DONE) for item in parse(data, "x.md").items if item.mark]
    assert write(data, edits) == "\ufeff# T\r\n- [x] a\r\n  - [x] b  \r\n\u200b- [x] c".encode()


def test_a_note_is_a_comment_behind_the_text() -> None:
    data = b"- [ ] a  \n- [ ] b\n"
    mark = parse(data, "x.md").items[0].mark
    assert mark is not None
    written = write(data, [Edit(mark, Declared.DONE, "penstock: accepted 2026-03-04")])
    assert written == b"- [x] a <!-- penstock: accepted 2026-03-04 -->  \n- [ ] b\n"
    assert [item.title for item in parse(written, "x.md").items] == ["a", "b"]


def test_cyrillic_bytes_stay_in_their_encoding() -> None:
    data = "- [ ] Проверить насосы и уплотнения\n- [x] Заменить фильтры воды\n".encode("cp1251")
    board = parse(data, "x.md")
    assert board.encoding == "cp1251"
    assert board.items[0].mark is not None
    assert write(data, [Edit(board.items[0].mark, Declared.DONE)]) == data.replace(b"[ ]", b"[x]")


def test_bytes_that_would_not_survive_are_refused() -> None:
    data = b"- [ ] a \xff\xfe broken\n"
    mark = parse(data, "x.md").items[0].mark
    assert mark is not None
    with pytest.raises(SourceError, match="would change if it were written"):
        write(data, [Edit(mark, Declared.DONE)])


@pytest.mark.parametrize(
    ("current", "status", "new"),
    [
        ("TODO", Declared.DONE, "DONE"),
        ("IN_PROGRESS", Declared.BLOCKED, "BLOCKED"),
        ("TODO", Declared.IN_PROGRESS, "IN PROGRESS"),
        ("In Arbeit", Declared.DONE, "Erledigt"),
        ("**НЕ СДЕЛАНО**", Declared.DONE, "**СДЕЛАНО**"),
        ("⬜", Declared.DONE, "✅"),
        ("60%", Declared.DONE, "100%"),
        ("—", Declared.DONE, "✅"),
        ("", Declared.SKIPPED, "➖"),
        ("待办", Declared.DONE, "已完成"),
        ("in-progress", Declared.DONE, "done"),
        ("Blocked by Bob", Declared.DONE, None),
        ("running", Declared.DONE, None),
        ("60%", Declared.SKIPPED, None),
    ],
)
def test_words_are_answered_in_their_language_and_case(
    current: str, status: Declared, new: str | None
) -> None:
    assert STYLES["cell"](current, status, TODAY, "") == new


def test_a_mark_of_an_unknown_style_or_place_is_refused() -> None:
    for mark in (Mark(1, 3, 4, "nothing"), Mark(9, 0, 1, "box"), Mark(1, 90, 91, "box")):
        made = rewrite(b"- [ ] a\n", "x.md", [Edit(mark, Declared.DONE)], TODAY, LIMIT)
        assert made.data == b"- [ ] a\n"
        assert made.refused == (Edit(mark, Declared.DONE),)
