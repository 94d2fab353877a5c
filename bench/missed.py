"""Goals that are not reached, and why: shown below the figures, and held against them by a test.

A figure that begins to hold has to leave this list, and one that misses its goal without standing here fails the tests.
"""

from __future__ import annotations

from collections.abc import Mapping

MISSED: Mapping[str, Mapping[str, str]] = {}
"""By benchmark and figure, a sentence."""

NOT_RUN: Mapping[str, str] = {
    "execution": "No run in full is kept yet: it needs an idle machine for half an hour.",
}
"""Benchmarks without figures, and why: their table says it instead."""
