"""Goals that are not reached, and why: shown below the figures, and held against them by a test.

A figure that begins to hold has to leave this list, and one that misses its goal without standing here fails the tests.
"""

from __future__ import annotations

from collections.abc import Mapping

MISSED: Mapping[str, Mapping[str, str]] = {
    "execution": {
        "(c) 8 a request / a request each, without latency": (
            "An item costs nearly a quarter of a millisecond beside its request (a), and half of one with it (b), so "
            "that without any latency eight in a request could at most be twice as quick. What is left of that goes to "
            "the tokens, which come one by one in a pack, too, and to the ids and seals of short answers. Packs pay "
            "where a request has a price of its own: see the row of a service"
        ),
    },
}
"""By benchmark and figure, a sentence."""
