"""Exports line up with their boards whatever state these are in, and are whole or not there."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sources
from models.errors import InputError
from models.export import COLUMNS, Format
from tasks.export import chunks, named, rows, written

from .conftest import Read

titles = st.text(alphabet="abc Дё`|*[]()#<>\"',=-", min_size=1, max_size=12).map(lambda text: f"do {text}")
lines = st.tuples(st.integers(0, 2), st.sampled_from(" x"), titles)
_numbers = itertools.count()


def as_board(items: list[tuple[int, str, str]]) -> str:
    deep = -1
    text = ["# Plan", ""]
    for depth, mark, title in items:
        deep = min(depth, deep + 1)
        text.append(f"{'  ' * deep}- [{mark}] {title}")
    return "\n".join(text) + "\n"


def exported(read: Read, boards: list[int], form: Format) -> bytes:
    return b"".join(chunks(rows(read.database, boards), form))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=12), st.integers(0, 10_000))
def test_there_is_one_row_for_each_row_of_a_board_in_its_order(
    read: Read, items: list[tuple[int, str, str]], seed: int
) -> None:
    first, parsed = read.board(f"a{next(_numbers)}.md", as_board(items))
    second, other = read.board(f"b{next(_numbers)}.md", as_board(items[::-1]))
    read.settle([first, second], seed)
    expected = [(each.line, each.title) for each in [*other.items, *parsed.items]]
    boards = [second, first]  # in the order in which they were named
    found = [orjson.loads(line) for line in exported(read, boards, Format.JSONL).splitlines()]
    assert [(each["line"], each["title"]) for each in found] == expected
    assert [tuple(each) for each in found] == [COLUMNS] * len(found)
    in_csv = list(csv.DictReader(io.StringIO(exported(read, boards, Format.CSV).decode(), newline="")))
    assert [(int(each["line"]), each["title"]) for each in in_csv] == expected
    table = pyarrow.parquet.read_table(io.BytesIO(exported(read, boards, Format.PARQUET))).to_pylist()
    assert [(each["line"], each["title"]) for each in table] == expected
    markdown = exported(read, boards, Format.MD).decode()
    assert sum(line.startswith("### ") for line in markdown.splitlines()) == len(expected)
    for each in found:
        if each["answer"] is not None:
            assert each["answer"] == f"{each['answer'].split()[0]} of {each['item']}", (
                "of this item and no other"
            )


def test_what_is_not_known_is_null(read: Read) -> None:
    board, _ = read.board("a.md", "# A\n\n- [ ] one\n- [x] two\n")
    one, two = [row.as_json() for row in rows(read.database, [board])]
    assert (one["status"], two["status"], two["declared"]) == ("pending", "skipped", "done")
    unknown = (
        "answer",
        "data",
        "citations",
        "accepted_by",
        "accepted_at",
        "simulated",
        "model",
        "error_type",
        "review",
    )
    assert {name: one[name] for name in unknown} == dict.fromkeys(unknown)
    assert (one["attempts"], one["prompt_tokens"], one["cost"]) == (0, 0, 0.0)
    with read.database.connect() as connection:
        connection.execute("insert into recipe (hash, name, text) values ('h', 'task', '')")
        connection.execute(
            "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
            " values (1, 'openai', 'x', 'm', 'task', 'h', 1)"
        )
        connection.execute(
            "insert into attempt (item_id, number, batch_id, model, prompt_hash, prompt_tokens, cost, seconds, outcome,"
            " answer) select %s, n, max(b.id), 'm', '', case when n = 1 then 5 end, 0.25, 0, 'retry', 'x'"
            " from batch b, generate_series(1, 2) n group by n",
            [one["item"]],
        )
    (again, _) = [row.as_json() for row in rows(read.database, [board])]
    assert (again["attempts"], again["prompt_tokens"], again["cost"], again["model"]) == (2, None, 0.5, "m")


def test_no_cell_of_csv_is_a_formula_and_numbers_stay_numbers(read: Read) -> None:
    board, _ = read.board("a.md", '# A\n\n- [ ] =HYPERLINK("http://x";A1)\n- [ ] two\n')
    one, two = rows(read.database, [board])
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "'=1", "a=1", '"=1', "", "1"]
    made = [replace(two, answer=text, review_reason=text, attempts=-3, cost=-0.5) for text in texts]
    found = list(csv.reader(io.StringIO(b"".join(chunks([one, *made], Format.CSV)).decode(), newline="")))
    cells = [dict(zip(COLUMNS, line, strict=True)) for line in found[1:]]
    assert cells[0]["title"] == '\'=HYPERLINK("http://x";A1)'
    formulas = [f"'{text}" for text in texts[:8]] + texts[8:]
    assert [each["answer"] for each in cells[1:]] == [each["review_reason"] for each in cells[1:]] == formulas
    assert {(each["attempts"], each["cost"]) for each in cells[1:]} == {("-3", "-0.5")}
    lines = b"".join(chunks(made, Format.JSONL)).splitlines()
    assert [orjson.loads(line)["answer"] for line in lines] == texts, "in CSV only"


def test_it_is_as_of_one_moment(read: Read) -> None:
    text = "# A\n\n" + "".join(f"- [ ] item {number}\n" for number in range(3_000))
    board, parsed = read.board("a.md", text)
    found = rows(read.database, [board])
    first = next(found)
    with read.database.connect() as connection:
        connection.execute("update item set status = 4")
        connection.execute("update item_source set removed_at = now() where line % 2 = 0")
    rest = list(found)
    assert [row.title for row in [first, *rest]] == [item.title for item in parsed.items]
    assert {row.status for row in rest} == {"pending"}
    assert {row.status for row in rows(read.database, [board])} == {"done"}


def test_parts_follow_what_they_are_parts_of(read: Read) -> None:
    board, _ = read.board("a.md", "# A\n\n- [ ] one\n- [ ] two\n")
    with read.database.connect() as connection:
        (one, position) = connection.execute("select id, position from item order by id").fetchone() or (0, 0)
        (part,) = connection.execute(
            "insert into item (board_id, parent_id, key, position) values (%s, %s, gen_random_uuid(), %s) returning id",
            [board, one, position],
        ).fetchone() or (0,)
        connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash, origin)"
            " values (%s, 'task', 'a part', 3, 'todo', '', 'split')",
            [part],
        )
    assert [row.title for row in rows(read.database, [board])] == ["one", "two"]
    assert [(row.title, row.part_of) for row in rows(read.database, [board], parts=True)] == [
        ("one", None),
        ("a part", one),
        ("two", None),
    ]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def breaks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError):
        written(path, breaks())
    assert list(tmp_path.iterdir()) == []
    assert written(path, [b"one", b"two"]) == 6
    with pytest.raises(InputError, match="there already"):
        written(path, [b"other"])
    with pytest.raises(RuntimeError):
        written(path, breaks(), force=True)
    assert path.read_bytes() == b"onetwo"
    written(path, [b"other"], force=True)
    assert path.read_bytes() == b"other"
    assert list(tmp_path.iterdir()) == [path]

    def overtaken() -> Iterator[bytes]:
        late.write_bytes(b"theirs")
        yield b"ours"

    late = tmp_path / "late"
    with pytest.raises(InputError, match="there already"):
        written(late, overtaken())
    assert late.read_bytes() == b"theirs"
    with pytest.raises(InputError, match="can't be written"):
        written(tmp_path / "no" / "such", [b""])


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"penstock\[parquet\]"):
        next(chunks([], Format.PARQUET))


def test_a_hostile_answer_stays_in_its_section_and_the_file_is_no_documentation(read: Read) -> None:
    board, _ = read.board("a.md", "# A\n\n- [ ] one\n- [ ] two\n")
    answer = "### two\n\nnothing\n```\n- [ ] more work\n"
    with read.database.connect() as connection:
        connection.execute(
            "insert into result (item_id, text, accepted_by) select min(id), %s, 'person' from item", [answer]
        )
    text = exported(read, [board], Format.MD)
    assert [line for line in text.decode().splitlines() if line.startswith("#")] == [
        "# Export",
        "## /plans/a.md",
        "### one",
        "### two",
    ]
    assert text.startswith(sources.REPORT_MARK.encode())


def test_boards_are_named_as_everywhere_and_by_runs(read: Read) -> None:
    first, _ = read.board("a.md", "- [ ] one\n")
    second, _ = read.board("abcdef.md", "- [ ] two\n")
    with read.database.connect() as connection:
        connection.execute(
            "insert into run (id, board_ids) values ('12345678-0000-4000-8000-000000000000', %s)", [[second]]
        )
        assert named(connection, []) == [first, second]
        assert named(connection, ["12345678", "a.md"]) == [second, first]
        assert named(connection, ["last"]) == [second]
        assert named(connection, ["abcdef"]) == [second], "a board may look like a run's id"
        with pytest.raises(InputError, match="no run 'abc123'"):
            named(connection, ["abc123"])


def test_an_export_beside_a_drain_has_every_row(read: Read) -> None:
    """Items move while it is read: each is there once, in its place."""
    import threading

    board, parsed = read.board("a.md", "# A\n\n" + "".join(f"- [ ] item {n}\n" for n in range(5_000)))
    stop = threading.Event()

    def churn() -> None:
        with read.database.connect(autocommit=True) as connection:
            for number in itertools.count():
                if stop.is_set():
                    return
                connection.execute(
                    "with moved as (update item set status = 4 where id %% 97 = %s and status <> 4 returning id)"
                    " insert into result (item_id, text, accepted_by) select id, 'x', 'checks' from moved",
                    [number % 97],
                )

    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    try:
        for _ in range(3):
            found: list[dict[str, Any]] = [row.as_json() for row in rows(read.database, [board])]
            assert [row["title"] for row in found] == [item.title for item in parsed.items]
            assert all((row["answer"] is not None) == (row["status"] == "done") for row in found)
    finally:
        stop.set()
        thread.join(20)
