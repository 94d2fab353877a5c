"""Comparisons: paired by case, with intervals, and honest where nothing is known."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.errors import InputError
from tasks.evaluate import Evaluation, VariantResult, against, compare, read_saved
from tasks.evaluate.results import CaseResult
from tasks.intervals import changed_by_chance, mean_interval, share_interval


def variant(
    name: str, scores: list[float | None], *, simulated: bool = False, hashes: str = "h"
) -> VariantResult:
    cases = tuple(
        CaseResult(golden="task", case=str(n), hash=f"{hashes}{n}", score=score, seconds=1.0, cost=0.5)
        for n, score in enumerate(scores)
    )
    return VariantResult(name=name, model=name, recipes={"task": "x"}, cases=cases, simulated=simulated)


def saved(*variants: VariantResult) -> Evaluation:
    return Evaluation(backend="openai", endpoint="http://a/v1", variants=variants)


def test_wilsons_interval_has_the_true_share_as_often_as_it_says() -> None:
    assert share_interval(0, 0) is None
    low, high = share_interval(8, 10) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)  # Newcombe 1998's formula by hand
    chance = random.Random(1)
    held = 0
    for _ in range(400):
        interval = share_interval(sum(chance.random() < 0.9 for _ in range(30)), 30)
        assert interval is not None
        held += interval[0] <= 0.9 <= interval[1]
    assert held / 400 > 0.92


def test_an_interval_of_too_little_is_unknown() -> None:
    assert mean_interval([]) is None
    assert mean_interval([0.5]) is None
    assert mean_interval([0.5, 0.5, 0.5]) is None
    interval = mean_interval([0.0, 1.0] * 20)
    assert interval is not None
    assert interval == mean_interval([0.0, 1.0] * 20), "the same numbers, the same interval"
    assert 0.3 < interval[0] < 0.5 < interval[1] < 0.7


def test_mcnemars_test_is_exact() -> None:
    assert changed_by_chance(0, 0) is None
    assert changed_by_chance(7, 0) == pytest.approx(2 * 0.5**7)
    assert changed_by_chance(3, 3) == 1.0


def test_figures_count_what_is_known_alone() -> None:
    figures = variant("a", [1.0, 0.5, None, 1.0]).figures()
    assert (figures["cases"], figures["unknown"], figures["passed"]) == (4, 1, 2)
    assert figures["score"] == pytest.approx(2.5 / 3)
    assert figures["cost"] == 1.5
    nothing = variant("a", [None, None]).figures()
    assert (nothing["score"], nothing["passed_interval"], nothing["cost"]) == (None, None, None)


def test_pairs_are_of_the_same_case_with_a_score_on_both_sides() -> None:
    before, after = variant("a", [1.0, 1.0, 0.0, 1.0, None]), variant("b", [0.5, 1.0, 1.0, None, 1.0])
    found = compare(before, after)
    assert (found.cases, found.left_out) == (3, 2)
    assert found.difference == pytest.approx(0.5 / 3)
    assert (found.only_first, found.only_second) == (1, 1)
    assert not found.regressed(0.05)
    back = compare(after, before)
    assert back.regressed(0.05)
    assert not back.regressed(0.2)


def test_a_case_with_another_text_is_not_compared() -> None:
    found = compare(variant("a", [1.0] * 3), variant("b", [0.0] * 3, hashes="other"))
    assert (found.cases, found.left_out, found.difference) == (0, 3, None)
    assert not found.regressed(0.0), "nothing is known"
    with pytest.raises(InputError, match="No case is the same"):
        against(saved(variant("a", [1.0])), [variant("a", [1.0], hashes="other")])


def test_what_is_simulated_is_compared_with_its_like_alone() -> None:
    with pytest.raises(InputError, match="a is simulated and b is not"):
        compare(variant("a", [1.0], simulated=True), variant("b", [1.0]))
    assert compare(variant("a", [1.0], simulated=True), variant("b", [1.0], simulated=True)).simulated


def test_which_of_a_baseline_is_meant() -> None:
    one = saved(variant("old", [1.0]))
    assert against(one, [variant("new", [0.0])])[0].first == "old"
    two = saved(variant("a", [1.0]), variant("b", [0.0]))
    assert against(two, [variant("b", [0.0])])[0].difference == 0
    with pytest.raises(InputError, match="it has a, b"):
        against(two, [variant("c", [0.0])])


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    found = saved(variant("a", [1.0, None, 0.25]))
    found.save(path)
    assert read_saved(path) == found
    path.write_text('{"penstock_eval": 2}')
    with pytest.raises(InputError, match="was not written by"):
        read_saved(path)
    with pytest.raises(InputError, match="can't be read"):
        read_saved(tmp_path / "none.json")
    with pytest.raises(InputError, match="can't be written"):
        found.save(tmp_path / "no" / "folder.json")
