"""When an item is due, from what its board says. Pure."""

from __future__ import annotations

import re
from datetime import datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

END_OF_DAY = time(23, 59, 59)
YEARS = range(1900, 9999)
"""What is written as a date outside of these means something else; Postgres and Python agree on all of them."""

_WHEN = re.compile(
    r"""(?P<day>\d{4}-\d\d-\d\d)
        (?: [T\ ]+ (?P<time>\d{1,2}:\d\d(?::\d\d)?) (?:\.\d{1,9})? \ ?(?P<zone>Z|[+-]\d\d:?\d\d)? )?
        (?![\w:-])""",
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(maxsize=4096)
def deadline(due: str, zone: str) -> datetime | None:
    """The moment of a date, with or without a time, as sources give it; of a date alone the end of the day in `zone`.

    None for what can't be read: the parser has said so in a finding where the dialect has dates.
    """
    match = _WHEN.match(due.strip())
    if match is None:
        return None
    try:
        day = datetime.fromisoformat(match["day"])
        if day.year not in YEARS:
            return None
        if match["time"] is None:
            return datetime.combine(day, END_OF_DAY, ZoneInfo(zone))
        at = datetime.combine(day, time.fromisoformat(match["time"].zfill(5)))
        if match["zone"] is None:
            return at.replace(tzinfo=ZoneInfo(zone))
        return datetime.fromisoformat(f"{at.isoformat()}{match['zone'].upper()}")
    except ValueError:
        return None
