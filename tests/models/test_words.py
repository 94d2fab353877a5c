"""Numbers and names in messages."""

from __future__ import annotations

from models.words import all_of, counted, quoted, some_of


def test_one_is_no_plural() -> None:
    assert [counted(number, "item") for number in (0, 1, 2)] == ["0 items", "1 item", "2 items"]
    assert counted(2, "child", "children") == "2 children"
    assert [all_of(number, "part") for number in (1, 2)] == ["its only part is", "all of its 2 parts are"]
    assert [some_of(1, of, "child", "children") for of in (1, 3)] == [
        "its only child is",
        "1 of its 3 children is",
    ]
    assert some_of(2, 3, "part") == "2 of its 3 parts are"


def test_a_name_that_was_cut_says_so() -> None:
    assert quoted("a" * 60) == repr("a" * 60)
    assert quoted("a" * 61) == repr("a" * 59 + "…")
    assert quoted("ab cd", 4) == "'ab…'"
