"""Any sequence of edits: an ingest again changes nothing, what was not edited keeps its identity, counts agree."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared, Status
from sql.connection import Database
from tasks.ingest import ingest_board
from tasks.ingest.identity import identify
from tasks.ingest.rows import board_rows

NUMBERS = itertools.count(1)  # a replayed example must not find what it stored before
TITLES = st.sampled_from(["write", "Write ", "test", "тест", "deploy it", "deploy it now", "\x00", "a" * 90])
LINE = st.tuples(
    st.integers(0, 3), TITLES, st.sampled_from(list(Declared)), st.sampled_from([None, None, "A", "B", "C"])
)
LINES = st.lists(LINE, max_size=12)


def board_of(lines: Sequence[tuple[int, str, Declared, str | None]]) -> ParsedBoard:
    items: list[ParsedItem] = []
    above: list[ParsedItem] = []
    for line, (depth, title, status, ext_id) in enumerate(lines, 1):
        del above[depth:]
        parent = above[-1].line if above else None
        items.append(
            ParsedItem(
                line=line, title=title, status=status, depth=len(above), ext_id=ext_id, parent_line=parent
            )
        )
        above.append(items[-1])
    sha256 = hashlib.sha256(repr(lines).encode()).hexdigest()
    return ParsedBoard("board.md", "gfm", "utf-8", sha256, items=items)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as connection:
        yield connection


def stored(connection: psycopg.Connection[Any], source: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select i.id, s.line, p.line, s.title, s.declared, s.ext_id, i.status, i.recipe from item i"
        " join item_source s on s.item_id = i.id join board b on b.id = i.board_id"
        " left join item_source p on p.item_id = i.parent_id"
        " where b.source = %s and s.removed_at is null order by i.position",
        [source],
    ).fetchall()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(LINES, min_size=1, max_size=4))
def test_the_database_says_what_the_last_board_says(
    connection: psycopg.Connection[Any], versions: list[Any]
) -> None:
    source = f"/board/{next(NUMBERS)}"
    total = 0
    for lines in versions:
        board = board_of(lines)
        kept = [item for item in board.items if item.title.strip()]
        delta = ingest_board(connection, board, source=source)
        rows = stored(connection, source)
        assert [(row[1], row[2], row[3], row[4], row[5]) for row in rows] == [
            (item.line, item.parent_line, item.title.replace("\0", ""), str(item.status), item.ext_id)
            for item in kept
        ]
        total += delta.added - delta.removed
        assert total == len(kept)
        parents = {row[2] for row in rows}
        for _, line, _, _, declared, _, status, _ in rows:
            if line not in parents:
                assert (status == Status.SKIPPED) == (not Declared(declared).is_open)
        again = ingest_board(connection, board, source=source)
        assert again.unchanged == len(kept)
        assert stored(connection, source) == rows


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_shuffles_and_ticks_keep_every_identity(
    connection: psycopg.Connection[Any], data: st.DataObject
) -> None:
    """Blocks (an item with what is below it) change places, marks change, lines come in between."""
    blocks = data.draw(st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=5))
    named = [
        [(depth, f"block {n} part {m}", Declared.TODO, None) for m, depth in enumerate([0, *block])]
        for n, block in enumerate(blocks)
    ]
    source = f"/board/{next(NUMBERS)}"
    ingest_board(connection, board_of([line for block in named for line in block]), source=source)
    before = {row[3]: row[0] for row in stored(connection, source)}
    for _ in range(2):
        named = data.draw(st.permutations(named))
        extra = data.draw(st.integers(0, len(named)))
        lines = [
            (depth, title, data.draw(st.sampled_from(list(Declared))), ext_id)
            for block in [*named[:extra], [(0, "added later", Declared.TODO, None)], *named[extra:]]
            for depth, title, _, ext_id in block
        ]
        delta = ingest_board(connection, board_of(lines), source=source)
        assert delta.changed == 0
        after = {row[3]: row[0] for row in stored(connection, source)}
        assert {title: after[title] for title in before} == before


@given(lines=LINES)
def test_keys_are_distinct_and_do_not_depend_on_the_database(lines: list[Any]) -> None:
    one, two = board_rows(board_of(lines)).rows, board_rows(board_of(lines)).rows
    identify(one, [])
    identify(two, [])
    assert [row.key for row in one] == [row.key for row in two]
    assert len({row.key for row in one}) == len(one)
