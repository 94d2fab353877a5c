"""A plan as text: what is shown can be edited and read again; what can't be used is refused with the reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from tasks.decompose.plan import LONGEST_PART, LONGEST_TITLE, parse_plan, plan_text, split_problem

WORD = st.text("abcж0:.)-", min_size=1, max_size=8)
LINE = st.lists(WORD, max_size=4).map(lambda words: " ".join(["x", *words]))


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    titles = draw(st.lists(LINE, min_size=2, max_size=6, unique=True))
    parts: list[dict[str, Any]] = []
    for number, title in enumerate(titles, 1):
        part: dict[str, Any] = {"title": title, "acceptance": draw(st.lists(LINE, min_size=1, max_size=3))}
        part["needs"] = sorted(draw(st.sets(st.integers(1, number - 1), max_size=2))) if number > 1 else []
        if draw(st.booleans()):
            part["body"] = "\n".join(draw(st.lists(LINE, min_size=1, max_size=3)))
        parts.append(part)
    return {"subtasks": parts}


@given(plans())
def test_what_is_shown_is_read_again_as_it_was(data: dict[str, Any]) -> None:
    assert parse_plan(plan_text(data)) == data
    assert parse_plan(orjson.dumps(data).decode()) == data
    assert parse_plan(orjson.dumps(data["subtasks"]).decode()) == data


def test_a_persons_list() -> None:
    data = parse_plan(
        "1. Write the schema\n   - it has a key\n\n4. Write the endpoint\n   > In JSON.\n   * returns levels\n"
        "   needs: 1\n- Add the button\n  1. it is blue\n  - Needs: #1, 4\n"
    )
    assert data["subtasks"] == [
        {"title": "Write the schema", "acceptance": ["it has a key"], "needs": []},
        {"title": "Write the endpoint", "acceptance": ["returns levels"], "needs": [1], "body": "In JSON."},
        {"title": "Add the button", "acceptance": ["it is blue"], "needs": [1, 2]},
    ]
    assert split_problem(data) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Just do it", "Line 1 of the plan, 'Just do it', is no part"),
        ("\n  - a criterion of nothing", "Line 2"),
        ("1. one\n1. two", "two parts 1"),
        ("{'a': 1}", "like JSON and is none"),
        ('{"parts": []}', "without `subtasks`"),
        ("[1, 2", "like JSON and is none"),
    ],
)
def test_what_is_no_plan_says_where(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_plan(text)


def parts(*needs: list[int]) -> dict[str, Any]:
    return {
        "subtasks": [
            {"title": f"part {number}", "acceptance": ["it is"], "needs": each}
            for number, each in enumerate(needs, 1)
        ]
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (parts([]), "one subtask only"),
        (parts([2], [1]), "1, 2 wait for one another"),
        (parts([], [2]), "2 wait for one another"),
        (parts([], [3], [4], [2]), "2, 3, 4 wait for one another"),
        (parts([], [7]), "needs subtask 7, which is not there: there are 2"),
        (parts([], [0]), "needs subtask 0"),
        ({"subtasks": [{"title": "a", "acceptance": ["x"], "needs": "1"}] * 2}, "twice"),
        (
            {"subtasks": [{"title": t, "acceptance": ["x"], "needs": [True]} for t in "ab"]},
            "lists numbers of other subtasks",
        ),
        (
            {"subtasks": [{"title": "a" * (LONGEST_TITLE + 1), "acceptance": ["x"]}] * 2},
            "title of 301 characters",
        ),
        (
            {"subtasks": [{"title": "a", "acceptance": ["x"], "body": "b" * (LONGEST_PART + 1)}] * 2},
            "characters below its title",
        ),
    ],
)
def test_what_cannot_be_used(data: dict[str, Any], words: str) -> None:
    problem = split_problem(data)
    assert problem is not None
    assert words in problem


def test_parts_may_wait_for_parts_in_any_order() -> None:
    assert split_problem(parts([3], [1], [])) is None
    assert split_problem(parts([2, 3], [3], [])) is None
