"""A board's file after a write-back: its settled items' marks, and not a byte besides."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from models.errors import SourceError
from sources import Origin, parse
from sources.marks import rewrite
from sql.connection import Database
from tasks.ingest import ingest_board
from tasks.write_back import WriteBack, write_back

TODAY = date(2026, 3, 4)
LIMIT = 1_000_000


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect(autocommit=True) as connection:
        yield connection


def ingest(connection: psycopg.Connection[Any], path: Path) -> int:
    return ingest_board(connection, parse(path.read_bytes(), str(path)), source=str(path.resolve())).board_id


def settle(
    connection: psycopg.Connection[Any], title: str, status: int = 4, *, simulated: bool = False
) -> int:
    row = connection.execute(
        "update item i set status = %s, ready = false from item_source s"
        " where s.item_id = i.id and s.title = %s returning i.id",
        (status, title),
    ).fetchone()
    assert row is not None
    if status == 4:
        connection.execute(
            "insert into result (item_id, text, accepted_by, simulated) values (%s, 'x', 'checks', %s)",
            (row[0], simulated),
        )
    return int(row[0])


def write(connection: psycopg.Connection[Any], path: Path, **options: Any) -> WriteBack:
    return write_back(connection, path, today=TODAY, max_bytes=LIMIT, **options)


BOARD = "\ufeff# Plan\r\n\r\n- [ ] One  \r\n\t- [~] Two\r\n- [ ] Three\r\n- [x] Four"


@pytest.fixture
def board(tmp_path: Path, connection: psycopg.Connection[Any]) -> Path:
    path = tmp_path / "plan.md"
    path.write_bytes(BOARD.encode())
    ingest(connection, path)
    return path


def test_marks_of_settled_items_change_and_nothing_else(
    board: Path, connection: psycopg.Connection[Any]
) -> None:
    settle(connection, "Two")
    settle(connection, "Three", 6)
    made = write(connection, board)
    assert made.marks == 2
    assert board.read_bytes().decode() == BOARD.replace("[~] Two", "[x] Two").replace(
        "[ ] Three", "[-] Three"
    )


def test_again_there_is_nothing_to_write_and_the_next_change_is_written(
    board: Path, connection: psycopg.Connection[Any]
) -> None:
    settle(connection, "Two")
    write(connection, board)
    assert write(connection, board) == WriteBack(str(board))
    settle(connection, "Three")
    assert write(connection, board).marks == 1
    assert b"[x] Three" in board.read_bytes()


def test_what_was_written_changes_no_state(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Two")
    settle(connection, "Three", 6)
    connection.execute("select penstock_advance_board(1)")  # One, whose only part is done, goes on
    before = connection.execute("select id, status from item order by id").fetchall()
    write(connection, board)
    same = ingest_board(connection, parse(board.read_bytes(), str(board)), source=str(board.resolve()))
    assert same.unchanged == 4
    after = connection.execute("select id, status from item order by id").fetchall()
    assert after == before
    assert connection.execute("select count(*) from result where superseded_at is null").fetchone() == (1,)


def test_dry_run_shows_a_diff_and_writes_nothing(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Three")
    made = write(connection, board, dry_run=True)
    assert "-- [ ] Three\r\n+- [x] Three\r\n" in made.diff
    assert made.diff.endswith("- [x] Four\n\\ No newline at end of file\n")
    assert board.read_bytes() == BOARD.encode()


def test_a_note_names_the_item(board: Path, connection: psycopg.Connection[Any]) -> None:
    item = settle(connection, "Three")
    write(connection, board, note=True)
    assert (
        f"- [x] Three <!-- penstock: item {item}, accepted by its checks -->\r\n"
        in board.read_bytes().decode()
    )
    assert write(connection, board, note=True).marks == 0


def test_simulated_answers_are_not_told_to_a_board(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Two", simulated=True)
    settle(connection, "One")  # rolled up from it
    assert write(connection, board).marks == 0
    assert board.read_bytes() == BOARD.encode()


def test_a_file_that_was_changed_since_is_left_alone(
    board: Path, connection: psycopg.Connection[Any]
) -> None:
    settle(connection, "Three")
    edited = BOARD.replace("Four", "Five").encode()
    board.write_bytes(edited)
    with pytest.raises(SourceError, match="changed since it was ingested; nothing was written"):
        write(connection, board)
    assert board.read_bytes() == edited


def test_a_change_in_the_last_moment_wins(
    board: Path, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(connection, "Three")
    edited = BOARD.replace("Four", "Five").encode()

    def slow(*arguments: Any) -> Any:
        made = rewrite(*arguments)
        board.write_bytes(edited)  # an editor saves meanwhile
        return made

    monkeypatch.setattr("tasks.write_back.rewrite", slow)
    with pytest.raises(SourceError, match="somebody changed it"):
        write(connection, board)
    assert board.read_bytes() == edited
    assert [path.name for path in board.parent.iterdir()] == ["plan.md"]


def test_permissions_and_links_stay(board: Path, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    settle(connection, "Three")
    board.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(board)
    assert write(connection, link).marks == 1
    assert link.is_symlink()
    assert stat.S_IMODE(board.stat().st_mode) == 0o640
    assert b"[x] Three" in board.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Three")
    board.parent.chmod(0o500)
    try:
        with pytest.raises(SourceError, match="could not be written"):
            write(connection, board)
    finally:
        board.parent.chmod(0o700)
    assert board.read_bytes() == BOARD.encode()


def test_a_full_disk_leaves_the_file_as_it_was(
    board: Path, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(connection, "Three")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.write_back.os.fsync", full)
    with pytest.raises(SourceError, match=r"could not be written: No space left on device\. It is as it was"):
        write(connection, board)
    assert board.read_bytes() == BOARD.encode()
    assert [path.name for path in board.parent.iterdir()] == ["plan.md"]


def test_a_file_that_was_never_run_has_no_state(tmp_path: Path, connection: psycopg.Connection[Any]) -> None:
    path = tmp_path / "new.md"
    path.write_bytes(b"- [ ] a\n")
    with pytest.raises(SourceError, match="not ingested yet"):
        write(connection, path)


def test_what_a_mark_cannot_say_is_told(tmp_path: Path, connection: psycopg.Connection[Any]) -> None:
    path = tmp_path / "todo.txt"
    path.write_bytes(b"(A) 2026-01-01 Call Ann +home\n(B) Call Bob @phone\nx 2026-01-02 Call Cy\n")
    ingest(connection, path)
    titles = [row[0] for row in connection.execute("select title from item_source order by line")]
    settle(connection, titles[1], 6)
    made = write(connection, path)
    assert made.marks == 0
    assert made.not_written == [f"line 2: {titles[1]!r} has no mark that could say skipped"]
    settle(connection, titles[0])
    assert write(connection, path).marks == 1
    assert path.read_bytes().startswith(b"x 2026-03-04 2026-01-01 Call Ann +home pri:A\n")


def test_a_mark_within_the_text_is_left_to_the_person(
    tmp_path: Path, connection: psycopg.Connection[Any]
) -> None:
    path = tmp_path / "trip.taskpaper"
    path.write_bytes(b"Trip:\n\t- buy tickets @waiting(card) by friday\n\t- pack\n")
    ingest(connection, path)
    titles = {
        row[0]: row[1] for row in connection.execute("select line, title from item_source order by line")
    }
    settle(connection, titles[2])
    settle(connection, titles[3])
    made = write(connection, path)
    again = parse(path.read_bytes(), str(path))
    assert {item.line: item.title for item in again.items} == titles
    assert connection.execute("select count(*) from result where superseded_at is null").fetchone() == (2,)
    assert b"- pack @done(2026-03-04)" in path.read_bytes()
    assert made.marks + len(made.not_written) == 2


def test_a_file_with_two_names_is_not_torn_apart(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Three")
    os.link(board, board.with_name("other.md"))
    with pytest.raises(SourceError, match="2 names"):
        write(connection, board)
    assert board.read_bytes() == board.with_name("other.md").read_bytes() == BOARD.encode()


def test_a_note_takes_the_place_of_the_one_before(board: Path, connection: psycopg.Connection[Any]) -> None:
    settle(connection, "Three")
    write(connection, board, note=True)
    board.write_bytes(board.read_bytes().replace(b"[x] Three", b"[ ] Three"))
    ingest(connection, board)
    settle(connection, "Three", 6)
    write(connection, board, note=True)
    (line,) = (line for line in board.read_text().splitlines() if "Three" in line)
    assert line.startswith("- [-] Three <!-- penstock: ")
    assert line.count("<!--") == 1


def test_what_rests_on_the_same_work_elsewhere_is_not_done(
    board: Path, connection: psycopg.Connection[Any]
) -> None:
    settle(connection, "One")
    two = settle(connection, "Two", 7)
    connection.execute("insert into duplicate (item_id, fingerprint) values (%s, gen_random_uuid())", (two,))
    assert write(connection, board).marks == 0
    assert board.read_bytes() == BOARD.encode()


def test_a_name_that_is_no_utf8_is_found_again(tmp_path: Path, connection: psycopg.Connection[Any]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))
    path.write_bytes(b"- [ ] One\n")
    source = Origin(str(path), path).source("")
    ingest_board(connection, parse(path.read_bytes(), source), source=source)
    settle(connection, "One")
    assert write(connection, path).marks == 1
    assert path.read_bytes() == b"- [x] One\n"
