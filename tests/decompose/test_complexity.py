"""A score from the words alone: the same every time, small for a line, and unknown where nothing can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.decompose.complexity import ONE_LINE, Complexity, complexity, declared_size

STEPS = "\n".join(
    f"{n}. Write the {what}" for n, what in enumerate(["schema", "endpoint", "button", "guide"], 1)
)


@given(st.text(max_size=400), st.text(max_size=2000))
def test_any_text_has_a_score_within_the_scale_or_none(title: str, body: str) -> None:
    found = complexity(title, body)
    assert found == complexity(title, body)
    assert found.score is None or 1 <= found.score <= 10


WORDS = ["Build", "and", "test", "`a.py`,", "`b/c.py`;", "then", "ship:", "все", "и", "всё", "测试,", "или"]


@given(st.lists(st.sampled_from(WORDS), max_size=80))
def test_a_line_that_declares_nothing_is_never_split_by_default(words: list[str]) -> None:
    score = complexity(" ".join(words)).score
    assert score is None or score <= ONE_LINE


@pytest.mark.parametrize("text", ["", "???? ??", "…", "123 456", "- - -", "🙂"])
def test_what_has_no_words_is_unknown(text: str) -> None:
    assert complexity(text) == Complexity(None)
    assert Complexity(None).parts(8) is None


@pytest.mark.parametrize(
    ("title", "body"),
    [
        ("Add the export", STEPS),
        ("Добавить выгрузку", "1. Описать таблицу\n2. Написать обработчик\n3. Добавить кнопку\n4. Проверить на стенде"),
        ("Den Export bauen",
         "- die Tabelle anlegen und prüfen\n- den Endpunkt schreiben\n- die Hilfe schreiben\n- mit dem Team testen"),
        ("添加导出功能", "1. 设计数据表结构\n2. 编写导出接口\n3. 添加导出按钮\n4. 更新使用文档"),
    ],
)  # fmt: skip
def test_a_list_of_steps_is_large_in_any_language(title: str, body: str) -> None:
    found = complexity(title, body)
    assert found.score is not None
    assert found.score > ONE_LINE, found
    assert found.steps >= 3


def test_more_to_do_is_never_less_complex() -> None:
    scores = []
    for count in range(12):
        body = "\n".join(f"{n}. Write part {n} of `src/p{n}.py`" for n in range(1, count + 1))
        scores.append(complexity("Build it", body).score or 0)
    assert scores == sorted(scores)
    assert scores[0] == 1
    assert scores[-1] == 10


def test_what_is_declared_weighs_more_than_the_words() -> None:
    small = complexity("Add the export", STEPS, {"estimate": "1h"}).score
    plain = complexity("Add the export", STEPS).score
    large = complexity("Add it", "", {"estimate": "3w"}).score
    assert small is not None
    assert plain is not None
    assert large is not None
    assert small < plain
    assert small <= ONE_LINE < large


@pytest.mark.parametrize(
    ("labels", "low", "high"),
    [
        ({"estimate": "0.5d"}, 3, 3.5),
        ({"estimate": "3d"}, 6, 6.5),
        ({"estimate": "~3 дня"}, 6, 6.5),
        ({"estimate": "2-3 Tage"}, 6, 6.5),
        ({"estimate": "2 недели"}, 8, 9),
        ({"estimate": "30 min"}, 1, 1.6),
        ({"estimate": "4 ч"}, 3, 3.5),
        ({"estimate": "3天"}, 6, 6.5),
        ({"complexity": "70%"}, 7, 7),
        ({"complexity": "8/10"}, 8, 8),
        ({"complexity": "8"}, 8, 8),
        ({"complexity": "высокая"}, 8, 8),
        ({"complexity": "low"}, 2, 2),
        ({"effort": "XL"}, 9, 9),
        ({"effort": "s"}, 3, 3),
        ({"estimate": "8 SP"}, 5, 6),
    ],
)
def test_sizes_as_boards_write_them(labels: dict[str, str], low: float, high: float) -> None:
    size = declared_size("t", "", labels)
    assert size is not None
    assert low <= size <= high


@pytest.mark.parametrize(
    "labels",
    [
        {"estimate": "TBD"},
        {"estimate": "5"},
        {"complexity": "?"},
        {"complexity": "40"},
        {"effort": "soon"},
        {},
    ],
)
def test_a_size_that_cannot_be_read_is_none(labels: dict[str, str]) -> None:
    assert declared_size("Paint it", "", labels) is None


def test_a_size_is_read_from_the_text_too() -> None:
    assert declared_size("Paint it (estimate: 3d)", "", {}) == declared_size("t", "", {"estimate": "3d"})
    assert declared_size("Покрасить", "Сложность: 70%", {}) == 7
    assert declared_size("Paint it", "The estimate of the weight is 3 days old", {}) is None


def test_a_kind_that_is_split_is_large_and_a_declared_hour_is_not() -> None:
    assert (complexity("Alarms", large=True).score or 0) > ONE_LINE
    assert (complexity("Alarms", "", {"estimate": "1h"}, large=True).score or 10) <= ONE_LINE


def test_the_score_says_into_how_many_parts() -> None:
    parts = [Complexity(score).parts(8) for score in range(1, 11)]
    assert parts == [2, 2, 2, 2, 2, 3, 4, 5, 6, 7]
    assert Complexity(10).parts(4) == 4
