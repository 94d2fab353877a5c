"""How commands read boards: one unreadable file among others is said, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import sources
from interfaces.cli.app import complain
from models.board import ParsedBoard
from models.errors import SourceError


def check_readable(paths: Sequence[str], max_bytes: int, dialect: str | None = None) -> None:
    """Raises SourceError for an unknown dialect and when not one of `paths` can be read as text: said before anything
    is started."""
    sources.parse(b"", "", dialect)
    problems: list[str] = []
    for origin in sources.expand(paths):
        if origin is sources.STDIN or origin.github:
            return  # can be read only once; is in the database
        try:
            sources.decode(sources.read(origin, max_bytes), origin.name, max_bytes)
        except SourceError as error:
            problems.append(str(error))
        else:
            return
    raise SourceError(" ".join(problems))


def boards_of(
    paths: Sequence[str],
    max_bytes: int,
    dialect: str | None,
    read: Callable[[sources.Origin, int], bytes] = sources.read,
) -> Iterator[tuple[sources.Origin, ParsedBoard]]:
    """Each board that `read` can read; at the end a sentence for each that can't, or SourceError when none could."""
    problems: list[str] = []
    any_read = False
    for origin in sources.expand(paths):
        try:
            board = sources.parse(read(origin, max_bytes), origin.name, dialect, max_bytes)
        except SourceError as error:
            problems.append(str(error))
            continue
        any_read = True
        yield origin, board
    if not any_read:
        raise SourceError(" ".join(problems))
    for sentence in problems:
        complain(f"Not read: {sentence}")
