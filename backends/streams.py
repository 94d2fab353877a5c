"""Streamed bodies, piece by piece: lines of JSON (Ollama) and server-sent events (everybody else).

However the network cuts the bytes, the same events come out. Lines end where the standards say, not where
str.splitlines would: a U+2028 inside JSON is no end of a line.
"""

from __future__ import annotations

import re
from typing import Protocol

_ENDS = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Reader(Protocol):
    """Turns a body into its events, of each its data. A last one that the server did not finish counts: whoever reads
    it sees what it is.
    """

    def feed(self, chunk: bytes) -> list[bytes]: ...
    def end(self) -> list[bytes]: ...


class _Lines:
    """Bytes to whole lines without their ends: \\n and \\r\\n, and with `returns` a lone \\r too."""

    def __init__(self, *, returns: bool) -> None:
        self._returns = returns
        self._parts: list[
            bytes
        ] = []  # of a line that has not ended; joined once, or a long one costs its square
        self._skip = False  # the last chunk ended with \r: a \n that comes first belongs to it

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._skip and chunk:
            self._skip = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if not self._returns or b"\r" not in chunk:
            if b"\n" not in chunk:
                self._parts.append(chunk)
                return []
            lines = chunk.split(b"\n")
        else:
            lines = _ENDS.split(chunk)
            self._skip = chunk.endswith(b"\r")
            if len(lines) == 1:
                self._parts.append(chunk)
                return []
        if self._parts:
            lines[0] = b"".join(self._parts) + lines[0]
        self._parts = [lines.pop()]
        return lines

    def end(self) -> bytes:
        rest, self._parts = b"".join(self._parts), []
        return rest


class NDJSON:
    """One JSON value a line. Blank lines are skipped."""

    def __init__(self) -> None:
        self._lines = _Lines(returns=False)

    def feed(self, chunk: bytes) -> list[bytes]:
        return [text for line in self._lines.feed(chunk) if (text := line.strip())]

    def end(self) -> list[bytes]:
        rest = self._lines.end().strip()
        return [rest] if rest else []


class SSE:
    """Server-sent events (WHATWG HTML, 9.2): data lines joined, comments and other fields skipped. So are the names of
    events: what a model server's protocol says in them, its data says too.
    """

    def __init__(self) -> None:
        self._lines = _Lines(returns=True)
        self._first = True
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        return self._events(self._lines.feed(chunk))

    def end(self) -> list[bytes]:
        return self._events([self._lines.end(), b""])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        """What these lines bring to an end."""
        events: list[bytes] = []
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                if self._data:
                    events.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
            elif line == b"data":
                self._data.append(b"")
        return events


def reader_of(content_type: str, begins: bytes) -> Reader | None:
    """Who reads a body of this type that begins so; None for one that comes as a whole.

    Gateways mislabel streams, so the first bytes may say it too. A JSON object is not taken for lines of JSON.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream" or begins.removeprefix(_BOM).startswith(
        (b"data:", b"event:", b": ", b":\n")
    ):
        return SSE()
    return NDJSON() if kind in ("application/x-ndjson", "application/jsonl", "application/ndjson") else None
