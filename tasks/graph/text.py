"""Titles are foreign text: what they may become in a drawing."""

from __future__ import annotations

import unicodedata

# Cf: format (also what turns the direction of writing), Cs: half a pair, Co: private, Cn: nothing.
SHAPELESS = frozenset({"Cf", "Cs", "Co", "Cn"})
JOINERS = "\u200c\u200d"  # of Persian, of Indian scripts, of emoji

NARROW = frozenset("iIjlftr.,:;!|'`()[]{}/\\-")
BROAD = frozenset("mwMWQGOD@%&—ЖШЩЮФЫМжшщюфыДд")


def plain(text: str) -> str:
    """One line of characters that have a shape."""
    shaped = "".join(
        " " if category == "Cc" else each
        for each in text
        if (category := unicodedata.category(each)) not in SHAPELESS or each in JOINERS
    )
    return " ".join(shaped.split())


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def width(text: str, size: float = 13.0, *, bold: bool = False) -> float:
    """About how wide a text is in pixels in a sans-serif font; rather more than less."""
    ems = 0.0
    for each in text:
        if unicodedata.east_asian_width(each) in "WF":
            ems += 1.05
        elif unicodedata.combining(each) or each in JOINERS:
            continue
        elif each == " ":
            ems += 0.33
        elif each in NARROW:
            ems += 0.38
        elif each in BROAD:
            ems += 0.9
        elif each.isupper():
            ems += 0.7
        else:
            ems += 0.62 if each.isascii() else 0.66
    return ems * size * (1.1 if bold else 1.0)


def fit(text: str, pixels: float, size: float = 13.0, *, bold: bool = False) -> str:
    """The text, cut so that it is not wider."""
    if width(text, size, bold=bold) <= pixels:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[:middle] + "…", size, bold=bold) <= pixels:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"
