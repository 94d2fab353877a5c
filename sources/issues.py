"""Issue lists as people write them: `#55–59`, `#50, #70–73`, `#55-#73`, `#1,#2`, `#3, 4`, `#170✓`, `~~#32~~`."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_RANGE = 1000
"""A longer range is a slip of the pen, not a plan."""

_URL = re.compile(r"\]\([^()\s]*\)")
_LIST = re.compile(
    r"(?P<struck>~~)?#(?P<first>\d{1,7})(?P<tick>\s?[✓✔✅])?"
    r"(?:\s*[–—-]\s*#(?P<last>\d{1,7})|[–—-](?P<bare>\d{1,7})\b|\s–\s(?P<spaced>\d{1,7})\b)?(?P<close>~~)?"
    r"(?P<more>(?:\s*,\s*\d{1,7}\b(?!\s*[%\w]))*)"
)


@dataclass(frozen=True, slots=True)
class Issues:
    """`numbers` in the order written, each once; `ranges` as written, also those that are refused."""

    numbers: tuple[int, ...]
    closed: frozenset[int]
    ranges: tuple[tuple[int, int], ...]
    refused: tuple[str, ...]


def read_issues(text: str) -> Issues:
    numbers: dict[int, None] = {}
    closed: set[int] = set()
    ranges: list[tuple[int, int]] = []
    refused: list[str] = []
    for match in _LIST.finditer(_URL.sub("]", text)):
        first = int(match["first"])
        last = int(match["last"] or match["bare"] or match["spaced"] or first)
        found = [first]
        if last != first:
            ranges.append((first, last))
            if first < last < first + MAX_RANGE:
                found = list(range(first, last + 1))
            else:
                refused.append(f"#{first}–{last}")
        numbers.update(dict.fromkeys(found))
        if match["tick"] or match["struck"]:
            closed.update(found)
        numbers.update(dict.fromkeys(int(number) for number in re.findall(r"\d+", match["more"])))
    return Issues(tuple(numbers), frozenset(closed), tuple(ranges), tuple(refused))
