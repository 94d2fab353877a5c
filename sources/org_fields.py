"""The small texts of org-mode: dates, properties, priorities."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAN = re.compile(
    r"(?P<word>SCHEDULED|DEADLINE|CLOSED):[ \t]*[<\[](?P<date>\d{4}-\d{2}-\d{2})(?P<rest>[^>\]\n]{0,80})[>\]]"
)
_TIME = re.compile(r"\b\d{1,2}:\d{2}\b")
_REPEATER = re.compile(r"(?<!\S)(?:\+\+|\.\+|\+)\d{1,4}[hdwmy]")
_PROPERTY = re.compile(r"\s*:(?P<name>[^\s:]{1,80}?)\+?:(?:\s+(?P<value>.*))?$")
_WORDS = {"SCHEDULED": "scheduled", "DEADLINE": "due", "CLOSED": "completed"}


def planning(text: str) -> dict[str, str]:
    """Labels of the line below a headline: `DEADLINE: <2026-03-01 Sun +1w> SCHEDULED: ...`; none for other lines."""
    if not text.startswith(tuple(_WORDS)):
        return {}
    labels: dict[str, str] = {}
    for match in _PLAN.finditer(text):
        time = _TIME.search(match["rest"])
        labels[_WORDS[match["word"]]] = f"{match['date']} {time[0]}" if time else match["date"]
        if repeater := _REPEATER.search(match["rest"]):
            labels["recurrence"] = repeater[0]
    return labels


def take_properties(lines: Iterable[str]) -> dict[str, str]:
    """The properties of a drawer, names in capitals; `:NAME+:` adds to what is there."""
    properties: dict[str, str] = {}
    for line in lines:
        if match := _PROPERTY.match(line):
            name, value = match["name"].upper(), (match["value"] or "").strip()
            more = f":{match['name']}+:" in line and name in properties
            properties[name] = f"{properties[name]} {value}" if more else value
    return properties


def priority_of_cookie(level: str) -> int:
    """`[#A]` is 1, B 2 (as in org, the default), C 3, all below 4; numbers are what they say, at most 4."""
    return min(int(level), 4) if level.isdecimal() else min(ord(level.upper()) - ord("A") + 1, 4)
