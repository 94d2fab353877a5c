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
    lower = [text.lower() for text in texts]
    taken: set[str] = set()

    def code() -> str:
        while True:
            made = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
            # With a letter and a digit it is neither a word nor a number.
            if made.isalpha() or made.isdigit() or made in taken or any(made in text for text in lower):
                continue
            taken.add(made)
            return made

    return [Codes(code(), code(), secrets.token_hex(KEY_BYTES)) for _ in range(count)]
