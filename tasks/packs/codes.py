"""What a member of a pack is called: codes that nobody who wrote a text could know, and that none has by chance."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without signs that are taken for one another."""

LENGTH = 5
KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Codes:
    """`id` stands at the beginning of a member's request, `seal` at its end; `key` is that of its fences."""

    id: str
    seal: str
    key: str


def new_codes(count: int, texts: Sequence[str]) -> list[Codes]:
    """For so many members. No two codes are the same, none is a number, and none stands in any of the texts."""
    all_of_them = "\n".join(texts).lower()
    found: dict[str, None] = {}
    while len(found) < 2 * count:
        for made in _made(2 * count - len(found)):
            # With a letter and a digit it is neither a word nor a number.
            if not made.isalpha() and not made.isdigit() and made not in all_of_them:
                found[made] = None
    codes = list(found)
    keys = secrets.token_hex(KEY_BYTES * count)
    size = 2 * KEY_BYTES
    return [Codes(codes[2 * n], codes[2 * n + 1], keys[size * n : size * (n + 1)]) for n in range(count)]


def _made(count: int) -> list[str]:
    """So many at random; that some letters are a little more likely gives nobody a chance to guess one."""
    letters = "".join(ALPHABET[each % len(ALPHABET)] for each in secrets.token_bytes(LENGTH * count))
    return [letters[at : at + LENGTH] for at in range(0, len(letters), LENGTH)]
