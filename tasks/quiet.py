"""Quiet hours: by the clock on the wall, so that they are right at midnight and when clocks change. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)

LONGEST = 50
"""Hours in which quiet hours end: a day, and what a change of clocks may add (a day, at the date line)."""


def quiet(hours: str | None, zone: str, now: datetime) -> float:
    """Seconds until the quiet hours end that it is now in; 0.0 outside, and without any.

    `hours` is `22:00-07:00`, from the first to before the second on the clock of the time zone `zone`; `now` has a time
    zone, any. Where clocks are put back the same time comes twice, and is quiet twice.
    """
    if hours is None:
        return 0.0
    begin, end = (time.fromisoformat(each) for each in hours.split("-"))
    place = ZoneInfo(zone)
    at = now.astimezone(UTC)
    if not _inside(at, begin, end, place):
        return 0.0
    # Within an hour without a change of clocks the wall goes on as time does; a change is looked for to the second.
    start = at
    for _ in range(LONGEST):
        step = start + _HOUR
        change = _change(start, step, place)
        for until in (change, step) if change is not None else (step,):
            local = start.astimezone(place).replace(tzinfo=None)
            left = datetime.combine(local.date(), end) - local
            if left <= timedelta(0):
                left += timedelta(days=1)
            if start + left < until:
                return (start + left - at).total_seconds()
            if not _inside(until, begin, end, place):
                return (until - at).total_seconds()
            start = until
    raise ValueError(f"the quiet hours {hours!r} have no end; write them as 22:00-07:00")


def _inside(at: datetime, begin: time, end: time, place: ZoneInfo) -> bool:
    wall = at.astimezone(place).time()
    return begin <= wall < end if begin < end else wall >= begin or wall < end


def _change(start: datetime, stop: datetime, place: ZoneInfo) -> datetime | None:
    """The moment in (start, stop] at which clocks are changed."""
    before = start.astimezone(place).utcoffset()
    if stop.astimezone(place).utcoffset() == before:
        return None
    low, high = start.replace(microsecond=0), stop
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle <= low:
            break
        low, high = (middle, high) if middle.astimezone(place).utcoffset() == before else (low, middle)
    return high.replace(microsecond=0)
