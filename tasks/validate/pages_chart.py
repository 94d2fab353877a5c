"""The chart of the page: answers a day, those that failed on top. Only numbers; the page draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

WIDTH, HEIGHT = 720, 130
LEFT, BOTTOM, TOP = 44, 20, 8
MOST_DAYS = 90
WIDEST = 28
SPARK = 30


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    width: float
    top: float  # of what failed
    middle: float  # between what failed and what passed
    bottom: float
    says: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    width: int
    height: int
    left: int
    bottom: float
    bars: list[Bar]
    levels: list[Tick]
    days: list[Tick]
    says: str


def chart(counts: Mapping[date, tuple[int, int]]) -> Chart | None:
    """`counts`: answers that were checked and those that failed, by day. None where there are none."""
    if not counts:
        return None
    last = max(counts)
    first = max(min(counts), last - timedelta(days=MOST_DAYS - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    top = _ceiling(max(counts.get(day, (0, 0))[0] for day in days))
    room = HEIGHT - BOTTOM - TOP
    step = min((WIDTH - LEFT) / len(days), WIDEST + 6)
    ground = HEIGHT - BOTTOM
    bars = []
    for number, day in enumerate(days):
        checked, failed = counts.get(day, (0, 0))
        if checked:
            passed = (checked - failed) / top * room
            bars.append(
                Bar(
                    round(LEFT + number * step + step * 0.1, 1),
                    round(step * 0.8, 1),
                    round(ground - checked / top * room, 1),
                    round(ground - passed, 1),
                    ground,
                    f"{day}: {checked} checked, {failed} failed",
                )
            )
    total, bad = (sum(counts.get(day, (0, 0))[place] for day in days) for place in (0, 1))
    return Chart(
        WIDTH,
        HEIGHT,
        LEFT,
        ground,
        bars,
        [Tick(round(ground - share * room, 1), f"{round(top * share):,}") for share in (0, 0.5, 1)],
        [
            Tick(round(LEFT + number * step + step / 2, 1), f"{day:%d %b}")
            for number, day in _labelled(days, step)
        ],
        f"Answers checked a day, {first} to {last}: {total} in all, {bad} of them failed",
    )


def spark(counts: Mapping[date, int], last: date) -> list[tuple[int, float, str]]:
    """A rule's failures of the latest SPARK days up to `last`: place, height of 16 and words of each day's bar."""
    days = [last - timedelta(days=SPARK - 1 - number) for number in range(SPARK)]
    top = max((counts.get(day, 0) for day in days), default=0)
    return [
        (number * 4, round(max(2.0, counts[day] / top * 16), 1), f"{day}: {counts[day]}")
        for number, day in enumerate(days)
        if counts.get(day)
    ]


def _labelled(days: list[date], step: float) -> list[tuple[int, date]]:
    every = max(1, round(56 / step) if step < 56 else 1)
    return [(number, day) for number, day in enumerate(days) if number % every == 0]


def _ceiling(most: int) -> int:
    """A round even number that is not below it."""
    scale = 1
    while True:
        for digit in (2, 4, 6, 10):
            if digit * scale >= most:
                return digit * scale
        scale *= 10
