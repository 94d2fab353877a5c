"""The named statements of the hot path.

They live in sql/<area>.sql as blocks that begin with `-- name: <name>` and end at the next one:

    CLAIM = statement("execute.claim")      # at import time: a wrong name stops the program, not a run
    cursor.execute(CLAIM, {"lease": token})

Parameters are psycopg's (`%(lease)s`, arrays as `%(ids)b`; a literal percent sign is `%%` where there are
parameters). Give each a cast (`%(ids)b::bigint[]`), so that the statement can be checked without values.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["areas", "names", "statement"]

FOLDER = Path(__file__).parent
_HEADER = re.compile(r"^--[ \t]*name:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def statement(name: str) -> bytes:
    """The statement `area.name`, for psycopg. Raises KeyError when there is none."""
    area, _, local = name.partition(".")
    try:
        return _area(area)[local]
    except KeyError:
        raise KeyError(f"no statement {name!r} in {FOLDER / area}.sql") from None


def areas() -> list[str]:
    """The areas that have statements: the names of the files sql/*.sql."""
    return sorted(path.stem for path in FOLDER.glob("*.sql"))


def names() -> list[str]:
    """All statements, as `area.name`."""
    return [f"{area}.{local}" for area in areas() for local in _area(area)]


@cache
def _area(area: str) -> dict[str, bytes]:
    if not _NAME.fullmatch(area):
        raise KeyError(area)
    path = FOLDER / f"{area}.sql"
    if not path.is_file():
        raise KeyError(area)
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(text: str, place: str) -> dict[str, bytes]:
    """The blocks of one file. Raises ValueError for a bad or repeated name or an empty block."""
    _, *rest = _HEADER.split(text)
    blocks: dict[str, bytes] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{place}: {name!r} is no statement name; use lower-case letters, digits and _")
        if name in blocks:
            raise ValueError(f"{place}: the statement {name!r} is there twice")
        code = re.sub(r"^\s*--.*$", "", body, flags=re.MULTILINE).strip().rstrip(";").strip()
        if not code:
            raise ValueError(f"{place}: the statement {name!r} is empty")
        blocks[name] = code.encode()
    return blocks
