"""Boards that are not only files: the issues that webhooks brought, and the commit a board was read at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg

import sources
from models.errors import SourceError
from sources.github import Issue
from sources.github_issues import NAME as GITHUB_ISSUES
from sources.reading import too_large
from sql.statements import statement

__all__ = ["contents", "dialect_of", "keep_issues", "keep_revision"]


def contents(connection: psycopg.Connection[Any], origin: sources.Origin, max_bytes: int) -> bytes:
    """The bytes of any origin: `sources.read`, or the known issues of a GitHub repository. Raises SourceError."""
    if not origin.github:
        return sources.read(origin, max_bytes)
    # Of two runs at once, the one that stores last has read last.
    connection.execute(statement("ingest.lock"), {"source": origin.name})
    rows = connection.execute(statement("origins.issues"), {"repository": origin.github}).fetchall()
    if not rows:
        raise SourceError(
            f"{origin.name}: no issue of this repository has come yet. Let GitHub send its `issues` events to "
            "/webhooks/github, or give a file that `gh issue list --json ...` wrote."
        )
    known = [fields for fields, removed in rows if not removed]
    # A line for each field: an item's place in the board is then the issue's own.
    data = orjson.dumps(known, option=orjson.OPT_INDENT_2)
    if len(data) > max_bytes:
        raise too_large(origin.name, len(data), max_bytes)
    return data


def dialect_of(origin: sources.Origin, dialect: str | None) -> str | None:
    """How it is read: all issues of a repository may be gone, and nothing is no dialect."""
    return GITHUB_ISSUES if origin.github and dialect is None else dialect


def keep_revision(connection: psycopg.Connection[Any], board_id: int, revision: str | None) -> None:
    """Note the commit that a board was read at; it may have changed where the board has not."""
    connection.execute(statement("origins.keep_revision"), {"board": board_id, "revision": revision})


async def keep_issues(
    connection: psycopg.AsyncConnection[Any], repository: str, changes: Sequence[tuple[Issue, bool]]
) -> int:
    """Keep what a delivery says of issues, each with whether it is gone. Returns how many it changed: none where later
    states are known. All of them or none are kept."""
    kept = 0
    async with connection.transaction():
        for issue, removed in sorted(changes, key=lambda change: change[0].number):
            cursor = await connection.execute(
                statement("origins.keep_issue"),
                {
                    "repository": repository,
                    "number": issue.number,
                    "updated_at": issue.time,
                    "removed": removed,
                    "fields": orjson.dumps(issue.fields()).decode(),
                },
            )
            kept += cursor.rowcount
    return kept
