"""thin"""

from __future__ import annotations

import hashlib

from models.board import ParsedBoard
from sources.reading import DEFAULT_MAX_BYTES, decode


def parse(
    data: bytes, source: str, dialect: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> ParsedBoard:
    """Read one board."""
    decoded = decode(data, source, max_bytes)
    return ParsedBoard(
        source=source,
        dialect=dialect or "document",
        encoding=decoded.encoding,
        sha256=hashlib.sha256(data).hexdigest(),
        findings=decoded.findings,
        text=decoded.text,
    )
