"""Words of messages: numbers with what they count, and names that are too long to be told whole."""

from __future__ import annotations

LONGEST_NAME = 60


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 item`, `2 items`; `many` where it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def all_of(number: int, one: str, many: str | None = None) -> str:
    """`its only child is`, `all of its 3 children are`."""
    return f"its only {one} is" if number == 1 else f"all of its {number} {many or f'{one}s'} are"


def quoted(text: str, longest: int = LONGEST_NAME) -> str:
    """The text in quotation marks, with an ellipsis where it was cut."""
    return repr(text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…")


def some_of(number: int, of: int, one: str, many: str | None = None) -> str:
    """`its only child is`, `1 of its 3 children is`, `2 of its 3 children are`."""
    if of == 1:
        return all_of(1, one)
    return f"{number} of its {of} {many or f'{one}s'} {'is' if number == 1 else 'are'}"


def span(seconds: float) -> str:
    """`45 s`, `12 minutes`, `2.5 hours`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
