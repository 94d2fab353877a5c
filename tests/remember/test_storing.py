"""What enters memory and what leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import SettingsError
from tasks.remember import merge_recent, remember_board, remember_results, search
from tasks.remember.chunking import MOST

from .conftest import Other, World

DOCUMENT = """# Operations

## Backup

The nightly backup runs at two and keeps thirty copies.

## Restore

Restore a copy with `restore.sh`, then check the counts.

## Contact

Call the duty officer.
"""


def test_remembering_twice_changes_nothing(world: World) -> None:
    board_id, board = world.board("/docs/ops.md", DOCUMENT)
    assert remember_board(world.connection, board_id, board) == 3
    before = world.current("id, cite, text, embedding::text")
    assert [row[1] for row in before] == ["/docs/ops.md:1-5", "/docs/ops.md:7-9", "/docs/ops.md:11-13"]
    assert remember_board(world.connection, board_id, board) == 0
    assert world.current("id, cite, text, embedding::text") == before
    assert world.superseded() == 0


def test_an_edit_supersedes_only_what_changed_and_moves_the_rest(world: World) -> None:
    board_id, board = world.board("/docs/ops.md", DOCUMENT)
    remember_board(world.connection, board_id, board)
    first, second, third = (row[0] for row in world.current())
    edited = DOCUMENT.replace("at two", "at two,\nafter the import,")
    board_id, board = world.board("/docs/ops.md", edited)
    assert remember_board(world.connection, board_id, board) == 1
    found = world.current("id, cite, text, line_start, line_end")
    assert [(row[0], row[1]) for row in found[:2]] == [
        (second, "/docs/ops.md:8-10"),
        (third, "/docs/ops.md:12-14"),
    ]
    assert "after the import" in str(found[2][2])
    lines = edited.split("\n")
    for _, _, text, start, end in found:
        assert text == "\n".join(lines[int(str(start)) - 1 : int(str(end))])
    row = world.connection.execute("select superseded_at is not null from node where id = %s", [first])
    assert row.fetchone() == (True,)
    assert not [hit for hit in search(world.connection, "nightly backup") if hit.node_id == first]


def test_the_same_text_twice_is_two_nodes_and_losing_one_loses_one(world: World) -> None:
    board_id, board = world.board("/a.md", "# A\n\nsame\n\n# A\n\nsame\n\n# A\n\nsame\n")
    assert remember_board(world.connection, board_id, board) == 3
    board_id, board = world.board("/a.md", "# A\n\nsame\n\n# A\n\nsame\n")
    assert remember_board(world.connection, board_id, board) == 0
    assert [row[0] for row in world.current("cite")] == ["/a.md:1-3", "/a.md:5-7"]
    assert world.superseded() == 1


def test_lines_with_items_are_a_plan_and_the_rest_is_a_document(world: World) -> None:
    board_id, board = world.board("/todo.md", "# About\n\nWhy.\n\n# To do\n\n- [ ] this\n", items=[7])
    remember_board(world.connection, board_id, board)
    assert world.current("kind, line_start") == [("document", 1), ("plan", 5)]


def test_another_encoder_makes_the_board_new(world: World) -> None:
    board_id, board = world.board("/docs/ops.md", DOCUMENT)
    remember_board(world.connection, board_id, board, encoder=Other())
    assert remember_board(world.connection, board_id, board) == 3
    assert {row[0] for row in world.current("encoder")} == {"hash-char35-768-v1"}
    assert world.superseded() == 3


def test_an_encoder_of_other_dimensions_is_refused(world: World) -> None:
    board_id, board = world.board("/docs/ops.md", DOCUMENT)
    with pytest.raises(SettingsError, match="384 dimensions"):
        remember_board(world.connection, board_id, board, encoder=Other(384))


def test_a_cite_is_short_below_the_working_folder_and_stays_what_it_was(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(tmp_path / "docs" / "a [draft]\n.md")
    board_id, board = world.board(source, "One.")
    remember_board(world.connection, board_id, board)
    assert world.current("cite, source") == [("docs/a _draft__.md:1", source)]
    monkeypatch.chdir("/")
    board_id, board = world.board(source, "Two.\n\nThree.")
    remember_board(world.connection, board_id, board)
    assert world.current("cite") == [("docs/a _draft__.md:1-3",)]


def test_a_text_with_nul_and_an_empty_one_are_stored(world: World) -> None:
    board_id, board = world.board("/nul.md", "a\0b")
    assert remember_board(world.connection, board_id, board) == 1
    board_id, board = world.board("/nul.md", "")
    assert remember_board(world.connection, board_id, board) == 0
    assert world.current() == []


def test_accepted_answers_enter_once_and_simulated_ones_never(world: World) -> None:
    board_id, _ = world.board("/todo.md", "- [ ] a\n- [ ] b\n")
    item = world.answer(
        board_id, 1, "The copies are kept for thirty days.", title="How long are copies kept?"
    )
    world.answer(board_id, 2, "Simulated words.", simulated=True)
    assert remember_results(world.connection) == 1
    assert remember_results(world.connection) == 0
    (row,) = world.current("kind, source, cite, heading, text, board_id, line_start, line_end")
    assert row == (
        "answer",
        f"item:{item}",
        f"item:{item}",
        "How long are copies kept?",
        "The copies are kept for thirty days.",
        board_id,
        1,
        1,
    )


def test_answers_enter_in_portions(world: World) -> None:
    board_id, _ = world.board("/todo.md", "- [ ] a\n")
    for number in range(5):
        world.answer(board_id, number + 1, f"Answer {number}")
    assert [remember_results(world.connection, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert len(world.current()) == 5


def test_a_long_answer_is_several_nodes_of_one_cite(world: World) -> None:
    board_id, _ = world.board("/todo.md", "- [ ] a\n")
    item = world.answer(board_id, 1, "\n\n".join(["Words of an answer. " * 40] * 4))
    assert remember_results(world.connection) == 1
    found = world.current("cite, length(text)")
    assert len(found) == 4
    assert all(cite == f"item:{item}" and int(str(size)) <= MOST for cite, size in found)


def test_an_answer_that_no_longer_stands_leaves_memory(world: World) -> None:
    board_id, _ = world.board("/todo.md", "- [ ] a\n")
    item = world.answer(board_id, 1, "Forty days.")
    remember_results(world.connection)
    world.connection.execute("update result set superseded_at = now() where item_id = %s", [item])
    assert search(world.connection, "forty days") == []  # already before the next tidying
    world.connection.execute(
        "insert into result (item_id, text, accepted_by) values (%s, 'Thirty days.', 'person')", [item]
    )
    assert remember_results(world.connection) == 1
    assert world.current("text") == [("Thirty days.",)]
    assert world.superseded() == 1


def test_the_lines_of_an_answer_follow_its_item(world: World) -> None:
    board_id, board = world.board("/todo.md", "- [ ] a\n")
    item = world.answer(board_id, 1, "Yes.")
    remember_board(world.connection, board_id, board)
    remember_results(world.connection)
    board_id, board = world.board("/todo.md", "# New\n\n- [ ] a\n")
    world.connection.execute("update item_source set line = 3 where item_id = %s", [item])
    remember_board(world.connection, board_id, board)
    assert world.current("kind, cite, line_start") == [
        ("answer", f"item:{item}", 3),
        ("document", "/todo.md:1-3", 1),
    ]


def test_recent_nodes_move_into_the_index_when_they_are_many(world: World) -> None:
    board_id, board = world.board("/docs/ops.md", DOCUMENT)
    remember_board(world.connection, board_id, board)
    assert merge_recent(world.connection) == 0
    assert merge_recent(world.connection, threshold=3) == 0
    assert merge_recent(world.connection, threshold=2) == 3
    assert {row[0] for row in world.current("indexed")} == {True}
    assert search(world.connection, "nightly backup")[0].cite == "/docs/ops.md:1-5"
    assert remember_board(world.connection, board_id, board) == 0
