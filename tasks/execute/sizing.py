"""How many items a drain claims at once: as many as are answered within a set time, and never more than a set number.

What is claimed and not yet written is what a `kill -9` costs, in work that was paid. So its size follows how quickly a
recipe's items are answered by a model: few where an answer takes a minute, many where it takes a millisecond, since
each batch has a price of its own (a claim, a Great Expectations run, a task run, a transaction: 30 to 50 ms).
"""

from __future__ import annotations

from dataclasses import dataclass, field

GROWTH = 4
"""A batch is at most so many times as large as the largest one that ended: a few quick answers prove little."""

SMOOTHING = 0.5

Key = tuple[str, str]
"""A recipe and the model that answers it."""


@dataclass(slots=True)
class _Seen:
    rate: float  # items a second, smoothed
    largest: int  # of the batches that ended


@dataclass(slots=True)
class Sizes:
    """`most` items are claimed at once, or fewer that take about `seconds` together: two batches, half of that each.

    With `seconds` 0 a batch always has half of `most`.
    """

    most: int
    seconds: float
    _seen: dict[Key, _Seen] = field(default_factory=dict)

    def half(self, key: Key, *, at_once: int, kept: int = 0) -> int:
        """Items of the next batch.

        `at_once` are being answered at a time (slots, times the members of a pack): a batch has at least so many, or
        slots would stand idle. `kept` of `most` are for an interactive batch beside it.
        """
        bound = max(1, (self.most - kept) // 2)
        if self.seconds <= 0:
            return bound
        least = min(at_once, bound)
        seen = self._seen.get(key)
        if seen is None:
            return least
        wanted = int(min(seen.rate * self.seconds / 2, GROWTH * seen.largest))
        return max(least, min(wanted, bound))

    def ended(self, key: Key, items: int, seconds: float) -> None:
        """A batch of so many items was answered in that time, from its first request that was let in."""
        rate = items / max(seconds, 1e-6)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(rate, items)
            return
        if (
            items > seen.largest and rate > seen.rate
        ):  # its beginning and its end weigh less in a larger batch
            seen.rate = rate
        else:
            seen.rate += SMOOTHING * (rate - seen.rate)
        seen.largest = max(seen.largest, items)
