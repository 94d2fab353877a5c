"""claude-task-master's tasks.json."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.errors import SourceError
from sources import parse

PLAIN: dict[str, Any] = {
    "tasks": [
        {"id": 1, "title": "Set up", "description": "Monorepo", "status": "done", "priority": "high"},
        {
            "id": 2, "title": "Catalogue", "description": "", "status": "in-progress", "dependencies": [1],
            "details": "Prices\nin cents", "testStrategy": "Contract tests", "complexity": 7, "priority": "low",
            "subtasks": [
                {"id": 1, "title": "Schema", "status": "done", "dependencies": []},
                {"id": 2, "title": "Import", "status": "review", "dependencies": [1, "1", "2.3"]},
                {"id": 3, "title": "Pages", "status": "pending", "dependencies": [9]},
            ],
        },
        {"id": 3, "title": "Cart", "status": "deferred", "dependencies": ["2.2", 2]},
        {"id": 4, "title": "App", "status": "cancelled"},
        {"id": 5, "title": "Shop"},
    ]
}  # fmt: skip


def read(value: Any, name: str = "tasks.json", **options: Any) -> ParsedBoard:
    return parse(json.dumps(value, ensure_ascii=False, **options).encode(), name)


def by_id(board: ParsedBoard, ext_id: str) -> ParsedItem:
    return next(item for item in board.items if item.ext_id == ext_id)


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_tasks_and_subtasks_with_their_places(indent: str | int | None) -> None:
    text = json.dumps(PLAIN, indent=indent)
    board = parse(text.encode(), "tasks.json")
    assert board.dialect == "task_master"
    assert [item.ext_id for item in board.items] == ["1", "2", "2.1", "2.2", "2.3", "3", "4", "5"]
    assert [item.status.value for item in board.items] == [
        "done", "in_progress", "done", "in_progress", "todo", "blocked", "skipped", "todo",
    ]  # fmt: skip
    lines = text.split("\n")
    for item in board.items:
        assert lines[item.line - 1].count("{") >= item.ordinal + 1
        if item.ext_id and item.ext_id.startswith("2."):
            parent = by_id(board, "2")
            assert (item.parent_line, item.parent_ordinal, item.depth) == (parent.line, parent.ordinal, 1)
    if indent is None:
        assert [(item.line, item.ordinal) for item in board.items] == [(1, n) for n in range(8)]


def test_fields() -> None:
    board = read(PLAIN)
    second = by_id(board, "2")
    assert second.body == "Details:\nPrices\nin cents\n\nTest strategy:\nContract tests"
    assert (second.priority, second.labels) == (3, {"complexity": "7"})
    assert by_id(board, "1").body == "Monorepo"
    assert by_id(board, "1").priority == 1


def test_a_number_below_a_subtask_is_its_sibling() -> None:
    board = read(PLAIN)
    assert by_id(board, "2").needs == ["1"]
    assert by_id(board, "2.2").needs == ["2.1", "2.3"]
    assert by_id(board, "2.3").needs == ["2.9"]  # neither is there
    assert by_id(board, "3").needs == ["2.2", "2"]
    assert [finding.code for finding in board.findings] == ["unknown_dependency"]


def test_a_number_below_a_subtask_is_a_task_where_there_is_no_such_sibling() -> None:
    tasks = [
        {"id": 1, "title": "a"},
        {"id": 2, "title": "b"},
        {"id": 7, "title": "c", "subtasks": [{"id": 1, "title": "d"}]},
    ]
    tasks[2]["subtasks"][0]["dependencies"] = [2]  # type: ignore[index]
    assert by_id(read({"tasks": tasks}), "7.1").needs == ["2"]


def test_tags_count_each_from_one() -> None:
    tasks = [
        {"id": 1, "title": "a", "status": "done"},
        {"id": 2, "title": "b", "status": "pending", "dependencies": [1]},
    ]
    board = read(
        {"master": {"tasks": tasks, "metadata": {"created": "x"}}, "alerts": {"tasks": tasks}}, indent=1
    )
    assert [(item.ext_id, item.labels["tag"], item.needs) for item in board.items] == [
        ("1", "master", []), ("2", "master", ["1"]), ("alerts/1", "alerts", []), ("alerts/2", "alerts", ["alerts/1"]),
    ]  # fmt: skip
    assert board.findings == []


def test_an_id_twice_in_one_tag() -> None:
    board = read({"tasks": [{"id": 1, "title": "a", "status": "done"}, {"id": "1", "title": "b"}]}, indent=1)
    assert [item.ext_id for item in board.items] == ["1", "1"]
    assert [finding.code for finding in board.findings] == ["duplicate_id"]


def test_the_mark_is_the_text_of_the_status() -> None:
    text = json.dumps(PLAIN)
    for item in parse(text.encode(), "tasks.json").items:
        if item.ext_id == "5":
            assert item.mark is None
        else:
            assert item.mark is not None
            assert item.mark.style == "json"
            assert text[item.mark.start - 1] == text[item.mark.end] == '"'
    first = parse(text.encode(), "tasks.json").items[0].mark
    assert first is not None
    assert text[first.start : first.end] == "done"


def test_a_decimal_id_stays_as_written() -> None:
    board = parse(b'{"tasks": [{"id": 1.10, "title": "a", "status": "pending"}]}', "tasks.json")
    assert board.items[0].ext_id == "1.10"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"tasks": [\n  {"id": 1, "title": "a", "status": "done"},\n]}', 3),
        ('{"tasks": [\n  {"id": 1, "title": "a", "status": "done"}\n', 3),
        ('{"tasks": [{"id": 1,\n "title": "a" "status": "done"}]}', 2),
        ('{"tasks": [{"id": ' + "9" * 5000 + ', "title": "a", "status": "done"}]}', 1),
        ('{"tasks": [{"id": 1, "title": "a", "status": "done", "x": ' + "[" * 5000, 1),
    ],
)
def test_what_is_no_json_is_one_finding(text: str, line: int) -> None:
    board = parse(text.encode(), "tasks.json")
    assert (board.dialect, board.items) == ("task_master", [])
    (finding,) = board.findings
    assert (finding.code, finding.severity) == ("malformed_json", "error")
    assert abs(finding.line - line) <= 1


def test_odd_objects_are_found_and_the_rest_is_read() -> None:
    board = read(
        {"tasks": ["x", {"id": 1, "description": "only this", "status": "odd"}, {"status": "done"}, 7]},
        indent=1,
    )
    assert [item.title for item in board.items] == ["only this", "Task without id"]
    assert sorted(finding.code for finding in board.findings) == [
        "not_a_task", "not_a_task", "unknown_status", "untitled_item",
    ]  # fmt: skip


def test_an_empty_list_says_so() -> None:
    board = read({"tasks": []})
    assert (board.dialect, [finding.code for finding in board.findings]) == ("task_master", ["no_items"])


@pytest.mark.parametrize(
    "value",
    [
        {"version": "2.0.0", "tasks": [{"label": "build", "type": "shell", "command": "make"}]},
        {"name": "x", "title": "y", "scripts": {"a": "b"}},
        [{"title": "a", "number": 3, "state": "open"}],
        [],
    ],
)
def test_other_json(value: Any) -> None:
    assert read(value, "tasks.json").dialect != "task_master"


def test_a_checkbox_in_a_text_is_accounted_for() -> None:
    board = read(
        {"tasks": [{"id": 1, "title": "a", "status": "done", "details": "see - [ ] not one"}]}, indent=1
    )
    assert [reason for _, reason in board.not_items] == ["text"]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["done", "1", "1.2"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["tasks", "id", "title", "status", "subtasks", "dependencies", "details", "master"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_json_gives_a_sound_board(value: Any, indent: int | None, cut: bool) -> None:
    text = json.dumps({"tasks": value}, indent=indent, ensure_ascii=False)
    text = text[: len(text) // 2] if cut else text
    try:
        board = parse(text.encode("utf-8", "surrogatepass"), "tasks.json", "task_master")
    except SourceError:
        return  # control characters made it a binary file
    places = {(item.line, item.ordinal): item for item in board.items}
    assert list(places) == sorted(places)
    for item in board.items:
        assert item.title.strip()
        assert item.depth == (
            0 if item.parent_line is None else places[item.parent_line, item.parent_ordinal].depth + 1
        )
    assert board.items or board.findings


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_named_so_never_raises(text: str) -> None:
    data = f"{{{text}\n- [ ] x".encode("utf-8", "surrogatepass")
    try:
        board = parse(data, "tasks.json", "task_master")
    except SourceError:
        return
    lines = board.text.count("\n") + 1
    assert lines in {line for line, _ in board.not_items} | {item.line for item in board.items}
