from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.shortening import LEAST, shortened
from tasks.tokens import CHARACTERS_PER_TOKEN, ENOUGH, MARGIN, MOST_PER_TOKEN, Meter, weight


def test_a_dense_script_weighs_more() -> None:
    assert weight("four") == 4
    assert weight("слово") == 5
    assert weight("日本語 한국") == 3 * 5 + 1
    assert weight("") == 0


def test_what_was_measured_counts_at_once_where_it_is_less() -> None:
    meter = Meter()
    assert meter.per_token("m") == CHARACTERS_PER_TOKEN
    meter.learn("m", 4_000, 2_000, 8_192)
    assert meter.per_token("m") == 2 * MARGIN
    assert meter.per_token("other") == CHARACTERS_PER_TOKEN


def test_more_is_believed_only_of_many_and_never_too_much() -> None:
    meter = Meter()
    for _ in range(ENOUGH - 1):
        meter.learn("m", 5_000, 1_000, 8_192)
    assert meter.per_token("m") == CHARACTERS_PER_TOKEN
    meter.learn("m", 5_000, 1_000, 8_192)
    assert meter.per_token("m") == MOST_PER_TOKEN
    meter.learn("m", 3_400, 1_000, 8_192)
    assert meter.per_token("m") == 3.4 * MARGIN


def test_a_count_of_a_prompt_that_was_cut_teaches_nothing() -> None:
    meter = Meter()
    for weighs, tokens in ((30_000, 4_096), (30_000, 10), (999, 500), (5_000, None), (5_000, 0)):
        meter.learn("m", weighs, tokens, 4_096)
    assert meter.per_token("m") == CHARACTERS_PER_TOKEN


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1_000, 50_000), st.integers(1, 20_000)), max_size=60))
def test_it_is_never_less_cautious_than_the_worst_that_was_measured(seen: list[tuple[int, int]]) -> None:
    meter = Meter()
    for weighs, tokens in seen:
        meter.learn("m", weighs, tokens, 32_768)
    believed = [w / t for w, t in seen if w <= 8 * t and t < 0.9 * 32_768]
    assert all(meter.per_token("m") <= each for each in believed)
    assert meter.per_token("m") <= MOST_PER_TOKEN


@settings(deadline=None)
@given(st.text(st.sampled_from("ab .\n"), max_size=2_000), st.integers(0, 2_500))
def test_a_shortened_text_is_its_beginning_and_says_what_is_missing(text: str, limit: int) -> None:
    short = shortened(text, limit)
    if len(text) <= limit:
        assert short == text
        return
    kept, _, mark = short.rpartition("[cut: ")
    missing = int(mark.removesuffix(" characters]").replace(",", ""))
    kept = kept.removesuffix("\n\n")
    assert text.startswith(kept)
    assert len(kept) + missing == len(text)
    assert len(kept) <= limit
    assert limit >= LEAST or not kept
