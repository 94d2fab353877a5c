"""The labelled boards are read without a mistake, each one: `python -m bench.accuracy` prints the same as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.accuracy import CORPUS, Score, boards_of, compare, total
from sources import parse

BOARDS = list(boards_of(CORPUS))


@pytest.mark.parametrize(
    ("path", "labels"), BOARDS, ids=[path.relative_to(CORPUS).as_posix() for path, _ in BOARDS]
)
def test_a_board_is_read_as_a_person_reads_it(path: Path, labels: dict[str, Any]) -> None:
    score = Score()
    compare(score, path.name, parse(path.read_bytes(), str(path)), labels)
    assert score.mistakes == []


def test_the_corpus_is_as_wide_as_it_says() -> None:
    assert len(BOARDS) >= 60
    assert len({labels["dialect"] for _, labels in BOARDS}) >= 12
    assert len({labels["language"] for _, labels in BOARDS}) >= 6


def test_a_mistake_is_seen() -> None:
    """The measure itself: each kind of wrong reading lowers the figure it should."""
    board = parse(b"- [ ] a\n  - [x] b\n- [ ] c\n", "x.md")
    score = Score()
    labels = {
        "dialect": "gfm",
        "language": "en",
        "items": [
            {"line": 1, "status": "done", "parent": None},
            {"line": 2, "status": "done", "parent": None},
            {"line": 4, "status": "todo", "parent": None},
        ],
    }
    compare(score, "x.md", board, labels)
    assert len(score.mistakes) == 4
    shares = total({"gfm": score}).shares()
    assert shares["precision of items"] == pytest.approx(100 * 2 / 3)
    assert shares["recall of items"] == pytest.approx(100 * 2 / 3)
    assert shares["marks right"] == pytest.approx(100 / 3)
    assert shares["parents right"] == pytest.approx(100 / 3)
