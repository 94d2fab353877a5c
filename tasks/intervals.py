"""Confidence intervals of shares and of differences, by scipy. What too few numbers say is None: not known.

Importing scipy.stats takes most of a second, so it is done where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

CONFIDENCE = 0.95

RESAMPLES = 10_000
SEED = 1979
"""The same numbers give the same interval."""

Interval = tuple[float, float]


def share_interval(passed: int, tries: int) -> Interval | None:
    """Of a share, by Wilson's score (JASA 22, 1927): right for few tries, too, and never below 0 or above 1."""
    if not tries:
        return None
    from scipy.stats import binomtest  # type: ignore[import-untyped]

    found = binomtest(passed, tries).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Of a mean, by the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).

    For paired differences, too: give the differences. None for fewer than two values, and where all are the same:
    resampling tells nothing then.
    """
    if len(set(values)) < 2:
        return None
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def changed_by_chance(only_first: int, only_second: int) -> float | None:
    """How likely so uneven a pair of counts is by chance: McNemar's test (Psychometrika 12, 1947), exact.

    Of the cases that just one of two passed, how many each of them. None where there is no such case.
    """
    if not only_first + only_second:
        return None
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second).pvalue)
