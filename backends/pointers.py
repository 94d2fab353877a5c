"""JSON pointers (RFC 6901), as settings use them to say where something stands in foreign JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import SettingsError

PRESENT = "*"
"""In a list of values: any value that is there and is neither empty nor false."""


def parsed(pointer: str) -> tuple[str, ...]:
    """Its parts. Raises SettingsError for what is no pointer."""
    if pointer and not pointer.startswith("/"):
        raise SettingsError(f"{pointer!r} is no JSON pointer; write for example /data/0/text.")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def find(page: Any, pointer: str) -> Any:
    """What stands there; None for what is not there."""
    for part in parsed(pointer):
        if isinstance(page, Mapping):
            page = page.get(part)
        elif isinstance(page, list) and (part.isdecimal() or part == "-1"):
            number = int(part)
            page = page[number] if number < len(page) and page else None
        else:
            return None
    return page


def holds(page: Any, conditions: Mapping[str, Sequence[Any]]) -> bool:
    """Does one of the pointers lead to one of its values?"""
    return any(_is_one(find(page, pointer), values) for pointer, values in conditions.items())


def _is_one(value: Any, wanted: Sequence[Any]) -> bool:
    for each in wanted:
        if each == PRESENT:
            if value not in (None, "", False, 0, [], {}):
                return True
        elif type(value) is type(each) and value == each:  # True is not 1 here
            return True
    return False
