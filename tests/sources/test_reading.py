"""Bytes of every provenance: encodings, line ends, binaries, sizes."""

from __future__ import annotations

import codecs

import pytest

from models.board import ParsedBoard
from models.enums import Severity
from models.errors import SourceError
from sources import decode, parse
from sources.reading import lost

RUSSIAN = "# Задачи\n\n- [ ] Починить насос в подвале\n- [x] Купить новые шланги\n"


def titles(board: ParsedBoard) -> list[tuple[int, str]]:
    return [(item.line, item.title) for item in board.items]


EXPECTED = [(3, "Починить насос в подвале"), (4, "Купить новые шланги")]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (RUSSIAN.encode(), "utf-8"),
        (RUSSIAN.encode("utf-8-sig"), "utf-8-sig"),
        (codecs.BOM_UTF16_LE + RUSSIAN.encode("utf-16-le"), "utf-16"),
        (codecs.BOM_UTF16_BE + RUSSIAN.encode("utf-16-be"), "utf-16"),
        (codecs.BOM_UTF32_LE + RUSSIAN.encode("utf-32-le"), "utf-32"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_declared_encodings_and_line_ends(data: bytes, encoding: str, newline: str) -> None:
    width = {"utf-16": 2, "utf-32": 4}.get(encoding, 1)
    order = "be" if data.startswith(codecs.BOM_UTF16_BE) else "le"
    unit = "utf-8" if width == 1 else f"{encoding}-{order}"
    board = parse(data.replace("\n".encode(unit), newline.encode(unit)), "b.md")
    assert (board.encoding, titles(board), board.findings) == (encoding, EXPECTED, [])
    assert "\r" not in board.text


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866"])
def test_cyrillic_of_one_byte_is_recognised(encoding: str) -> None:
    board = parse(RUSSIAN.encode(encoding), "b.md")
    assert (board.encoding, titles(board)) == (encoding, EXPECTED)
    assert [(f.code, f.line) for f in board.findings] == [("encoding_fallback", 1)]


def test_a_few_broken_bytes_do_not_turn_utf_8_into_something_else() -> None:
    board = parse(RUSSIAN.encode().replace("насос".encode(), "насос".encode() + b"\xff"), "b.md")
    assert board.encoding == "utf-8"
    assert board.items[0].title == "Починить насос\ufffd в подвале"
    assert [(f.code, f.line, f.severity) for f in board.findings] == [("encoding_loss", 3, Severity.ERROR)]


def test_latin_1_is_not_taken_for_russian() -> None:
    board = parse("- [ ] visit the café in Orléans\n".encode("latin-1"), "b.md")
    assert (board.encoding, board.items[0].title) == ("cp1252", "visit the café in Orléans")
    assert [f.code for f in board.findings] == ["encoding_fallback"]


def test_half_a_utf_16_file_is_a_finding() -> None:
    data = codecs.BOM_UTF16_LE + "- [ ] pump".encode("utf-16-le") + b"\x41"
    board = parse(data, "b.md")
    assert [item.title for item in board.items] == ["pump\ufffd"]
    assert [f.code for f in board.findings] == ["encoding_loss"]


def test_text_that_was_lost_before_is_said() -> None:
    marks = parse(
        b"- [ ] T A-1 Pump\n- [ ] T A-2 ? ??????? ????? ??????\n- [ ] T A-3 good\n- [ ] ????\n", "b.md"
    )
    assert [(f.code, f.line) for f in marks.findings] == [("encoding_loss", 2)]
    assert "2 line(s)" in marks.findings[0].message
    assert "are not read as items: 2, 4 " in marks.findings[0].message
    assert [item.ext_id for item in marks.items] == ["A-1", "A-3"]
    assert [(line.line, line.reason) for line in marks.not_items] == [(2, "lost"), (4, "lost")]
    holes = parse("# x\n- [ ] a \ufffd b\n".encode(), "b.md")
    assert [(f.code, f.line) for f in holes.findings] == [("encoding_loss", 2)]
    assert parse(b"- [ ] really????\n- [ ] why??? oh why?\n", "b.md").findings == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?????? ??? ????", True),
        ("FEAT PHC-1.2 ? ????????", True),
        ("**??????** - ?????????? ???????", True),
        ("(????? ????)", True),
        ("fix ???? ????", True),
        ("????", True),
        ("???", False),
        ("Why???? Really????", False),
        ("What is this ????", False),
        ("T A-1 ? pump", False),
        ("", False),
    ],
)
def test_lost(text: str, expected: bool) -> None:
    assert lost(text) is expected


def test_nul_far_inside_becomes_a_finding() -> None:
    decoded = decode(b"- [ ] a\n" * 2000 + b"- [ ] b\x00c\n", "b.md")
    assert "\x00" not in decoded.text
    assert [(f.code, f.line) for f in decoded.findings] == [("encoding_loss", 2001)]


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n", b"%PDF-1.7\n", b"PK\x03\x04abc", b"a\x00b", b"\x01\x02\x03" * 40]
)
def test_binary_is_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"^b\.bin: not a text file \(it begins with [0-9a-f ]+\)\. Give"):
        parse(data, "b.bin")


def test_too_large_is_refused_with_both_numbers() -> None:
    with pytest.raises(SourceError, match=r"2,001 bytes or more, the limit is 2,000\. .*max_source_bytes"):
        parse(b"x" * 2001, "b.md", max_bytes=2000)
    assert parse(b"x" * 2000, "b.md", max_bytes=2000).items == []


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\r"])
def test_empty_board(data: bytes) -> None:
    board = parse(data, "b.md")
    assert (board.dialect, board.items) == ("document", [])
    assert [(f.code, f.line) for f in board.findings] == [("empty_board", 0)]


def test_line_numbers_count_only_line_ends() -> None:
    """Form feeds, vertical tabs and Unicode separators are inside a line for every editor."""
    board = parse("a\x0cb\x0bc\u2028d\x85e\n- [ ] second\n".encode(), "b.md")
    assert titles(board) == [(2, "second")]
