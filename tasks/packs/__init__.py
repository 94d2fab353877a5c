"""Several items in one request: how they are asked (prompt.py), and how the answer is taken apart (reply.py). Pure.

An answer is an item's only where its id says so and its seal shows that its request was read: both are random codes,
which stand at the beginning and at the end of that item's own request and nowhere else.
"""

from __future__ import annotations

from tasks.packs.codes import Codes, new_codes
from tasks.packs.prompt import PackError, check_packable, packed_prompt, packed_schema
from tasks.packs.reply import Reading, read_pack

__all__ = [
    "Codes",
    "PackError",
    "Reading",
    "check_packable",
    "new_codes",
    "packed_prompt",
    "packed_schema",
    "read_pack",
]
