"""Chunks: true line ranges, nothing lost, structure kept."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.remember.chunking import LEAST, MOST, chunk

WORD = "Настройка резервного копирования works every night. "

BLOCK = st.one_of(
    st.builds(
        lambda level, title: "#" * level + " " + title, st.integers(1, 6), st.sampled_from(["A", "Б в"])
    ),
    st.integers(1, 40).map(lambda n: WORD * n),
    st.lists(st.integers(0, 30), min_size=1, max_size=30).map(
        lambda depths: "\n".join("  " * min(i, d) + "- [ ] " + WORD for i, d in enumerate(depths))
    ),
    st.integers(1, 60).map(lambda n: "```python\n" + "# no heading\n\nx = 1\n" * n + "```"),
    st.integers(1, 40).map(lambda n: "| a | b |\n|---|---|\n" + "| one two three | four |\n" * n),
    st.integers(1, 3).map(lambda n: ("> " * n + WORD + "\n") * 9),
    st.sampled_from(
        ["---", "===", "[a]: http://b", "<div>\n\nx\n</div>", "    code", "\t- x", "\r", "\ufeff", "\x0c"]
    ),
)
DOCUMENT = st.one_of(
    st.lists(BLOCK, max_size=12).map("\n\n".join),
    st.lists(BLOCK, max_size=12).map("\n".join),
    st.text(alphabet=st.sampled_from("#-*|`>[]~ \n\r\t1.aя\u2028\x0b\x1c"), max_size=300),
)


@given(DOCUMENT)
@settings(max_examples=250, deadline=None)
def test_chunks_are_the_lines_they_cite_and_nothing_is_lost(text: str) -> None:
    lines = text.split("\n")
    parts: dict[int, str] = {}
    covered: list[int] = []
    for piece in chunk(text):
        assert 1 <= piece.line_start <= piece.line_end <= len(lines)
        assert 0 < len(piece.text) <= MOST
        cited = "\n".join(lines[piece.line_start - 1 : piece.line_end])
        if piece.text == cited:
            covered += range(piece.line_start, piece.line_end + 1)
        else:
            assert piece.line_start == piece.line_end
            parts[piece.line_start] = parts.get(piece.line_start, "") + piece.text
    for line, joined in parts.items():
        assert joined == lines[line - 1]
    covered += parts
    assert len(covered) == len(set(covered))
    assert {number for number, line in enumerate(lines, 1) if line.strip()} <= set(covered)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 30)), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_no_chunk_goes_over_a_heading(sections: list[tuple[int, int]]) -> None:
    lines: list[str] = []
    for number, (level, size) in enumerate(sections):
        lines += ["#" * level + f" Title {number}", *[f"text {number}"] * size, ""]
    for piece in chunk("\n".join(lines)):
        body = [line for line in piece.text.split("\n") if line.startswith("text")]
        assert len(set(body)) <= 1
        if body:
            assert piece.heading.endswith(f"Title {body[0].removeprefix('text ')}")


def test_the_heading_is_the_way_to_the_chunk() -> None:
    text = "# Ops\n\n## Backup\n\nEvery night.\n\n## Restore\n\nBy hand.\n\n# Other\n\nx"
    found = [(piece.heading, piece.line_start, piece.line_end) for piece in chunk(text)]
    assert found == [("Ops > Backup", 1, 5), ("Ops > Restore", 7, 9), ("Other", 11, 13)]


def test_small_neighbours_stay_together_and_large_ones_apart() -> None:
    paragraph = "x" * (LEAST - 1)
    assert [(p.line_start, p.line_end) for p in chunk("\n\n".join([paragraph] * 4))] == [(1, 3), (5, 7)]
    large = "y" * 900
    assert [(p.line_start, p.line_end) for p in chunk("\n\n".join([large] * 2))] == [(1, 1), (3, 3)]


def test_a_code_block_stays_whole_and_its_comments_are_no_headings() -> None:
    code = "```sh\n# not a heading\n" + "\n".join(["", "make all"] * 60) + "\n```"
    found = chunk(f"# Build\n\nDo this:\n\n{code}\n\nThen rest.")
    assert [code in piece.text for piece in found].count(True) == 1
    assert {piece.heading for piece in found} == {"Build"}


def test_rows_of_a_long_table_know_their_columns() -> None:
    rows = "\n".join(f"| check {number} | {WORD}|" for number in range(40))
    found = chunk(f"# Checks\n\n| Name | What |\n|---|---|\n{rows}")
    assert len(found) > 1
    assert {piece.heading for piece in found[1:]} == {"Checks > Name, What"}


def test_parts_of_a_long_item_know_the_item() -> None:
    steps = "\n".join(f"  - {WORD}" for _ in range(40))
    found = chunk(f"- [ ] Migrate the server\n{steps}")
    assert found[0].heading == ""
    assert {piece.heading for piece in found[1:]} == {"- [ ] Migrate the server"}


def test_front_matter_is_no_heading() -> None:
    (piece,) = chunk("---\nid: tasks\nupdated: 2025-11-09\n---\n\nText.")
    assert piece.heading == ""
    assert (piece.line_start, piece.line_end) == (1, 6)


def test_a_document_of_one_endless_line_is_fast_and_whole() -> None:
    line = "word " * 200_000
    found = chunk(line)
    assert "".join(piece.text for piece in found) == line
    assert {(piece.line_start, piece.line_end) for piece in found} == {(1, 1)}


def test_nothing_has_no_chunks() -> None:
    assert chunk("") == []
    assert chunk("\n \n\t\n") == []
