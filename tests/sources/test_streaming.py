"""A list read as a stream is the list read whole, whatever its length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.board import ParsedItem
from models.errors import SourceError
from sources import parse, stream_file, walk
from sources.document import visible

LINES = st.lists(
    st.sampled_from(
        [
            "- [ ] a", "  - [x] b", "    - [~] c", "\t* [ ] d", "1. [ ] e", "text", "", "  wrapped", "## Part",
            "## Template",
            "- [ ] XXX", "```", "<!--", "-->", "> - [ ] quoted", "- [ ] f <!-- note -->", "---", "- bullet",
            "    - [ ] code?",
            "\u2003- [ ] g", "- [ ] h (depends on: A-1)", "☐ i", "- [?] j", "\ufeff- [ ] k",
        ]
    ),
    max_size=60,
)  # fmt: skip


def facts(items: Sequence[ParsedItem]) -> list[tuple[object, ...]]:
    return [
        (item.line, item.title, item.status, item.depth, item.parent_line, item.body, item.labels, item.mark)
        for item in items
    ]


@given(LINES, st.integers(0, 5))
@settings(max_examples=300, deadline=None)
@example(["---", "title: x", "---", "- [ ] a"], 0)
def test_a_stream_reads_what_parse_reads(lines: list[str], taken: int) -> None:
    kept = walk._TAKEN
    walk._TAKEN = taken  # a few items are many here
    try:
        streamed = list(walk.stream(map(visible, lines)))
    finally:
        walk._TAKEN = kept
    whole = parse("\n".join(lines).encode(), "x.md", "gfm").items
    templates = any(line == "## Template" for line in lines)
    if not templates:  # a template is known by what else stands in its section, which a stream has let go
        assert facts(streamed) == facts(whole)
    else:
        assert {item.line for item in whole} <= {item.line for item in streamed}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_files_of_any_encoding_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "x.md"
    path.write_bytes(end.join(["# T", "- [ ] ä", "  - [x] б"]).encode(encoding))
    assert [(item.line, item.title, item.parent_line) for item in stream_file(path)] == [
        (2, "ä", None),
        (3, "б", 2),
    ]


def test_what_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(SourceError, match="not a text file"):
        list(stream_file(tmp_path / "x.png"))
    with pytest.raises(SourceError, match="No such file"):
        list(stream_file(tmp_path / "missing.md"))
