"""Batches are as large as a set time allows, from small on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.execute.sizing import GROWTH, Sizes

KEY = ("task", "small:1b")


def sizes(
    server: float, *, at_once: int, most: int = 2048, seconds: float = 5.0, batches: int = 12
) -> list[int]:
    """Of batches that are claimed one after another; an answer takes `server` seconds."""
    it, found = Sizes(most, seconds), []
    for _ in range(batches):
        size = it.half(KEY, at_once=at_once)
        found.append(size)
        it.ended(KEY, size, server * -(-size // at_once))
    return found


def test_a_fast_server_has_the_largest_batches_after_a_few_small_ones() -> None:
    assert sizes(0.005, at_once=8)[:6] == [8, 32, 128, 512, 1024, 1024]


def test_a_slow_one_has_one_for_each_slot() -> None:
    assert set(sizes(20.0, at_once=2)) == {2}


def test_between_them_what_is_claimed_takes_as_long_as_is_set() -> None:
    *_, size = sizes(0.2, at_once=4, seconds=10.0)
    assert size == 100  # 4 at a time, 20 a second: 5 seconds, and another half of it overlaps


def test_each_recipe_and_model_has_its_own() -> None:
    it = Sizes(2048, 5.0)
    it.ended(KEY, 8, 0.01)
    assert it.half(KEY, at_once=8) == 32
    assert it.half(("task", "large:70b"), at_once=8) == 8


def test_a_server_that_becomes_slow_gets_less_at_once_next_time() -> None:
    it = Sizes(2048, 5.0)
    for _ in range(6):
        it.ended(KEY, it.half(KEY, at_once=8), 0.05)
    assert it.half(KEY, at_once=8) == 1024
    for _ in range(16):
        it.ended(KEY, it.half(KEY, at_once=8), 60.0)
    assert it.half(KEY, at_once=8) < 64


def test_no_time_is_set_and_all_have_half_of_what_may_be_claimed() -> None:
    assert sizes(20.0, at_once=4, most=32, seconds=0) == [16] * 12


@given(
    most=st.integers(1, 4096),
    seconds=st.floats(0, 1000),
    at_once=st.integers(1, 512),
    kept=st.integers(0, 64),
    ended=st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 1e6))),
)
def test_two_halves_and_what_is_kept_are_never_more_than_may_be_claimed(
    most: int, seconds: float, at_once: int, kept: int, ended: list[tuple[int, float]]
) -> None:
    it = Sizes(most, seconds)
    largest = 0
    for items, took in ended:
        it.ended(KEY, items, took)
        largest = max(largest, items)
    half = it.half(KEY, at_once=at_once, kept=kept)
    assert half >= 1
    assert half == 1 or 2 * half + kept <= most
    assert not seconds or half <= max(at_once, GROWTH * largest)
