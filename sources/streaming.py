"""A plain task list of any length, item by item: for lists that are larger than what is read at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.board import ParsedItem
from models.errors import SourceError
from sources.document import visible
from sources.reading import declared_encoding, refuse_binary
from sources.walk import stream

_HEAD = 8192


def stream_file(path: Path | None) -> Iterator[ParsedItem]:
    """The items of one file, None for standard input, as `sources.walk.stream` reads them; bytes that are not as
    declared (UTF-8, or UTF-16 and UTF-32 by their byte order mark) are read with replacement characters.

    Raises SourceError for what can't be opened or read, and for a file that is not text.
    """
    name = str(path) if path is not None else "-"
    try:
        if path is None:
            yield from _items(sys.stdin.buffer, name)
        else:
            with path.open("rb") as file:
                yield from _items(file, name)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}. Check the path and its permissions.") from error


def _items(file: BinaryIO, name: str) -> Iterator[ParsedItem]:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(io.FileIO(file.fileno()))
    head = buffered.peek(_HEAD)[:_HEAD]
    encoding = declared_encoding(head)
    if encoding in ("utf-8", "utf-8-sig"):
        refuse_binary(head, name)
    # Universal line ends: \\r\\n and \\r become \\n, as in sources.reading.decode.
    text = io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline=None)
    try:
        yield from stream(visible(line).rstrip("\n") for line in text)
    finally:
        text.detach()  # the file belongs to whoever opened it
